"""Calls to measure on a machine: the operators that training is made of, in many sizes.

Each probe is a raw operator (`torch.ops.aten`) on tensors of its own. Sizes are drawn with a fixed
seed over what networks have; none is taken from a network that predictions are checked on. Weights
are rotated through more memory than caches hold, for a step comes back to them late; what a
forward operator reads was just written and stays warm; what a backward operator reads does not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Probe", "all_probes"]

aten: Any = torch.ops.aten
_COLD_BYTES = 24 << 20
_MOST_FLOPS, _LARGE_FLOPS = 3e8, 2e9
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_BYTES = (1 << 12, 1 << 16, 1 << 20, 3 << 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A call, and what it is called; `make` gives the calls that are done in turn."""

    op: str
    make: Callable[[], list[Callable[[], Any]]]
    format: str = "fp32"
    layout: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    flops: float = 0.0
    bytes: float = 0.0
    """0: those of the tensors that go in and come out."""
    divide: int = 1
    """Calls that one call stands for."""


def all_probes(formats: tuple[str, ...] = ("fp32", "bf16"), *, share: float = 1.0) -> list[Probe]:
    """Every probe, or a share of each family's, in an order that mixes the families."""
    found: list[Probe] = []
    for form in formats:
        for make in (_products, _convolutions, _attentions, _others):
            found += list(make(form, share))
    found += list(_fixed())
    found += list(_optimizers(share))
    random.Random(1).shuffle(found)
    return found


def _size(draw: random.Random, low: int, high: int) -> int:
    """Log-uniform; mostly whole eights, as widths of networks are."""
    size = 2 ** draw.uniform(math.log2(low), math.log2(high))
    step = 8 if size >= 16 else 1
    return max(low, round(size / step) * step)


def _filled(form: str, *shape: int) -> Tensor:
    return torch.full(shape, 0.37, dtype=_DTYPES[form])


def _copies(make: Callable[[], Tensor], cold: bool = True) -> list[Tensor]:
    """As many of one tensor as no cache holds, 24 at most."""
    first = make()
    count = min(24, math.ceil(_COLD_BYTES / max(1, first.nbytes))) if cold else 1
    return [first, *(first.clone() for _ in range(count - 1))]


def _products(form: str, share: float) -> Iterator[Probe]:
    draw = random.Random(2)
    for number in range(round(80 * share)):
        # most of a network's time goes into products without a short side, half are such
        short = 4 if number % 2 else 64
        while True:
            m, n, k = _size(draw, short, 16384), _size(draw, short, 4096), _size(draw, short, 4096)
            if number % 6 >= 4:  # the gradient of a weight sums over a forward pass's rows
                m, k = k, m
            if m * n * k * 2 <= (_LARGE_FLOPS if number % 10 == 9 else _MOST_FLOPS):
                break
        yield _product("mm", form, 1, m, n, k, turned=number % 3)
    for number in range(round(30 * share)):
        short = 4 if number % 2 else 32
        while True:
            b, k = _size(draw, 2, 256), _size(draw, short, 512)
            m, n = _size(draw, short, 1024), _size(draw, short, 1024)
            if b * m * n * k * 2 <= _MOST_FLOPS:
                break
        yield _product("bmm", form, b, m, n, k)


def _product(op: str, form: str, b: int, m: int, n: int, k: int, turned: int = 0) -> Probe:
    """As in a forward pass, where the weight lies turned (1), for a weight's gradient (2), or
    neither."""

    def make() -> list[Callable[[], Any]]:
        lead = (b,) if op == "bmm" else ()
        x = _filled(form, *lead, k, m).mT if turned == 2 else _filled(form, *lead, m, k)
        weights = _copies(lambda: _filled(form, *lead, *((n, k) if turned == 1 else (k, n))))
        weights = [w.mT for w in weights] if turned == 1 else weights
        call = aten.bmm.default if op == "bmm" else aten.mm.default
        return [lambda w=w: call(x, w) for w in weights]

    wide = _DTYPES[form].itemsize
    return Probe(
        op=op, make=make, format=form, sizes={"m": m, "n": n, "k": k, "products": b},
        flops=2.0 * b * m * n * k, bytes=float(wide * b * (m * k + k * n + m * n)),
    )  # fmt: skip


def _convolutions(form: str, share: float) -> Iterator[Probe]:
    for layout in ("channels_last", ""):
        draw = random.Random(3)
        for number in range(round(54 * share)):
            kind = ("3x3", "1x1", "3x3", "strided", "stem", "grouped", "depthwise", "3x3",
                    "volume")[number % 9]  # fmt: skip
            if kind == "volume" and layout:
                continue
            most = _LARGE_FLOPS if number % 12 == 11 else _MOST_FLOPS
            shape = _convolution_shape(draw, kind)
            while not 1e5 <= _convolution_flops(shape) <= most:
                shape = _convolution_shape(draw, kind)
            yield from _convolution(form, layout, shape)


@dataclass(frozen=True, slots=True)
class _Conv:
    batch: int
    c_in: int
    c_out: int
    side: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    groups: int

    @property
    def pad(self) -> list[int]:
        return [size // 2 for size in self.kernel]

    @property
    def out(self) -> tuple[int, ...]:
        return tuple((s - 1) // self.stride + 1 for s in self.side)


def _convolution_shape(draw: random.Random, kind: str) -> _Conv:
    batch, side = _size(draw, 1, 64), _size(draw, 4, 128)
    c_in, c_out = _size(draw, 8, 512), _size(draw, 8, 512)
    flat = (side, max(4, round(side * draw.choice((1.0, 1.0, 2.0)))))
    if kind == "1x1":
        return _Conv(batch, c_in, c_out, flat, (1, 1), 1, 1)
    if kind == "strided":
        return _Conv(batch, c_in, c_out, flat, draw.choice(((1, 1), (3, 3))), 2, 1)
    if kind == "stem":
        large = draw.choice((3, 5, 7))
        return _Conv(batch, draw.choice((1, 3, 6)), min(c_out, 96), flat, (large, large), 2, 1)
    if kind == "grouped":
        width = draw.choice((8, 16, 32))
        c = width * max(2, round(c_in / width))
        return _Conv(batch, c, c, flat, (3, 3), draw.choice((1, 1, 2)), c // width)
    if kind == "depthwise":
        return _Conv(batch, c_in, c_in, flat, (3, 3), draw.choice((1, 1, 2)), c_in)
    if kind == "volume":
        depth = draw.choice((4, 8, 16))
        small = min(side, 48)
        return _Conv(min(batch, 8), min(c_in, 128), min(c_out, 128), (depth, small, small),
                     draw.choice(((3, 3, 3), (1, 3, 3), (3, 1, 1))), draw.choice((1, 1, 2)),
                     1)  # fmt: skip
    return _Conv(batch, c_in, c_out, flat, (3, 3), 1, 1)


def _convolution_flops(shape: _Conv) -> float:
    k = shape.c_in // shape.groups * math.prod(shape.kernel)
    return 2.0 * shape.batch * math.prod(shape.out) * k * shape.c_out


def _convolution(form: str, layout: str, s: _Conv) -> Iterator[Probe]:
    rows, k = s.batch * math.prod(s.out), s.c_in // s.groups * math.prod(s.kernel)
    dims = len(s.side)
    last = torch.channels_last if layout else torch.contiguous_format
    tail = ([s.stride] * dims, s.pad, [1] * dims, False, [0] * dims, s.groups)

    def made(*shape: int) -> Tensor:
        return _filled(form, *shape).to(memory_format=last)

    def make(part: str) -> list[Callable[[], Any]]:
        x = made(s.batch, s.c_in, *s.side)
        weights = _copies(lambda: made(s.c_out, s.c_in // s.groups, *s.kernel))
        if not part:
            return [lambda w=w: aten.convolution.default(x, w, None, *tail) for w in weights]
        grads = _copies(lambda: made(s.batch, s.c_out, *s.out))[:4]
        mask = [part == "input", part == "weight", False]
        pairs = [(weights[i % len(weights)], grads[i % len(grads)])
                 for i in range(max(len(weights), len(grads)))]  # fmt: skip
        return [lambda w=w, g=g: aten.convolution_backward.default(g, x, w, None, *tail, mask)
                for w, g in pairs]  # fmt: skip

    wide = _DTYPES[form].itemsize
    moved = s.batch * (s.c_in * math.prod(s.side) + s.c_out * math.prod(s.out)) + s.c_out * k
    for part in ("", "input", "weight"):
        if part == "input" and s.c_in < 8:
            continue
        op = " ".join(w for w in ("conv", part, "grouped" * (s.groups > 1)) if w)
        yield Probe(
            op=op, make=lambda part=part: make(part), format=form, layout=layout,
            sizes={"m": rows, "n": s.c_out // s.groups, "k": k, "products": s.groups},
            flops=_convolution_flops(s), bytes=float(wide * moved),
        )  # fmt: skip


def _attentions(form: str, share: float) -> Iterator[Probe]:
    draw = random.Random(4)
    for number in range(round(16 * share)):
        while True:
            b, h, t = _size(draw, 1, 64), draw.choice((2, 4, 8, 12)), _size(draw, 8, 1024)
            d = draw.choice((16, 32, 64, 96))
            if 4.0 * b * h * t * t * d <= _MOST_FLOPS:
                break
        causal = number % 2 == 0
        wide = _DTYPES[form].itemsize
        for back in (False, True):
            yield Probe(
                op="attention backward" if back else "attention", format=form,
                make=lambda b=b, h=h, t=t, d=d, causal=causal, back=back: _attention(
                    form, b, h, t, d, causal, back
                ),
                sizes={"m": t, "n": t, "k": d, "products": b * h},
                flops=(10.0 if back else 4.0) * b * h * t * t * d,
                bytes=float(wide * b * h * t * d * (8 if back else 4)),
            )  # fmt: skip


def _attention(
    form: str, b: int, h: int, t: int, d: int, causal: bool, back: bool
) -> list[Callable[[], Any]]:
    q, k, v = (_filled(form, b, t, h, d).transpose(1, 2) for _ in range(3))
    call = aten._scaled_dot_product_flash_attention_for_cpu.default
    if not back:
        return [lambda: call(q, k, v, 0.0, causal)]
    out, lse = call(q, k, v, 0.0, causal)
    grad = torch.ones_like(out)
    turn = aten._scaled_dot_product_flash_attention_for_cpu_backward.default
    return [lambda: turn(grad, q, k, v, out, lse, 0.0, causal)]


def _others(form: str, share: float) -> Iterator[Probe]:
    from opendojo.model.probes_other import OTHERS

    sizes = _BYTES if share >= 1 else _BYTES[1::2]
    for op, layout, calls in OTHERS:
        for size in sizes:
            elements, sets = size // _DTYPES[form].itemsize, _rotated(op, size)
            yield Probe(
                op=op, format=form, layout=layout,
                make=lambda calls=calls, elements=elements, sets=sets: [
                    calls(elements, _DTYPES[form]) for _ in range(sets)
                ],
            )  # fmt: skip


def _rotated(op: str, size: int) -> int:
    """Sets of tensors: what a backward operator reads was written long before."""
    return min(12, max(1, _COLD_BYTES // (3 * size))) if "backward" in op else 1


def _optimizers(share: float) -> Iterator[Probe]:
    for elements in (64, 4096, 65536, 1 << 20)[:: 1 if share >= 1 else 3]:
        count = max(1, min(512, (1 << 22) // elements))
        yield Probe(
            op="optimizer.adamw", divide=count, bytes=28.0 * elements,
            make=lambda elements=elements, count=count: [_adamw(elements, count)],
        )  # fmt: skip


def _adamw(elements: int, count: int) -> Callable[[], Any]:
    weights = [torch.randn(elements, requires_grad=True) for _ in range(count)]
    for weight in weights:
        weight.grad = torch.randn(elements)
    return torch.optim.AdamW(weights, lr=1e-4, fused=True).step


def _fixed() -> Iterator[Probe]:
    """What a step pays for every call, whatever its size."""
    small = torch.zeros(8)
    grown = torch.zeros(8, requires_grad=True)
    identity = torch.nn.Identity()
    turns = 64

    def forward() -> Tensor:
        x = grown
        for _ in range(turns):
            x = x + small
        return x

    def views() -> Tensor:
        x = grown
        for _ in range(turns):
            x = x.view(8)
        return x

    def modules() -> None:
        for _ in range(turns):
            identity(small)

    def plain() -> None:
        for _ in range(turns):
            torch.add(small, small)

    for op, call in (
        ("launch", plain), ("launch forward", forward), ("view forward", views),
        ("module", modules), ("launch both", lambda: forward().backward(small)),
        ("view both", lambda: views().backward(small)),
    ):  # fmt: skip
        yield Probe(op=op, make=lambda call=call: [call], divide=turns, bytes=1.0)
