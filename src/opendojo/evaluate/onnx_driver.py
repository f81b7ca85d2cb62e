"""Drives from an exported network, as a car would: one step of the graph per instant.

The graph keeps no state, so the queue of scenes lives here. How long each instant takes, from the
pictures to the control, is kept for percentiles: what a car must wait for is the slow tail, not the
mean.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from opendojo.evaluate.driver import Observation
from opendojo.evaluate.follow import FollowConfig, follow
from opendojo.loader.lens import lens_rows
from opendojo.model.export_run import Exported
from opendojo.world import WorldConfig

__all__ = ["WARM_UP", "OnnxDriver", "percentiles"]

WARM_UP = 10
"""First instants that do not count: memory is laid out, caches are cold."""


class OnnxDriver:
    """An exported step with its queue; the plan is followed as that of `NetworkDriver`."""

    name = "network"
    needs_pixels = True

    def __init__(self, exported: Exported, follower: FollowConfig | None = None) -> None:
        meta = exported.meta
        if meta.get("graph") != "step" or "path_times_s" not in meta:
            raise ValueError(
                f"{exported.path} is not a whole driving network but its part "
                f"`{meta.get('graph')}`: give the file that `opendojo export --out` named"
            )
        self.exported, self.follower = exported, follower or FollowConfig()
        self.cameras: tuple[str, ...] = tuple(meta["cameras"])
        self.seconds: list[float] = []
        """Time of each instant so far, warm-up included."""
        self._times_s = torch.tensor(meta["path_times_s"])
        self.reset(1)

    def reset(self, n: int) -> None:
        """Empty the queue."""
        meta = self.exported.meta
        steps = meta["queue_steps"]
        self._count = 0
        self._past = torch.zeros(n, steps - 1, *meta["scene_shape"])
        self._speed_mps = torch.zeros(n, steps)
        self._command = torch.zeros(n, steps, dtype=torch.int64)

    def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Look, plan, follow."""
        began_s = time.perf_counter()
        frames, speed_mps = observation.frames, observation.speed_mps
        assert frames is not None, "an exported network sees"
        self._check(frames)
        self._speed_mps = torch.cat([self._speed_mps[:, 1:], speed_mps.cpu()[:, None]], 1)
        # the world counts its commands from 0, the network keeps 0 for an unknown one
        command = (observation.world.command + 1).cpu()[:, None]
        self._command = torch.cat([self._command[:, 1:], command], 1)
        self._count = min(self._count + 1, self._speed_mps.shape[1])
        found = self.exported.run(self._feeds(frames, observation.world.config))
        self._past = torch.cat([self._past[:, 1:], found["scene"][:, None]], 1)
        path_m = found["path_m"].to(speed_mps.device)
        control = follow(path_m, self._times_s.to(path_m), speed_mps, self.follower)
        self.seconds.append(time.perf_counter() - began_s)
        return control, path_m

    def latency(self) -> dict[str, float | int]:
        """Percentiles of the time per instant in milliseconds, the warm-up left out."""
        return percentiles(self.seconds[WARM_UP:])

    def _feeds(self, frames: Tensor, world: WorldConfig) -> dict[str, Tensor]:
        n, steps = self._speed_mps.shape
        rows = lens_rows(world.cameras, [camera.name for camera in world.cameras])
        time_s = torch.arange(steps, dtype=torch.float64) * world.step_s
        filled = (torch.arange(steps, 0, -1) <= self._count).expand(n, -1)
        return {
            "frames": frames.cpu().contiguous(),
            "camera_mask": torch.ones(n, frames.shape[1], dtype=torch.bool),
            "lens": torch.from_numpy(rows).expand(n, -1, -1).contiguous(),
            "past": self._past,
            "time_s": time_s.expand(n, -1).contiguous(),
            "speed_mps": self._speed_mps,
            "speed_mask": filled.contiguous(),
            "command": self._command,
            "filled": filled.contiguous(),
        }

    def _check(self, frames: Tensor) -> None:
        meta = self.exported.meta
        wanted = (len(self.cameras), 6, meta["height_px"] // 2, meta["width_px"] // 2)
        if tuple(frames.shape[1:]) != wanted:
            c, _, h, w = frames.shape[1:]
            raise ValueError(
                f"{self.exported.path} looks through {', '.join(self.cameras)} at "
                f"{meta['width_px']}x{meta['height_px']}; the rig has {c} cameras of "
                f"{2 * w}x{2 * h}: choose --rig or --size to match"
            )


def percentiles(seconds: list[float]) -> dict[str, Any]:
    """p50, p95 and p99 in milliseconds, and of how many; None where there are none."""
    if not seconds:
        return {"p50_ms": None, "p95_ms": None, "p99_ms": None, "instants": 0}
    shares = torch.tensor([0.5, 0.95, 0.99], dtype=torch.float64)
    found = torch.quantile(torch.tensor(seconds, dtype=torch.float64) * 1e3, shares)
    names = ("p50_ms", "p95_ms", "p99_ms")
    return {**dict(zip(names, found.tolist(), strict=True)), "instants": len(seconds)}
