"""What the trainer trains: any module from a batch to named losses, and the batches it takes.

A trainee is a `torch.nn.Module` whose `forward(batch)` returns a dict of scalar losses, already
weighted; their sum is made small. A parameter that takes no part in a forward pass, because its
labels are missing, has no gradient; it must then take no part on any rank. Three more methods are
used where there are any:

    prepare(batch, draw) -> batch      random choices of the step, from the generator `draw`
    frames_of(batch) -> int            pictures in the batch, for frames/s
    shard_units() -> list of modules   what FSDP gathers together, beside the whole

A batch is a dict, tuple, list or dataclass of tensors whose first dimension is the rows, or
anything with `.to(device)`. The `window_id` of a batch, where there is one, names its rows.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "build",
    "each_tensor",
    "frames_in",
    "parts_of",
    "rows_in",
    "rows_of",
    "to_device",
    "window_ids",
]


def build(spec: str) -> nn.Module:
    """The trainee that `package.module:factory` makes; raises `ValueError` saying what is wrong."""
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"network {spec!r}: write package.module:factory")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"network {spec}: {module_name} cannot be imported ({error}): install it, or add its "
            "folder to PYTHONPATH"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        near = ", ".join(name for name in vars(module) if not name.startswith("_")) or "nothing"
        raise ValueError(f"network {spec}: {module_name} has no callable {attribute}, but {near}")
    trainee = factory()
    if not isinstance(trainee, nn.Module):
        raise ValueError(
            f"network {spec}: {attribute}() returned {type(trainee).__name__}: it must return a "
            "torch.nn.Module whose forward(batch) gives a dict of losses"
        )
    return trainee


def each_tensor(batch: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same batch with `change` done to every tensor in it."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {key: each_tensor(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(each_tensor(value, change) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(each_tensor(value, change) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        named = ((field.name, getattr(batch, field.name)) for field in dataclasses.fields(batch))
        changed = {name: each_tensor(value, change) for name, value in named}
        return dataclasses.replace(batch, **changed)
    return batch


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch on a device; itself where that is the processor."""
    if device.type == "cpu":
        return batch
    if hasattr(batch, "to"):
        return batch.to(device)
    return each_tensor(batch, lambda tensor: tensor.to(device, non_blocking=True))


def rows_in(batch: Any) -> int | None:
    """Length of the first dimension of the batch's first tensor; None where there is no tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    if dataclasses.is_dataclass(batch):
        members = (getattr(batch, field.name) for field in dataclasses.fields(batch))
    elif isinstance(batch, dict):
        members = iter(batch.values())
    else:
        members = iter(batch if isinstance(batch, tuple | list) else ())
    return next((rows for rows in map(rows_in, members) if rows is not None), None)


def parts_of(batch: Any, count: int) -> list[tuple[Any, float]]:
    """The batch cut into at most `count` parts by rows, each with its share of the rows.

    Parts are views. Tensors whose first dimension is not the rows are in every part as they are.
    """
    if count == 1:
        return [(batch, 1.0)]
    rows = rows_in(batch)
    if not rows:
        raise ValueError(
            "accumulate above 1 needs batches of tensors whose first dimension is rows"
        )
    each = -(-rows // count)
    places = [(start, min(start + each, rows)) for start in range(0, rows, each)]
    return [(rows_of(batch, *ends), (ends[1] - ends[0]) / rows) for ends in places]


def rows_of(batch: Any, start: int, end: int) -> Any:
    """Some rows of a batch, a view; tensors whose first dimension is not the rows stay whole."""
    rows = rows_in(batch)

    def cut(tensor: Tensor) -> Tensor:
        return tensor[start:end] if tensor.dim() and len(tensor) == rows else tensor

    return each_tensor(batch, cut)


def frames_in(trainee: nn.Module, batch: Any) -> int:
    """Pictures in a batch: as the trainee says, else the batch, else its rows."""
    count: Callable[[Any], int] | None = getattr(trainee, "frames_of", None)
    if count is not None:
        return count(batch)
    said = getattr(batch, "frame_count", None)
    return said if said is not None else rows_in(batch) or 0


def window_ids(batch: Any) -> list[int]:
    """Names of the batch's rows, for the record of a suspect step; empty where it has none."""
    found = batch.get("window_id") if isinstance(batch, dict) else getattr(batch, "window_id", None)
    return found.tolist() if isinstance(found, Tensor) else []
