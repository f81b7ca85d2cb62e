"""A folder of pictures with a `data.txt` that gives the steering of each, one per line.

    0.jpg 90
    1.jpg 84

The number is the angle of a steering servo in degrees, 90 straight on. What is known and what is
assumed of it:

- Above 90 is to the left. Told from the pictures of one such recording (github.com/Shakira4242/rc):
  in frames 12 to 23, at 58 to 87 degrees, the scene moves up to 29 pixels to the left from frame
  to frame, so the vehicle turns right; in frames 36 to 54, at 84 to 107, up to 42 to the right.
- The wheels are assumed to turn as far as the servo does.
- There are no times: `ASSUMED_RATE_HZ` is assumed. There is no speed.

Numbers that cannot be a servo's (not about 90) leave the clip without steering. Pictures are read
by what they hold, not by their ending. One that is missing or broken is left out, at the price of
a gap in time; the clip says so at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.video.frame import VideoFrame

from opendojo.clip import BadClip, Camera, Clip, Frame, Log
from opendojo.ingest.content import check_file, content_id, reason, shown
from opendojo.ingest.decoding import check_size
from opendojo.ingest.fit import Fitter
from opendojo.ingest.video import ASSUMED_FOV_DEG

__all__ = ["ASSUMED_RATE_HZ", "CONTROL_NAME", "Images", "image_cameras", "open_images", "still"]

ASSUMED_RATE_HZ = 10.0
"""Rate of pictures that come without times."""
CONTROL_NAME = "data.txt"
_STRAIGHT_DEG = 90.0
_SERVO_SPAN_DEG = 90.0
_LONGEST_NAME = 255
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow raises on broken pictures, by format; and its own on those that claim to be huge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Reads pictures listed by a control file; callable as `Clip.read`."""

    control: str
    """The file that lists them."""
    rows: tuple[tuple[str, ...], ...]
    """Paths, one of each camera a step."""
    times_s: tuple[float, ...]
    """One a step."""
    faults: tuple[str, ...] = ()
    """What was wrong with the list itself."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is read."""
        return (self.control, *(file for row in self.rows for file in row))

    @property
    def instants(self) -> int:
        """As many steps as there should be."""
        return len(self.rows)

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        """See `Clip.frames`. Steps with a broken picture are left out and told of at the end."""
        fits = [Fitter(self.control, width_px, height_px) for _ in self.rows[0]]
        faults = list(self.faults)
        first = None
        for step, (row, time_s) in enumerate(zip(self.rows, self.times_s, strict=True)):
            try:
                pictures = [_picture(file) for file in row]
            except BadClip as bad:
                faults.append(f"{Path(bad.file).name}: {bad.cause}")
                first = step if first is None else first
                continue
            yield tuple(fit(p, time_s) for fit, p in zip(fits, pictures, strict=True))
        if faults:
            cause = f"{len(faults)} of the steps listed could not be had, the first: {faults[0]}"
            raise BadClip(
                shown(Path(self.control)), cause, remedy="copy the folder again", frame=first
            )


def open_images(control: Path) -> Clip | None:
    """The clip of a folder with a `data.txt`; None where that file lists no pictures.

    Raises `BadClip` where not one of the pictures can be read.
    """
    check_file(control)
    names, degrees, faults = _parse(control)
    if not names:
        return None
    files = [control.parent / name for name in names]
    times_s = np.arange(len(names)) / ASSUMED_RATE_HZ
    read = Images(
        control=str(control),
        rows=tuple((str(file.absolute()),) for file in files),
        times_s=tuple(times_s.tolist()),
        faults=tuple(faults),
    )
    servo = np.all(np.abs(np.array(degrees) - _STRAIGHT_DEG) <= _SERVO_SPAN_DEG) and (
        abs(float(np.median(degrees)) - _STRAIGHT_DEG) <= _SERVO_SPAN_DEG / 3
    )
    steer_rad = np.radians(np.array(degrees) - _STRAIGHT_DEG) if servo else None
    return Clip(
        clip_id=content_id("images", [control, *files]),
        source=shown(control.parent),
        origin="recorded",
        cameras=image_cameras(read, ("front",)),
        rate_hz=ASSUMED_RATE_HZ,
        read=read,
        log=Log(time_s=times_s, steer_rad=steer_rad),
    )


def image_cameras(read: Images, names: tuple[str, ...]) -> tuple[Camera, ...]:
    """Uncalibrated cameras with the sizes of the first step that can be read.

    Raises `BadClip` where there is none.
    """
    fault: BadClip | None = None
    for row in read.rows:
        try:
            pictures = [_picture(file) for file in row]
        except BadClip as bad:
            fault = fault or bad
            continue
        return tuple(
            Camera.with_fov(name, p.width, p.height, ASSUMED_FOV_DEG, calibrated=False)
            for name, p in zip(names, pictures, strict=True)
        )
    cause = f"not one of the pictures it lists can be read; {fault}" if fault else "lists nothing"
    raise BadClip(shown(Path(read.control)), cause, remedy="put the pictures beside it", frame=0)


def _parse(control: Path) -> tuple[list[str], list[float], list[str]]:
    """Names, degrees, and what is wrong with the lines that are neither."""
    names: list[str] = []
    degrees: list[float] = []
    faults: list[str] = []
    lines = control.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, value = line.strip().rpartition(" ")
        try:
            angle = float(value)
        except ValueError:
            angle = np.nan
        if not np.isfinite(angle) or not _is_picture(name.strip()):
            faults.append(f"line {number} is not a file and its degrees")
            continue
        names.append(name.strip())
        degrees.append(angle)
    return names, degrees, faults


def _is_picture(name: str) -> bool:
    """Whether a name can be that of a picture."""
    return (
        name.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"))
        and "\0" not in name
        and len(name) < _LONGEST_NAME
    )


def _picture(file: str) -> VideoFrame:
    if not Path(file).is_file():
        raise BadClip(shown(Path(file)), "missing", remedy="put it beside the list")
    return still(file, file)


def still(source: str | BinaryIO, file: str) -> VideoFrame:
    """One picture from a path or from bytes, upright, as RGB; `file` is named where it is bad.

    Raises `BadClip`.
    """
    from PIL import Image, ImageOps  # not above: every ingest would wait for it

    try:
        with Image.open(source) as image:
            check_size(file, image.width, image.height)
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (*_BROKEN, Image.DecompressionBombError) as fault:
        raise BadClip(shown(Path(file)), reason(fault), remedy="take it again") from fault
    return VideoFrame.from_ndarray(pixels, format="rgb24")
