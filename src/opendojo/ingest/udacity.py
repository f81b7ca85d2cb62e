"""A folder as the Udacity self-driving-car simulator records it: `driving_log.csv` and `IMG/`.

Columns: center, left, right, steering, throttle, brake, speed; a header is optional. The paths in
it are those of the machine that recorded, so only the file names count. Steering is a share of the
25 degrees the simulator's front wheels turn at most, negative to the left there; speed is in miles
an hour. Times are in the file names, `center_2016_12_01_13_30_48_287.jpg`; where they are not,
`ASSUMED_RATE_HZ` is assumed.

One csv may hold several recordings, appended: where time goes back or leaps, a new clip begins.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from opendojo.clip import BadClip, Clip, Log
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.images import ASSUMED_RATE_HZ, Images, image_cameras

__all__ = ["CONTROL_NAME", "open_udacity"]

CONTROL_NAME = "driving_log.csv"
_CAMERAS = ("front", "left", "right")
_FULL_LOCK_DEG = 25.0
_MPS_PER_MPH = 0.44704
_LEAP_S = 2.0
_LONGEST_NAME = 255
_LARGEST = 1e6
"""Beyond any speed and angle: a cell that is no number of the simulator's."""
_STAMP = re.compile(r"_(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d{3})\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    files: tuple[Path, ...]
    steering: float
    speed_mph: float
    time_s: float | None


def open_udacity(control: Path) -> list[Clip | BadClip]:
    """The clips of one csv, in its order; none where the csv is of another kind."""
    check_file(control)
    rows, faults = _parse(control)
    runs = _runs(rows)
    clips: list[Clip | BadClip] = []
    for index, run in enumerate(runs):
        try:
            # what is wrong with the list is told once, with its first recording
            clips.append(_clip(control, run, tuple(faults) if index == 0 else ()))
        except BadClip as bad:
            clips.append(bad)
    return clips


def _clip(control: Path, rows: list[_Row], faults: tuple[str, ...]) -> Clip:
    start_s = rows[0].time_s
    if start_s is None:
        times_s = np.arange(len(rows)) / ASSUMED_RATE_HZ
    else:
        times_s = np.array([row.time_s for row in rows], np.float64) - start_s
    steering = np.array([row.steering for row in rows])
    speed_mph = np.array([row.speed_mph for row in rows])
    read = Images(
        control=str(control),
        rows=tuple(tuple(str(file.absolute()) for file in row.files) for row in rows),
        times_s=tuple(times_s.tolist()),
        faults=faults,
    )
    steps_s = np.diff(times_s)
    numbers = np.stack([times_s, steering, speed_mph]).tobytes()
    pictures = [file for row in rows for file in row.files]
    return Clip(
        clip_id=content_id("udacity", pictures, extra=numbers),
        source=shown(control.parent),
        origin="recorded",
        cameras=image_cameras(read, _CAMERAS),
        rate_hz=float(1.0 / np.median(steps_s)) if len(steps_s) else ASSUMED_RATE_HZ,
        read=read,
        log=Log(
            time_s=times_s,
            steer_rad=-np.radians(steering * _FULL_LOCK_DEG),
            speed_mps=speed_mph * _MPS_PER_MPH,
        ),
    )


def _runs(rows: list[_Row]) -> list[list[_Row]]:
    """Cut where time stands still, goes back, leaps, or begins or ceases to be known."""
    runs: list[list[_Row]] = []
    for row in rows:
        last = runs[-1][-1] if runs else None
        if last is None or not _follows(last, row):
            runs.append([])
        runs[-1].append(row)
    return runs


def _follows(last: _Row, row: _Row) -> bool:
    if last.time_s is None or row.time_s is None:
        return last.time_s is row.time_s
    return 0.0 < row.time_s - last.time_s <= _LEAP_S


def _parse(control: Path) -> tuple[list[_Row], list[str]]:
    rows: list[_Row] = []
    faults: list[str] = []
    text = control.read_text(encoding="utf-8", errors="replace").replace("\0", "?")
    try:
        lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error as fault:
        raise BadClip(shown(control), reason(fault), remedy="export the csv again") from fault
    for number, cells in enumerate(lines, start=1):
        if not cells or (number == 1 and cells[0].strip().lower() == "center"):
            continue
        row = _row(control.parent, cells)
        if row is None:
            faults.append(f"line {number} is not three pictures and four numbers")
        else:
            rows.append(row)
    if not rows and not lines:
        raise BadClip(shown(control), "lists nothing", remedy="export the csv again")
    if not rows:
        cause = faults[0] if faults else "lists nothing but its header"
        raise BadClip(shown(control), cause, remedy="export the csv again")
    return rows, faults


def _row(folder: Path, cells: list[str]) -> _Row | None:
    try:
        numbers = [float(cell) for cell in cells[3:7]]
    except ValueError:
        return None
    names = [re.split(r"[\\/]", cell.strip())[-1] for cell in cells[:3]]
    named = all(0 < len(name.encode()) <= _LONGEST_NAME for name in names)
    if len(numbers) < 4 or not np.all(np.abs(numbers) < _LARGEST) or not named:
        return None
    return _Row(
        files=tuple(_located(folder, name) for name in names),
        steering=numbers[0],
        speed_mph=numbers[3],
        time_s=_time_s(names[0]),
    )


def _located(folder: Path, name: str) -> Path:
    inside = folder / "IMG" / name
    beside = folder / name
    return beside if not inside.is_file() and beside.is_file() else inside


def _time_s(name: str) -> float | None:
    """Seconds since 1970 of the stamp in a file's name, as if it were UTC."""
    stamp = _STAMP.search(name)
    if stamp is None:
        return None
    *whole, milli = (int(part) for part in stamp.groups())
    try:
        at = datetime(*whole[:6])  # pyright: ignore[reportArgumentType]
    except ValueError:
        return None
    return (at - datetime(1970, 1, 1)).total_seconds() + milli / 1000.0
