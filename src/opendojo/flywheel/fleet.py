"""A fleet of the world's: drives with planted rare events, as ordinary recordings.

Most drives are of an expert on plain roads by day, pushed off his way now and then; in some the
present network drives, and he takes over where it goes wrong. A share of all has a rare event. What
truly happened, and what the expert would do at every instant, is kept under seal beside the drives:
`truth/` is opened for the windows whose labels are paid for, and to judge the triggers.

    record_drives(folder, FleetConfig(drives=24), network)
    truth = read_truth(folder, "drive-00003")
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.clip import Log, Track
from opendojo.evaluate import Driver, Observation
from opendojo.evaluate.closed_loop import packed
from opendojo.evaluate.floors import in_vehicle_axes
from opendojo.flywheel.stage import EVENTS, shown, stage
from opendojo.model import NetConfig
from opendojo.world import TRAINING_SEEDS, World, WorldConfig
from opendojo.world.draw.look import Weather, draw_looks
from opendojo.world.judge_terms import STEP_S
from opendojo.world.planner import Choice
from opendojo.world.pushes import Pushes
from opendojo.world.recording import DriveWriter

__all__ = ["FleetConfig", "Truth", "drive_name", "read_truth", "record_drives"]

_TOGETHER = 12
"""Drives of one group: they are drawn, and their network runs, side by side."""
_STRIDE = 7919
_TAKE_OVER_S = 3.0
_ASIDE_M = 1.0
"""So far off the route's middle the expert takes the wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """How much is driven, and what is planted in it."""

    drives: int = 24
    """Recordings of one round."""
    seconds: float = 14.0
    """Length of each."""
    rare: float = 0.25
    """Share of the drives with a rare event, each kind in its turn."""
    engaged: float = 0.35
    """Share of the drives in which the network drives, with the expert ready to take over."""
    world: WorldConfig = field(
        default_factory=lambda: WorldConfig(towns=("country", "highway"), agents=8)
    )
    """Roads, traffic and rig."""
    seed: int = 0
    """Decides roads, events and pushes; rounds differ on top of it."""

    def __post_init__(self) -> None:
        if self.drives < 1 or self.seconds < 2.0:
            raise ValueError("a fleet needs a drive, of 2 s or more")
        for name in ("rare", "engaged"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"fleet.{name} {getattr(self, name)}: must be from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of one drive, instant by instant."""

    event: npt.NDArray[np.int64]
    """[t]: number in `stage.EVENTS`, -1 for none."""
    path_m: npt.NDArray[np.float32]
    """[t, p, 2]: the expert's plan, in the vehicle's axes."""
    command: npt.NDArray[np.int64]
    """[t]: what the route asks for, as `model.Motion` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One drive to come."""

    number: int
    seed: int
    event: str | None
    begin_s: float
    engaged: bool


def drive_name(number: int) -> str:
    """Folder of a drive."""
    return f"drive-{number:05d}"


def read_truth(folder: Path, drive: str) -> Truth:
    """Open the seal of one drive. Raises `ValueError` where there is none."""
    path = folder / "truth" / f"{drive}.npz"
    if not path.exists():
        raise ValueError(f"{path} is not there: only drives of the world have a truth")
    with np.load(path) as file:
        return Truth(event=file["event"], path_m=file["path_m"], command=file["command"])


def record_drives(
    folder: Path,
    config: FleetConfig,
    net: NetConfig,
    driver: Driver | None,
    *,
    number: int = 0,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Record a round's drives into `folder/drives`; those that are there stay.

    `driver` is who drives the engaged ones; None leaves all to the expert. Drives depend on the
    configuration, the round's `number` and the driver alone: groups are driven whole, so that a
    network's last bits do not hang on how many were missing.
    """
    plans = _plans(config, number, engaged=driver is not None)
    groups: list[list[_Plan]] = []
    for night in (False, True):
        some = [plan for plan in plans if (plan.event == "night") == night]
        groups += [some[at : at + _TOGETHER] for at in range(0, len(some), _TOGETHER)]
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    done = 0
    for group in groups:
        if not all((folder / "drives" / drive_name(plan.number)).exists() for plan in group):
            _record(folder, group, config, net, driver)
        done += len(group)
        on_progress(done, len(plans))


def _plans(config: FleetConfig, number: int, *, engaged: bool) -> list[_Plan]:
    rng = np.random.Generator(np.random.Philox(key=[config.seed, 100 + number]))
    count = config.drives
    rare = rng.permutation(count)[: round(config.rare * count)]
    kinds = {int(drive): EVENTS[(k + number) % len(EVENTS)] for k, drive in enumerate(rare)}
    first = (config.seed * 131 + number) * _STRIDE * 4
    nights = _night_seeds(first, sum(kind == "night" for kind in kinds.values()))
    plans: list[_Plan] = []
    for drive in range(count):
        kind = kinds.get(drive)
        seed = nights.pop(0) if kind == "night" else (first + drive) % len(TRAINING_SEEDS)
        begin_s = float(rng.uniform(2.0, max(2.5, config.seconds - 8.0)))
        network = bool(rng.random() < config.engaged) and engaged
        plans.append(_Plan(number=drive, seed=seed, event=kind, begin_s=begin_s, engaged=network))
    return plans


def _night_seeds(first: int, count: int) -> list[int]:
    """Seeds of worlds whose look, under the preset `hard`, is of the night."""
    found: list[int] = []
    at = first + _STRIDE
    while len(found) < count:
        some = [(at + k) % len(TRAINING_SEEDS) for k in range(16)]
        weather = draw_looks(some, "hard", torch.device("cpu")).weather
        found += [s for s, w in zip(some, weather.tolist(), strict=True) if w == Weather.NIGHT]
        at += 16
    return found[:count]


def _record(
    folder: Path, group: Sequence[_Plan], config: FleetConfig, net: NetConfig, driver: Driver | None
) -> None:
    night = group[0].event == "night"
    frames = round(config.seconds / config.world.step_s)
    route_m = max(config.world.route_m, 25.0 * config.seconds)
    made = dataclasses.replace(
        config.world, preset="hard" if night else config.world.preset, route_m=route_m
    )
    world = World([plan.seed for plan in group], made)
    stage(world, [plan.event for plan in group], [plan.begin_s for plan in group])
    rate_hz = 1 / Fraction(made.step_s).limit_denominator(1000)
    rows, truths, pictures = _driven(world, group, frames, net, driver, night=night)
    time_s = np.arange(frames) / float(rate_hz)
    for i, plan in enumerate(group):
        place = folder / "drives" / drive_name(plan.number)
        if place.exists():
            continue
        _save_truth(folder / "truth" / f"{place.name}.npz", {k: v[:, i] for k, v in truths.items()})
        with DriveWriter(place, made.cameras, rate_hz) as writer:
            for picture in pictures:
                writer.write(picture[i])
            log = Log(time_s=time_s, **{k: v[:, i] for k, v in rows.items() if k in Log.names()})
            generator = {"name": "opendojo.flywheel", "world_seed": plan.seed,
                         "engaged": plan.engaged}  # fmt: skip
            writer.publish(log, _tracks(rows, i, time_s), generator)


def _driven(
    world: World,
    group: Sequence[_Plan],
    frames: int,
    net: NetConfig,
    driver: Driver | None,
    *,
    night: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[np.ndarray]]:
    """Drive a group: columns of logs and others [t, n, ...], truths [t, n, ...], pictures."""
    n = len(group)
    times_s = torch.arange(1, net.path_points + 1) * (net.path_horizon_s / net.path_points)
    pushes = [Pushes(plan.seed, frames, world.config.step_s) for plan in group]
    own = torch.tensor([plan.engaged and driver is not None for plan in group])
    taken = torch.zeros(n, dtype=torch.int64)
    take_over = round(_TAKE_OVER_S / world.config.step_s)
    if driver is not None:
        driver.reset(n)
    rows: dict[str, list[np.ndarray]] = {}
    truths: dict[str, list[np.ndarray]] = {}
    pictures: list[np.ndarray] = []
    for frame in range(frames):
        seen, choice = world.render(), world.choice()
        pictures.append(seen.numpy().copy())
        event = torch.full((n,), EVENTS.index("night")) if night else shown(world)
        for name, column in (
            ("event", event), ("path_m", expert_path(world, choice, times_s)),
            ("command", world.command + 1),
        ):  # fmt: skip
            truths.setdefault(name, []).append(column.numpy().copy())
        push = torch.tensor(
            [p.at(frame, v) for p, v in zip(pushes, world.speed_mps.tolist(), strict=True)]
        )
        # an engaged drive is disturbed by its own driver; nobody pushes it as well
        push = torch.where(own[:, None], 0.0, push)
        control = choice.control + push
        if driver is not None and bool(own.any()):
            shown_now = Observation(
                frames=packed(seen), speed_mps=world.speed_mps.clone(), world=world
            )
            asked, _ = driver.act(shown_now)
            wrong = own & ((world.state.d_m.abs() > _ASIDE_M) | (choice.index >= 15))
            taken = torch.where(wrong, take_over, (taken - 1).clamp(min=0))
            control = torch.where((own & (taken == 0))[:, None], asked.to(control), control)
        free = own & (taken == 0)
        _write(rows, world, (push[:, 0] != 0.0) | free)
        world.step(control)
    return (
        {name: np.stack(column) for name, column in rows.items()},
        {name: np.stack(column) for name, column in truths.items()},
        pictures,
    )


def expert_path(world: World, choice: Choice, times_s: Tensor) -> Tensor:
    """The expert's plan at `times_s` [p] in the vehicles' axes, float32 [n, p, 2]."""
    at = times_s / STEP_S
    low = at.floor().clamp(max=choice.plan.shape[1] - 2).to(torch.int64)
    share = (at - low)[:, None]
    plan = choice.plan[:, low, :2] * (1.0 - share) + choice.plan[:, low + 1, :2] * share
    return in_vehicle_axes(world.state.ego, plan[..., 0], plan[..., 1])


def _write(rows: dict[str, list[np.ndarray]], world: World, disturbed: Tensor) -> None:
    """Log columns [n] and others [n, a, 8] of an instant; what a person did not do is disturbed."""
    ego, agents = world.state.ego, world.state.agents
    for name in ("x_m", "y_m", "yaw_rad", "speed_mps", "steer_rad", "accel_mps2"):
        rows.setdefault(name, []).append(getattr(ego, name).double().numpy().copy())
    rows.setdefault("disturbed", []).append(disturbed.double().numpy().copy())
    columns = [getattr(agents, name).double() for name in _OTHERS]
    rows.setdefault("others", []).append(torch.stack(columns, -1).numpy().copy())


_OTHERS = ("mask", "x_m", "y_m", "yaw_rad", "length_m", "width_m", "height_m")
_JUMP_M = 8.0


def _tracks(rows: dict[str, np.ndarray], i: int, time_s: np.ndarray) -> list[Track]:
    """Everybody whom the i-th drive met, from the moment they come until they go."""
    others, tracks = rows["others"][:, i], list[Track]()
    for slot in range(others.shape[1]):
        there = others[:, slot, 0] > 0.5
        jump = np.hypot(*np.diff(others[:, slot, 1:3], axis=0).T) > _JUMP_M
        resized = (np.diff(others[:, slot, 4:], axis=0) != 0).any(1)
        changes = np.flatnonzero((np.diff(there.astype(int)) != 0) | jump | resized) + 1
        cuts = [0, *changes.tolist(), len(there)]
        for first, last in itertools.pairwise(cuts):
            if not there[first] or last - first < 3:
                continue
            stay = others[first:last, slot]
            tracks.append(
                Track(
                    track_id=len(tracks), kind="static" if stay[0, 4] < 1.0 else "car",
                    length_m=stay[0, 4], width_m=stay[0, 5], height_m=stay[0, 6],
                    time_s=time_s[first:last], x_m=stay[:, 1], y_m=stay[:, 2], yaw_rad=stay[:, 3],
                )
            )  # fmt: skip
    return tracks


def _save_truth(path: Path, columns: dict[str, np.ndarray]) -> None:
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as file:
        np.savez(file, event=columns["event"], path_m=columns["path_m"],
                 command=columns["command"])  # fmt: skip
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
