"""Quantise, encode and decode tensors: blocks that stay in a processor's cache, any layout."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from opendojo.formats import Format
from opendojo.numerics.draws import Key, draws, key_of
from opendojo.numerics.kernels import to_codes, to_lattice, to_values

__all__ = ["Rounding", "code_dtype", "decode", "encode", "pack", "quantise", "unpack"]

Rounding = Literal["nearest", "stochastic"]

_BLOCK = 3 << 13
"""Elements at a time on a processor: a few arrays of them fit its second cache, and operators do
not share so few out among threads."""
_WORTH_A_THREAD = 1 << 18
"""Elements for which a thread is begun."""
_LONG = 1 << 30
"""Elements at a time elsewhere."""
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def quantise(
    x: Tensor,
    chosen: Format,
    *,
    rounding: Rounding = "nearest",
    seed: int = 0,
    key: Key | None = None,
    first: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """What remains of `x` in a format, as float32 of the same shape and layout.

    Stochastic rounding draws by (`seed`, place): the place of an element is its number in the
    flattened tensor plus `first`. A `key` of two words stands in for the seed. `out`, contiguous
    float32, takes the result. Raises `ValueError` for another dtype than float32, bfloat16 or
    float16: rounding a float64 to float32 first would round twice.
    """
    _checked(x)
    key = _key(rounding, seed, key)
    if torch.compiler.is_compiling():
        flat = x.detach().to(torch.float32)
        draw = None if key is None else draws(first, x.numel(), key, x.device).view(x.shape)
        return to_lattice(flat, chosen, draw)
    plain, back = _flat(x.detach(), ordered=key is not None)
    result = torch.empty_like(plain, dtype=torch.float32) if out is None else out.view(-1)
    _by_blocks(plain, result, first, key, lambda part, draw: to_lattice(part, chosen, draw))
    return back(result) if out is None else out


def encode(
    x: Tensor,
    chosen: Format,
    *,
    rounding: Rounding = "nearest",
    seed: int = 0,
    key: Key | None = None,
    first: int = 0,
) -> Tensor:
    """Codes of `x`, one in each element of `code_dtype`; contiguous. `pack` takes 4 and 6 bits to
    bytes. Arguments and errors as `quantise`."""
    _checked(x)
    key = _key(rounding, seed, key)
    plain = x.detach().contiguous().view(-1)
    result = torch.empty_like(plain, dtype=_work_dtype(chosen))
    kind = result.dtype
    _by_blocks(
        plain,
        result,
        first,
        key,
        lambda part, draw: to_codes(to_lattice(part, chosen, draw), chosen).to(kind),
    )
    return result.view(code_dtype(chosen)).view(x.shape)


def decode(codes: Tensor, chosen: Format) -> Tensor:
    """The float32 numbers of codes; bits above those of a code are not looked at."""
    plain = codes.contiguous().view(-1)
    if plain.dtype == torch.uint16:
        plain = plain.view(torch.int16)
    result = torch.empty(plain.shape, dtype=torch.float32, device=codes.device)
    size = _BLOCK if codes.device.type == "cpu" else _LONG
    for begin in range(0, plain.numel(), size):
        part = plain[begin : begin + size].to(torch.int32)
        result[begin : begin + size] = to_values(part, chosen)
    return result.view(codes.shape)


def code_dtype(chosen: Format) -> torch.dtype:
    """uint8, uint16 or int32, by the bits of a code."""
    kind = _work_dtype(chosen)
    return torch.uint16 if kind == torch.int16 else kind


def pack(codes: Tensor, chosen: Format) -> Tensor:
    """Bytes, uint8 in one row, of codes one after the other, each from its low bit on.

    Two codes of 4 bits fill a byte, the first in its low half; four codes of 6 bits fill three;
    the last byte is filled up with zeros. Longer codes are their little-endian bytes.
    """
    plain = codes.contiguous().view(-1)
    if chosen.bits >= 8:
        raw = plain.view(torch.uint8)
        if chosen.bits in (8, 16, 32):
            return raw.clone()
    places = torch.arange(chosen.bits, dtype=torch.int32, device=codes.device)
    row = ((plain.to(torch.int32)[:, None] >> places) & 1).view(-1)
    row = torch.nn.functional.pad(row, (0, -row.numel() % 8)).view(-1, 8)
    weights = 1 << torch.arange(8, dtype=torch.int32, device=codes.device)
    return (row * weights).sum(1).to(torch.uint8)


def unpack(data: Tensor, chosen: Format, count: int) -> Tensor:
    """The first `count` codes of packed bytes; raises `ValueError` where there are fewer."""
    needed = (count * chosen.bits + 7) // 8
    if data.numel() < needed:
        raise ValueError(f"{count} codes of {chosen.name} are {needed} bytes, not {data.numel()}")
    kind = code_dtype(chosen)
    if chosen.bits in (8, 16, 32):
        return data[:needed].clone().view(kind)
    places = torch.arange(8, dtype=torch.int32, device=data.device)
    row = ((data[:needed].to(torch.int32)[:, None] >> places) & 1).view(-1)
    row = row[: count * chosen.bits].view(count, chosen.bits)
    weights = 1 << torch.arange(chosen.bits, dtype=torch.int32, device=data.device)
    return (row * weights).sum(1).to(kind)


def _checked(x: Tensor) -> None:
    if x.dtype not in _FLOATS:
        raise ValueError(f"a tensor of {x.dtype} cannot be quantised: make it float32 first")


def _key(rounding: Rounding, seed: int, key: Key | None) -> Key | None:
    if rounding == "nearest":
        return None
    if rounding != "stochastic":
        raise ValueError(f"rounding {rounding!r}: nearest or stochastic")
    return key_of(seed) if key is None else key


def _flat(x: Tensor, *, ordered: bool) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """All elements in one row, and the way back to shape and layout; in logical order if asked."""
    if x.is_contiguous():
        return x.view(-1), lambda row: row.view(x.shape)
    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not ordered:
        turned = x.permute(0, 2, 3, 1)
        return turned.reshape(-1), lambda row: row.view(turned.shape).permute(0, 3, 1, 2)
    if channels_last:
        layout = torch.channels_last
        return x.reshape(-1), lambda row: row.view(x.shape).contiguous(memory_format=layout)
    return x.reshape(-1), lambda row: row.view(x.shape)


def _by_blocks(
    plain: Tensor,
    result: Tensor,
    first: int,
    key: Key | None,
    work: Callable[[Tensor, Tensor | None], Tensor],
) -> None:
    """Work on one block after the other, on a processor by as many threads as operators have.

    Blocks are below the size from which an operator shares itself out among threads: meeting after
    each of a dozen short operators would cost more than they take.
    """
    count, parts = plain.numel(), 1
    size = _LONG
    if plain.device.type == "cpu":
        size = _BLOCK
        parts = max(1, min(torch.get_num_threads(), count // _WORTH_A_THREAD))

    def go(begin: int, stop: int) -> None:
        while begin < stop:
            end = min(begin + size, stop)
            if key is not None:  # places of one block share their high word
                end = min(end, begin + 2**32 - (first + begin) % 2**32)
            part = plain[begin:end].to(torch.float32)
            draw = None if key is None else draws(first + begin, end - begin, key, plain.device)
            result[begin:end] = work(part, draw)
            begin = end

    bounds = [count * k // parts for k in range(parts + 1)]
    _together([lambda a=a, b=b: go(a, b) for a, b in itertools.pairwise(bounds)])


def _together(works: list[Callable[[], None]]) -> None:
    """Do all at once, the last of them here; raises what one of them raised."""
    inference = torch.is_inference_mode_enabled()  # a thread of its own does not know
    errors: list[BaseException] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            with torch.inference_mode(inference):
                one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in works[:-1]]
    for thread in threads:
        thread.start()
    works[-1]()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _work_dtype(chosen: Format) -> torch.dtype:
    if chosen.bits <= 8:
        return torch.uint8
    return torch.int16 if chosen.bits <= 16 else torch.int32
