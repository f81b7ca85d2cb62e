"""The chip's number formats: exact in rational arithmetic, fast in PyTorch.

chosen = element("cfloat8_1_4_3", bias=11)
codes = encode(x, chosen, rounding="stochastic", seed=1)    # real bytes
remains = decode(codes, chosen)                             # equals quantise(x, ...)
"""

from opendojo.formats import element as element
from opendojo.numerics.exact import decode_exact as decode_exact
from opendojo.numerics.exact import encode_exact as encode_exact
from opendojo.numerics.exact import quantise_exact as quantise_exact
from opendojo.numerics.quantise import decode as decode
from opendojo.numerics.quantise import encode as encode
from opendojo.numerics.quantise import pack as pack
from opendojo.numerics.quantise import quantise as quantise
from opendojo.numerics.quantise import unpack as unpack

__all__ = [
    "decode",
    "decode_exact",
    "element",
    "encode",
    "encode_exact",
    "pack",
    "quantise",
    "quantise_exact",
    "unpack",
]
