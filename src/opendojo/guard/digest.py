"""One short name for a whole training state, so that "bit-equal" is a comparison of two strings.

Every byte counts at its place: name, dtype and shape of a tensor go into the hash before its
bytes, so that a permutation, a reshape or a change of sign of zero is seen (an XOR of words, as
`torch.hash_tensor` takes, misses the first). SHA-256 runs at about 2 GB/s on one core; a nano
network and its optimizer state are 5 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["digest"]


def digest(state: Any) -> str:
    """SHA-256, in hexadecimal, of a state dict of a network or an optimizer.

    `state` nests mappings, lists and tuples down to tensors, numbers, strings, booleans and None.
    The order of a mapping's keys makes no difference; everything else does. Raises `TypeError`
    for any other leaf.
    """
    sha = hashlib.sha256()
    _feed(sha, state)
    return sha.hexdigest()


def _feed(sha: _Hash, value: Any) -> None:
    """Add a tag and a length before each content, so that no two states read the same."""
    if isinstance(value, Tensor):
        _label(sha, "tensor", f"{value.dtype} {tuple(value.shape)}")
        flat = value.detach().cpu().contiguous().reshape(-1)
        sha.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        _label(sha, "mapping", str(len(value)))
        for key in sorted(value, key=repr):
            _feed(sha, key)
            _feed(sha, value[key])
    elif isinstance(value, list | tuple):
        _label(sha, type(value).__name__, str(len(value)))
        for item in value:
            _feed(sha, item)
    elif value is None or isinstance(value, bool | int | float | str):
        _label(sha, type(value).__name__, repr(value))
    else:
        raise TypeError(f"a state holds a {type(value).__name__}, which has no defined bytes")


def _label(sha: _Hash, tag: str, text: str) -> None:
    data = text.encode()
    sha.update(f"{tag} {len(data)} ".encode())
    sha.update(data)
