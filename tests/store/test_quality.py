"""Flags on real footage, as it is and with known harm done to it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from opendojo.clip import Bytes, Clip, Frame
from opendojo.ingest import find_clips
from opendojo.store.quality import BLURRED, DARK, DUPLICATE, FLAGS, FROZEN, Inspector

DRIVES = (
    "solidWhiteRight.mp4",
    "project_video_cut.mp4",
    "test_small1.mp4",
    "vehicle_test_video.mp4",
)


@cache
def footage(file: Path, frames: int = 40, size: tuple[int, int] = (256, 128)) -> list[Frame]:
    (clip,) = find_clips(file)
    assert isinstance(clip, Clip)
    return [step[0] for _, step in zip(range(frames), clip.frames(*size), strict=False)]


def flags(frames: list[Frame]) -> list[int]:
    inspect = Inspector()
    return [inspect(frame) for frame in frames]


def with_luma(frame: Frame, y: Bytes | np.ndarray) -> Frame:
    return replace(frame, y=np.clip(np.rint(y), 0, 255).astype(np.uint8))


def blurred(frame: Frame, width: int = 9) -> Frame:
    kernel = np.ones(width) / width
    y = frame.y.astype(np.float64)
    for axis in (0, 1):
        y = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, y)
    return with_luma(frame, y)


def noisy(frame: Frame, rng: np.random.Generator, levels: float) -> Frame:
    return with_luma(frame, frame.y + rng.normal(0, levels, frame.y.shape))


@pytest.mark.parametrize("name", DRIVES)
@pytest.mark.parametrize("size", [(512, 256), (128, 64)])
def test_good_driving_has_no_flag(shared_data: Path, name: str, size: tuple[int, int]):
    frames = footage(shared_data / "road" / name, 36, size)
    assert flags(frames) == [0] * len(frames)


def test_a_standing_camera_sees_duplicates_and_a_passing_car_ends_them(shared_data: Path):
    frames = footage(shared_data / "roadside" / "car-detection.mp4", 150)
    still = [bool(bits & DUPLICATE) for bits in flags(frames)]
    assert 0.4 < np.mean(still) < 0.98
    assert not any(bits & DARK for bits in flags(frames))


def test_darkened_frames(shared_data: Path):
    frames = footage(shared_data / "road" / DRIVES[0])
    dark = [with_luma(frame, 16 + (frame.y - 16.0) * 0.1) for frame in frames]
    dusk = [with_luma(frame, 16 + (frame.y - 16.0) * 0.4) for frame in frames]
    assert all(bits & DARK for bits in flags(dark))
    assert not any(bits & (DARK | BLURRED) for bits in flags(dusk))


@pytest.mark.parametrize("name", DRIVES)
def test_blurred_frames_from_the_start_or_in_between(shared_data: Path, name: str):
    frames = footage(shared_data / "road" / name)
    assert all(bits & BLURRED for bits in flags([blurred(frame) for frame in frames]))
    burst = range(20, 30)
    mixed = [blurred(f, 7) if k in burst else f for k, f in enumerate(frames)]
    found = [k for k, bits in enumerate(flags(mixed)) if bits & BLURRED]
    assert found == list(burst)


def test_a_clip_that_starts_blurred_becomes_sharp(shared_data: Path):
    frames = footage(shared_data / "road" / DRIVES[2])
    mixed = [blurred(f) if k < 5 else f for k, f in enumerate(frames)]
    assert [bool(bits & BLURRED) for bits in flags(mixed)] == [k < 5 for k in range(len(frames))]


def test_frozen_is_bit_equal_or_within_rounding(shared_data: Path):
    frames = footage(shared_data / "road" / DRIVES[0])[:10]
    rng = np.random.default_rng(0)
    stuck = [with_luma(frames[9], frames[9].y + rng.integers(-1, 1, frames[9].y.shape))
             for _ in range(3)]  # fmt: skip
    bits = flags([*frames, frames[9], frames[9], *stuck])
    assert bits[:10] == [0] * 10
    assert bits[10:] == [FROZEN | DUPLICATE] * 5


def test_repeated_with_noise_is_a_duplicate_and_not_frozen(shared_data: Path):
    frames = footage(shared_data / "road" / DRIVES[0])[:10]
    rng = np.random.default_rng(0)
    bits = flags([*frames, *(noisy(frames[9], rng, 2.0) for _ in range(20))])
    assert bits[10:] == [DUPLICATE] * 20


def test_slow_creeping_is_seen_against_the_last_new_frame(shared_data: Path):
    frame = footage(shared_data / "road" / DRIVES[0])[0]
    whole = frame.y.astype(np.float64)
    ahead = np.roll(whole, 1, 1)
    creep = [with_luma(frame, whole + (ahead - whole) * k / 8) for k in range(9)]
    creep = [noisy(one, np.random.default_rng(k), 1.5) for k, one in enumerate(creep)]
    bits = flags(creep)
    assert bits[1] & DUPLICATE and not bits[8] & FROZEN
    assert not all(b & DUPLICATE for b in bits[1:])


def test_a_covered_lens_is_dark_and_not_called_blurred():
    half = np.full((32, 64), 128, np.uint8)
    frames = [Frame(y=np.full((64, 128), 17 + k % 2, np.uint8), u=half, v=half, time_s=k / 10)
              for k in range(4)]  # fmt: skip
    assert flags(frames) == [DARK, *[DARK | FROZEN | DUPLICATE] * 3]


def test_flags_do_not_depend_on_strides_and_names_are_bits(shared_data: Path):
    frames = footage(shared_data / "road" / DRIVES[0])[:5]
    wide = np.zeros((128, 320), np.uint8)
    wide[:, :256] = frames[0].y
    assert flags([replace(frames[0], y=wide[:, :256]), *frames[1:]]) == flags(frames)
    assert sorted(FLAGS.values()) == [1, 2, 4, 8]
