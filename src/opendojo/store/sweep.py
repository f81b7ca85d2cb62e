"""Staging folders, and what killed writers left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opendojo.store.atomic import locked
from opendojo.store.catalogue import CATALOGUE
from opendojo.store.files import POINTER
from opendojo.store.layout import StoreSpec
from opendojo.store.publish import LOCK, part_files, renew_infos

__all__ = ["leftovers", "staging_folder", "sweep"]

STAGING = ".staging"


@contextlib.contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """A folder to stage in, on the store's own disk; gone afterwards, whatever happens.

    Its lock is held while the process lives, so a sweep can tell a dead writer's folder.
    """
    with contextlib.ExitStack() as held:
        with locked(root / LOCK):  # no sweep sees the folder before its lock is held
            (root / STAGING).mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=root / STAGING))
            file = held.enter_context((folder / LOCK).open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path, spec: StoreSpec) -> list[str]:
    """Remove what a killed writer left: unlisted files, dead staging folders. Returns their names.

    Only a writer calls this, before it starts; nothing that `store.json` lists is touched.
    """
    with locked(root / LOCK):
        pointer = json.loads((root / POINTER).read_text())
        removed = [str(path.relative_to(root)) for path in leftovers(root, pointer)]
        for name in removed:
            path = root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        renew_infos(root, spec, pointer)
    return removed


def leftovers(root: Path, pointer: dict[str, Any]) -> list[Path]:
    """Files and folders that belong to nothing the pointer lists."""
    found: list[Path] = []
    for home in sorted(root.glob("*hz-*")):
        counted = pointer["datasets"].get(home.name, {"cameras": [], "parts": 0})
        listed = {"meta/info.json", "meta/tasks.parquet"} if counted["parts"] else set[str]()
        for number in range(counted["parts"]):  # parts are numbered without gaps
            listed.update(part_files(counted["cameras"], number).values())
        for place, _, names in os.walk(home):
            inside = os.path.relpath(place, home)
            found += [Path(place, n) for n in names if f"{inside}/{n}" not in listed]
    segments = {*pointer["retired"], *(line["name"] for line in pointer["segments"])}
    catalogue = root / CATALOGUE
    if catalogue.is_dir():
        found += [p for p in sorted(catalogue.iterdir()) if p.name not in segments]
    staging = root / STAGING
    if staging.is_dir():
        found += [folder for folder in sorted(staging.iterdir()) if not _is_held(folder)]
    found += sorted(root.glob(f".{POINTER}-*"))
    return found


def _is_held(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
