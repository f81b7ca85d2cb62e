"""Changes to batches: geometry against projection, colour and stuck pictures against their rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from loader_kit import equal

from opendojo.clip import Camera, Pose
from opendojo.loader import LENS_COLUMNS, AugmentConfig, Batch, augmented
from opendojo.loader.lens import lens_rows
from opendojo.loader.ring import RowsLayout, row_fields

CAMERAS = ("front", "left", "right")
WIDTH, HEIGHT = 64, 32
RIG = [
    Camera.with_fov("front", WIDTH, HEIGHT, 70, mount=Pose(x_m=1.5, y_m=0.1, z_m=1.4)),
    Camera.with_fov(
        "left", WIDTH, HEIGHT, 90,
        lens="kannala-brandt", distortion=(0.02, -0.01),
        mount=Pose(x_m=1.0, y_m=0.8, z_m=1.2, roll_rad=0.05, pitch_rad=0.1, yaw_rad=0.9),
    ),
    Camera.with_fov("right", WIDTH, HEIGHT, 80, mount=Pose(x_m=1.0, y_m=-0.7, yaw_rad=-0.8)),
]  # fmt: skip


def _batch(windows: int = 6, instants: int = 5, seed: int = 0) -> Batch:
    layout = RowsLayout(fields=row_fields(instants, 3, 4, WIDTH * HEIGHT * 3 // 2), rows=windows)
    rows = layout.views(bytearray(layout.bytes), 0)
    rng = np.random.default_rng(seed)
    rows["frames"][:] = rng.integers(0, 256, rows["frames"].shape, np.uint8)
    rows["camera_mask"][:] = True
    rows["lens"][:] = lens_rows(RIG, CAMERAS)
    rows["path_m"][:] = rng.normal(size=rows["path_m"].shape)
    rows["path_mask"][:] = True
    rows["window_id"][:] = rng.permutation(1000)[:windows]
    return Batch.of_rows(rows, HEIGHT, WIDTH)


def _apply(batch: Batch, seed: int = 0, epoch: int = 0, **config: Any) -> Batch:
    return augmented(batch, AugmentConfig(**config), seed=seed, epoch=epoch, cameras=CAMERAS)


def _camera(batch: Batch, row: int, slot: int) -> Camera:
    lens = dict(zip(LENS_COLUMNS, batch.lens[row, slot].tolist(), strict=True))
    fisheye = bool(lens.pop("is_fisheye"))
    return Camera(
        name=CAMERAS[slot],
        width_px=batch.width_px,
        height_px=batch.height_px,
        lens="kannala-brandt" if fisheye else "pinhole",
        distortion=tuple(lens.pop(f"k{i}") for i in (1, 2, 3, 4)) if fisheye else (),
        calibrated=bool(lens.pop("calibrated")),
        mount=Pose(
            **{n: lens.pop(n) for n in ("x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad")}
        ),
        **{n: v for n, v in lens.items() if n.endswith("_px")},
    )


POINTS = np.random.default_rng(5).uniform([4, -20, 0], [40, 20, 3], (40, 3))


def test_all_zero_changes_nothing_and_the_input_is_left_alone() -> None:
    batch = _batch()
    before = batch.clone()
    assert equal(_apply(batch), before)
    changed = _apply(batch, crop_width_px=32, flip=1.0, luma_offset=20, drop=0.5, freeze=0.5)
    assert not torch.equal(changed.path_m, before.path_m)
    assert equal(batch, before)


def test_twice_mirrored_is_as_it_was() -> None:
    batch = _batch()
    once = _apply(batch, flip=1.0)
    assert not torch.equal(once.yuv, batch.yuv)
    twice = _apply(once, flip=1.0)
    assert torch.equal(twice.yuv, batch.yuv)
    assert torch.equal(twice.path_m, batch.path_m)
    assert torch.allclose(twice.lens, batch.lens, atol=1e-5)


def test_a_point_mirrored_with_the_world_is_on_the_mirrored_pixel() -> None:
    batch = _batch(windows=1)
    mirrored = _apply(batch, flip=1.0)
    for slot, twin in enumerate((0, 2, 1)):
        pixels, seen = _camera(batch, 0, slot).project(POINTS)
        across, seen_too = _camera(mirrored, 0, twin).project(POINTS * [1, -1, 1])
        assert np.array_equal(seen, seen_too)
        assert seen.any()
        assert np.allclose(across[seen, 0], WIDTH - 1 - pixels[seen, 0], atol=1e-3)
        assert np.allclose(across[seen, 1], pixels[seen, 1], atol=1e-3)
        assert torch.equal(mirrored.y[0, :, twin], batch.y[0, :, slot].flip(-1))
        assert torch.equal(mirrored.u[0, :, twin], batch.u[0, :, slot].flip(-1))
    assert torch.equal(mirrored.path_m[..., 1], -batch.path_m[..., 1])
    assert torch.equal(mirrored.path_m[..., 0], batch.path_m[..., 0])


def test_a_side_camera_without_its_counterpart_is_masked_in_the_mirror() -> None:
    batch = _batch()
    config = AugmentConfig(flip=1.0)
    mirrored = augmented(batch, config, seed=0, epoch=0, cameras=("front", "left", "rear"))
    assert mirrored.camera_mask.tolist() == [[True, False, True]] * 6
    assert not mirrored.yuv[:, :, 1].any()
    assert not mirrored.lens[:, 1].any()


def test_a_point_stays_on_its_picture_through_a_crop() -> None:
    batch = _batch()
    cropped = _apply(batch, crop_width_px=40, crop_height_px=24)
    assert (cropped.width_px, cropped.height_px) == (40, 24)
    assert cropped.yuv.shape == (6, 5, 3, 40 * 24 * 3 // 2)
    offsets = set()
    for row in range(6):
        for slot in range(3):
            pixels, seen = _camera(batch, row, slot).project(POINTS)
            moved, _ = _camera(cropped, row, slot).project(POINTS)
            shift = (pixels - moved)[seen]
            assert np.allclose(shift, shift[0], atol=1e-3)
            left, top = (round(v) for v in shift[0].tolist())
            assert left % 2 == top % 2 == 0
            here = np.s_[row, :, slot, top : top + 24, left : left + 40]
            assert torch.equal(cropped.y[row, :, slot], batch.y[here])
            half = np.s_[row, :, slot, top // 2 : top // 2 + 12, left // 2 : left // 2 + 20]
            assert torch.equal(cropped.u[row, :, slot], batch.u[half])
            assert torch.equal(cropped.v[row, :, slot], batch.v[half])
            offsets.add((left, top))
    assert len(offsets) > 1


def test_what_happens_to_a_window_does_not_depend_on_its_batch() -> None:
    config = {
        "crop_width_px": 48, "flip": 0.5, "luma_gain": 0.2, "luma_offset": 10.0,
        "saturation": 0.3, "hue_deg": 20.0, "drop": 0.2, "freeze": 0.2,
    }  # fmt: skip
    batch = _batch(windows=8)
    whole = _apply(batch, seed=3, epoch=2, **config)
    for row in range(8):
        alone = batch._each(lambda tensor, row=row: tensor[row : row + 1])
        changed = _apply(alone, seed=3, epoch=2, **config)
        assert equal(changed, whole._each(lambda tensor, row=row: tensor[row : row + 1]))
    assert not torch.equal(_apply(batch, seed=3, epoch=3, **config).yuv, whole.yuv)
    assert not torch.equal(_apply(batch, seed=4, epoch=2, **config).yuv, whole.yuv)


def test_colour_swings_within_its_bounds_and_grey_stays_grey() -> None:
    batch = _batch(windows=64, instants=1)
    batch.yuv[:] = 128
    changed = _apply(batch, luma_offset=10.0, luma_gain=0.1, hue_deg=30.0, saturation=0.5)
    assert (changed.uv == 128).all()
    level = changed.y.float().mean((1, 2, 3, 4))
    assert level.min() >= 16 + 112 * 0.9 - 10.5
    assert level.max() <= 16 + 112 * 1.1 + 10.5
    assert level.std() > 3
    batch.yuv[:] = 250
    assert (_apply(batch, luma_gain=1.0).y.amax() == 255).all()  # no wrapping round


def test_hue_turns_and_saturation_scales_the_chroma() -> None:
    batch = _batch(windows=32, instants=1)
    batch.u[:], batch.v[:] = 128 + 60, 128
    turned = _apply(batch, hue_deg=40.0)
    u, v = turned.u[..., 0, 0].float() - 128, turned.v[..., 0, 0].float() - 128
    assert torch.allclose(torch.hypot(u, v), torch.tensor(60.0), atol=1.0)
    angle = torch.rad2deg(torch.atan2(v, u))
    assert angle.abs().max() <= 41
    assert angle.std() > 10
    scaled = _apply(batch, saturation=0.5).u[..., 0, 0].float() - 128
    assert scaled.min() >= 29
    assert scaled.max() <= 91
    assert (scaled.amax(1) == scaled.amin(1)).all()


def test_frozen_pictures_repeat_and_dropped_ones_are_black() -> None:
    batch = _batch(windows=40)
    frozen = _apply(batch, freeze=0.3)
    fresh = (frozen.yuv == batch.yuv).all(-1)
    repeats = torch.zeros_like(fresh)
    repeats[:, 1:] = (frozen.yuv[:, 1:] == frozen.yuv[:, :-1]).all(-1)
    assert (fresh ^ repeats).all()
    assert fresh[:, 0].all()
    assert 0.2 < repeats[:, 1:].float().mean() < 0.4
    dropped = _apply(batch, drop=0.3)
    black = (dropped.y == 16).all(-1).all(-1) & (dropped.uv == 128).flatten(3).all(-1)
    same = (dropped.yuv == batch.yuv).all(-1)
    assert (black ^ same).all()
    assert 0.2 < black.float().mean() < 0.4


def test_absent_cameras_stay_zero() -> None:
    batch = _batch()
    gone = torch.ones_like(batch.camera_mask)
    gone[:, 1] = False
    yuv = batch.yuv * gone[:, None, :, None]
    batch = dataclasses.replace(batch, yuv=yuv, camera_mask=gone, lens=batch.lens * gone[..., None])
    changed = _apply(
        batch, luma_offset=20.0, hue_deg=30.0, drop=0.5, freeze=0.5, crop_width_px=32, flip=0.5
    )
    absent = ~changed.camera_mask
    assert absent.sum() == 6
    assert not (changed.yuv * absent[:, None, :, None]).any()
    assert not (changed.lens * absent[..., None]).any()


def test_bad_dials_name_themselves() -> None:
    with pytest.raises(ValueError, match="even"):
        AugmentConfig(crop_width_px=31)
    with pytest.raises(ValueError, match="flip"):
        AugmentConfig(flip=1.5)
    with pytest.raises(ValueError, match="larger"):
        _apply(_batch(), crop_width_px=WIDTH + 2)
