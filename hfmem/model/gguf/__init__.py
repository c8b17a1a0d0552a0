"""A model told by the keys of a GGUF file instead of a config.json."""

from hfmem.model.gguf.describe import describe_gguf

__all__ = ["describe_gguf"]
