"""Locating points on roads, against the nearest point of a dense centre line."""

from __future__ import annotations

import numpy as np
import torch

from opendojo.world.road import Road, draw_road
from opendojo.world.roads import Roads


def dense_line(road: Road, per_m: int = 50) -> tuple[np.ndarray, ...]:
    """Arc length, x, y and heading of a road's centre line by cubic Hermite interpolation."""
    s = np.arange(int(road.length_m) * per_m) / per_m
    i, t = s.astype(int), (s % 1.0)[:, None]
    p, q = (np.stack([road.x_m, road.y_m], 1)[k] for k in (i, i + 1))
    m, n = (np.stack([np.cos(a), np.sin(a)], 1) for a in (road.yaw_rad[i], road.yaw_rad[i + 1]))
    point = (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * m
    point += (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * n
    return s, point[:, 0], point[:, 1], np.interp(s, np.arange(len(road.yaw_rad)), road.yaw_rad)


def test_points_near_the_road_are_located_to_centimetres():
    drawn = [draw_road(seed, 320.0) for seed in (3, 4, 1_000_001)]
    roads = Roads(drawn, torch.device("cpu"))
    rng = np.random.default_rng(0)
    for i, road in enumerate(drawn):
        s, x, y, yaw = dense_line(road)
        k = rng.integers(200, len(s) - 200, 3000)
        d = rng.uniform(-7.0, 7.0, 3000)
        px, py = x[k] - d * np.sin(yaw[k]), y[k] + d * np.cos(yaw[k])
        rows = [torch.zeros(3, 3000), torch.zeros(3, 3000)]
        rows[0][i], rows[1][i] = torch.tensor(px), torch.tensor(py)
        at = roads.locate(*rows)
        assert np.abs(at.d_m[i].numpy() - d).max() < 0.03
        assert np.abs(at.s_m[i].numpy() - s[k]).max() < 0.12
        turn = at.cos[i].numpy() * np.sin(yaw[k]) - at.sin[i].numpy() * np.cos(yaw[k])
        assert np.abs(turn).max() < 0.02


def test_points_far_off_are_never_taken_for_road():
    road = draw_road(3, 320.0)
    roads = Roads([road], torch.device("cpu"))
    line = np.stack(dense_line(road, per_m=2)[1:3], 1)
    rng = np.random.default_rng(1)
    points = rng.uniform((-60.0, -250.0), (380.0, 250.0), (4000, 2))
    nearest = np.linalg.norm(points[:, None] - line[None], axis=2).min(1)
    x, y = torch.tensor(points[None], dtype=torch.float32).unbind(2)
    located = roads.locate(x, y).d_m[0].abs().numpy()
    # beyond its ends the road goes on straight, so only points beside it tell
    beside = (points[:, 0] > 0) & (points[:, 0] < road.x_m[-1]) & (nearest > 12.0)
    assert beside.sum() > 1000
    assert located[beside].min() > 8.0


def test_place_is_the_inverse_of_locate():
    roads = Roads([draw_road(9, 320.0)], torch.device("cpu"))
    s = torch.linspace(1.0, 310.0, 500)[None]
    d = torch.linspace(-4.0, 4.0, 500)[None]
    x, y, _ = roads.place(s, d)
    at = roads.locate(x, y)
    assert (at.s_m - s).abs().max() < 0.12
    assert (at.d_m - d).abs().max() < 0.03


def test_beyond_its_ends_the_road_goes_on_straight():
    roads = Roads([draw_road(9, 320.0)], torch.device("cpu"))
    s = torch.tensor([[-25.0, 340.0]])
    x, y, _ = roads.place(s, torch.tensor([[1.0, -1.0]]))
    at = roads.locate(x, y)
    assert torch.allclose(at.s_m, s, atol=0.05)
    assert torch.allclose(at.d_m, torch.tensor([[1.0, -1.0]]), atol=0.05)
