import dataclasses

import numpy as np
import pytest
import torch

from opendojo.clip import Pose
from opendojo.loader import LENS_COLUMNS
from opendojo.loader.lens import lens_rows
from opendojo.model import rays
from opendojo.world import tesla_eight
from opendojo.world.draw import lens as drawn


def test_lens_columns_are_the_loaders():
    assert rays.LENS_COLUMNS == LENS_COLUMNS


@pytest.mark.parametrize("turn", [0.0, 0.1])
def test_rays_are_those_of_the_worlds_renderer(turn):
    """Of all eight cameras, pinholes and fisheyes, level and not."""
    rig = tesla_eight(128, 64)
    rig = tuple(
        dataclasses.replace(
            c, mount=Pose(
                x_m=c.mount.x_m, y_m=c.mount.y_m, z_m=c.mount.z_m, yaw_rad=c.mount.yaw_rad,
                pitch_rad=c.mount.pitch_rad + turn, roll_rad=2 * turn,
            )
        )
        for c in rig
    )  # fmt: skip
    lens = torch.from_numpy(lens_rows(rig, [c.name for c in rig]))[None]
    found = rays.cell_rays(lens, (4, 8), 128, 64)
    u, v = np.meshgrid(np.arange(8) * 16 + 7.5, np.arange(4) * 16 + 7.5)
    for number, camera in enumerate(rig):
        wanted = drawn.rays(camera, u.ravel(), v.ravel())
        some = slice(32 * number, 32 * number + 32)
        np.testing.assert_allclose(found.direction[0, some], wanted, atol=2e-5)
        place = (camera.mount.x_m, camera.mount.y_m, camera.mount.z_m)
        np.testing.assert_allclose(found.origin_m[0, some], [place] * 32, rtol=1e-6)


def test_features_stay_within_their_order():
    lens = torch.from_numpy(lens_rows(tesla_eight(), [c.name for c in tesla_eight()]))[None]
    features = rays.cell_rays(lens, (4, 8), 128, 64).features()
    assert features.shape == (1, 256, rays.RAY_FEATURES)
    assert features.isfinite().all() and features.abs().max() < 4


def test_a_lens_of_zeros_gives_the_stand_in():
    lens = rays.StandIn()(torch.zeros(1, 2, 16), 128, 64)
    direction = rays.cell_rays(lens, (4, 8), 128, 64).direction
    assert direction.isfinite().all() and (direction[..., 0] > 0.7).all()
