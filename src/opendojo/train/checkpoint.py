"""Checkpoints that are there whole or not at all, and say when they are damaged.

A checkpoint is a folder `step-00000100` with the tensors as PyTorch's distributed checkpoint (DCP)
writes them, `progress.json`, and `manifest.sha256`, which `sha256sum --check` reads too. It is
written under a hidden name, every file and the folder are pushed to the disk, the folder is
renamed, the file `latest` names it, and only then older ones go. A kill between any two of these
leaves the old state or the new one.

    place = begin(folder, 100)              # tensors are written here
    publish(folder, place, progress, keep=2)
    newest = newest_whole(folder)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from opendojo.store.atomic import file_sha256, sync_folder
from opendojo.train.step import Progress

__all__ = ["DamagedCheckpoint", "begin", "clean", "newest_whole", "publish", "read_progress"]

_PARTIAL, _STALE = ".partial-", ".stale-"
_PROGRESS, _MANIFEST = "progress.json", "manifest.sha256"


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not what was written: which file, and how it differs."""


def begin(folder: Path, step: int) -> Path:
    """The hidden folder in which the checkpoint of a step is written; it is made empty."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_PARTIAL}step-{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def publish(folder: Path, partial: Path, progress: Progress, keep: int) -> Path:
    """Make a written checkpoint the newest and remove all but `keep`; returns its place.

    The tensors' files must have been pushed to the disk by whoever wrote them. Checkpoints of later
    steps go too: a run that is back at this step could not read them.
    """
    _write(partial / _PROGRESS, json.dumps(asdict(progress)).encode())
    _write(partial / _MANIFEST, _manifest(partial).encode())
    sync_folder(partial)
    final = folder / partial.name.removeprefix(_PARTIAL)
    _discard(final)
    os.replace(partial, final)  # noqa: PTH105 - the kill tests count these calls
    sync_folder(folder)
    _write(folder / f"{_PARTIAL}latest", final.name.encode())
    os.replace(folder / f"{_PARTIAL}latest", folder / "latest")  # noqa: PTH105
    sync_folder(folder)
    for old in _superseded(folder, final, keep):
        _discard(old)
    return final


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written; None where there is none yet.

    A damaged one is named on stderr and the one before it is taken. Raises `DamagedCheckpoint`
    where all are damaged: starting over in silence would hide the loss.
    """
    damage: list[str] = []
    for place in _newest_first(folder):
        try:
            _verify(place)
        except DamagedCheckpoint as error:
            damage.append(str(error))
            print(f"warning: {error}; trying the checkpoint before it", file=sys.stderr)
        else:
            return place
    if damage:
        raise DamagedCheckpoint(
            f"no whole checkpoint in {folder}: {'; '.join(damage)} (to start over, remove {folder})"
        )
    return None


def read_progress(place: Path) -> Progress:
    """How far the run had come at a checkpoint."""
    told = json.loads((place / _PROGRESS).read_text())
    return Progress(**{**told, "recent": tuple(told["recent"])})


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


def _contents(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.name != _MANIFEST)


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


def _manifest(place: Path) -> str:
    return "".join(f"{file_sha256(path)}  {path.name}\n" for path in _contents(place))


def _verify(place: Path) -> None:
    """Raise `DamagedCheckpoint` unless the files are what the manifest says."""
    try:
        written = _lines((place / _MANIFEST).read_text(errors="replace"))
        found = _lines(_manifest(place))
    except OSError as error:
        raise DamagedCheckpoint(f"{error.filename} cannot be read: {error.strerror}") from error
    for name in sorted({*written, *found, _PROGRESS}):
        if name not in found or written.get(name) != found[name]:
            raise DamagedCheckpoint(
                f"{place / name} is not what {_MANIFEST} beside it says was written"
            )


def _lines(manifest: str) -> dict[str, str]:
    """Hash of each file by its name."""
    parted = (line.partition("  ") for line in manifest.splitlines())
    return {name: sha for sha, _, name in parted}
