"""Checkpoints that are there whole or not at all, and say when they are damaged.

A checkpoint is a folder `step-00000100` with `network.pt`, `optimizer.pt`, `progress.json` and
`manifest.sha256`, which `sha256sum --check` reads too. It is written under a hidden name, every
file and the folder are pushed to the disk, the folder is renamed, the file `latest` names it, and
only then older ones go. A kill between any two of these leaves the old state or the new one.

    save(run_dir / "checkpoints", checkpoint, keep=2)
    checkpoint = load_newest(run_dir / "checkpoints")
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from opendojo.store.atomic import sync_folder
from opendojo.train.step import Progress

__all__ = ["Checkpoint", "DamagedCheckpoint", "clean", "load_newest", "save"]

_PARTIAL, _STALE = ".partial-", ".stale-"
_FILES = ("network.pt", "optimizer.pt", "progress.json")
_MANIFEST = "manifest.sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The whole state of a run between two steps."""

    network: dict[str, Any]
    """State dict of the network."""
    optimizer: dict[str, Any]
    """State dict of the optimizer."""
    progress: Progress
    """What was done, and which batch is next."""


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not what was written: which file, and how it differs."""


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Publish a checkpoint in `folder` and remove all but the newest `keep`; returns its place.

    Checkpoints of later steps go too: a run that is back at this step could not read them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{checkpoint.progress.step:08d}"
    partial = folder / f"{_PARTIAL}{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    contents = (
        _packed(checkpoint.network),
        _packed(checkpoint.optimizer),
        json.dumps(asdict(checkpoint.progress)).encode(),
    )
    for name, data in zip(_FILES, contents, strict=True):
        _write(partial / name, data)
    _write(partial / _MANIFEST, _manifest(contents).encode())
    sync_folder(partial)
    _discard(final)
    os.replace(partial, final)  # noqa: PTH105 - the kill tests count these calls
    sync_folder(folder)
    _write(folder / f"{_PARTIAL}latest", final.name.encode())
    os.replace(folder / f"{_PARTIAL}latest", folder / "latest")  # noqa: PTH105
    sync_folder(folder)
    for old in _superseded(folder, final, keep):
        _discard(old)
    return final


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are as they were written; None where there is none yet.

    A damaged one is named on stderr and the one before it is taken. Raises `DamagedCheckpoint`
    where all are damaged: starting over in silence would hide the loss.
    """
    damage: list[str] = []
    for place in _newest_first(folder):
        try:
            return _load(place)
        except DamagedCheckpoint as error:
            damage.append(str(error))
            print(f"warning: {error}; trying the checkpoint before it", file=sys.stderr)
    if damage:
        raise DamagedCheckpoint(
            f"no whole checkpoint in {folder}: {'; '.join(damage)} (to start over, remove {folder})"
        )
    return None


def clean(folder: Path) -> None:
    """Remove what a kill left half written or half removed."""
    for prefix in (_PARTIAL, _STALE):
        for leftover in folder.glob(f"{prefix}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _superseded(folder: Path, newest: Path, keep: int) -> list[Path]:
    places = _newest_first(folder)
    kept = [place for place in places if place <= newest][:keep]
    return [place for place in places if place not in kept]


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _discard(place: Path) -> None:
    """Remove a checkpoint so that a kill on the way leaves nothing that looks like one."""
    if place.exists():
        stale = place.with_name(f"{_STALE}{place.name}")
        shutil.rmtree(stale, ignore_errors=True)
        os.replace(place, stale)  # noqa: PTH105
        shutil.rmtree(stale)


def _manifest(contents: Sequence[bytes]) -> str:
    hashes = (hashlib.sha256(data).hexdigest() for data in contents)
    return "".join(f"{sha}  {name}\n" for sha, name in zip(hashes, _FILES, strict=True))


def _load(place: Path) -> Checkpoint:
    network, optimizer, progress = _verified(place)
    return Checkpoint(
        network=_unpacked(network),
        optimizer=_unpacked(optimizer),
        progress=Progress(**json.loads(progress)),
    )


def _unpacked(data: bytes) -> dict[str, Any]:
    return torch.load(io.BytesIO(data), weights_only=True)


def _verified(place: Path) -> list[bytes]:
    """Contents of the files, once they are what the manifest says."""
    contents = [_read(place / name) for name in _FILES]
    written = _read(place / _MANIFEST).splitlines()
    found = _manifest(contents).encode().splitlines()
    for name, was, now in zip_longest(_FILES, written, found):
        if was != now:
            raise DamagedCheckpoint(
                f"{place / str(name)} is not what {_MANIFEST} beside it says was written"
            )
    return contents


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
