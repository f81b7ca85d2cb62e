"""One drive kept whole, for films and pictures: frames, plans, traffic, the road from above."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from opendojo.clip import Camera
from opendojo.evaluate.closed_loop import DriveConfig, Moment, Tracer, roll
from opendojo.evaluate.driver import Driver
from opendojo.evaluate.score import Route, Trace, worth
from opendojo.world import VEHICLE, BirdEye, World

__all__ = ["MAP_M_PER_PX", "MARGIN_M", "Recording", "Traffic", "body_centre", "record"]

Floats = npt.NDArray[np.float64]

MAP_M_PER_PX = 0.25
"""Scale of the map of a drive."""
MARGIN_M = (65.0, 28.0)
"""Ground kept around the road, along x and y, so that no view of the vehicle leaves the map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The other cars of a drive: places of their centres float64 [steps, a], the rest [a]."""

    x_m: Floats
    y_m: Floats
    yaw_rad: Floats
    length_m: Floats
    width_m: Floats
    oncoming: npt.NDArray[np.bool_]


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
    ground: BirdEye = field(repr=False)
    """The whole route from above, without vehicles."""
    trace: Trace = field(repr=False)
    route: Route
    """The score."""

    @property
    def ending(self) -> str:
        """How the drive ended, in two or three words."""
        if self.route.collided:
            return "collided"
        if self.route.off_road:
            return "left the road"
        return "completed" if self.route.success else "out of time"


def record(driver: Driver, seed: int, config: DriveConfig | None = None) -> Recording:
    """Drive one road and keep everything: some 40 KB a step at the demo's picture size."""
    config = config or DriveConfig()
    tracer, frames, paths, traffic = Tracer(), [], [], []
    moment: Moment | None = None
    for moment in roll(driver, [seed], config, pixels=True):
        tracer.add(moment)
        assert moment.frames is not None
        frames.append(moment.frames[0].cpu().numpy().copy())
        paths.append(None if moment.path_m is None else moment.path_m[0].cpu().numpy())
        cars = moment.world.state.cars
        traffic.append([c[0].cpu().numpy() for c in (cars.x_m, cars.y_m, cars.yaw_rad)])
    assert moment is not None, "a roll has at least one moment"
    trace = tracer.trace()
    return Recording(
        driver=driver.name,
        cameras=config.world.cameras,
        frames=np.stack(frames),
        paths_m=None if paths[0] is None else np.stack(paths),
        traffic=_traffic(moment.world, np.asarray(traffic, np.float64)),
        ground=_ground(seed, config, trace),
        trace=trace,
        route=worth(trace, 0, seed),
    )


def _traffic(world: World, places: Floats) -> Traffic:
    """Of the slots that hold a car; `places` is [steps, 3, slots]."""
    cars = world.state.cars
    there = cars.mask[0].cpu().numpy()
    x_m, y_m, yaw_rad = places.transpose(1, 0, 2)[:, :, there]
    length_m, width_m, oncoming = (
        column[0].cpu().numpy()[there] for column in (cars.length_m, cars.width_m, cars.oncoming)
    )
    return Traffic(
        x_m=x_m,
        y_m=y_m,
        yaw_rad=yaw_rad,
        length_m=length_m.astype(np.float64),
        width_m=width_m.astype(np.float64),
        oncoming=oncoming,
    )


def _ground(seed: int, config: DriveConfig, trace: Trace) -> BirdEye:
    """The road alone: a world of the same seed without cars, its vehicle set far away."""
    bare = World([seed], dataclasses.replace(config.world, other_cars=0), device=config.device)
    ego = bare.state.ego
    away = dataclasses.replace(ego, x_m=ego.x_m - 1e5)
    bare.state = dataclasses.replace(bare.state, ego=away)
    roads, route_m = bare.roads, int(trace.route_m[0])
    xs = np.concatenate([roads.x_m[0, :route_m].cpu().numpy(), trace.x_m[:, 0]])
    ys = np.concatenate([roads.y_m[0, :route_m].cpu().numpy(), trace.y_m[:, 0]])
    low = np.array([xs.min(), ys.min()]) - MARGIN_M
    high = np.array([xs.max(), ys.max()]) + MARGIN_M
    width, height = (int(side) for side in (high - low) / MAP_M_PER_PX)
    centre = (float(low[0] + high[0]) / 2.0, float(low[1] + high[1]) / 2.0)
    return bare.bird_eye(0, width, height, centre_m=centre, metres_per_px=MAP_M_PER_PX)


def body_centre(trace: Trace, step: int) -> tuple[float, float, float]:
    """x, y and yaw of the vehicle's body at a step of the first drive."""
    yaw = float(trace.yaw_rad[step, 0])
    x = float(trace.x_m[step, 0]) + VEHICLE.centre_m * np.cos(yaw)
    y = float(trace.y_m[step, 0]) + VEHICLE.centre_m * np.sin(yaw)
    return x, y, yaw
