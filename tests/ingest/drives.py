"""Drive folders that tests make, as the format's page has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from recordings import make_video

NAMES = ("front", "left", "right")


def make_drive(
    folder: Path,
    *,
    frames: tuple[int, ...] = (12, 12, 12),
    times: dict[str, list[int]] | None = None,
) -> Path:
    """Write a drive of three 64x48 cameras at 10 Hz; return its `drive.json`."""
    folder.mkdir(parents=True)
    cameras: list[dict[str, Any]] = []
    for name, count in zip(NAMES, frames, strict=True):
        options = {"bf": "0"}
        chosen = (times or {}).get(name)
        count = len(chosen) if chosen else count
        path = folder / f"{name}.mp4"
        make_video(path, frames=count, times=chosen, options=options)
        mount = {"x_m": 1.5, "y_m": 0.0, "z_m": 1.4}
        angles = {"roll_rad": 0.0, "pitch_rad": 0.1, "yaw_rad": 0.5}
        lens = {"fx_px": 40.0, "fy_px": 41.0, "cx_px": 31.5, "cy_px": 23.5, "lens": "pinhole"}
        cameras.append(
            {"file": path.name, "name": name, "width_px": 64, "height_px": 48, **lens}
            | {"distortion": [], "mount": mount | angles, "calibrated": True}
        )
    time_s = np.arange(12) / 10
    log = {"time_s": time_s, "x_m": 5 * time_s, "speed_mps": np.full(12, 5.0)}
    pq.write_table(pa.table(log), folder / "log.parquet")
    track = {"track_id": [7] * 3 + [9] * 2, "kind": ["car"] * 3 + ["cyclist"] * 2}
    for name in ("length_m", "width_m", "height_m", "x_m", "y_m", "yaw_rad"):
        track[name] = [1.0, 2.0, 3.0, 4.0, 5.0]
    track["time_s"] = [0.0, 0.1, 0.2, 0.0, 0.1]
    pq.write_table(pa.table(track), folder / "tracks.parquet")
    control = folder / "drive.json"
    head = {"format": "opendojo-drive", "version": 1, "origin": "drawn", "rate_hz": 10.0}
    tables = {"log": "log.parquet", "tracks": "tracks.parquet"}
    control.write_text(json.dumps({**head, "cameras": cameras, **tables, "generator": {}}))
    return control


def edit(control: Path, **changes: Any) -> Path:
    """Change fields of a `drive.json`."""
    control.write_text(json.dumps(json.loads(control.read_text()) | changes))
    return control
