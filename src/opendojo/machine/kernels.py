"""Kernels that were measured on a machine, and what an operator of any shape takes from them.

Of products (matrix products, convolutions, attention) some dozens of shapes are measured. To them a
roofline is fitted, launch + max(flops / rate * (1 + m0 / m) (1 + n0 / n) (1 + k0 / k), bytes /
bandwidth): a side of a few tiles fills no pipeline, and m0, n0, k0 say how few are few. What is
left of the logarithm of the time is a Gaussian process over the logarithms of the sizes; far from
all shapes the roofline stays. Its reach is the one of five that foretells each measured shape best
from all others, and that error left is the spread. What is no product goes by the bytes that it
touches, operator by operator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opendojo.machine.figure import Figure, as_figure, as_table, check_keys, text_of
from opendojo.machine.workload import Operator

__all__ = ["CALLS", "PRODUCTS", "Kernel", "Prices", "family_of", "kernel_of", "sized"]

Array = np.ndarray
PRODUCTS = ("attention", "bmm", "conv", "mm")
"""Families that go by their sizes; all others by bytes."""
CALLS = ("launch", "module", "pace", "view")
"""First words of kernels that have no size: what a call costs, and the machine's pace."""
_SIZES = ("m", "n", "k", "products")
_KEYS = ("bytes", "flops", "format", "layout", "op", "seconds", *_SIZES)
_REACHES = (1.0, 1.5, 2.0, 3.0, 4.5)
_NOISE = 0.04
_FEW = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_ENOUGH = 12
"""Shapes from which a roofline's four figures are fitted; of fewer it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One call that was measured."""

    op: str
    """Family of a product (`mm`, `conv weight`), else the framework's own name (`clone`)."""
    format: str = "fp32"
    layout: str = ""
    """As in `Operator`."""
    m: int = 1
    """Rows, columns and depth of the product; of a convolution always those of its forward pass."""
    n: int = 1
    k: int = 1
    products: int = 1
    flops: float = 0.0
    bytes: float = 0.0
    """Read and written, each tensor once."""
    seconds: Figure


def kernel_of(raw: Any, where: str, *, source: str, grade: str) -> Kernel:
    """Read a kernel of a chip's file. Raises `ValueError` in one sentence for what is wrong."""
    table = as_table(raw, where)
    check_keys(table, _KEYS, where)
    op = text_of(table, "op", where)
    where = f"{where} {op}"
    if "seconds" not in table:
        raise ValueError(f"{where}: seconds is missing")
    seconds = as_figure(table["seconds"], "s", where, source=source, grade=grade, above_zero=True)
    sizes = {name: table.get(name, 1) for name in _SIZES}
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{where}: {name} must be a whole number from 1 up, not {value!r}")
    amounts = {
        name: as_figure(table.get(name, 0), "1", f"{where}: {name}", source="-", grade=grade).value
        for name in ("flops", "bytes")
    }
    return Kernel(
        op=op, format=text_of(table, "format", where, default="fp32"), seconds=seconds,
        layout=text_of(table, "layout", where, default=""),
        flops=amounts["flops"], bytes=amounts["bytes"], **sizes,
    )  # fmt: skip


def family_of(operator: Operator) -> str:
    """The name under which kernels like it are measured."""
    back = operator.phase == "backward"
    if operator.kind == "attention":
        return "attention backward" if back else "attention"
    if operator.kind == "matmul" and operator.m:
        return "bmm" if operator.products > 1 else "mm"
    if operator.kind == "conv" and operator.m:
        part = ("weight" if operator.grows == "k" else "input") if back else ""
        return " ".join(w for w in ("conv", part, "grouped" * (operator.products > 1)) if w)
    return operator.op.removeprefix("aten.")


def sized(operator: Operator, batch: float) -> Kernel:
    """What one call asks for with `batch` samples; its seconds are not known yet."""
    times = batch if operator.batched else 1.0
    sizes = {name: getattr(operator, name) for name in ("m", "n", "k", "products")}
    if operator.batched and operator.m:
        sizes[operator.grows] = math.ceil(sizes[operator.grows] * batch)
    if operator.kind == "conv" and operator.phase == "backward":
        m, n, k = sizes["m"], sizes["n"], sizes["k"]
        sizes.update(
            {"m": k, "n": n, "k": m} if operator.grows == "k" else {"m": m, "n": k, "k": n}
        )
    moved = times * (operator.read_bytes + operator.written_bytes) + operator.weight_bytes
    unknown = Figure(value=0.0, unit="s", grade="unknown", source="", low=0.0, high=0.0)
    return Kernel(
        op=family_of(operator), format=operator.format, layout=operator.layout,
        flops=operator.flops * times, bytes=moved, seconds=unknown,
        **{name: max(1, int(size)) for name, size in sizes.items()},
    )  # fmt: skip


class Prices:
    """Seconds of any operator on the machine whose kernels these are."""

    def __init__(self, kernels: Iterable[Kernel], *, rates: Mapping[str, float],
                 bytes_per_s: float) -> None:  # fmt: skip
        groups: dict[tuple[str, str, str], list[Kernel]] = {}
        for kernel in kernels:
            groups.setdefault((kernel.op, kernel.format, kernel.layout), []).append(kernel)
        self._curves: dict[tuple[str, str, str], _Curve | _Surface] = {}
        for key, group in groups.items():
            if key[0].split()[0] in PRODUCTS:
                self._curves[key] = _Surface(group, rates.get(key[1], 0.0), bytes_per_s)
            else:
                self._curves[key] = _Curve(group)

    def once(self, op: str) -> float:
        """Seconds of a call that has no size: `launch`, `view`, `node`; 0 where not measured."""
        curve = self._curves.get((op, "fp32", ""))
        return curve.seconds(_NOTHING)[0] if curve else 0.0

    def seconds(self, kernel: Kernel, kind: str) -> tuple[float, float]:
        """Seconds of a call and the standard deviation of their logarithm.

        An operator that was not measured goes by the kernel that stands for its kind.
        """
        for op in (kernel.op, _FAMILIAR.get(kernel.op, ""), _STANDS_FOR.get(kind, "add")):
            for form in dict.fromkeys((kernel.format, "fp32", "bf16")):
                for layout in dict.fromkeys((kernel.layout, "", "channels_last")):
                    if curve := self._curves.get((op, form, layout)):
                        seconds, spread = curve.seconds(replace(kernel, op=op))
                        doubt = 0.0 if (op, form) == (kernel.op, kernel.format) else 0.3
                        return seconds, math.hypot(spread, doubt)
        raise ValueError(f"no kernel that stands for {kernel.op} was measured: calibrate anew")


_STANDS_FOR = {
    "attention": "attention", "conv": "conv", "copy": "clone", "elementwise": "add",
    "embedding": "embedding", "gather": "index", "matmul": "mm", "norm": "native_layer_norm",
    "reduce": "sum",
}  # fmt: skip
_FAMILIAR = {
    "conv input grouped": "conv grouped", "conv weight grouped": "conv grouped",
    "conv input": "conv", "conv weight": "conv", "bmm": "mm", "attention backward": "attention",
    "sub": "add", "rsub": "add", "add_": "add", "sub_": "add", "neg": "mul", "div": "mul",
    "mul_": "mul", "div_": "mul", "_log_softmax": "_softmax", "relu_": "relu",
    "_log_softmax_backward_data": "_softmax_backward_data", "silu_": "silu",
    "sigmoid_": "sigmoid", "tanh_": "tanh", "hardtanh": "relu", "leaky_relu": "relu",
    "copy_": "clone", "contiguous": "clone", "stack": "cat", "zeros_like": "zeros",
    "fill_": "zeros",
    "zero_": "zeros", "ones_like": "zeros", "full": "zeros", "new_zeros": "zeros",
    "_unsafe_index": "index", "log": "exp", "sin": "exp", "cos": "exp", "pow": "mul",
    "exp_": "exp", "softplus": "exp", "sqrt": "mul", "rsqrt": "mul", "where": "add",
    "slice_backward": "clone", "select_backward": "zeros", "max": "amax",
    "optimizer.sgd_momentum": "optimizer.adamw", "optimizer.sgd": "optimizer.adamw",
}  # fmt: skip
"""What is measured for operators that are much alike."""


class _Curve:
    """Seconds over bytes: lines between the logarithms of the measured points."""

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        points = sorted((max(k.bytes, 1.0), k.seconds.value) for k in kernels)
        self._x = np.log([x for x, _ in points])
        self._y = np.log([y for _, y in points])
        self._spread = float(np.median([_half(k.seconds) for k in kernels]))

    def seconds(self, kernel: Kernel) -> tuple[float, float]:
        x = math.log(max(kernel.bytes, 1.0))
        more = max(0.0, x - float(self._x[-1])) if len(self._x) > 1 else 0.0
        return math.exp(float(np.interp(x, self._x, self._y)) + more), self._spread


class _Surface:
    """Seconds over sizes: a Gaussian process around a roofline."""

    def __init__(self, kernels: Sequence[Kernel], rate: float, bytes_per_s: float) -> None:
        seconds = np.array([k.seconds.value for k in kernels])
        self._launch = float(seconds.min()) * 0.8
        best = max(k.flops / k.seconds.value for k in kernels)
        self._bytes_per_s = bytes_per_s
        self._x = np.stack([_place(k) for k in kernels])
        self._rate, self._few = best or rate, (0.0, 0.0, 0.0)
        if best and len(kernels) >= _ENOUGH:
            self._rate, self._few = self._filled(kernels, seconds, best)
        y = np.log(seconds / np.array([self._roof(k) for k in kernels]))
        self._middle = float(np.median(y))
        self._signal = max(0.15, float(np.std(y)))
        found = [self._fit(y - self._middle, reach) for reach in _REACHES]
        self.spread, self._reach, self._weights = min(found, key=lambda one: one[0])

    def _roof(self, kernel: Kernel) -> float:
        sides = zip(self._few, (kernel.m, kernel.n, kernel.k), strict=True)
        filled = math.prod(1 + few / side for few, side in sides)
        return self._launch + max(
            kernel.flops / self._rate * filled, kernel.bytes / self._bytes_per_s
        )

    def _filled(
        self, kernels: Sequence[Kernel], seconds: Array, best: float
    ) -> tuple[float, tuple[float, float, float]]:
        """Rate and the few of each side, of a coarse grid, with the least mean error of the
        logarithm."""
        sides = [np.array([getattr(k, n) for k in kernels], float) for n in ("m", "n", "k")]
        flops = np.array([k.flops for k in kernels])
        moved_s = np.array([k.bytes for k in kernels]) / self._bytes_per_s
        found = (math.inf, best, (0.0, 0.0, 0.0))
        for m, n, k in itertools.product(_FEW, repeat=3):
            few = (m, n, k)
            work = flops * np.prod([1 + f / s for f, s in zip(few, sides, strict=True)], 0)
            for rate in (best, 1.15 * best, 1.3 * best, 1.5 * best):
                roof = self._launch + np.maximum(work / rate, moved_s)
                error = float(np.mean(np.abs(np.log(seconds / roof))))
                found = min(found, (error, rate, few))
        return found[1], found[2]

    def _near(self, x: Array, reach: float) -> Array:
        away = ((x[:, None, :] - self._x[None, :, :]) / reach) ** 2
        return self._signal**2 * np.exp(-0.5 * away.sum(-1))

    def _fit(self, y: Array, reach: float) -> tuple[float, float, Array]:
        """Error of each point foretold from all others [Rasmussen and Williams 2006, 5.12]."""
        inverse = np.linalg.inv(self._near(self._x, reach) + _NOISE**2 * np.eye(len(y)))
        weights = inverse @ y
        left = weights / np.diag(inverse)
        return float(np.sqrt(np.mean(np.minimum(np.abs(left), 1.0) ** 2))), reach, weights

    def seconds(self, kernel: Kernel) -> tuple[float, float]:
        near = self._near(_place(kernel)[None, :], self._reach)[0]
        return self._roof(kernel) * math.exp(
            self._middle + float(near @ self._weights)
        ), self.spread


def _place(kernel: Kernel) -> Array:
    """Logarithms of rows, columns, depth, count, and how often an input is read anew.

    The last tells a 1x1 convolution from a 3x3 and from one with strides: the values that the
    product reads over those that lie in memory.
    """
    sizes = [math.log2(max(1, getattr(kernel, name))) for name in _SIZES]
    if not kernel.op.startswith("conv"):
        return np.array([*sizes, 0.0])
    wide = 4.0 if kernel.format == "fp32" else 2.0
    product = kernel.m * kernel.products * (kernel.k + kernel.n)
    return np.array([*sizes, math.log2(max(product * wide / max(kernel.bytes, 1.0), 0.1))])


def _half(figure: Figure) -> float:
    """Standard deviation of the logarithm, where low and high hold most of the turns."""
    if figure.low <= 0 or figure.high <= figure.low:
        return 0.02
    return max(0.02, 0.25 * math.log(figure.high / figure.low))


_NOTHING = Kernel(
    op="", seconds=Figure(value=0.0, unit="s", grade="unknown", source="", low=0.0, high=0.0)
)
