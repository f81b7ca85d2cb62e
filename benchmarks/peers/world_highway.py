"""highway-env with its grey picture, 128x64, seen from above: one world, steps with random actions.

Drawing must not be told SDL_VIDEODRIVER=dummy: highway-env then leaves its pictures black.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

os.environ.pop("SDL_VIDEODRIVER", None)

import gymnasium
import highway_env  # pyright: ignore[reportMissingImports]
import numpy as np
from protocol import serve

SEEN = (0, 5, 10)
"""Steps whose pictures are looked at."""


def made(name: str) -> Any:
    """The environment, which draws a picture of 128x64 at every step."""
    gymnasium.register_envs(highway_env)
    view = {
        "type": "GrayscaleObservation",
        "observation_shape": (128, 64),
        "stack_size": 1,
        "weights": [0.2989, 0.5870, 0.1140],
        "scaling": 1.75,
    }
    return gymnasium.make(name, config={"observation": view})


def main() -> None:
    """`world_highway.py NAME`."""
    world = made(sys.argv[1])
    world.action_space.seed(0)
    world.reset(seed=0)

    def step() -> tuple[Any, float]:
        """A picture, uint8 [1, 128, 64], and the time that a reset after it took."""
        picture, _, over, cut, _ = world.step(world.action_space.sample())
        began = time.perf_counter()
        if over or cut:
            world.reset()
        return picture, time.perf_counter() - began

    def go(seconds: float) -> dict[str, float]:
        frames, resets_s, began = 0, 0.0, time.perf_counter()
        while True:
            resets_s += step()[1]
            frames += 1
            spent = time.perf_counter() - began - resets_s
            if spent >= seconds:
                return {"seconds": spent, "frames": frames}

    def check(path: str) -> dict[str, Any]:
        pictures = [step()[0][0].T.copy() for _ in range(max(SEEN) + 1)]
        np.save(path, np.stack([pictures[k] for k in SEEN]))
        return {}

    with contextlib.redirect_stdout(sys.stderr):
        step()
    serve({"go": go, "check": check})


if __name__ == "__main__":
    main()
