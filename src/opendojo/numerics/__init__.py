"""The chip's number formats: exact in rational arithmetic, fast in PyTorch, fit to train with.

chosen = element("cfloat8_1_4_3", bias=11)
codes = encode(x, chosen, rounding="stochastic", seed=1)    # real bytes
remains = decode(codes, chosen)                             # equals quantise(x, ...)
convert(trainee, precision("cfloat8"))                      # its layers compute in it
"""

from opendojo.formats import element as element
from opendojo.formats import precision as precision
from opendojo.numerics.blocks import Blocks as Blocks
from opendojo.numerics.blocks import decode_blocks as decode_blocks
from opendojo.numerics.blocks import encode_blocks as encode_blocks
from opendojo.numerics.blocks import quantise_blocks as quantise_blocks
from opendojo.numerics.exact import decode_exact as decode_exact
from opendojo.numerics.exact import encode_exact as encode_exact
from opendojo.numerics.exact import quantise_exact as quantise_exact
from opendojo.numerics.layers import convert as convert
from opendojo.numerics.layers import converted as converted
from opendojo.numerics.layers import remains_of as remains_of
from opendojo.numerics.layers import reseed as reseed
from opendojo.numerics.quantise import decode as decode
from opendojo.numerics.quantise import encode as encode
from opendojo.numerics.quantise import pack as pack
from opendojo.numerics.quantise import quantise as quantise
from opendojo.numerics.quantise import unpack as unpack
from opendojo.numerics.scale import BiasSearch as BiasSearch
from opendojo.numerics.scale import Losses as Losses
from opendojo.numerics.scale import amax_of as amax_of
from opendojo.numerics.scale import bias_of as bias_of
from opendojo.numerics.scale import losses_of as losses_of
from opendojo.numerics.scale import power_of_two as power_of_two
from opendojo.numerics.scale import quantise_shifted as quantise_shifted
from opendojo.numerics.scale import search_bias as search_bias
from opendojo.numerics.scale import share_biases as share_biases
from opendojo.numerics.scale import shift_of as shift_of

__all__ = [
    "BiasSearch",
    "Blocks",
    "Losses",
    "amax_of",
    "bias_of",
    "convert",
    "converted",
    "decode",
    "decode_blocks",
    "decode_exact",
    "element",
    "encode",
    "encode_blocks",
    "encode_exact",
    "losses_of",
    "pack",
    "power_of_two",
    "precision",
    "quantise",
    "quantise_blocks",
    "quantise_exact",
    "quantise_shifted",
    "remains_of",
    "reseed",
    "search_bias",
    "share_biases",
    "shift_of",
    "unpack",
]
