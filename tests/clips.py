"""Clips that tests make up: moving patterns that any two frames of which differ."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from opendojo.clip import BadClip, Camera, Clip, Frame, Log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """Reads as `Clip.read`: pictures made from (seed, camera, instant); picklable."""

    seed: int
    cameras: int
    instants: int
    rate_hz: float
    breaks_at: int | None = None

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        for k in range(self.instants):
            if k == self.breaks_at:
                raise BadClip(f"pattern-{self.seed}", "it breaks off", frame=k)
            yield tuple(self.frame(c, k, width_px, height_px) for c in range(self.cameras))

    def frame(self, camera: int, instant: int, width_px: int, height_px: int) -> Frame:
        rng = np.random.default_rng([self.seed, camera])
        phase = rng.uniform(0, 6.28, 3)
        rows, columns = np.mgrid[0:height_px, 0:width_px]
        y = 126 + 80 * np.sin(columns / 7 + rows / 11 + 0.4 * instant + phase[0])
        half = np.s_[0 : height_px // 2, 0 : width_px // 2]
        r2, c2 = np.mgrid[half]
        u = 128 + 40 * np.sin(c2 / 9 + 0.2 * instant + phase[1])
        v = 128 + 40 * np.cos(r2 / 9 + 0.1 * instant + phase[2])
        planes = (plane.astype(np.uint8) for plane in (y, u, v))
        return Frame(**dict(zip("yuv", planes, strict=True)), time_s=instant / self.rate_hz)


def make_clip(
    seed: int = 0,
    *,
    instants: int = 20,
    cameras: tuple[str, ...] = ("front", "left", "right"),
    rate_hz: float = 10.0,
    breaks_at: int | None = None,
    with_log: bool = True,
) -> Clip:
    """A clip with a log of a vehicle on a gentle curve at 10 m/s."""
    time_s = np.arange(0, instants / rate_hz + 0.05, 0.05)
    yaw = 0.05 * time_s
    log = Log(
        time_s=time_s,
        x_m=np.sin(yaw) * 200.0,
        y_m=(1 - np.cos(yaw)) * 200.0,
        yaw_rad=yaw,
        speed_mps=np.full_like(time_s, 10.0),
        disturbed=np.zeros_like(time_s),
    )
    return Clip(
        clip_id=hashlib.sha256(f"{seed} {instants} {cameras} {rate_hz}".encode()).hexdigest()[:32],
        source=f"pattern-{seed}",
        origin="drawn" if seed % 2 else "recorded",
        cameras=tuple(Camera.with_fov(name, 128, 64, 70) for name in cameras),
        rate_hz=rate_hz,
        read=Pattern(
            seed=seed,
            cameras=len(cameras),
            instants=instants,
            rate_hz=rate_hz,
            breaks_at=breaks_at,
        ),
        log=log if with_log else None,
    )
