"""Answers as text: one file a format. Nothing here prints; only the command line does."""
