"""Recorded road users as a `Replay`: at even instants, with the lanes they are on."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import torch

from opendojo.world.draw.scene import Kind
from opendojo.world.town.commonroad_lights import shown_at
from opendojo.world.town.commonroad_scenario import Scenario, Track
from opendojo.world.town.graph import Floats, Lane, Town, Walk
from opendojo.world.traffic.agents import Agents
from opendojo.world.traffic.replay import Replay

__all__ = ["located", "nearest_lane", "replay"]

Ints = npt.NDArray[np.int64]

_MOST = 20_000_000
"""Slots times instants that fit in memory."""
_ASIDE_M = 0.3
"""So far outside its lane somebody is still on it."""
_AWAY, _LEAP, _NOWHERE = 2.0, 4.0, 5.0
"""Prices in metres: of a heading square to the lane, of going over to a lane that does not follow,
of being on none for an instant."""


def replay(
    scenario: Scenario,
    worlds: int = 1,
    step_s: float = 0.1,
    device: torch.device | str = "cpu",
) -> Replay:
    """The recording in each of some worlds; slot k holds `scenario.tracks[k]`.

    Args:
        scenario: from `read`.
        worlds: how many worlds play it; they share the memory.
        step_s: between instants; states between the file's are interpolated.
        device: where the tensors live.
    """
    last_s = (scenario.steps - 1) * scenario.step_s
    instants = math.floor(last_s / step_s + 1e-6) + 1
    if instants * len(scenario.tracks) > _MOST:
        raise ValueError(
            f"{scenario.name}: {len(scenario.tracks)} tracks for {instants} instants are too much "
            "at once: cut the recording"
        )
    time_s = np.arange(instants, dtype=np.float64) * step_s
    columns = [_column(track, scenario, time_s) for track in scenario.tracks]
    columns = columns or [_nobody(instants)]
    whole = {"kind", "lane"}

    def table(name: str) -> torch.Tensor:
        values = np.stack([column[name] for column in columns], 1)
        kind = torch.bool if name == "mask" else torch.int64 if name in whole else torch.float32
        return torch.tensor(values, dtype=kind, device=device).expand(worlds, -1, -1)

    shown = [[shown_at(lamp, t, scenario.step_s) for lamp in scenario.lamps] for t in time_s]
    signals = torch.tensor(shown, dtype=torch.int64, device=device)
    signals = signals.reshape(1, instants, len(scenario.lamps)).expand(worlds, -1, -1)
    return Replay(Agents(**{name: table(name) for name in columns[0]}), signals)


def _nobody(instants: int) -> dict[str, npt.NDArray[np.generic]]:
    names = [field.name for field in fields(Agents)]
    return {name: np.full(instants, -1.0 if name == "lane" else 0.0) for name in names}


def _column(track: Track, scenario: Scenario, time_s: Floats) -> dict[str, npt.NDArray[np.generic]]:
    """A track's slot: arrays [t] by the names of `Agents`."""
    known = track.steps * scenario.step_s
    there = (time_s > known[0] - 1e-6) & (time_s < known[-1] + 1e-6) | track.static

    def at(values: Floats) -> Floats:
        return np.interp(time_s, known, values)

    yaw = (at(track.yaw_rad) + math.pi) % (2.0 * math.pi) - math.pi
    x, y = at(track.x_m), at(track.y_m)
    runs = scenario.town.walks if track.kind == Kind.PEDESTRIAN else scenario.town.lanes
    lane, s, d = located(runs, x, y, None if track.kind == Kind.PEDESTRIAN else yaw)
    same = np.ones(len(time_s))
    return {
        "mask": there,
        "kind": same * int(track.kind),
        "x_m": x,
        "y_m": y,
        "yaw_rad": yaw,
        "speed_mps": at(track.speed_mps),
        "accel_mps2": at(track.accel_mps2),
        "length_m": same * track.length_m,
        "width_m": same * track.width_m,
        "height_m": same * track.height_m,
        "lane": np.where(there, lane, -1),
        "s_m": s,
        "d_m": d,
    }


def located(
    runs: tuple[Lane, ...] | tuple[Walk, ...], x_m: Floats, y_m: Floats, yaw_rad: Floats | None
) -> tuple[Ints, Floats, Floats]:
    """The lane (or walk) that somebody follows at each instant [t], -1 for none; s and d on it.

    The cheapest way through all instants (Viterbi 1967): being beside a lane's middle costs, and so
    does going on to a lane that does not follow. So where lanes part or join, what comes after and
    before tells which was meant. No headings: either way along a run will do.
    """
    near = [i for i, run in enumerate(runs) if _close(run, x_m, y_m)]
    found = [_foot(runs[i], x_m, y_m, yaw_rad) for i in near]
    nowhere = np.full(len(x_m), _NOWHERE), np.zeros(len(x_m)), np.zeros(len(x_m))
    cost, s, d = (np.stack(column, 1) for column in zip(*found, nowhere, strict=True))
    leap = np.zeros((len(near) + 1, len(near) + 1))
    leap[:-1, :-1] = [[0.0 if _leads(runs, i, j) else _LEAP for j in near] for i in near] or 0.0
    best, back = cost[0], []
    for now in cost[1:]:
        total = best[:, None] + leap
        back.append(np.argmin(total, 0))
        best = total.min(0) + now
    place = [int(np.argmin(best))]
    for before in back[::-1]:
        place.append(int(before[place[-1]]))
    row, column = np.arange(len(x_m)), np.array(place[::-1])
    return np.array([*near, -1])[column], s[row, column], d[row, column]


def _close(run: Lane | Walk, x_m: Floats, y_m: Floats) -> bool:
    margin = run.width_m
    return bool(
        run.x_m.min() - margin < x_m.max()
        and run.x_m.max() + margin > x_m.min()
        and run.y_m.min() - margin < y_m.max()
        and run.y_m.max() + margin > y_m.min()
    )


def _leads(runs: tuple[Lane, ...] | tuple[Walk, ...], before: int, after: int) -> bool:
    run = runs[before]
    return before == after or (isinstance(run, Lane) and after in run.next)


def _foot(
    run: Lane | Walk, x_m: Floats, y_m: Floats, yaw_rad: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """How badly places fit on a run (inf: not at all), and their s and d."""
    dx, dy = x_m[:, None] - run.x_m, y_m[:, None] - run.y_m
    station = np.argmin(dx * dx + dy * dy, 1)
    row = np.arange(len(x_m))
    cos, sin = np.cos(run.yaw_rad[station]), np.sin(run.yaw_rad[station])
    dx, dy = dx[row, station], dy[row, station]
    s, d = station + dx * cos + dy * sin, dy * cos - dx * sin
    on = (np.abs(d) < run.width_m / 2.0 + _ASIDE_M) & (s > -0.5) & (s < run.length_m + 0.5)
    cost = np.abs(d)
    if yaw_rad is not None:
        along = np.cos(yaw_rad - run.yaw_rad[station])
        on &= along > 0.5
        cost = cost + _AWAY * (1.0 - along)
    return np.where(on, cost, np.inf), np.clip(s, 0.0, run.length_m), d


def nearest_lane(town: Town, x_m: float, y_m: float, yaw_rad: float) -> tuple[int, float, float]:
    """The lane under a vehicle, -1 for none, and its s and d."""
    lane, s, d = located(town.lanes, *(np.array([v]) for v in (x_m, y_m, yaw_rad)))
    return int(lane[0]), float(s[0]), float(d[0])
