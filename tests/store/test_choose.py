from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from opendojo.clip import Camera, Clip, Frame
from opendojo.store import StoreSpec
from opendojo.store.choose import choose_quality

SPEC = StoreSpec(width_px=64, height_px=32, psnr_db=38.0)


@dataclass(kw_only=True)
class Counted:
    """Noise that grows along the clip; `read` is how many steps were asked for."""

    length: int
    instants: int | None = None
    read: int = 0

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        half = np.full((height_px // 2, width_px // 2), 128, np.uint8)
        for k in range(self.length):
            self.read += 1
            noise = np.random.default_rng(k).integers(0, 2 + k, (height_px, width_px))
            yield (Frame(y=(60 + noise).astype(np.uint8), u=half, v=half, time_s=k / 10),)


def clip_of(read: Counted) -> Clip:
    camera = Camera.with_fov("front", 64, 32, 60.0)
    return Clip(
        clip_id="a", source="a", origin="recorded", cameras=(camera,), rate_hz=10.0, read=read
    )


@pytest.mark.parametrize("length", [1, 8, 31, 33, 47, 64, 65, 130])
def test_a_known_length_changes_no_choice_and_ends_reading_early(length: int):
    spec = replace(SPEC, gop_frames=8)
    blind, told = Counted(length=length), Counted(length=length, instants=length)
    assert choose_quality(clip_of(told), spec, 10) == choose_quality(clip_of(blind), spec, 10)
    assert blind.read == length
    groups = -(-length // 8)
    stride = next(s for s in (1, 2, 4, 8) if -(-groups // s) <= 4)
    last = 8 * ((groups - 1) // stride * stride + 1)
    assert told.read == min(length, last + 1)


def test_a_length_that_lies_does_no_harm():
    for instants in (1, 20, 10_000):
        told = Counted(length=40, instants=instants)
        assert len(choose_quality(clip_of(told), SPEC, 10)) == 1


def test_trials_tell_that_they_get_on():
    steps: list[None] = []
    read = Counted(length=24, instants=24)
    choose_quality(clip_of(read), SPEC, 10, lambda: steps.append(None))
    assert len(steps) >= 5 * 2 * 24  # some five trials, told of at every frame in and out
