"""A trained network as a file that needs no OpenDojo: ONNX, or PyTorch's own exported program.

A network is taken apart into graphs: modules from tensors to tensors, whose first dimension is the
batch and may be of any size, all others being fixed. They keep no state: the feature queue goes in
and out as tensors. What is exported is compared with the network itself on random inputs.

    graph = step_graph(network)
    export_onnx(graph, "car.onnx", {"note": "mine"})
    check_parity(graph, "car.onnx", rows=32).worst
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opendojo.model.export_run import META, Exported, open_exported

__all__ = [
    "OPSET",
    "Graph",
    "Parity",
    "Port",
    "check_parity",
    "export_onnx",
    "export_program",
]

OPSET = 23
"""Version of ONNX's operators: the newest that PyTorch 2.13 says its exporter is made for."""
_BIG_BYTES = 1_500_000_000
"""A protobuf ends at 2 GB: weights beyond this go to a file of their own beside the graph."""
_EXPORT_ROWS = 3
"""Batch of the example: not 1, which a compiler takes for a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input of a graph."""

    name: str
    """Its name in the file."""
    dtype: torch.dtype
    """Its type."""
    shape: tuple[int, ...]
    """Its shape without the batch."""
    low: float = 0.0
    """Lowest random value for the comparison; of float64 the step along the second dimension."""
    high: float = 1.0
    """Highest."""

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """Random values [rows, *shape]."""
        shape = (rows, *self.shape)
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.8
        if self.dtype.is_floating_point:
            unit = torch.rand(shape, generator=generator, dtype=torch.float64)
            return (self.low + (self.high - self.low) * unit).to(self.dtype)
        low, high = int(self.low), int(self.high) + 1
        return torch.randint(low, high, shape, generator=generator).to(self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A module with names for its tensors."""

    name: str
    """`step`, `encode`, `plan`, or what a network of one's own calls it."""
    module: nn.Module
    """Takes the inputs in their order; gives a tensor, or a tuple in the order of `outputs`."""
    inputs: tuple[Port, ...]
    """What goes in."""
    outputs: tuple[str, ...]
    """Names of what comes out."""
    tidy: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    """Makes random inputs fit one another: times that rise, a queue that fills from its end."""

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random inputs by name."""
        return self.tidy({port.name: port.draw(rows, generator) for port in self.inputs})

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the module itself says."""
        with torch.inference_mode():
            told = self.module(*(feeds[port.name] for port in self.inputs))
        told = told if isinstance(told, tuple) else (told,)
        return dict(zip(self.outputs, told, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an export is from the network."""

    rows: int
    """Random inputs compared."""
    worst: float
    """Largest difference of any row of any output, as a share of that row's largest value."""
    worst_output: str
    """Where that was."""
    bar: float
    """What is allowed."""

    @property
    def ok(self) -> bool:
        """Whether the export says what the network says."""
        return self.worst <= self.bar


def export_onnx(graph: Graph, path: Path | str, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a graph as ONNX, checked by ONNX's own checker; `meta` goes into the file.

    Raises `ValueError` where the packages of the extra `onnx` are missing.
    """
    path = Path(path)
    onnx = _needed("onnx", "onnxscript")
    exported = _exported(graph)
    big = _bytes(graph.module) > _BIG_BYTES
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[port.name for port in graph.inputs],
            output_names=list(graph.outputs),
        )
    assert program is not None
    program.model.metadata_props[META] = json.dumps(_described(graph, meta))
    part = path.with_name(f".{path.name}.part")
    if big:  # the graph names its weights' file, which must then have its last name already
        program.save(str(path), external_data=True)
        onnx.checker.check_model(str(path))
        return path
    program.save(str(part), external_data=False)
    onnx.checker.check_model(str(part), full_check=True)
    os.replace(part, path)  # noqa: PTH105 - as in the store: whole or not at all
    return path


def export_program(graph: Graph, path: Path | str, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a graph as an exported program of PyTorch (`torch.export`)."""
    path = Path(path)
    program = _exported(graph)
    buffer = io.BytesIO()
    extra = {META: json.dumps(_described(graph, meta))}
    with _quiet():
        torch.export.save(program, buffer, extra_files=extra)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(buffer.getvalue())
    os.replace(part, path)  # noqa: PTH105
    return path


def check_parity(
    graph: Graph,
    exported: Exported | Path | str,
    *,
    rows: int = 32,
    bar: float = 1e-4,
    seed: int = 1,
    batch: int = 8,
) -> Parity:
    """Compare an exported graph with its module on random inputs, some rows at a time.

    The last batch is of another size than the others, so that the batch's freedom is tried too.
    """
    if not isinstance(exported, Exported):
        exported = open_exported(exported)
    generator = torch.Generator().manual_seed(seed)
    worst, where, done = 0.0, graph.outputs[0], 0
    while done < rows:
        n = min(batch, rows - done) if rows - done != batch or batch == 1 else batch - 1
        feeds = graph.draw(n, generator)
        mine, theirs = graph.run(feeds), exported.run(feeds)
        for name, value in mine.items():
            share = _difference(value, theirs[name])
            if share > worst or share != share:
                worst, where = share, name
        done += n
    return Parity(rows=rows, worst=worst, worst_output=where, bar=bar)


def _difference(mine: Tensor, theirs: Tensor) -> float:
    """Largest difference of any row, in shares of the largest value of that row in `mine`."""
    if mine.shape != theirs.shape:
        return float("inf")
    mine, theirs = mine.double().flatten(1), theirs.double().flatten(1)
    scale = mine.abs().amax(1).clamp(min=1e-6)
    share = (mine - theirs).abs().amax(1) / scale
    return float("inf") if bool(share.isnan().any()) else float(share.max())


def _exported(graph: Graph) -> torch.export.ExportedProgram:
    """The module as a program whose batch is free.

    Traced strictly, by reading its bytecode: else `len(tensor)`, which must give a plain number,
    fixes the batch to that of the example.
    """
    feeds = graph.draw(_EXPORT_ROWS, torch.Generator().manual_seed(0))
    arguments = tuple(feeds[port.name] for port in graph.inputs)
    batch = torch.export.Dim("batch", min=1)
    shapes = ({0: batch},) * len(arguments)
    module = graph.module.eval()
    with _quiet(), torch.no_grad():
        return torch.export.export(module, arguments, dynamic_shapes=shapes, strict=True)


def _described(graph: Graph, meta: Mapping[str, Any] | None) -> dict[str, Any]:
    ports = [
        {"name": p.name, "dtype": str(p.dtype).removeprefix("torch."), "shape": list(p.shape)}
        for p in graph.inputs
    ]
    return {**(meta or {}), "graph": graph.name, "inputs": ports, "outputs": list(graph.outputs)}


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep back what the exporter says of itself, and that torchvision is absent."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _needed(first: str, *others: str) -> Any:
    """The first package, once all are there; `ValueError` says what to install."""
    try:
        for name in others:
            importlib.import_module(name)
        return importlib.import_module(first)
    except ImportError as error:
        raise ValueError(
            f"ONNX needs a package that is not here ({error.name}): pip install 'opendojo[onnx]'"
        ) from None
