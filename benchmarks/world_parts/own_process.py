"""A batch of drawn worlds in a process of its own: stepped and drawn, over and over, when asked."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from opendojo.world import TOWNS, World, WorldConfig, front_only, tesla_eight
from peers.protocol import serve
from world_parts.arithmetic import Arithmetic, tensor_bytes

RIGS = {"tesla_eight": tesla_eight, "front_only": front_only}
TAPE = 50
"""Steps of control that are recorded before the clock; then the worlds begin anew."""
SEEN = (0, 20, 40)
"""Steps whose pictures are compared."""
SAVED = 20
"""Worlds of those that are handed over."""


class Drawn:
    """The worlds of a plan and a tape of control, that of a driver on the route's middle."""

    def __init__(self, plan: dict[str, Any]) -> None:
        torch.set_num_threads(plan["threads"])
        torch.backends.cuda.matmul.allow_tf32 = False
        self._device = torch.device(plan["device"])
        count = plan["worlds"]
        config = WorldConfig(
            cameras=RIGS[plan["rig"]](),
            compiled=plan["compiled"],
            preset=plan["preset"],
            agents=16,
            noise=1.0,
            rig_error=plan["rig_error"],
            worlds_per_town=-(-count // len(TOWNS)),
        )
        began = time.perf_counter()
        self.world = World(range(count), config, self._device)
        self._frames = count * len(config.cameras)
        self._tape = self._recorded(plan["tape"])
        made = time.perf_counter()
        self.world.render()
        self._wait()
        first = time.perf_counter()
        self.facts = {
            "made_s": made - began,
            "first_picture_s": first - made,
            "frames": float(self._frames),
        }
        self._at = 0

    def _recorded(self, steps: int) -> list[Tensor]:
        tape = []
        for _ in range(steps):
            tape.append(self.world.idm_on_centreline())
            self.world.step(tape[-1])
        self.world.reset()
        return tape

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def go(self, seconds: float) -> dict[str, float]:
        """Step and draw for about so long; `step_s` of it went into stepping."""
        frames, step_s, began = 0, 0.0, time.perf_counter()
        while True:
            step_s += self._stepped()
            self.world.render()
            self._wait()
            frames += self._frames
            spent = time.perf_counter() - began
            if spent >= seconds:
                return {"seconds": spent, "frames": frames, "step_s": step_s}

    def _stepped(self) -> float:
        began = time.perf_counter()
        if self._at == len(self._tape):
            self.world.reset()
            self._at = 0
        self.world.step(self._tape[self._at])
        self._at += 1
        self._wait()
        return time.perf_counter() - began

    def check(self, path: str) -> dict[str, Any]:
        """Some worlds' pictures at some steps, and hashes of all pictures and states by then."""
        self.world.reset()
        seen, pictures, states = [], hashlib.sha256(), []
        count = len(self.world.seeds)
        some = np.unique(np.linspace(0, count - 1, min(count, SAVED)).astype(int))
        for step, control in enumerate(self._tape):
            if step in SEEN:
                shown = self.world.render().cpu().numpy()
                pictures.update(shown.tobytes())
                seen.append(shown[some])
            self.world.step(control)
            if step in SEEN:
                states += self.world.digests()
        self.world.reset()
        self._at = 0
        np.save(path, np.stack(seen))
        return {
            "pictures": pictures.hexdigest(),
            "states": hashlib.sha256("".join(states).encode()).hexdigest(),
        }

    def count(self) -> dict[str, float]:
        """Arithmetic a frame (estimated, eager), and bytes of the rig's tables."""
        with Arithmetic() as counted:
            self.world.render()
        rig = getattr(self.world._renderer, "_rig", ())
        size = tensor_bytes(rig)
        return {"flops": counted.flops / self._frames, "table_bytes": float(size)}

    def machine(self) -> dict[str, float]:
        """What these threads, or this device, reach: bytes/s read, float32 operations/s."""
        great = self._device.type == "cuda"
        data = torch.ones(1 << (30 if great else 26), dtype=torch.int32, device=self._device)
        a = torch.randn(*([8192 if great else 1024] * 2), device=self._device)
        read_s = self._best(lambda: torch.sum(data))
        product_s = self._best(lambda: a @ a)
        return {
            "bytes_per_s": data.numel() * data.element_size() / read_s,
            "flops_per_s": 2.0 * a.shape[0] ** 3 / product_s,
        }

    def _best(self, work: Any, times: int = 7) -> float:
        spent = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            self._wait()
            spent.append(time.perf_counter() - began)
        return min(spent)


def main() -> None:
    """Serve the plan given as JSON."""
    drawn = Drawn(json.loads(sys.argv[1]))
    handlers = {
        "go": drawn.go,
        "check": drawn.check,
        "count": drawn.count,
        "machine": drawn.machine,
    }
    serve(handlers, drawn.facts)


if __name__ == "__main__":
    main()
