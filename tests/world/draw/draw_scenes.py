"""Scenes for the tests of drawing: hand-made boxes, and random ones over real towns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from opendojo.world.draw.scene import Boxes, Kind, Scene
from opendojo.world.town.atlas import Atlas
from opendojo.world.town.graph import Town

SIZES = {
    Kind.CAR: ((4.0, 5.0), (1.7, 2.0), (0.0, 0.0), (1.4, 1.8)),
    Kind.TRUCK: ((7.0, 12.0), (2.3, 2.6), (0.0, 0.0), (2.8, 3.8)),
    Kind.CYCLIST: ((1.7, 1.9), (0.5, 0.7), (0.0, 0.0), (1.6, 1.9)),
    Kind.PEDESTRIAN: ((0.4, 0.6), (0.5, 0.7), (0.0, 0.0), (1.5, 1.95)),
    Kind.BUILDING: ((8.0, 20.0), (8.0, 15.0), (0.0, 0.0), (4.0, 18.0)),
    Kind.TREE: ((2.0, 5.0), (2.0, 5.0), (1.2, 2.2), (4.0, 8.0)),
    Kind.POLE: ((0.2, 0.3), (0.2, 0.3), (0.0, 0.0), (4.0, 8.0)),
    Kind.SIGNAL: ((0.4, 0.4), (0.4, 0.4), (2.6, 5.0), (1.0, 1.0)),
}
"""Ranges of length, width, underside, and top (of trees and signals: top above underside)."""


def boxes_of(worlds: Sequence[Sequence[dict[str, Any]]]) -> Boxes:
    """Boxes from what is said of each; slots that a world lacks are empty."""
    most = max(1, *(len(world) for world in worlds))
    plain = {
        "mask": False, "kind": 0, "x_m": 0.0, "y_m": 0.0, "yaw_rad": 0.0, "length_m": 1.0,
        "width_m": 1.0, "base_m": 0.0, "top_m": 1.0, "paint": (120.0, 128.0, 128.0), "lamp": 0,
    }  # fmt: skip
    rows = [
        [{**plain, "mask": True, **box} for box in world] + [plain] * (most - len(world))
        for world in worlds
    ]
    kinds = {"mask": torch.bool, "kind": torch.int64, "lamp": torch.int64}
    return Boxes(
        **{
            name: torch.tensor(
                [[box[name] for box in row] for row in rows], dtype=kinds.get(name, torch.float32)
            )
            for name in plain
        }
    )


def scene_of(
    worlds: Sequence[Sequence[dict[str, Any]]],
    poses: Sequence[tuple[float, float, float]] | None = None,
    towns: Sequence[int] | None = None,
) -> Scene:
    """A scene of worlds with these boxes; the egos at the origin unless said otherwise."""
    n = len(worlds)
    pose = torch.tensor(poses or [(0.0, 0.0, 0.0)] * n, dtype=torch.float32)
    return Scene(
        x_m=pose[:, 0].contiguous(), y_m=pose[:, 1].contiguous(), yaw_rad=pose[:, 2].contiguous(),
        town=torch.tensor(towns or [0] * n), boxes=boxes_of(worlds),
        step=torch.zeros(n, dtype=torch.int64),
    )  # fmt: skip


def flat_atlas(cells: int = 64) -> Atlas:
    """One town of grass around the origin, without paint or road; 16 m square."""
    lines = torch.full((1, cells, cells), -1, dtype=torch.int32)
    edge = torch.zeros((1, cells // 2, cells // 2), dtype=torch.int32)
    low = torch.tensor([-cells * 0.125])
    return Atlas(
        lines=lines, edge=edge, ground=torch.zeros((1, cells, cells), dtype=torch.uint8),
        lane=torch.full((1, cells // 2, cells // 2), -1, dtype=torch.int16), x0_m=low, y0_m=low,
    )  # fmt: skip


def random_box(
    rng: np.random.Generator, kind: Kind, x_m: float, y_m: float, yaw_rad: float
) -> dict[str, Any]:
    length, width, base, top = (rng.uniform(*span) for span in SIZES[kind])
    lifted = base if kind in (Kind.TREE, Kind.SIGNAL) else 0.0
    return {
        "kind": int(kind), "x_m": x_m, "y_m": y_m, "yaw_rad": yaw_rad, "length_m": length,
        "width_m": width, "base_m": base, "top_m": top + lifted,
    }  # fmt: skip


def random_scene(seeds: Sequence[int], towns: Sequence[Town]) -> Scene:
    """Egos about a lane of their town; 16 road users and 16 things that stand, at random around.

    Nothing comes within 2 m of the ego's circle, so no camera is inside a box.
    """
    worlds, poses, which = [], [], []
    for seed in seeds:
        rng = np.random.Generator(np.random.Philox(key=[seed, 77]))
        town = int(rng.integers(len(towns)))
        lane = towns[town].lanes[rng.integers(len(towns[town].lanes))]
        at = rng.integers(len(lane.x_m))
        x0, y0 = lane.x_m[at] + rng.normal() * 0.5, lane.y_m[at] + rng.normal() * 0.5
        yaw0 = lane.yaw_rad[at] + rng.normal() * 0.1
        boxes = []
        while len(boxes) < 32:
            agent = len(boxes) < 16
            kinds = list(SIZES)[:4] if agent else list(SIZES)[4:]
            shares = (0.6, 0.12, 0.12, 0.16) if agent else (0.3, 0.3, 0.25, 0.15)
            kind = kinds[rng.choice(4, p=shares)]
            way, far = rng.uniform(0, 2 * math.pi), rng.uniform(5.0, 80.0)
            box = random_box(
                rng, kind, x0 + far * math.cos(way), y0 + far * math.sin(way),
                rng.uniform(-math.pi, math.pi),
            )  # fmt: skip
            if far > math.hypot(box["length_m"], box["width_m"]) / 2 + 6.0:
                boxes.append(box)
        worlds.append(boxes)
        poses.append((x0, y0, yaw0))
        which.append(town)
    return scene_of(worlds, poses, which)
