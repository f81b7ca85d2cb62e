"""The list of what could not be read, or not to its end: one JSON object a line, for ever.

Fields: file, cause, remedy, frame (the first that could not be had), byte, kept_frames, time.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opendojo.clip import BadClip

__all__ = ["Rejects"]

_KEY = ("file", "cause", "frame", "byte", "kept_frames")


class Rejects:
    """Appends to a rejects file; the same fault of the same file is written once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {_key(entry) for entry in _entries(path)}

    def add(self, bad: BadClip, *, kept_frames: int) -> None:
        """Write one entry and see it to the disk. Raises `OSError` where that fails."""
        entry = {
            "file": bad.file,
            "cause": bad.cause,
            "remedy": bad.remedy,
            "frame": bad.frame,
            "byte": bad.byte,
            "kept_frames": kept_frames,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if _key(entry) in self._known:
            return
        self._known.add(_key(entry))
        with self.path.open("ab+") as file:
            torn = False
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            line = ("\n" if torn else "") + json.dumps(entry) + "\n"
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in _KEY)


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries written before; a line that a kill cut short is passed over."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
