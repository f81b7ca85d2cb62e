"""The whole state of a training as named tensors: onto the disk, back, and as one short name.

`trainee/<name>` are weights and buffers, `optimizer/<name>/<kind>` what the optimizer keeps for a
weight. Only tensors are written: the rest of an optimizer follows from the configuration. DCP reads
them back onto whatever number of ranks there is then, or into one process that knows no ranks.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from opendojo.guard import digest
from opendojo.train.checkpoint import DamagedCheckpoint
from opendojo.train.parallel import align_buffers, bare, ranks_of, whole

__all__ = ["allocate", "digest_of", "load_tensors", "load_weights", "save_tensors", "tensors_of"]

Tensors = dict[str, Tensor]

_WEIGHTS, _OPTIMIZER = "trainee/", "optimizer/"


def tensors_of(trainee: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Every tensor of the training, by name; shared with it, not copied. All ranks must ask."""
    trainee = bare(trainee)
    align_buffers(trainee)
    state = trainee.state_dict()
    tensors = {_WEIGHTS + name: t for name, t in state.items() if isinstance(t, Tensor)}
    for name, parameter in trainee.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{name}/{kind}"] = value
    return tensors


def allocate(optimizer: torch.optim.Optimizer) -> None:
    """Have the optimizer make the state of every parameter, as it is before the first step.

    Left to itself it makes a parameter's state with the first gradient; a head whose labels are
    missing would then be in no checkpoint. Done by a step at rate 0 with gradients of 0, which
    moves no weight and no average, and by counting from 0 again.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for kept in optimizer.state.values():
        if isinstance(kept.get("step"), Tensor):
            kept["step"].zero_()


def save_tensors(tensors: Tensors, folder: Path, group: dist.ProcessGroup | None) -> None:
    """Write the tensors of all ranks, and push them to the disk; `group` None is one process."""
    _hush()
    writer = FileSystemWriter(folder, sync_files=True)
    save(dict(tensors), storage_writer=writer, process_group=group, no_dist=group is None)


def load_tensors(tensors: Tensors, folder: Path) -> None:
    """Read the tensors of those names, in place; by all ranks together where there are several."""
    _load(tensors, folder, alone=ranks_of() == 1)


def load_weights(module: nn.Module, folder: Path, prefix: str = "", *, ema: bool = False) -> None:
    """Read a module's weights in one process; with `ema` their moving average where there is one.

    `prefix` is the module's name within the trainee, with its dot.
    """
    names = {name for name, p in module.named_parameters() if p.requires_grad} if ema else set()
    tensors = {
        f"{_OPTIMIZER}{prefix}{name}/ema" if name in names else f"{_WEIGHTS}{prefix}{name}": tensor
        for name, tensor in module.state_dict().items()
    }
    _load(tensors, folder, alone=True)


def digest_of(tensors: Tensors) -> str:
    """`guard.digest` of all tensors, each whole in its turn; every rank must ask."""
    return digest({name: digest(whole(tensor)) for name, tensor in sorted(tensors.items())})


def _load(tensors: Tensors, folder: Path, *, alone: bool) -> None:
    _hush()
    try:
        load(dict(tensors), storage_reader=_Reader(folder), no_dist=alone)
    except CheckpointException as error:
        reason = next(iter(error.failures.values()))[0]
        raise DamagedCheckpoint(f"{folder} is whole but cannot be loaded: {reason}") from error


def _hush() -> None:
    """DCP warns of every use without ranks, though it is told that there are none.

    `warnings.catch_warnings` would be tidier, but is not safe in a thread.
    """
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable")


class _Unpickler(pickle.Unpickler):
    """Reads DCP's index and nothing else: a checkpoint is data and must not run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        own = module_name.startswith("torch.distributed.checkpoint.")
        if own or (module_name, global_name) in _PLAIN or module_name == "torch":
            found = super().find_class(module_name, global_name)
            if (own and isinstance(found, type)) or (module_name, global_name) in _PLAIN:
                return found
            if isinstance(found, torch.dtype):
                return found
        raise pickle.UnpicklingError(
            f"the checkpoint's index asks for {module_name}.{global_name}, which it has no use for"
        )


_PLAIN = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
}
"""What else occurs in an index."""


class _Reader(FileSystemReader):
    """DCP's reader with an index that is read as data."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = self._get_metadata_path(kwargs.get("rank"))
        with self.fs.create_stream(path, "rb") as file:
            metadata: Metadata = _Unpickler(file).load()
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata
