"""Rasters of towns against slow sums over every line, edge and lane."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

import small_towns
from opendojo.world.town.atlas import CELL_M, EDGE_CELL_M, EDGE_STEP_M, LINE_STEP_M, Ground
from opendojo.world.town.bake import Baked, bake, bake_all
from opendojo.world.town.build import TRAINING_SPECS, build
from opendojo.world.town.graph import Line, Town

CPU = torch.device("cpu")
TOWNS = {
    "straight": small_towns.straight(120.0, 0.3),
    "arc": small_towns.arc(12.0),
    "crossing": small_towns.crossing(),
}


@pytest.fixture(scope="module", params=TOWNS)
def baked(request: pytest.FixtureRequest) -> tuple[Town, Baked]:
    town = TOWNS[request.param]
    return town, bake(town)


def corners_of(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> shift & 255 for shift in (0, 8, 16, 24)], -1)


def to_polyline(x, y, px, py):
    """Distance of points [q] from a polyline, on which side they are, and the arc of the foot,
    negative or beyond the length where the nearest point is an end."""
    dx, dy = np.diff(x), np.diff(y)
    length = np.hypot(dx, dy)
    rx, ry = px[:, None] - x[:-1], py[:, None] - y[:-1]
    along = (rx * dx + ry * dy) / length
    over = along - np.clip(along, 0.0, length)
    across = (dx * ry - dy * rx) / length
    far = np.hypot(over, across)
    k = far.argmin(1)
    pick = np.arange(len(px)), k
    arc = np.cumsum(length) - length
    return far[pick], np.sign(across[pick]), arc[k] + along[pick], arc[-1] + length[-1]


def inside(x, y, px, py):
    """Whether points lie in a polygon, even and odd."""
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    over = (y <= py[:, None]) != (y2 <= py[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x + (py[:, None] - y) / (y2 - y) * (x2 - x)
    return ((over & (at < px[:, None])).sum(1) % 2).astype(bool)


def on_paint(line: Line, px, py):
    """`to_polyline`, but 99 m where the foot is beyond an end or in a gap; and the arc."""
    far, side, arc, length = to_polyline(line.x_m, line.y_m, px, py)
    off = (arc < 0.0) | (arc > length)
    if line.gap_m > 0.0:
        off |= arc % (line.dash_m + line.gap_m) > line.dash_m
    return np.where(off, 99.0, far), side, arc


def test_corners_of_cells_hold_distances_from_the_line_nearest_to_the_middle(baked):
    town, part = baked
    rng = np.random.default_rng(1)
    rows, columns = part.lines.shape
    anywhere = rng.permutation(rows * columns)[:4000]
    near = rng.permutation(np.flatnonzero(part.lines != -1))[:4000]
    r, c = np.divmod(np.concatenate([anywhere, near]), columns)
    x, y = part.x0_m + (c + 0.5) * CELL_M, part.y0_m + (r + 0.5) * CELL_M
    far = np.stack([on_paint(line, x, y)[0] for line in town.lines], 1)
    line = far.argmin(1)
    best = np.sort(far, 1)
    painted = best[:, 0] < 0.799
    bare = best[:, 0] > 0.801
    # ends of dashes, to a rounding
    same = np.ones(len(r), bool)
    for i, one in enumerate(town.lines):
        if one.gap_m > 0.0:
            arc = on_paint(one, x, y)[2] % (one.dash_m + one.gap_m)
            near = np.minimum.reduce([arc, abs(arc - one.dash_m), one.dash_m + one.gap_m - arc])
            same &= (near > 1e-3) | (far[:, i] > 0.9)
    clear = (best[:, 1] - best[:, 0] > 1e-4) & same
    values = corners_of(part.lines[r, c])
    assert painted.sum() > 1500 and bare.sum() > 1500
    assert (values[bare & same] == 255).all()
    bits = part.ground[r, c]
    for i, one in enumerate(town.lines):
        some = clear & painted & (line == i)
        assert ((bits[some] & Ground.YELLOW > 0) == one.yellow).all()
        assert ((bits[some] & Ground.WIDE > 0) == (one.width_m > 0.2)).all()
        for k, (dy, dx) in enumerate([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]):
            px, py = x[some] + dx * CELL_M, y[some] + dy * CELL_M
            off, side, arc, length = to_polyline(one.x_m, one.y_m, px, py)
            whole = (arc >= 0.0) & (arc <= length)
            error = (values[some, k] - 128) * LINE_STEP_M - side * off
            assert np.abs(error[whole]).max(initial=0.0) < 0.006


def test_edge_is_the_distance_from_the_union_of_roads(baked):
    town, part = baked
    roads = [area for area in town.areas if area.kind == "road"]
    points = []
    for road in roads:
        x2, y2 = np.roll(road.x_m, -1), np.roll(road.y_m, -1)
        turned = np.sum(road.x_m * y2 - x2 * road.y_m) < 0.0
        for x, y, dx, dy in zip(road.x_m, road.y_m, x2 - road.x_m, y2 - road.y_m, strict=True):
            length = np.hypot(dx, dy)
            t = np.arange(0.005, length, 0.02)
            px, py = x + t * dx / length, y + t * dy / length
            out = 1e-4 * (-1.0 if turned else 1.0)
            ox, oy = px + out * dy / length, py - out * dx / length
            free = ~np.any([inside(a.x_m, a.y_m, ox, oy) for a in roads], 0)
            points.append(np.stack([px[free], py[free]], 1))
    rim = np.concatenate(points)
    rng = np.random.default_rng(2)
    rows, columns = part.edge.shape
    r, c = np.divmod(rng.permutation(rows * columns)[:1500], columns)
    x, y = part.x0_m + c * EDGE_CELL_M, part.y0_m + r * EDGE_CELL_M
    far = np.hypot(x[:, None] - rim[:, 0], y[:, None] - rim[:, 1]).min(1)
    on_road = np.any([inside(a.x_m, a.y_m, x, y) for a in roads], 0)
    signed = np.clip(np.where(on_road, far, -far), -8.0, 8.0 - EDGE_STEP_M)
    value = ((part.edge[r, c] & 255) - 128) * EDGE_STEP_M
    assert on_road.sum() > 50
    assert np.abs(value - signed).max() < 0.5 * EDGE_STEP_M + 0.01


def test_edge_packs_its_four_corners(baked):
    _, part = baked
    a, b, c, d = np.moveaxis(corners_of(part.edge), -1, 0)
    assert (b[:, :-1] == a[:, 1:]).all()
    assert (c[:-1] == a[1:]).all()
    assert (d[:-1, :-1] == a[1:, 1:]).all()
    assert len(np.unique(a)) > 100
    assert (corners_of(part.edge)[0] == 0).all()


def test_ground_is_the_last_area_that_covers_a_cell(baked):
    town, part = baked
    kinds = {"road": 1, "sidewalk": 2, "crossing": 3, "stop": 4, "island": 5}
    rng = np.random.default_rng(3)
    rows, columns = part.ground.shape
    r, c = np.divmod(rng.permutation(rows * columns)[:20_000], columns)
    x, y = part.x0_m + (c + 0.5) * CELL_M, part.y0_m + (r + 0.5) * CELL_M
    expected = np.zeros(len(r), int)
    for area in town.areas:
        covered = inside(area.x_m, area.y_m, x, y)
        if area.kind == "crossing":
            # people cross this one along y, from -4 m
            covered &= (y + 4.0) % 1.0 < 0.5
        expected[covered] = kinds[area.kind]
    assert (part.ground[r, c] & 15 == expected).all()


def test_a_crossing_has_stripes_and_a_stripe_has_none():
    town = TOWNS["crossing"]
    part = bake(town)
    column = int((-14.0 - part.x0_m) / CELL_M)
    rows = slice(int((-4.0 - part.y0_m) / CELL_M), int((4.0 - part.y0_m) / CELL_M))
    stripes = part.ground[rows, column] & 15 == Ground.CROSSING
    assert np.count_nonzero(np.diff(stripes.astype(int)) == 1) >= 6
    alone = dataclasses.replace(
        town, areas=(town.areas[1], small_towns.box("crossing", -16.0, -4.0, -15.2, 4.0))
    )
    column = int((-15.6 - part.x0_m) / CELL_M)
    assert (bake(alone).ground[rows, column] & 15 == Ground.CROSSING).all()


def test_lane_is_the_nearest_of_those_that_a_cell_lies_on(baked):
    town, part = baked
    rng = np.random.default_rng(4)
    rows, columns = part.lane.shape
    r, c = np.divmod(rng.permutation(rows * columns)[:6000], columns)
    x, y = part.x0_m + (c + 0.5) * EDGE_CELL_M, part.y0_m + (r + 0.5) * EDGE_CELL_M
    far = []
    for lane in town.lanes:
        s = np.append(np.arange(int(lane.length_m) + 1.0), lane.length_m)
        s = s[np.append(True, np.diff(s) > 1e-6)]
        grid = np.arange(len(lane.x_m))
        off, _, arc, length = to_polyline(
            np.interp(s, grid, lane.x_m), np.interp(s, grid, lane.y_m), x, y
        )
        on = (off <= lane.width_m / 2) & (arc >= 0.0) & (arc <= length)
        far.append(np.where(on, off, np.inf))
    far = np.stack(far, 1)
    best = np.sort(np.concatenate([far, np.full((len(r), 1), 9.0)], 1), 1)
    expected = np.where(best[:, 0] < 9.0, far.argmin(1), -1)
    half = town.lanes[0].width_m / 2
    clear = (best[:, 1] - best[:, 0] > 1e-4) & (np.abs(best[:, 0] - half) > 1e-4)
    assert (expected[clear] >= 0).sum() > 100
    wrong = part.lane[r, c][clear] != expected[clear]
    # the very ends of lanes may fall either way
    assert wrong.mean() < 1e-3


def test_a_hairline_between_two_roads_is_no_edge():
    town = TOWNS["straight"]
    roads = (
        small_towns.box("road", 0.0, -4.0, 80.0, 0.495),
        small_towns.box("road", 0.0, 0.505, 80.0, 4.0),
        small_towns.box("road", 60.0, -6.0, 70.0, 6.0),
    )
    part = bake(dataclasses.replace(town, areas=roads, lines=()))
    row, column = int((0.5 - part.y0_m) / EDGE_CELL_M), int((30.0 - part.x0_m) / EDGE_CELL_M)
    value = ((part.edge[row, column] & 255) - 128) * EDGE_STEP_M
    assert abs(value - 3.5) < 0.1
    assert part.ground[2 * row, 2 * column] == Ground.ROAD


def test_towns_in_one_atlas_do_not_change_each_other():
    alone = [bake_all([town], CPU) for town in TOWNS.values()]
    together = bake_all(list(TOWNS.values()), CPU)
    for i, one in enumerate(alone):
        for name, rim in (("lines", -1), ("edge", 0), ("ground", 0), ("lane", -1)):
            small, large = getattr(one, name)[0], getattr(together, name)[i]
            rows, columns = small.shape
            assert torch.equal(large[:rows, :columns], small)
            assert (large[rows:] == rim).all() and (large[:, columns:] == rim).all()
        assert together.x0_m[i] == one.x0_m[0] and together.y0_m[i] == one.y0_m[0]


def test_a_town_is_baked_anew_only_if_it_differs(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "opendojo.world.town.bake.bake", lambda town: (calls.append(1), bake(town))[1]
    )
    town = small_towns.straight(61.0)
    first = bake_all([town], CPU)
    again = bake_all([small_towns.straight(61.0)], CPU)
    assert len(calls) == 1
    assert torch.equal(first.lines, again.lines)
    wide = dataclasses.replace(town.lines[0], width_m=0.25)
    bake_all([dataclasses.replace(town, lines=(wide, *town.lines[1:]))], CPU)
    assert len(calls) == 2


@pytest.mark.parametrize("kind", ["urban", "country"])
def test_lanes_of_drawn_towns_are_on_their_roads(kind):
    town = build(5, TRAINING_SPECS[kind])
    start = time.process_time()
    part = bake(town)
    print(f"{kind}: {part.ground.shape}, {time.process_time() - start:.3f} s")
    for lane in town.lanes:
        r = ((lane.y_m[1:-2] - part.y0_m) / EDGE_CELL_M).astype(int)
        c = ((lane.x_m[1:-2] - part.x0_m) / EDGE_CELL_M).astype(int)
        assert ((part.edge[r, c] & 255) > 128).all()
        assert (part.lane[r, c] >= 0).all()
