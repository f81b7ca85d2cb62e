"""The pictures against slow rays: one a sub-pixel, in float64, through `clip.Camera`'s own axes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_roads import dense_line

from opendojo.clip import unpack_planes
from opendojo.world import World, WorldConfig
from opendojo.world.ground import DASH_PERIOD_M, EDGE_LINE_M, LINE_M
from opendojo.world.prisms import BELT, outlines
from opendojo.world.road import PAVED_M, draw_road

SKY, GRASS, ASPHALT, PAINT, CAR = range(5)
LEVELS = {SKY: 150.0, GRASS: 60.0, ASPHALT: 100.0, PAINT: 220.0}
DASH_M = 4.0


def plain_world(seeds: list[int]) -> World:
    """Worlds in which each class has one luma, without noise, haze, texture or wear."""
    world = World(seeds, WorldConfig(noise=0.0))
    look = world._renderer._looks

    def flat(level: float) -> torch.Tensor:
        return torch.tensor([level, 128.0, 128.0]).expand(len(seeds), 3).contiguous()

    zero = torch.zeros(len(seeds))
    none = torch.zeros_like(look.tree_line)
    world._renderer._looks = dataclasses.replace(
        look, horizon=flat(150.0), zenith=flat(150.0), hills=flat(150.0), trees=flat(150.0),
        grass=flat(60.0), verge=flat(60.0), asphalt=flat(100.0), edge_line=flat(220.0),
        centre_line=flat(220.0), haze=zero, rough=zero, wear=zero, dash_m=zero + DASH_M,
        hill_line=none, tree_line=none, car_paint=torch.full_like(look.car_paint, 235.0),
        sun=torch.zeros_like(look.sun), ambient=zero + 1.0,
    )  # fmt: skip
    world._renderer._ground._tile = torch.zeros_like(world._renderer._ground._tile)
    return world


def luma(world: World) -> np.ndarray:
    """[n, c, height, width] of the current pictures."""
    packed = world.render().numpy()
    return np.array([[unpack_planes(p)[0] for p in pictures] for pictures in packed]).astype(int)


def car_boxes(world: World, i: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Centre, half sizes, and heading of the two boxes of each car, in the vehicle's frame."""
    cars, ego = world.state.cars, world.state.ego
    middle, half_l, half_w = (v[i].double().numpy() for v in outlines(cars))
    yaw0, yaw = float(ego.yaw_rad[i]), cars.yaw_rad[i].double().numpy()
    place = np.stack([cars.x_m[i] - ego.x_m[i], cars.y_m[i] - ego.y_m[i]], 1).astype(float)
    back = np.array([[np.cos(yaw0), -np.sin(yaw0)], [np.sin(yaw0), np.cos(yaw0)]])
    boxes = []
    for a in np.flatnonzero(cars.mask[i].numpy()):
        height, way = float(cars.height_m[i, a]), yaw[a] - yaw0
        for part, low, high in ((1, 0.0, BELT * height), (2, BELT * height, height)):
            at = place[a] @ back + middle[a, part] * np.array([np.cos(way), np.sin(way)])
            centre = np.array([*at, (low + high) / 2])
            half = np.array([half_l[a, part], half_w[a, part], (high - low) / 2])
            boxes.append((centre, half, np.array(way)))
    return boxes


def enters(origin: np.ndarray, rays: np.ndarray, box: tuple[np.ndarray, ...]) -> np.ndarray:
    """Distance along each ray [m, 3] at which it enters a box; inf where it misses."""
    centre, half, yaw = box
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    o, d = turn @ (origin - centre), rays @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - o) / d, (half - o) / d
    near, far = np.minimum(one, two).max(1), np.maximum(one, two).min(1)
    return np.where((far > near) & (far > 0), near, np.inf)


def classes(
    world: World, i: int, c: int, per_pixel: int = 2, first_row: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Class of each sub-pixel [h, w, k] from a row on, and whether a shadow may be there."""
    camera = world.config.cameras[c]
    sub = (np.arange(per_pixel) + 0.5) / per_pixel - 0.5
    v, u, dv, du = np.meshgrid(
        np.arange(first_row, camera.height_px), np.arange(camera.width_px), sub, sub,
        indexing="ij",
    )  # fmt: skip
    shape = (camera.height_px - first_row, camera.width_px, per_pixel**2)
    right, down = (u + du - camera.cx_px) / camera.fx_px, (v + dv - camera.cy_px) / camera.fy_px
    rays = np.stack([right.ravel(), down.ravel(), np.ones(right.size)], 1)
    pose = camera.vehicle_from_camera
    rays, origin = rays @ pose[:3, :3].T, pose[:3, 3]
    found = np.full(len(rays), SKY)
    with np.errstate(divide="ignore"):
        reach = np.where(rays[:, 2] < -1e-9, -origin[2] / rays[:, 2], np.inf)
    ground = np.flatnonzero(reach < 300.0)
    points = origin[:2] + rays[ground, :2] * reach[ground, None]
    found[reach < np.inf] = GRASS
    found[ground], _ = ground_classes(world, i, points)
    nearest, shadow = np.full(len(rays), np.inf), np.zeros(len(rays), bool)
    for centre, half, yaw in car_boxes(world, i):
        nearest = np.minimum(nearest, enters(origin, rays, (centre, half, yaw)))
        grown = centre * (1, 1, 0), half * (1, 1, 0) + (0.3, 0.3, 0.01), yaw
        shadow |= enters(origin, rays, grown) < np.inf
    found[nearest < reach] = CAR
    return found.reshape(shape), shadow.reshape(shape)


def ground_classes(world: World, i: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and offset of points of the vehicle's frame, by the nearest of a dense centre line."""
    ego = world.state.ego
    x0, y0, yaw0 = (float(v[i]) for v in (ego.x_m, ego.y_m, ego.yaw_rad))
    c, s = np.cos(yaw0), np.sin(yaw0)
    x, y = x0 + points[:, 0] * c - points[:, 1] * s, y0 + points[:, 0] * s + points[:, 1] * c
    line_s, line_x, line_y, yaw = dense_line(draw_road(world.seeds[i], world.roads.length_m))
    coarse = np.concatenate([((x[k : k + 512, None] - line_x[::50]) ** 2
                              + (y[k : k + 512, None] - line_y[::50]) ** 2).argmin(1)
                             for k in range(0, len(x), 512)]) * 50  # fmt: skip
    best = np.clip(coarse[:, None] + np.arange(-75, 76), 0, len(line_s) - 1)
    pick = ((x[:, None] - line_x[best]) ** 2 + (y[:, None] - line_y[best]) ** 2).argmin(1)
    k = np.take_along_axis(best, pick[:, None], 1)[:, 0]
    dx, dy = x - line_x[k], y - line_y[k]
    d, along = dy * np.cos(yaw[k]) - dx * np.sin(yaw[k]), dx * np.cos(yaw[k]) + dy * np.sin(yaw[k])
    at = line_s[k] + along
    phase = np.abs(at / DASH_PERIOD_M - np.round(at / DASH_PERIOD_M)) * DASH_PERIOD_M
    line = np.abs(np.abs(d) - EDGE_LINE_M) < LINE_M / 2
    line |= (np.abs(d) < LINE_M / 2) & (phase < DASH_M / 2)
    return np.where(np.abs(d) > PAVED_M, GRASS, np.where(line, PAINT, ASPHALT)), d


@pytest.fixture(scope="module")
def scene() -> World:
    """Worlds under way, with cars about."""
    world = plain_world([2, 5, 8])
    for _ in range(32):
        world.step(world.expert())
    return world


def test_classes_agree_with_rays_where_a_pixel_holds_one_class(scene: World):
    pictures = luma(scene)
    mask = scene.state.cars.mask
    empty = dataclasses.replace(scene.state.cars, mask=torch.zeros_like(mask))
    state, scene.state = scene.state, dataclasses.replace(scene.state, cars=empty)
    without = luma(scene)
    scene.state = state
    right = total = 0
    counts = np.zeros(5, int)
    for i in range(len(scene.seeds)):
        for c in range(len(scene.config.cameras)):
            found, shadow = classes(scene, i, c)
            one = (found == found[..., :1]).all(2)
            kind, changed = found[..., 0], pictures[i, c] != without[i, c]
            car = one & (kind == CAR)
            right += changed[car].sum()
            total += car.sum()
            plain = one & (kind != CAR) & ~shadow.any(2)
            level = np.array([LEVELS.get(k, 0.0) for k in range(5)])[kind]
            good = (np.abs(pictures[i, c] - level) < 30) & ~changed
            right += good[plain].sum()
            total += plain.sum()
            counts += np.bincount(kind[one], minlength=5)
    assert counts.min() > 100, counts  # every class was looked at
    assert total > 0.85 * pictures.size
    assert right / total >= 0.99


def test_covers_are_the_mean_of_many_rays(scene: World):
    """Along lines and edges too: the luma is that of 16 rays a pixel, to within some levels."""
    pictures = luma(scene)
    level = np.array([LEVELS.get(k, 0.0) for k in range(5)])
    for c in range(3):
        # from row 40 on the ground is nearer than 15 m
        found, shadow = classes(scene, 1, c, per_pixel=4, first_row=40)
        near = ~(found == CAR).any(2) & ~shadow.any(2)
        off = np.abs(level[found].mean(2) - pictures[1, c, 40:])[near]
        assert off.mean() < 3.0
        assert (off < 40.0).mean() > 0.98


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_cars_corners_are_where_the_camera_projects_them(slot: int):
    world = plain_world([1])
    camera, ego = world.config.cameras[slot], world.state.ego
    # a car straight ahead of this camera, turned a little
    place = camera.mount.matrix @ np.array([8.0, 0.4, 0.0, 1.0])
    yaw = camera.mount.yaw_rad + 0.3
    yaw0 = float(ego.yaw_rad)
    x = float(ego.x_m) + place[0] * np.cos(yaw0) - place[1] * np.sin(yaw0)
    y = float(ego.y_m) + place[0] * np.sin(yaw0) + place[1] * np.cos(yaw0)
    cars = world.state.cars
    mask = torch.zeros_like(cars.mask)
    mask[0, 0] = True
    full = torch.full_like(cars.x_m, 0.0)
    cars = dataclasses.replace(
        cars, mask=mask, x_m=full + x, y_m=full + y, yaw_rad=full + (yaw + yaw0)
    )
    world.state = dataclasses.replace(world.state, cars=cars)
    picture = luma(world)[0, slot]
    half = np.array([float(cars.length_m[0, 0]), float(cars.width_m[0, 0])]) / 2
    signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    flat = (signs * half) @ turn + place[:2]
    low, seen = camera.project(np.column_stack([flat, np.zeros(4)]))
    assert seen.all()
    # paint is brighter than all else, except for lane lines, which are lower
    bright = picture > 225
    columns = np.flatnonzero(bright.any(0))
    assert abs(columns[0] - low[:, 0].min()) <= 1.5
    assert abs(columns[-1] - low[:, 0].max()) <= 1.5
    # the nearest corner: a dark sill stands on the ground there
    corner = low[:, 1].argmax()
    column = round(low[corner, 0])
    dark = np.flatnonzero(picture[:, column] < 48)
    assert abs(dark.max() - low[corner, 1]) <= 1.5


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_points_of_the_edge_lines_are_painted_where_the_camera_projects_them(slot: int):
    world = plain_world([1])
    ego, camera = world.state.ego, world.config.cameras[slot]
    if slot == 2:  # turned left, or its own lane's edge would lie below the picture
        ego = dataclasses.replace(ego, yaw_rad=ego.yaw_rad + 0.5)
        world.state = dataclasses.replace(world.state, ego=ego)
    picture = luma(world)[0, slot]
    yaw0 = float(ego.yaw_rad)
    turn = np.array([[np.cos(yaw0), np.sin(yaw0)], [-np.sin(yaw0), np.cos(yaw0)]])
    s = torch.arange(3.0, 11.0, 0.1)[None]
    side = EDGE_LINE_M if slot == 1 else -EDGE_LINE_M

    def levels(d_m: float) -> np.ndarray:
        """Luma where the points at this offset are projected to, NaN outside of the picture."""
        x, y, _ = world.roads.place(s, torch.full_like(s, d_m))
        offset = np.stack([x[0] - ego.x_m, y[0] - ego.y_m]).astype(float)
        points = np.column_stack([(turn @ offset).T, np.zeros(offset.shape[1])])
        spot, seen = camera.project(points)
        seen &= ((spot > 0) & (spot < (camera.width_px - 1, camera.height_px - 1))).all(1)
        column, row = np.where(seen[:, None], spot, 0.0).round().astype(int).T
        return np.where(seen, picture[row, column], np.nan)

    line, inner, outer = levels(side), levels(side * 0.8), levels(side * 1.12)
    known = ~np.isnan(line + inner + outer)
    assert known.sum() >= 10
    assert (line[known] > 130).mean() > 0.9
    assert ((line - inner)[known] > 30).mean() > 0.9
    assert ((line - outer)[known] > 30).mean() > 0.9


def test_noise_is_mild_and_moves_with_time_seed_and_camera():
    clean, noisy = World([3, 4], WorldConfig(noise=0.0)), World([3, 4])
    off = luma(noisy) - luma(clean)
    assert 1.2 < off.std() < 2.0 and abs(off.mean()) < 0.05
    first = off[0, 0].ravel()
    noisy.step(torch.zeros(2, 2))
    clean.step(torch.zeros(2, 2))
    later = luma(noisy) - luma(clean)
    for other in (off[1, 0], off[0, 1], later[0, 0]):
        assert abs(np.corrcoef(first, other.ravel())[0, 1]) < 0.05


def test_values_stay_in_limited_range():
    frames = World([*range(8)]).render()
    assert frames[:, :, :4].min() >= 16 and frames[:, :, :4].max() <= 235
    assert frames[:, :, 4:].min() >= 16 and frames[:, :, 4:].max() <= 240
