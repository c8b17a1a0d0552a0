"""Where facts come from: the Hub, its cache, recorded and bundled facts, local files."""

from hfmem.source.access import Access, SourceChoice, find

__all__ = ["Access", "SourceChoice", "find"]
