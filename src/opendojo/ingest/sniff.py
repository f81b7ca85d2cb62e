"""What is in a folder: clips, by what the files are, in an order that is always the same.

Folders are searched to any depth, names sorted; a folder that is reached twice (by a link) is read
once; hidden files and drives still being written (`.partial-...`) are passed over. Files of no
kind that a reader takes are passed over too, unless their ending claims that they are video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol, cast

from opendojo.clip import BadClip, Clip, Frame
from opendojo.ingest import comma, drive, images, lerobot, mcap, nuscenes, udacity
from opendojo.ingest.content import reason, shown, step
from opendojo.ingest.mcap_file import MAGIC
from opendojo.ingest.video import open_video

__all__ = ["MEDIA_SUFFIXES", "Reader", "find_clips", "source_files"]

# fmt: off
MEDIA_SUFFIXES = frozenset({
    ".mp4", ".mov", ".mkv", ".avi", ".webm", ".hevc", ".h265", ".h264", ".264", ".265", ".m4v",
    ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".mjpeg", ".mjpg", ".wmv", ".flv", ".3gp", ".ogv",
})
# fmt: on
"""Endings that claim a video: such a file is read or named as bad."""
_READABLE = (
    "readable are: video files, MCAP recordings, drive folders (drive.json), LeRobot data sets, "
    "nuScenes' layout, pictures with data.txt, Udacity's driving_log.csv, comma2k19 segments"
)
_HEADS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "))
"""Where MP4, Matroska and AVI say what they are: for files without an ending."""

_Found = Clip | BadClip


class Reader(Protocol):
    """What `Clip.read` is in this room: picklable, so that another process can read the clip."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of what is read."""
        ...

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`."""
        ...


def source_files(clip: Clip) -> tuple[Path, ...]:
    """The files a clip found here is read from, those that are there."""
    files = (Path(file) for file in cast(Reader, clip.read).files)
    return tuple(file for file in files if file.is_file())


def find_clips(
    path: str | Path,
    *,
    skip: Iterable[Path] = (),
    after: Path | None = None,
    opening: Callable[[Path], None] = lambda path: None,
) -> Iterator[Clip | BadClip]:
    """Every clip at `path`, a file or a folder of anything, sorted by path.

    What claims to be a recording and cannot be opened comes as a `BadClip`, and so does a place
    without anything readable. Folders in `skip` are not entered. `opening` is told of each
    path before it is looked at; what comes up to and with `after` is passed over untold, so that a
    search that a file brought to an end can go on behind it. Raises `ValueError` where there is
    nothing at `path`.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise ValueError(f"{shown(path)} does not exist: give a file or a folder of recordings")
    seen = {_identity(folder) for folder in skip if folder.is_dir()}
    return _search(path, seen, after, opening)


def _search(
    top: Path, seen: set[tuple[int, int]], after: Path | None, opening: Callable[[Path], None]
) -> Iterator[_Found]:
    found = after is not None
    stack = [top]
    while stack:
        path = stack.pop()
        step()
        if after is None:
            opening(path)
        clips: Iterable[_Found] = []
        try:
            if not path.is_dir():
                clips = _file(path, named=path == top)
            elif (identity := _identity(path)) not in seen:
                seen.add(identity)
                clips, inner = _folder(path)
                stack += reversed(inner)
        except OSError as fault:
            clips = [BadClip(shown(path), reason(fault), remedy="see that it can be read")]
        for clip in clips if after is None else ():
            found = True
            yield clip
        if path == after:  # what lies in a folder comes after it
            after = None
    if not found:
        yield BadClip(shown(top), "nothing in it can be read", remedy=_READABLE)


def _identity(folder: Path) -> tuple[int, int]:
    """Names a folder whatever the way to it."""
    about = folder.stat()
    return about.st_dev, about.st_ino


def _folder(folder: Path) -> tuple[Iterable[_Found], list[Path]]:
    """The clips that a folder is, and what else in it is to be looked at."""
    inner = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if (folder / drive.CONTROL_NAME).is_file():
        return _opened(folder / drive.CONTROL_NAME, drive.open_drive), []
    if (folder / comma.CONTROL_PATH).is_file():
        return _opened(folder, comma.open_comma), []
    if lerobot.is_dataset(folder):
        return _opened(folder, lerobot.open_lerobot), []
    if tables := nuscenes.nuscenes_tables(folder):
        return chain(*(_opened(one, nuscenes.open_nuscenes) for one in tables)), []
    return [], inner


def _file(path: Path, named: bool) -> Iterable[_Found]:
    """The clips of one file; `named` where it was asked for by name."""
    for name, reader in _CONTROLS.items():
        if path.name == name:
            return _opened(path, reader)
    if path.suffix.lower() == ".mcap" or _head(path).startswith(MAGIC):
        return _opened(path, mcap.open_mcap)
    if named or path.suffix.lower() in MEDIA_SUFFIXES or _looks_like_video(path):
        return _opened(path, open_video)
    return []


def _looks_like_video(path: Path) -> bool:
    head = _head(path)
    return any(head[at : at + len(mark)] == mark for at, mark in _HEADS)


def _head(path: Path) -> bytes:
    """The first bytes of a file without an ending."""
    if path.suffix or not path.is_file():
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(12)
    except OSError:
        return b""  # nothing claimed that it is a recording


_Open = Callable[[Path], Clip | Iterable[_Found] | None]


def _opened(path: Path, reader: _Open) -> Iterator[_Found]:
    try:
        clips = reader(path)
    except BadClip as bad:
        clips = [bad]
    except OSError as fault:
        clips = [BadClip(shown(path), reason(fault), remedy="see that it can be read")]
    if isinstance(clips, Clip):
        yield clips
    elif clips is not None:
        yield from clips


_CONTROLS: dict[str, _Open] = {
    drive.CONTROL_NAME: drive.open_drive,
    images.CONTROL_NAME: images.open_images,
    udacity.CONTROL_NAME: udacity.open_udacity,
}
