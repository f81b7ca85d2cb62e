"""The real `lerobot` package opens an export and a store; skips where its environment is not there.

`./dojo python benchmarks/frames.py --peers --only lerobot` makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import Store, StoreSpec, stage_part
from opendojo.store.export import export

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/peers/lerobot_open.py"
KEY = "observation.images.front"


def ask(**question: Any) -> dict[str, Any]:
    """One question to the package in its own environment."""
    home = Path(os.environ.get("OPENDOJO_PEERS") or Path.home() / ".cache/opendojo/peers")
    python = home / "lerobot/bin/python"
    if not (home / "lerobot/installed.txt").exists():
        pytest.skip(f"no environment of lerobot in {home}: see benchmarks/frames.py --peers")
    told = subprocess.run(
        [str(python), str(SCRIPT)],
        input=json.dumps(question) + "\n",
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["export", "store"])
def test_the_lerobot_package_opens_it(what: str, tmp_path: Path):
    store = Store.create(tmp_path / "s", StoreSpec(width_px=64, height_px=32))
    with store.staging() as staging:
        clips = [make_clip(0, instants=19), make_clip(1, instants=11)]
        store.publish(stage_part(clips, store.spec, staging))
    store = store.reload()
    root = store.path
    if what == "export":
        root = tmp_path / "out"
        export(store, "lerobot", root)
    first, second = sorted(store.episodes, key=lambda episode: episode.number)
    index = first.instants + 4  # in the second episode, which follows the first in one video
    told = ask(
        do="look",
        root=str(root / second.dataset),
        key=KEY,
        index=index,
        path=str(tmp_path / "frame.npy"),
    )
    assert (told["frames"], told["episodes"], told["fps"]) == (30, 2, 10)
    assert (told["episode"], told["frame"]) == (1, 4)
    assert KEY in told["features"] and "speed_mps" in told["features"]
    assert ("speed_mps" in told["stats"]) == (what == "export")
    assert told["time_s"] == pytest.approx(store.log(second).time_s[4], abs=1e-6)
    frame = np.empty((1, 1, store.spec.frame_bytes), np.uint8)
    store.decode(second, [4], frame, cameras=["front"])
    luma = frame[0, 0, : 64 * 32].reshape(32, 64).astype(np.float64)
    red, green, blue = np.load(tmp_path / "frame.npy")
    theirs = 16 + 219 * (0.299 * red + 0.587 * green + 0.114 * blue)
    assert np.abs(theirs - luma).mean() < 2.0
    other = np.empty_like(frame)
    store.decode(second, [0], other, cameras=["front"])
    far = other[0, 0, : 64 * 32].reshape(32, 64).astype(np.float64)
    assert np.abs(theirs - luma).mean() < np.abs(theirs - far).mean()
