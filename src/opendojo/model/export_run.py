"""Opens what was exported and runs it: an ONNX file by ONNX Runtime, a `.pt2` by PyTorch."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["META", "Exported", "is_exported", "open_exported"]

META = "opendojo"
"""Under this name the file itself says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """An exported graph, ready to run."""

    path: Path
    """Its file."""
    meta: dict[str, Any]
    """What the file says of itself: graph, inputs, outputs, and what was added to it."""
    call: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Runs it."""

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name from inputs by name; inputs that it does not have are left out."""
        return self.call({port["name"]: feeds[port["name"]] for port in self.meta["inputs"]})


def is_exported(path: Path | str) -> bool:
    """Whether a path is an exported network by its ending."""
    return Path(path).suffix in (".onnx", ".pt2")


def open_exported(path: Path | str, *, threads: int | None = None) -> Exported:
    """Open an exported graph.

    `threads` bounds ONNX Runtime's; torch's own number stands for programs. Raises `ValueError`
    where the file is not there, is not one of ours, or the runtime is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}: `opendojo export RUN --out {path}` makes it")
    if path.suffix == ".pt2":
        return _open_program(path)
    return _open_onnx(path, threads)


def _open_onnx(path: Path, threads: int | None) -> Exported:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise ValueError(
            "ONNX files are run by a package that is not here: pip install 'opendojo[onnx]'"
        ) from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(
            str(path), options, providers=runtime.get_available_providers()
        )
    except Exception as error:  # ONNX Runtime's errors have no common kind of their own
        raise ValueError(f"{path} cannot be opened as ONNX: {str(error).splitlines()[0]}") from None
    meta = _meta(path, session.get_modelmeta().custom_metadata_map.get(META))
    names = [output.name for output in session.get_outputs()]

    def call(feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: tensor.numpy() for name, tensor in feeds.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return Exported(path=path, meta=meta, call=call)


def _open_program(path: Path) -> Exported:
    extra = {META: ""}
    try:
        program = torch.export.load(str(path), extra_files=extra)
    except Exception as error:
        raise ValueError(f"{path} cannot be opened: {str(error).splitlines()[0]}") from None
    meta = _meta(path, extra[META])
    module = program.module()

    def call(feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.inference_mode():
            found = module(*feeds.values())
        found = found if isinstance(found, tuple) else (found,)
        return dict(zip(meta["outputs"], found, strict=True))

    return Exported(path=path, meta=meta, call=call)


def _meta(path: Path, text: str | None) -> dict[str, Any]:
    if not text:
        raise ValueError(f"{path} does not say what it is: it was not made by `opendojo export`")
    return json.loads(text)
