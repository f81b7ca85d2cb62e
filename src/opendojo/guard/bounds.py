"""How far a checksum may be off by rounding alone: what is beyond is suspicious.

A product C = A B is checked along one dimension: y = C r against A (B r), with a fixed random
vector r of signs and sizes, so that swapped or repeated lanes do not cancel. Both sides round. With
unit round-off u of the sums, and u_out of the numbers C is kept in:

    rigorous     gamma_K |A| |B| r  and its kin, here with the Cauchy-Schwarz inequality
                 (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 3)
    statistical  the same errors as independent random variables: sqrt(K / 3) u in place of K u
                 (Higham and Mary, SIAM J. Sci. Comput. 41, 2019), at `SIGMAS` deviations

Tensor cores round inputs of TF32 (u_in) and truncate sums; u_sum allows for it by a margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["SIGMAS", "Rounding", "rounding_of", "short_sums", "spread", "unit_roundoff"]

SIGMAS = 8.0
"""Deviations of the statistical bound: sqrt(2 ln(2 n / delta)) for n = 1e12 checks, delta 0.01."""

_UNIT = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}

_TENSOR_CORE_MARGIN = 8.0
"""Sums on tensor cores truncate and keep few guard bits: widened by this; not calibrated here."""


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of rounding to nearest; raises `KeyError` for other dtypes."""
    return _UNIT[dtype]


@dataclass(frozen=True, slots=True)
class Rounding:
    """What one product rounds with."""

    total: float
    """Of sums: the product's own and the check's."""
    out: float
    """Of the result where it is kept in fewer bits than it was summed in, else 0."""
    inputs: float
    """Of inputs where the product shortens them (TF32), else 0."""


def rounding_of(dtype: torch.dtype, device: torch.device) -> Rounding:
    """The rounding of a product of tensors of `dtype` with torch's present settings."""
    unit = _UNIT[dtype]
    if dtype in (torch.float16, torch.bfloat16):
        margin = _TENSOR_CORE_MARGIN if device.type == "cuda" else 1.0
        return Rounding(_UNIT[torch.float32] * margin, unit, 0.0)
    if dtype == torch.float32:
        precision = torch.get_float32_matmul_precision()
        if precision == "medium":
            return Rounding(unit * _TENSOR_CORE_MARGIN, 0.0, 2.0**-8)
        cudnn = device.type == "cuda" and torch.backends.cudnn.allow_tf32
        if precision == "high" or cudnn:
            return Rounding(unit * _TENSOR_CORE_MARGIN, 0.0, 2.0**-11)
    return Rounding(unit, 0.0, 0.0)


def short_sums(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether convolutions of `dtype` here keep what they sum between steps in that dtype too.

    torch's own kernels on the processor do, which step in where oneDNN is off or does not serve the
    dtype on this processor: filters' gradients are added up picture by picture, and a transposed
    convolution's results tap by tap.
    """
    if device.type != "cpu" or dtype not in (torch.float16, torch.bfloat16):
        return False
    if not torch.backends.mkldnn.is_available() or not torch._C._get_mkldnn_enabled():
        return True
    half = dtype == torch.float16
    ask = torch.ops.mkldnn._is_mkldnn_fp16_supported if half else (
        torch.ops.mkldnn._is_mkldnn_bf16_supported)  # fmt: skip
    return not ask()


def spread(
    rounding: Rounding, depth: int, across: int, bound: Literal["statistical", "rigorous"]
) -> float:
    """Factor of |a_i| |B|_F that the two sides of a check may differ by, C's last rounding apart.

    `depth` is K, the length of the product's sums; `across` the number of elements in a checksum.
    The statistical factor has the sums of C and of A (B r), depth long, and those of C r and B r,
    across long; the rigorous one takes |r|_2 = sqrt(across) with each of them.
    """
    if bound == "rigorous":
        sums = rounding.total * (2 * depth + 2 * across) + 2 * rounding.inputs
        return sums * math.sqrt(across) * 1.6  # 1.6 is over the largest element of r
    sums = rounding.total * 2 * (math.sqrt(depth) + math.sqrt(across))
    return SIGMAS * (sums + 2 * rounding.inputs) / math.sqrt(3)
