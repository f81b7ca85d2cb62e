"""One way to quantise and dequantise a float32 tensor, asked for turns: WAY FORMAT SIDE THREADS.

Ways of other libraries need nothing of OpenDojo, so that they run in their own environment.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from protocol import serve
from torch import Tensor

Way = Callable[[str], Callable[[Tensor], Tensor]]

_TORCH = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2, "bf16": torch.bfloat16}
_SPLIT = {"fp8_e4m3": (4, 3), "fp8_e5m2": (5, 2), "bf16": (8, 7)}


def native(name: str) -> Callable[[Tensor], Tensor]:
    kind = _TORCH[name]
    return lambda x: x.to(kind).to(torch.float32)


def ours(name: str) -> Callable[[Tensor], Tensor]:
    from opendojo.numerics import element, quantise

    chosen = element(name)
    return lambda x: quantise(x, chosen)


def ours_stochastic(name: str) -> Callable[[Tensor], Tensor]:
    from opendojo.numerics import element, quantise

    chosen = element(name)
    return lambda x: quantise(x, chosen, rounding="stochastic", seed=1)


def ours_compiled(name: str) -> Callable[[Tensor], Tensor]:
    from opendojo.numerics import element, quantise

    chosen = element(name)
    return torch.compile(lambda x: quantise(x, chosen), dynamic=False)


def ml(name: str) -> Callable[[Tensor], Tensor]:
    import ml_dtypes

    kinds = {"fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2", "bf16": "bfloat16"}
    kind = getattr(ml_dtypes, kinds[name])
    return lambda x: torch.from_numpy(x.numpy().astype(kind).astype(np.float32))


def qtorch(name: str, rounding: str = "nearest") -> Callable[[Tensor], Tensor]:
    from qtorch.quant import float_quantize

    exponent, mantissa = _SPLIT[name]
    return lambda x: float_quantize(x, exponent, mantissa, rounding=rounding)


def gfloat(name: str) -> Callable[[Tensor], Tensor]:
    from gfloat import RoundMode, round_ndarray
    from gfloat.formats import format_info_bfloat16, format_info_ocp_e4m3, format_info_ocp_e5m2

    kinds = {
        "fp8_e4m3": format_info_ocp_e4m3,
        "fp8_e5m2": format_info_ocp_e5m2,
        "bf16": format_info_bfloat16,
    }
    kind = kinds[name]

    def work(x: Tensor) -> Tensor:
        rounded = round_ndarray(kind, x.numpy(), RoundMode.TiesToEven, True)
        return torch.from_numpy(rounded.astype(np.float32, copy=False))

    return work


WAYS: dict[str, Way] = {
    "ours": ours,
    "ours_compiled": ours_compiled,
    "ours_stochastic": ours_stochastic,
    "native": native,
    "ml_dtypes": ml,
    "qtorch": qtorch,
    "qtorch_stochastic": lambda name: qtorch(name, "stochastic"),
    "gfloat": gfloat,
}


def main() -> None:
    way, name, side, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    work = WAYS[way](name)
    x = torch.randn(int(side), int(side), generator=torch.Generator().manual_seed(0))
    said = hashlib.sha256(work(x).contiguous().numpy().tobytes()).hexdigest()

    def go(seconds: float) -> dict[str, Any]:
        calls, began_s = 0, time.perf_counter()
        while True:
            work(x)
            calls += 1
            spent_s = time.perf_counter() - began_s
            if spent_s >= seconds:
                return {"frames": calls * x.numel(), "seconds": spent_s}

    serve({"go": go}, {"sha256": said})


if __name__ == "__main__":
    main()
