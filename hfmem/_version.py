"""The version, read by the build and by ``hfmem --version``."""

__version__ = "0.1.0"
