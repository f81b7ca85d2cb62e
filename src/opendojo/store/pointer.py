"""`store.json`, the pointer: what it does not list is not there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from opendojo.store.bad import BadStore
from opendojo.store.files import POINTER, LocalFiles, RemoteFiles
from opendojo.store.layout import StoreSpec, index_dtype

__all__ = ["new_pointer", "read_pointer"]

FORMAT = "opendojo-store"
VERSION = 2


def new_pointer(spec: StoreSpec) -> dict[str, Any]:
    """That of an empty store."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "spec": dataclasses.asdict(spec),
        "generation": 0,
        "segments": [],
        "retired": [],
        "datasets": {},
    }


def read_pointer(files: LocalFiles | RemoteFiles) -> dict[str, Any]:
    """The content of `store.json`. Raises `BadStore` where it is damaged."""
    name = f"{files.url}/{POINTER}"
    data = files.read(POINTER)
    remedy = (
        f"restore it from a copy, or ingest again into an empty folder: {files.url} stays as is"
    )
    try:
        pointer = json.loads(data)
    except ValueError as error:
        raise BadStore(name, f"it is damaged ({error})", remedy) from None
    if not isinstance(pointer, dict) or pointer.get("format") != FORMAT:
        raise BadStore(name, "it is not of a format this version reads", remedy)
    if pointer.get("version") != VERSION:
        raise ValueError(
            f"{name} is of format version {pointer.get('version')}, this program reads {VERSION}: "
            "ingest again into an empty folder"
        )
    try:
        _check_pointer(pointer)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise BadStore(name, f"its content is damaged ({found})", remedy) from None
    return pointer


def _check_pointer(pointer: dict[str, Any]) -> None:
    """Touch all that is read of it later."""
    StoreSpec(**pointer["spec"])
    counts = [pointer["generation"]]
    for line in pointer["segments"]:
        counts += [line["clips"], line["instants"], line["frames"], int(line["sum"], 16)]
        line.get("sha256", {}).items()
        counts.append(len(line["name"]))
    for counted in pointer["datasets"].values():
        counts += [counted[key] for key in ("fps", "parts", "clips", "instants", "bytes")]
        index_dtype(counted["cameras"])
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("a count is not one")
    if not all(isinstance(name, str) for name in pointer["retired"]):
        raise ValueError("a name is not one")
