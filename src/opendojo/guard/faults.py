"""Faults as data: what goes wrong, where, for how long; drawn from a seed, sealed in a file.

The mix follows what is published of real silent corruption: at most 40 % single bits, about 1 % of
outcomes not finite (gate-level study of a data-centre GPU, arXiv 2605.04213), whole lanes, tiles
and operands wrong. These are faults injected by software, not real bad chips.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["MODELS", "SITES", "Fault", "corrupt", "draw_fault", "read_seeds", "write_seeds"]

SITES = ("product", "operand", "other", "saved", "weight", "optimizer", "update")
"""Result of a product; one operand of it; result of any other operator; an activation between its
way forth and back; a weight or optimizer state at rest; what the update writes."""

MODELS = ("bit", "bits", "lane", "tile", "stale", "scale", "not_finite")
_SHARES = (0.35, 0.15, 0.13, 0.12, 0.10, 0.14, 0.01)
_INTS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault."""

    seed: int
    site: str
    model: str
    duration: str
    """`transient`: once; `intermittent`: 1 execution in 2; `permanent`: each one."""
    place: float
    """Which of the site's operators or tensors, as a share from 0 to 1."""


def draw_fault(seed: int, sites: tuple[str, ...] = SITES) -> Fault:
    """The fault of a seed: the same each time."""
    draw = torch.Generator().manual_seed(seed)
    u = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
    site = sites[int(u[0] * len(sites))]
    left, model = u[1], MODELS[-1]
    for name, share in zip(MODELS, _SHARES, strict=True):
        if left < share:
            model = name
            break
        left -= share
    duration = "transient"
    if site in ("product", "operand") and u[2] > 0.7:
        duration = "intermittent" if u[2] < 0.85 else "permanent"
    return Fault(seed=seed, site=site, model=model, duration=duration, place=u[3])


def corrupt(tensor: Tensor, fault: Fault) -> None:
    """Change a floating point tensor in place as the fault says."""
    draw = torch.Generator().manual_seed(fault.seed ^ 0x5DC)
    count = tensor.numel()
    if count == 0 or not tensor.is_floating_point():
        return

    def number(high: int) -> int:
        return int(torch.randint(0, max(1, high), (1,), generator=draw))

    def place(at: Tensor | int) -> Any:
        return torch.unravel_index(torch.as_tensor(at), tensor.shape)

    at = number(count)
    size = float(tensor.float().square().mean().sqrt()) or 1.0
    if fault.model in ("bit", "bits"):
        width = tensor.dtype.itemsize * 8
        flips = 1 if fault.model == "bit" else 2 + number(15)
        mask = 0
        for _ in range(flips):
            mask ^= 1 << number(width)
        mask -= (1 << width) if mask >= 1 << (width - 1) else 0
        word = tensor[place(at)].clone().reshape(1).view(_INTS[tensor.dtype.itemsize]) ^ mask
        tensor[place(at)] = word.view(tensor.dtype)[0]
    elif fault.model == "lane":
        period = (8, 16, 32)[number(3)]
        lanes = torch.arange(number(min(period, count)), count, period)
        factor = 2.0 ** (number(9) - 4) * (1 if number(2) else -1)
        tensor[place(lanes)] = tensor[place(lanes)] * factor
    elif fault.model in ("tile", "stale"):
        length = min(count, (8, 32, 64)[number(3)])
        start = number(count - length + 1)
        tile = torch.arange(start, start + length)
        source = torch.arange(other := number(count - length + 1), other + length)
        values = tensor[place(source)].clone() if fault.model == "stale" else 0.0
        tensor[place(tile)] = values
    elif fault.model == "scale":
        error = size * 10.0 ** (float(torch.rand(1, generator=draw)) * 6 - 3)
        tensor[place(at)] += error if number(2) else -error
    else:
        tensor[place(at)] = float(("nan", "inf", "-inf")[number(3)])


def write_seeds(path: Path, first: int, count: int) -> str:
    """Seal a range of seeds: write it with its SHA-256, which is returned."""
    text = json.dumps({"first": first, "count": count, "sites": SITES, "models": MODELS})
    sha = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({"sealed": text, "sha256": sha}) + "\n")
    return sha


def read_seeds(path: Path) -> range:
    """The seeds of a sealed file; raises `ValueError` where the seal is broken."""
    document = json.loads(path.read_text())
    text = document["sealed"]
    if hashlib.sha256(text.encode()).hexdigest() != document["sha256"]:
        raise ValueError(f"{path}: the seal is broken, these are not the seeds that were sealed")
    told = json.loads(text)
    return range(told["first"], told["first"] + told["count"])
