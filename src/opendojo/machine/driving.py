"""The driving network's sizes as shapes, out of a table of their traces: no PyTorch is needed."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from opendojo.machine.chips import nearest
from opendojo.machine.shapes import Shape, shape_of
from opendojo.machine.workload import Operator, Workload

__all__ = ["driving_shape", "driving_sizes"]


@functools.cache
def _table() -> dict[str, list[float]]:
    return tomllib.loads((Path(__file__).parent / "driving.toml").read_text())


def driving_sizes() -> tuple[str, ...]:
    """The names, smallest first."""
    return tuple(_table())


def driving_shape(size: str) -> Shape:
    """A size of the driving network, one sample a window of frames.

    Raises `ValueError` that names the nearest for a size that is not known.
    """
    if size not in _table():
        near = nearest(size, list(_table()))
        raise ValueError(f"unknown size {size!r} of the driving network, nearest is {near!r}")
    parameters, layers, macs, elements, kernels, kept, largest, frames = _table()[size]
    forward = Operator(name=size, kind="conv", phase="forward", flops=2 * macs / kernels,
                       written_bytes=2 * elements / kernels, times=int(kernels))  # fmt: skip
    backward = Operator(name=size, kind="conv", phase="backward", flops=4 * macs)
    return shape_of(
        Workload(
            name=size, operators=(forward, backward), parameters=int(parameters),
            active_parameters=int(parameters), layers=int(layers), activation_bytes=kept,
            largest_activation_bytes=largest, sample="window", samples_unit=frames,
        )
    )  # fmt: skip
