from __future__ import annotations

import base64
import io

import av
import numpy as np
import pytest
from PIL import Image

from opendojo.clip import Camera, Pose, pack_planes
from opendojo.evaluate.picture import NETWORK, data_uri, draw_path, enlarge, to_rgb

CAMERA = Camera.with_fov("front", 128, 64, 70.0, mount=Pose(x_m=1.6, z_m=1.4))


def test_colours_agree_with_ffmpeg() -> None:
    """Flat patches, so that the two ways of enlarging chroma cannot differ."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.repeat(rng.integers(16, 236, (4, 8)), 16, 0), 16, 1).astype(np.uint8)
    u, v = (
        np.repeat(np.repeat(rng.integers(90, 166, (4, 8)), 8, 0), 8, 1).astype(np.uint8)
        for _ in range(2)
    )
    stacked = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(96, 128)
    frame = av.VideoFrame.from_ndarray(stacked, format="yuv420p")
    oracle = frame.to_ndarray(format="rgb24").astype(int)
    ours = to_rgb(pack_planes(y, u, v)).astype(int)
    centres = np.ix_(range(8, 64, 16), range(8, 128, 16))
    assert np.abs(ours[centres] - oracle[centres]).max() <= 3


def test_limited_range_black_and_white() -> None:
    for level, value in ((16, 0), (235, 255)):
        planes = np.full((6, 2, 2), 128, np.uint8)
        planes[:4] = level
        assert (to_rgb(planes) == value).all()


@pytest.mark.parametrize("scale", [1, 4])
def test_a_path_is_drawn_where_the_camera_sees_the_ground(scale: int) -> None:
    base = np.zeros((64 * scale, 128 * scale, 3), np.uint8)
    path = np.stack([np.linspace(1, 30, 16), np.full(16, 2.0)], 1)  # 2 m to the left
    marked = draw_path(base, CAMERA, path, NETWORK, scale=scale).any(-1)
    spots, _ = CAMERA.project(np.array([[12.0, 2.0, 0.0], [12.0, -2.0, 0.0]]))
    (u, v), (u_right, _) = (spots + 0.5) * scale - 0.5
    assert marked[round(v), round(u)]
    assert not marked[round(v), round(u_right)]
    assert not marked[: 32 * scale].any(), "nothing above the horizon"


def test_a_path_behind_or_of_no_length_draws_nothing() -> None:
    base = np.zeros((64, 128, 3), np.uint8)
    for path in (np.zeros((16, 2)), np.stack([np.linspace(-1, -30, 16), np.zeros(16)], 1)):
        assert not draw_path(base, CAMERA, path, NETWORK).any()


def test_a_data_address_holds_the_picture() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    head, _, body = data_uri(rgb).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), rgb)


def test_enlarge() -> None:
    assert enlarge(np.full((2, 4, 3), 9, np.uint8), 3).shape == (6, 12, 3)
