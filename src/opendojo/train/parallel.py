"""Several processes on one training: who is who, one network over all of them, and agreement.

`torchrun` starts the processes and `torch.distributed` connects them; DistributedDataParallel or
FSDP2 share the work. Nothing here does anything where there is one process.

    with joined(torch.device("cpu")):
        trainee = shared(trainee, "fsdp", device)
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "agreed",
    "align_buffers",
    "any_rank",
    "bare",
    "device_of",
    "exchange",
    "first",
    "gathered",
    "joined",
    "keep_to_place",
    "place_of",
    "rank_of",
    "ranks_of",
    "shared",
    "unsharded",
    "whole",
]

T = TypeVar("T")

_NOTHING = contextlib.nullcontext()

_PATIENCE = datetime.timedelta(minutes=10)
"""How long a rank waits for another in a collective operation."""
_UNIT_PARAMETERS = 1_000_000
"""Modules of a `ModuleList` from this size on are sharded as units of their own."""


def rank_of() -> int:
    """Number of this process, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks_of() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def place_of() -> tuple[int, int]:
    """Which of this machine's devices, or shares of its cores, this rank has, and of how many.

    The rank's local number, unless the launcher left faulty ones out.
    """
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    *places, count = (int(word) for word in os.environ.get("OPENDOJO_PLACES", "0").split(","))
    if rank < len(places):
        return places[rank], count
    return rank, max(rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def keep_to_place() -> None:
    """Stay on this rank's share of the cores, where there is one for each: what is found wrong
    with a rank is then wrong with those cores."""
    place, count = place_of()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= count:
        first_core, end = place * len(cores) // count, (place + 1) * len(cores) // count
        os.sched_setaffinity(0, cores[first_core:end])


def device_of(name: str) -> torch.device:
    """The device this process computes on; `auto` takes this rank's accelerator if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {name}: this machine has no CUDA device; use cpu or auto")
        if device.index is None:
            device = torch.device("cuda", place_of()[0])
        torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Be one of the processes that `torchrun` started, until the end of the block.

    All wait for each other before they part: one that left early would break the others' last
    words. Without `torchrun`, or where the caller is connected already, nothing is done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


def first(work: Callable[[], T]) -> T:
    """Have rank 0 do something; every rank returns its result, or raises what it raised."""
    if ranks_of() == 1:
        return work()
    told: list[Any] = [None, None]
    if rank_of() == 0:
        try:
            told[0] = work()
        except Exception as error:
            told[1] = error
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    if told[1] is not None:
        raise told[1]
    return told[0]


def gathered(value: T) -> list[T]:
    """Every rank's value, in the order of the ranks, on every rank."""
    if ranks_of() == 1:
        return [value]
    values: list[Any] = [None] * ranks_of()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; all get the same answer."""
    if ranks_of() == 1:
        return flag
    value = torch.tensor(int(flag))
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())


def agreed(values: Sequence[Tensor], frames: int) -> list[float]:
    """Means of scalars over the ranks, then the sum of the frames; one wait for the device."""
    if ranks_of() == 1:
        return [*torch.stack([value.float() for value in values]).tolist(), frames]
    mine = torch.stack([value.double() for value in values])
    sums = torch.cat([mine / ranks_of(), mine.new_tensor([frames])])
    dist.all_reduce(sums)
    return sums.tolist()


def bare(trainee: nn.Module) -> nn.Module:
    """The trainee itself, out of the wrapper that shares it."""
    return trainee.module if isinstance(trainee, DistributedDataParallel) else trainee


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is spread over the ranks, whole on each; every rank must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared(trainee: nn.Module, parallel: str, device: torch.device) -> nn.Module:
    """The trainee over all ranks, beginning with rank 0's weights; itself where there is one.

    Raises `ValueError` where FSDP cannot share it.
    """
    if ranks_of() == 1:
        return trainee
    if parallel == "ddp":
        return DistributedDataParallel(
            trainee,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,  # heads whose labels a batch does not have
        )
    if scalars := [name for name, p in trainee.named_parameters() if not p.dim()]:
        raise ValueError(
            f"{scalars[0]} is a parameter without dimensions, which FSDP cannot shard: give it the "
            "shape (1,), or train with parallel ddp"
        )
    for parameter in trainee.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP2 takes no other memory format
    for tensor in [*trainee.parameters(), *trainee.buffers()]:
        dist.broadcast(tensor.data, src=0)
    mesh = init_device_mesh(device.type, (ranks_of(),))
    for unit in _units(trainee):
        fully_shard(unit, mesh=mesh)
    fully_shard(trainee, mesh=mesh)
    trainee.register_forward_pre_hook(lambda module, _: align_buffers(module))
    return trainee


def align_buffers(trainee: nn.Module) -> None:
    """Give every rank the buffers of rank 0, such as running means, as DDP does by itself."""
    if ranks_of() > 1:
        for buffer in trainee.buffers():
            dist.broadcast(buffer, src=0)


def unsharded(trainee: nn.Module, plain: nn.Module) -> nn.Module:
    """`plain`, an unshared copy, with the present weights of a sharded trainee."""
    for name, tensor in plain.state_dict().items():
        tensor.copy_(whole(trainee.state_dict()[name]))
    return plain


def exchange(trainee: nn.Module, wanted: bool) -> contextlib.AbstractContextManager[None]:
    """A backward pass in here exchanges gradients between the ranks only where that is wanted."""
    if isinstance(trainee, FSDPModule):
        trainee.set_requires_gradient_sync(wanted)
    elif isinstance(trainee, DistributedDataParallel) and not wanted:
        return trainee.no_sync()
    return _NOTHING


def _units(trainee: nn.Module) -> Iterable[nn.Module]:
    """What is gathered and let go together: the trainee's own choice, else big list members."""
    choice: Callable[[], Iterable[nn.Module]] | None = getattr(trainee, "shard_units", None)
    if choice is not None:
        return choice()
    lists = [module for module in trainee.modules() if isinstance(module, nn.ModuleList)]
    members = [member for each in lists for member in each]
    return [m for m in members if sum(p.numel() for p in m.parameters()) >= _UNIT_PARAMETERS]
