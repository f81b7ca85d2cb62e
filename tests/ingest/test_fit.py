from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from recordings import area_mean, planes_of

from opendojo.clip import Camera
from opendojo.ingest.fit import Fitter

SIZE = (128, 64)


def pattern(width: int, height: int, pix_fmt: str = "yuv420p") -> tuple[VideoFrame, list[Any]]:
    """A picture with waves in all planes, and the planes."""
    rows, columns = np.mgrid[:height, :width]
    luma = (126 + 60 * np.sin(columns / 7) + 40 * np.cos(rows / 5)).astype(np.uint8)
    picture = VideoFrame(width, height, pix_fmt)
    planes = planes_of(picture)
    planes[0][:] = luma
    planes[1][:] = (luma[::2, ::2] // 2 + 60)[: planes[1].shape[0], : planes[1].shape[1]]
    planes[2][:] = 255 - planes[1]
    return picture, [plane.astype(np.float64) for plane in planes]


def boxed(plane: Any, box: tuple[int, int, int, int], step: int) -> Any:
    left, top, width, height = (value // step for value in box)
    return plane[top : top + height, left : left + width]


@pytest.mark.parametrize("size", [(960, 540), (1280, 720), (1928, 1208), (320, 320), (256, 128)])
def test_crop_and_scale_are_the_mean_over_the_area(size: tuple[int, int]):
    picture, planes = pattern(*size)
    box = Camera.with_fov("any", *size, 60.0).crop_box(*SIZE)
    assert all(value % 2 == 0 for value in box)
    frame = Fitter("made", *SIZE)(picture, 1.5)
    assert frame.time_s == 1.5
    for got, plane, step in zip((frame.y, frame.u, frame.v), planes, (1, 2, 2), strict=True):
        want = area_mean(boxed(plane, box, step), *got.shape)
        assert np.abs(got - want).max() < 2.0


def test_odd_boxes_are_cut_on_the_chroma_grid():
    picture, planes = pattern(455, 257)
    frame = Fitter("made", *SIZE)(picture, 0.0)
    left, top, width, height = Camera.with_fov("any", 455, 257, 60.0).crop_box(*SIZE)
    assert (left, top, width, height) == (0, 14, 455, 228)
    for got, plane, step in zip((frame.y, frame.u, frame.v), planes, (1, 2, 2), strict=True):
        want = area_mean(boxed(plane, (0, 14, 454, 228), step), *got.shape)
        assert np.abs(got - want).max() < 2.0


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuv420p"])
def test_full_range_becomes_limited(pix_fmt: str):
    picture, planes = pattern(960, 540, pix_fmt)
    picture.color_range = 2
    frame = Fitter("made", *SIZE)(picture, 0.0)
    luma = 16 + area_mean(planes[0][30:510], 64, 128) * 219 / 255
    chroma = 128 + (area_mean(planes[1][15:255], 32, 64) - 128) * 224 / 255
    assert np.abs(frame.y - luma).max() < 2.0
    assert np.abs(frame.u - chroma).max() < 2.0


def test_limited_range_is_kept():
    picture = VideoFrame(256, 128, "yuv420p")
    for plane, level in zip(planes_of(picture), (235, 16, 240), strict=True):
        plane[:] = level
    frame = Fitter("made", *SIZE)(picture, 0.0)
    assert (frame.y == 235).all() and (frame.u == 16).all() and (frame.v == 240).all()


def test_rgb_is_converted_with_bt601():
    red, green, blue = 200, 50, 20
    picture = VideoFrame.from_ndarray(
        np.full((256, 455, 3), (red, green, blue), np.uint8), format="rgb24"
    )
    frame = Fitter("made", *SIZE)(picture, 0.0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(frame.y - (16 + luma * 219 / 255)).max() < 2.0
    assert np.abs(frame.u - (128 + 0.564 * (blue - luma) * 224 / 255)).max() < 2.0
    assert np.abs(frame.v - (128 + 0.713 * (red - luma) * 224 / 255)).max() < 2.0


def primaries(matrix: str) -> tuple[VideoFrame, list[tuple[int, int, int]]]:
    """Red, green and blue thirds in a picture tagged with a matrix (BT.601 or BT.709)."""
    colours = [(200, 20, 30), (20, 200, 30), (20, 30, 200)]
    red_share, blue_share = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114)}[matrix]
    picture = VideoFrame(384, 192, "yuv420p")
    picture.colorspace = {"bt709": 1, "bt601": 6}[matrix]
    planes = planes_of(picture)
    for third, (red, green, blue) in enumerate(colours):
        luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
        values = (
            16 + luma * 219 / 255,
            128 + (blue - luma) / (2 - 2 * blue_share) * 224 / 255,
            128 + (red - luma) / (2 - 2 * red_share) * 224 / 255,
        )
        for plane, value in zip(planes, values, strict=True):
            width = plane.shape[1] // 3
            plane[:, third * width : (third + 1) * width] = round(value)
    return picture, colours


def test_every_matrix_comes_out_as_bt601():
    fit = Fitter("made", 96, 48)
    for matrix in ("bt709", "bt601", "bt709"):  # a source may change it on the way
        picture, colours = primaries(matrix)
        frame = fit(picture, 0.0)
        for third, (red, green, blue) in enumerate(colours):
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            want = (
                16 + luma * 219 / 255,
                128 + 0.564 * (blue - luma) * 224 / 255,
                128 + 0.713 * (red - luma) * 224 / 255,
            )
            at = [frame.y[24, 16 + 32 * third], frame.u[12, 8 + 16 * third]]
            got = [*at, frame.v[12, 8 + 16 * third]]
            assert np.abs(np.array(got, np.float64) - want).max() < 2.5, (matrix, third)


def test_a_source_may_change_its_size_on_the_way():
    fit = Fitter("made", *SIZE)
    first, second, third = (
        fit(pattern(*size)[0], 0.0) for size in ((64, 48), (960, 540), (64, 48))
    )
    assert np.array_equal(first.y, third.y)
    assert second.y.shape == first.y.shape


def test_tiny_pictures_are_scaled_up():
    for size in ((1, 1), (2, 2), (3, 1), (1, 7)):
        rgb = np.full((size[1], size[0], 3), 128, np.uint8)
        frame = Fitter("made", *SIZE)(VideoFrame.from_ndarray(rgb, format="rgb24"), 0.0)
        assert abs(int(frame.y[10, 10]) - 126) < 2


def test_odd_targets_are_refused():
    with pytest.raises(ValueError, match="even"):
        Fitter("made", 127, 64)
