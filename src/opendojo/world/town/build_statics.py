"""What stands beside the roads: buildings, trees, poles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from opendojo.world.town.block_curves import Floats, along, stationed
from opendojo.world.town.block_draft import Draft
from opendojo.world.town.graph import Static, StaticKind
from opendojo.world.town.spec import TownSpec

__all__ = ["Site", "place_buildings", "place_poles", "place_trees", "take_roads"]

_MARGIN_M = 45.0


class Site:
    """Which ground is taken, on cells of 1 m: roads with their verges, what stands already."""

    def __init__(self, draft: Draft) -> None:
        lanes = [stationed(track.curve)[:2] for track in draft.tracks]
        x, y = (np.concatenate([lane[axis] for lane in lanes]) for axis in range(2))
        self.low_x, self.low_y = float(x.min()) - _MARGIN_M, float(y.min()) - _MARGIN_M
        columns = math.ceil(float(x.max()) + _MARGIN_M - self.low_x)
        rows = math.ceil(float(y.max()) + _MARGIN_M - self.low_y)
        self.taken: npt.NDArray[np.bool_] = np.zeros((rows, columns), np.bool_)

    def _cells(self, x: Floats, y: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        rows, columns = self.taken.shape
        r = np.clip(np.floor(y - self.low_y), 0, rows - 1).astype(np.int64)
        c = np.clip(np.floor(x - self.low_x), 0, columns - 1).astype(np.int64)
        return r, c

    def take(self, x: Floats, y: Floats, radius_m: float) -> None:
        """Take discs around points."""
        reach = math.ceil(radius_m)
        step = np.arange(-reach, reach + 1)
        dr, dc = (part.ravel() for part in np.meshgrid(step, step, indexing="ij"))
        near = dr**2 + dc**2 <= radius_m**2
        r, c = self._cells(x, y)
        rows, columns = self.taken.shape
        r = np.clip(r[:, None] + dr[near], 0, rows - 1)
        c = np.clip(c[:, None] + dc[near], 0, columns - 1)
        self.taken[r, c] = True

    def free(self, x: Floats, y: Floats) -> bool:
        """Whether no cell of these points is taken."""
        return not bool(self.taken[self._cells(x, y)].any())


def _footprint(
    x: float, y: float, yaw: float, length: float, width: float
) -> tuple[Floats, Floats]:
    """Points at most 1 m apart over a rectangle."""
    u = np.linspace(-length / 2.0, length / 2.0, math.ceil(length) + 1)[:, None]
    v = np.linspace(-width / 2.0, width / 2.0, math.ceil(width) + 1)[None, :]
    c, s = math.cos(yaw), math.sin(yaw)
    return (x + u * c - v * s).ravel(), (y + u * s + v * c).ravel()


def _add(draft: Draft, kind: StaticKind, box: tuple[float, ...]) -> None:
    x, y, yaw, length, width, base, top = box
    draft.statics.append(
        Static(
            kind=kind,
            x_m=x,
            y_m=y,
            yaw_rad=yaw,
            length_m=length,
            width_m=width,
            base_m=base,
            top_m=top,
        )
    )


def take_roads(site: Site, draft: Draft, verge_m: float) -> None:
    """Take the roads, out to a distance from the lanes' edges; and what stands already."""
    for track in draft.tracks:
        x, y, _, _, _ = stationed(track.curve)
        inside = 2.5 if track.kind in ("junction", "roundabout") else 0.0
        site.take(x, y, track.width_m / 2.0 + verge_m + inside)
    for signal in draft.signals:
        heads = np.array(signal.heads)
        site.take(heads[:, 0], heads[:, 1], 1.0)


def place_buildings(
    draft: Draft,
    site: Site,
    rng: np.random.Generator,
    spec: TownSpec,
    rows: list[tuple[int, float]],
) -> None:
    """Along lanes, given with the distance from their middle lines to where plots begin."""
    height = rng.uniform(6.0, 14.0)
    for lane, plot_m in rows:
        curve = draft.tracks[lane].curve
        s = 12.0
        while s < curve.length_m - 12.0:
            front, depth = float(rng.uniform(9.0, 22.0)), float(rng.uniform(8.0, 15.0))
            back, gap = float(rng.gamma(1.5, 1.2)), float(rng.gamma(1.2, 3.0))
            tried, top = bool(rng.random() < spec.buildings), height * float(rng.uniform(0.6, 1.7))
            x, y, yaw, _ = (float(v[0]) for v in along(curve, np.array([s + front / 2.0])))
            out = plot_m + back + depth / 2.0
            x, y = x + out * math.sin(yaw), y - out * math.cos(yaw)
            px, py = _footprint(x, y, yaw, front, depth)
            if tried and site.free(px, py):
                site.take(px, py, 1.5)
                _add(draft, "building", (x, y, yaw, front, depth, 0.0, top))
                s += front + gap
            else:
                s += 6.0 if tried else front + gap


def place_poles(
    draft: Draft,
    site: Site,
    rng: np.random.Generator,
    rows: list[tuple[int, float]],
    pitch_m: float,
    top_m: float,
) -> None:
    """Upright poles along lanes, at distances from their middle lines."""
    for lane, out in rows:
        curve = draft.tracks[lane].curve
        first = float(rng.uniform(0.2, 0.8)) * pitch_m
        for s in np.arange(first, curve.length_m, pitch_m):
            x, y, yaw, _ = (float(v[0]) for v in along(curve, np.array([s])))
            x, y = x + out * math.sin(yaw), y - out * math.cos(yaw)
            if site.free(np.array([x]), np.array([y])):
                width = 0.12 if top_m < 2.0 else 0.2
                _add(draft, "pole", (x, y, yaw, width, width, 0.0, top_m))


def place_trees(
    draft: Draft,
    site: Site,
    rng: np.random.Generator,
    rows: list[tuple[int, float]],
    pitch_m: float,
    spread_m: float,
) -> None:
    """Trees beside lanes, from a distance outwards; crowns keep clear of what is taken."""
    for lane, out_m in rows:
        curve = draft.tracks[lane].curve
        s = float(rng.uniform(0.0, pitch_m))
        while s < curve.length_m:
            crown = float(rng.uniform(2.0, 5.0))
            out = out_m + crown / 2.0 + float(rng.uniform(0.0, 1.0)) ** 2 * spread_m
            x, y, yaw, _ = (float(v[0]) for v in along(curve, np.array([s])))
            x, y = x + out * math.sin(yaw), y - out * math.cos(yaw)
            turn = float(rng.uniform(-math.pi, math.pi))
            px, py = _footprint(x, y, turn, crown, crown)
            if site.free(px, py):
                # leaves down to the ground: a box above a trunk too thin to be seen would float
                top = float(rng.uniform(1.8, 2.6)) + crown * float(rng.uniform(0.9, 1.6))
                site.take(px, py, 1.0)
                _add(draft, "tree", (x, y, turn, crown, crown, 0.0, top))
            s += pitch_m * float(rng.uniform(0.4, 1.6))
