"""What a model would take if it were quantized: the loaders' own rules, from the tensors' shapes.

A scheme converts the matrices that its loader converts and leaves the rest in the loaded type; what
it converts, and the scales that it adds, are rows of ``schemes.py``. The file types of llama.cpp
choose a type for every tensor (``llama_cpp.py``).
"""

from hfmem.memory.quantize.convert import Converted, as_converted, convert
from hfmem.memory.quantize.matrices import Kind, Matrix, matrices
from hfmem.memory.quantize.schemes import Scheme, choices, scheme

__all__ = [
    "Converted",
    "Kind",
    "Matrix",
    "Scheme",
    "as_converted",
    "choices",
    "convert",
    "matrices",
    "scheme",
]
