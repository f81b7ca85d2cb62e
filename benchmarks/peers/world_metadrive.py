"""MetaDrive's camera, 128x64 in colour, by software GL on a display that exists in memory alone.

The window is as small as the picture (by default it is large, and drawn as well). One thread of
llvmpipe, since one such process runs on each core.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np
from protocol import serve

SEEN = (0, 3, 6)
"""Steps whose pictures are looked at."""


def start_display() -> None:
    """Start Xvfb and point DISPLAY to it."""
    if shutil.which("Xvfb") is None:
        raise SystemExit("Xvfb is not there: apt-get install xvfb libgl1-mesa-dri")
    call = ["Xvfb", "-displayfd", "1", "-screen", "0", "256x256x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
    )
    atexit.register(server.terminate)
    assert server.stdout is not None
    number = server.stdout.readline().strip()
    if not number:
        raise SystemExit("Xvfb did not start")
    os.environ.update(DISPLAY=f":{number}", LP_NUM_THREADS="1", LIBGL_ALWAYS_SOFTWARE="1")


def made() -> Any:
    """The environment: traffic as shipped, lidar state beside the picture as shipped."""
    from metadrive import MetaDriveEnv  # pyright: ignore[reportMissingImports]

    return MetaDriveEnv(
        {
            "offscreen_render": True,
            "vehicle_config": {
                "image_source": "rgb_camera",
                "rgb_camera": (128, 64),
                "stack_size": 1,
            },
            "rgb_clip": False,
            "window_size": (128, 64),
            "show_logo": False,
            "show_fps": False,
            "environment_num": 10,
        }
    )


def main() -> None:
    """Serve turns; what libraries print on the way goes to stderr."""
    told = os.dup(1)
    os.dup2(2, 1)
    start_display()
    world = made()
    world.reset()
    os.dup2(told, 1)

    def step() -> tuple[Any, float]:
        """A picture, uint8 [64, 128, 3], and the time that a reset after it took."""
        seen, _, over, _ = world.step([0.0, 0.3])
        began = time.perf_counter()
        if over:
            world.reset()
        return seen["image"][..., -1].astype(np.uint8), time.perf_counter() - began

    def go(seconds: float) -> dict[str, float]:
        frames, resets_s, began = 0, 0.0, time.perf_counter()
        while True:
            resets_s += step()[1]
            frames += 1
            spent = time.perf_counter() - began - resets_s
            if spent >= seconds:
                return {"seconds": spent, "frames": frames}

    def check(path: str) -> dict[str, Any]:
        pictures = [step()[0] for _ in range(max(SEEN) + 1)]
        np.save(path, np.stack([pictures[k] for k in SEEN]))
        return {}

    serve({"go": go, "check": check})


if __name__ == "__main__":
    sys.exit(main())
