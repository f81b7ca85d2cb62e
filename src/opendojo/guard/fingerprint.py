"""Hashes of memory at rest: 64 bits, by position, the same whatever order they are summed in.

The sum over 64-bit words w_i of c_i w_i + d_i (w_i >> 31), modulo 2^64, with fixed odd c_i and d_i;
chunks of 65,536 words are weighted in turn. A change of any one word is always seen, since c_i is
odd; of several, but for a chance of about 2^-32: the second term is there because even numbers of
changed top bits (signs) would cancel in the first. `torch.hash_tensor` is an XOR and sees neither a
permutation nor two equal changes; it serves here for short-lived activations, row by row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["fingerprint", "fingerprints", "quick_fingerprint", "total"]

_CHUNK = 65536
_MASK = (1 << 64) - 1
_ROW = 8192


def fingerprint(tensor: Tensor) -> int:
    """64-bit hash of a tensor's bytes in the order of its memory; shape and dtype do not count."""
    words, tail = _words(tensor)
    value = 0
    if words.numel():
        for number, chunk in enumerate(words.split(_CHUNK)):
            value += _chunk(chunk) * (2 * number + 1) * 0x9E3779B97F4A7C15
    for place, byte in enumerate(tail):
        value += (byte + 1) * (2 * place + 3) * 0xC2B2AE3D27D4EB4F
    return (value + tensor.numel()) & _MASK


def fingerprints(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Hash of each tensor."""
    return {name: fingerprint(tensor) for name, tensor in tensors.items()}


def total(hashes: Mapping[str, int]) -> int:
    """One 64-bit hash of many, by name."""
    value = 0
    for number, name in enumerate(sorted(hashes)):
        value = (value * 0x100000001B3 + (hashes[name] ^ (2 * number + 1))) & _MASK
    return value


def quick_fingerprint(tensor: Tensor) -> int:
    """Fast hash: XOR of the words of each 64 KiB row, rows weighted by position.

    A permutation within a row is not seen; any change of a single word is.
    """
    words, tail = _words(tensor)
    whole = words.numel() // _ROW * _ROW
    value = 0
    if whole:
        rows = torch.hash_tensor(words[:whole].view(-1, _ROW), dim=1).view(torch.int64)
        value = _chunk(rows) if len(rows) <= _CHUNK else fingerprint(rows)
    if words.numel() > whole:
        value += _chunk(words[whole:]) * 0x9E3779B97F4A7C15
    for place, byte in enumerate(tail):
        value += (byte + 1) * (2 * place + 3) * 0xC2B2AE3D27D4EB4F
    return value & _MASK


@functools.lru_cache(maxsize=8)
def _weights(device: torch.device) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0x5DC)
    low, high = -(2**63), 2**63 - 1
    both = torch.randint(low, high, (2, _CHUNK), generator=draw, dtype=torch.int64) | 1
    both = both.to(device)
    return both[0], both[1]


def _chunk(words: Tensor) -> int:
    first, second = _weights(words.device)
    first, second = first[: len(words)], second[: len(words)]
    shifted = torch.bitwise_right_shift(words, 31)
    if words.device.type == "cpu":
        return int(torch.dot(words, first)) + int(torch.dot(shifted, second))
    return int((words * first + shifted * second).sum())


def _words(tensor: Tensor) -> tuple[Tensor, list[int]]:
    """The bytes as 64-bit words in memory's order, and what is left over."""
    flat = tensor.detach()
    if flat.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=tensor.device), []
    if not flat.is_contiguous():
        order = sorted(range(flat.dim()), key=flat.stride, reverse=True)
        flat = flat.permute(order)
        flat = flat if flat.is_contiguous() else flat.contiguous()
    size = flat.dtype.itemsize
    flat = flat.reshape(-1)
    if flat.data_ptr() % 8 or (flat.storage_offset() * size) % 8:
        flat = flat.clone()
    whole = flat.numel() * size // 8 * 8 // size
    head = flat[:whole]
    words = head.view(torch.int64) if whole else head.new_empty(0, dtype=torch.int64)
    tail = flat[whole:]
    return words, tail.view(torch.uint8).tolist() if tail.numel() else []
