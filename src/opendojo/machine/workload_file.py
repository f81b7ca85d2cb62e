"""Workloads as JSON files: what a trace found, kept for machines that have no PyTorch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from opendojo.machine.figure import check_keys
from opendojo.machine.workload import Operator, Workload

__all__ = ["read_workload", "write_text", "write_workload"]

_VERSION = 1
_OPERATOR = {field.name: field for field in dataclasses.fields(Operator)}
_WORKLOAD = {field.name: field for field in dataclasses.fields(Workload)}


def write_workload(path: Path | str, workload: Workload) -> None:
    """Write a workload; the file is there whole or not at all."""
    document: dict[str, Any] = {"workload": _VERSION}
    for name in _WORKLOAD:
        value = getattr(workload, name)
        document[name] = [_told(o) for o in value] if name == "operators" else value
    write_text(Path(path), json.dumps(document, indent=1))


def read_workload(path: Path | str) -> Workload:
    """Read what `write_workload` wrote.

    Raises `ValueError` in one sentence where the file is absent, is not JSON, lacks a field or has
    one that nobody knows.
    """
    path = Path(path)
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such workload") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict) or "workload" not in document:
        raise ValueError(f"{path}: not a workload: it has no key 'workload'")
    fields = cast(dict[str, Any], document)
    if (version := fields.pop("workload")) != _VERSION:
        raise ValueError(f"{path}: version {version!r} of a workload; version {_VERSION} is read")
    check_keys(fields, _WORKLOAD, str(path))
    operators = fields.get("operators")
    if not isinstance(operators, list):
        raise ValueError(f"{path}: 'operators' must be a list")
    made = tuple(_operator(raw, f"{path}: operators") for raw in cast(list[Any], operators))
    for name in ("facts", "kept_by_module"):
        fields[name] = tuple((str(key), float(value)) for key, value in fields.get(name, ()))
    try:
        fields["operators"] = made
        return Workload(**fields)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one instant: readers see the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # noqa: PTH101 - mkstemp's name is a string already
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _told(operator: Operator) -> dict[str, Any]:
    """Fields that are not the default: thousands of operators make a small file."""
    values = {name: getattr(operator, name) for name in _OPERATOR}
    return {name: value for name, value in values.items() if value != _OPERATOR[name].default}


def _operator(raw: Any, where: str) -> Operator:
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: must be tables, not {raw!r}")
    fields: dict[str, Any] = cast(dict[str, Any], raw)
    check_keys(fields, _OPERATOR, where)
    if "shards" in fields:
        fields["shards"] = tuple(fields["shards"])
    try:
        return Operator(**fields)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
