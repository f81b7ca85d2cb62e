"""Activations kept for the way back, hashed when they are packed and again when they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from opendojo.guard.fingerprint import quick_fingerprint

__all__ = ["saved_hooks"]


def saved_hooks(
    every: int, turn: Callable[[], int], changed: Callable[[str], None], spared: frozenset[int]
) -> Any:
    """A context in which 1 in `every` saved tensors is hashed; `changed` is told of a difference.

    Tensors at the addresses of `spared` are not: buffers, which a normalisation saves and then
    writes without a word; they are hashed at rest.

    A tensor that autograd itself would refuse, because it was changed in place since, raises
    `RuntimeError` as it would without the hooks.
    """
    count = [0]

    def pack(tensor: Tensor) -> tuple[Tensor, int, int | None, int]:
        count[0] += 1
        wanted = (count[0] + turn()) % every == 0
        if not wanted or tensor.layout != torch.strided or tensor.device.type == "meta":
            return tensor, tensor._version, None, count[0]
        if tensor.data_ptr() in spared:
            return tensor, tensor._version, None, count[0]
        with _disable_current_modes():
            return tensor, tensor._version, quick_fingerprint(tensor), count[0]

    def unpack(packed: tuple[Tensor, int, int | None, int]) -> Tensor:
        tensor, version, wanted, number = packed
        if tensor._version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: saved tensor {number} of shape {tuple(tensor.shape)} is at "
                f"version {tensor._version}, expected version {version}"
            )
        if wanted is not None:
            with _disable_current_modes():
                if quick_fingerprint(tensor) != wanted:
                    changed(f"saved activation #{number}")
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
