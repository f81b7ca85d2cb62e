"""Boxes in columns: how rays meet them, which are picked, which are hidden."""

from __future__ import annotations

import math

import numpy as np
import torch
from draw_scenes import scene_of

from opendojo.clip import Camera, Pose
from opendojo.world.draw.columns import at_edges, geometry, meet, pick
from opendojo.world.draw.lens import Fans, make_rig
from opendojo.world.draw.scene import Kind, Scene

CPU = torch.device("cpu")


def fans_of(**mount: float) -> Fans:
    at = Pose(**{"z_m": 1.5, **mount})
    return make_rig([(Camera.with_fov("front", 16, 16, 60.0, mount=at),)], CPU).fans[0]


def car(x_m: float, y_m: float = 0.0, **more: float) -> dict:
    size = {"length_m": 4.0, "width_m": 2.0, "top_m": 1.5}
    return {"kind": Kind.CAR, "x_m": x_m, "y_m": y_m, **size, **more}


def middle(scene: Scene, fans: Fans) -> tuple[list[int], list[float]]:
    """Boxes of the column just left of the middle, and whether each was found."""
    seen = geometry(scene, fans)
    picked = pick(meet(seen, fans))
    slots = seen.slot[0, 0][picked.place[0, 0, :, 7]]
    return slots.tolist(), picked.found[0, 0, :, 7].tolist()


def test_rays_meet_a_turned_box_where_its_sides_are() -> None:
    rng = np.random.default_rng(5)
    fans = fans_of()
    for _ in range(20):
        x, y, yaw = rng.uniform(5, 20), rng.uniform(-8, 8), rng.uniform(-3, 3)
        seen = geometry(scene_of([[car(x, y, yaw_rad=yaw)]]), fans)
        bearing = math.atan2(y, x) + rng.uniform(-0.7, 0.7, 50)
        d = torch.tensor(np.stack([np.cos(bearing), np.sin(bearing)]), dtype=torch.float32)
        got = at_edges(d[0], d[1], tuple(p[0, 0, 0] for p in seen.slabs)).hit().numpy()
        # walk along the rays in steps of 5 mm
        r = np.arange(0.0, 30.0, 0.005)
        px, py = r * np.cos(bearing)[:, None] - x, r * np.sin(bearing)[:, None] - y
        u, v = px * math.cos(yaw) + py * math.sin(yaw), py * math.cos(yaw) - px * math.sin(yaw)
        inside = (np.abs(u) < 2.0) & (np.abs(v) < 1.0)
        deep = inside.sum(1) > 20
        np.testing.assert_allclose(1.0 / got[deep], r[inside.argmax(1)[deep]], atol=0.01)
        # at most one ray clips a corner between two steps
        assert np.count_nonzero(got[~inside.any(1)]) <= 1


def test_the_nearest_boxes_come_first_and_no_more_than_four() -> None:
    # each farther one is seen above the nearer: none is hidden
    far = [50.0 - 8.0 * i for i in range(5)]
    tall = [car(x, width_m=6.0, top_m=1.5 + 0.02 * (5 - i) * x) for i, x in enumerate(far)]
    slots, found = middle(scene_of([tall]), fans_of())
    assert found == [1.0] * 4
    assert slots == [4, 3, 2, 1]


def test_a_hidden_box_does_not_take_a_place() -> None:
    truck = car(12.0, top_m=4.0, width_m=6.0)
    behind = [car(20.0 + 6.0 * i) for i in range(4)]
    house = {"kind": Kind.BUILDING, "x_m": 60.0, "length_m": 10.0, "width_m": 60.0, "top_m": 40.0}
    slots, found = middle(scene_of([[*behind, truck, house]]), fans_of())
    assert slots[:2] == [4, 5]
    assert found == [1.0, 1.0, 0.0, 0.0]


def test_boxes_behind_and_empty_slots_are_not_found() -> None:
    scene = scene_of([[car(-10.0), car(12.0, 9.0)]])
    assert middle(scene, fans_of())[1] == [0.0] * 4
    scene.boxes.mask[:] = False
    assert middle(scene_of([[car(10.0)]]), fans_of())[1][0] == 1.0
    assert meet(geometry(scene, fans_of()), fans_of()).entry.max() == 0


def test_a_camera_sees_a_box_above_it_but_not_one_around_it() -> None:
    crown = {"kind": Kind.TREE, "x_m": 0.0, "length_m": 6.0, "width_m": 6.0, "base_m": 3.0}
    scene = scene_of([[{**crown, "top_m": 6.0}, car(0.0, top_m=3.0)]])
    seen = geometry(scene, fans_of())
    assert dict(zip(seen.slot[0, 0].tolist(), seen.valid[0, 0].tolist(), strict=True)) == {
        0: 1.0,
        1: 0.0,
    }


def test_a_tilted_camera_s_columns_find_all_that_any_of_their_rays_meets() -> None:
    fans = fans_of(roll_rad=0.3, pitch_rad=0.1)
    scene = scene_of([[car(14.0, 2.0), car(25.0, -4.0, yaw_rad=1.0)]])
    seen = geometry(scene, fans)
    entry = meet(seen, fans).entry
    for tile in fans.tiles:
        for k in range(2):
            slabs = tuple(p[:, tile.first : tile.last, k, None, None] for p in seen.slabs)
            met = at_edges(tile.luma.dx, tile.luma.dy, slabs).hit().amax(2) > 0
            assert bool((entry[:, tile.first : tile.last, k] > 0)[met].all())


def test_many_boxes_in_view_leave_those_that_look_largest() -> None:
    far = [car(80.0 + i, -20.0 + 2.0 * i) for i in range(20)]
    slots, found = middle(scene_of([[*far, car(10.0)]]), fans_of())
    assert slots[0] == 20
    assert found[0] == 1.0
