"""One drive kept whole, for films and pictures: frames, plans, traffic, the road from above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from opendojo.clip import Camera
from opendojo.evaluate.closed_loop import DriveConfig, roll
from opendojo.evaluate.driver import Driver
from opendojo.evaluate.score import Route, Trace, worth
from opendojo.evaluate.trace import Moment, Tracer
from opendojo.evaluate.windows import EVERY, TERMS, starts, window_terms
from opendojo.world import VEHICLE, BirdEye, World
from opendojo.world.draw.scene import Kind
from opendojo.world.judge_terms import INSTANTS, STEP_S

__all__ = [
    "GRASS",
    "MAP_M_PER_PX",
    "MARGIN_M",
    "Lights",
    "Recording",
    "Traffic",
    "body_centre",
    "record",
]  # fmt: skip

Floats = npt.NDArray[np.float64]

MAP_M_PER_PX = 0.25
"""Scale of the map of a drive."""
MARGIN_M = 56.0
"""Ground kept around the road, so that no view of the vehicle leaves the map."""
_TILE_PX = 256
"""The map is drawn in squares of this side, those far from the road not at all."""
GRASS = (126, 158, 98)
"""What the map shows where nothing is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The other road users of a drive, slot by slot: [steps, a]."""

    there: npt.NDArray[np.bool_]
    """Whether the slot held somebody."""
    kind: npt.NDArray[np.int64]
    """`Kind`."""
    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    length_m: Floats
    width_m: Floats
    height_m: Floats
    pixels: npt.NDArray[np.int64]
    """[steps, camera, a]: how many pixels' middles show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lights:
    """The traffic lights of the town."""

    place_m: Floats
    """[lights, 2]."""
    shows: npt.NDArray[np.int64]
    """[steps, lights]: 0 red, 1 yellow, 2 green."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A drive of one vehicle, every step of it."""

    driver: str
    cameras: tuple[Camera, ...]
    frames: npt.NDArray[np.uint8] = field(repr=False)
    """[steps, camera, 6, h / 2, w / 2]."""
    paths_m: npt.NDArray[np.float32] | None = field(repr=False)
    """Plans [steps, p, 2]; None where the driver has none."""
    traffic: Traffic = field(repr=False)
    lights: Lights = field(repr=False)
    ground: BirdEye = field(repr=False)
    """The whole route from above, without vehicles."""
    bounds_m: tuple[float, float, float, float] = field(repr=False)
    """Least x and y, most x and y, of the route and the way driven."""
    trace: Trace = field(repr=False)
    route: Route
    """The score; its sub-scores are means over `terms`."""
    terms: dict[str, Floats] = field(default_factory=dict, repr=False)
    """Sub-scores of `windows` and their composite `windows_score`, of the windows from each whole
    second on that lie within the drive; none for drives under 4 s or of other steps than 0.1 s."""

    def last_terms(self, step: int) -> dict[str, float]:
        """The sub-scores of the last window that had ended at a step; empty before the first."""
        count = (step - INSTANTS + 1) // EVERY
        if not self.terms or count < 0:
            return {}
        return {name: float(column[min(count, len(column) - 1)]) for name, column in
                self.terms.items()}  # fmt: skip

    @property
    def ending(self) -> str:
        """How the drive ended, in two or three words."""
        if self.route.collided:
            return "collided"
        if self.route.off_road:
            return "left the road"
        return "completed" if self.route.success else "out of time"


def record(
    driver: Driver,
    seed: int,
    config: DriveConfig | None = None,
    *,
    on_step: Callable[[float], None] | None = None,
) -> Recording:
    """Drive one road and keep everything: some 40 KB a step at the demo's picture size.

    `on_step` hears the share of the road that is driven.
    """
    config = config or DriveConfig()
    judged = config.windows and abs(config.world.step_s - STEP_S) < 1e-9
    tracer, frames, paths = Tracer(EVERY if judged else 0), [], []
    traffic, shows = [], []
    moment: Moment | None = None
    for moment in roll(driver, [seed], config, pixels=True):
        tracer.add(moment)
        assert moment.frames is not None
        world = moment.world
        if on_step is not None:
            on_step(float((world.progress_m / world.route_m).clamp(0.0, 1.0)[0]))
        frames.append(moment.frames[0].cpu().numpy().copy())
        paths.append(None if moment.path_m is None else moment.path_m[0].cpu().numpy())
        row = [getattr(world.state.agents, name)[0].cpu().numpy().copy() for name in _COLUMNS]
        traffic.append([*row, _pixels(world, len(row[0]))])
        shows.append(world.traffic.signals(world.state.step)[0].cpu().numpy().copy())
    assert moment is not None, "a roll has at least one moment"
    trace = tracer.trace()
    way = _way(moment.world, trace)
    terms = _terms(moment.world, tracer, trace) if judged else {}
    return Recording(
        driver=driver.name,
        cameras=config.world.cameras,
        frames=np.stack(frames),
        paths_m=None if paths[0] is None else np.stack(paths),
        traffic=_traffic(traffic),
        lights=_lights(moment.world, np.stack(shows)),
        ground=_ground(moment.world, way),
        bounds_m=(*way.min(0).tolist(), *way.max(0).tolist()),
        trace=trace,
        route=worth(trace, 0, seed, {k: float(v.mean()) for k, v in terms.items()}),
        terms=terms,
    )


_COLUMNS = (
    "mask", "kind", "x_m", "y_m", "yaw_rad", "length_m", "width_m", "height_m",
)  # fmt: skip


def _pixels(world: World, slots: int) -> npt.NDArray[np.int64]:
    """How many pixels show each of the first `slots` boxes, [camera, slots]."""
    shown = world.labels().instance[0].cpu().numpy().astype(np.int64)
    shown = np.where((shown >= 0) & (shown < slots), shown, slots)
    return np.stack([np.bincount(s.ravel(), minlength=slots + 1)[:slots] for s in shown])


def _traffic(rows: list[list[np.ndarray]]) -> Traffic:
    there, kind, *rest, pixels = (np.stack(column) for column in zip(*rows, strict=True))
    wide = {name: c.astype(np.float64) for name, c in zip(_COLUMNS[2:], rest, strict=True)}
    return Traffic(there=there, kind=kind, pixels=pixels, **wide)


def _lights(world: World, shows: npt.NDArray[np.int64]) -> Lights:
    """Of the town's lights the heads; `shows` is [steps, signals]."""
    towns, town = world.towns, int(world.town[0])
    head = towns.static_mask[town] & (towns.static_kind[town] == int(Kind.SIGNAL))
    place = torch.stack([towns.static_x_m[town], towns.static_y_m[town]], -1)[head]
    signal = towns.static_signal[town][head].cpu().numpy()
    return Lights(place_m=place.cpu().double().numpy(), shows=shows[:, signal])


def _terms(world: World, tracer: Tracer, trace: Trace) -> dict[str, Floats]:
    """Sub-scores of every window of the drive."""
    last = len(trace.time_s) - 1
    if last < INSTANTS - 1:
        return {}
    first = torch.tensor(list(starts(last, last)), device=world.device)
    found = window_terms(world, tracer.log, torch.zeros_like(first), first)
    columns = {name: getattr(found, name) for name in TERMS} | {"windows_score": found.score}
    return {name: column[:, 0].cpu().double().numpy() for name, column in columns.items()}


def _way(world: World, trace: Trace) -> Floats:
    """Points [n, 2] of the route and of the way driven."""
    routes, route_m = world.routes, int(trace.route_m[0])
    route = torch.stack([routes.x_m[0, :route_m], routes.y_m[0, :route_m]], 1)
    return np.concatenate([route.cpu().double().numpy(), np.hstack([trace.x_m, trace.y_m])])


def _ground(world: World, way: Floats) -> BirdEye:
    """The town around a way, without who moves."""
    low, tile_m = way.min(0) - MARGIN_M, _TILE_PX * MAP_M_PER_PX
    across, down = (int(n) for n in np.ceil((way.max(0) + MARGIN_M - low) / tile_m))
    rgb = np.empty((down * _TILE_PX, across * _TILE_PX, 3), np.uint8)
    rgb[:] = GRASS
    for row in range(down):
        for column in range(across):
            centre = low + (np.array([column, down - 1 - row]) + 0.5) * tile_m
            away = np.maximum(np.abs(way - centre) - tile_m / 2, 0.0).max(1).min()
            if away > MARGIN_M:
                continue
            at = (slice(row * _TILE_PX, (row + 1) * _TILE_PX),
                  slice(column * _TILE_PX, (column + 1) * _TILE_PX))  # fmt: skip
            spot = (float(centre[0]), float(centre[1]))
            rgb[at] = world.bird_eye(
                0, _TILE_PX, _TILE_PX, centre_m=spot, metres_per_px=MAP_M_PER_PX, bare=True
            ).rgb
    middle = low + np.array([across, down]) * tile_m / 2
    return BirdEye(
        rgb=rgb, centre_m=(float(middle[0]), float(middle[1])), metres_per_px=MAP_M_PER_PX
    )


def body_centre(trace: Trace, step: int) -> tuple[float, float, float]:
    """x, y and yaw of the vehicle's body at a step of the first drive."""
    yaw = float(trace.yaw_rad[step, 0])
    x = float(trace.x_m[step, 0]) + VEHICLE.centre_m * np.cos(yaw)
    y = float(trace.y_m[step, 0]) + VEHICLE.centre_m * np.sin(yaw)
    return x, y, yaw
