"""What every family of models keeps between two tokens: one small entry a family.

``layers(config)`` finds the entry by model type, or reads conventional keys and says so, or
refuses.
"""

from hfmem.model.architectures.entry import Architecture, CacheRule, Decoder
from hfmem.model.architectures.resolve import ARCHITECTURES, layers

__all__ = ["ARCHITECTURES", "Architecture", "CacheRule", "Decoder", "layers"]
