"""What a route means for a driver: sensible speeds, stop lines, whom to give way to.

Derived once from routes and towns (numpy), then looked up on the device. Widths of the tables are
fixed, so that courses of a batch can be exchanged one by one (`where`).

    course = Course.of(towns, routes)
    s, d, cos, sin = course.foot(x_m, y_m, guess_m)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from opendojo.world.route import Routes
    from opendojo.world.town.towns import Towns

__all__ = ["Course", "Station"]

Array = npt.NDArray[Any]

LATERAL_MPS2 = 2.0
"""Acceleration borne in bends, when the pace is set."""
BRAKE_MPS2 = 1.5
"""How hard to brake ahead of a bend or a lower limit."""
STOPS, CROSSINGS = 16, 48
"""Widths of the tables: lights' stop lines and lanes to give way to, along a route."""
_WAIT_BACK_M = 40.0
"""A stop line so far before a conflict, or nearer, is where to wait for it."""
_WAIT_SHORT_M = 1.5
"""Without a stop line one waits so far before the other's path."""
_NEVER = 1.0e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A course at places s, float32 [n, m] each."""

    x_m: Tensor
    y_m: Tensor
    cos: Tensor
    sin: Tensor
    curvature: Tensor
    pace_mps: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Routes of n worlds with what a driver heeds; distances are s along the route."""

    table: Tensor
    """float32 [n, stations, 6]: x, y, cos, sin, curvature, and the pace: the limit, or less in and
    ahead of bends."""
    end_m: Tensor
    """float32 [n]: the route's last whole metre."""
    town: Tensor
    """int64 [n]."""
    on_route: Tensor
    """bool [n, lanes + 1]: the lanes of the route and those beside them that run the same way; the
    last column is for no lane, False."""
    stop_m: Tensor
    """float32 [n, 16]: stop lines of lights, in order; 1e6 where there are no more."""
    stop_signal: Tensor
    """int64 [n, 16]: their signals."""
    cross_lane: Tensor
    """int64 [n, 48]: lanes to give way to, in order; -1 where there are no more."""
    cross_from_m: Tensor
    cross_to_m: Tensor
    """float32 [n, 48]: the stretch of the route that their traffic sweeps."""
    cross_other_from_m: Tensor
    cross_other_to_m: Tensor
    """The stretch of the other lane, along that."""
    cross_wait_m: Tensor
    """Where to wait: the bumper's s."""

    @classmethod
    def of(cls, towns: Towns, routes: Routes) -> Course:
        """The courses of routes."""
        device = routes.x_m.device
        columns = [
            routes.x_m, routes.y_m, routes.cos, routes.sin, routes.curvature, _pace(routes),
        ]  # fmt: skip
        known = {name: getattr(towns, name).cpu().numpy() for name in _TABLES}
        lane, lane_s = routes.lane.cpu().numpy(), routes.lane_s_m.cpu().numpy()
        town = routes.town.cpu().numpy()
        rows = [_heeded(known, int(town[i]), lane[i], lane_s[i]) for i in range(len(town))]
        whole = ("on_route", "stop_signal", "cross_lane")
        tables = {
            name: torch.tensor(
                np.stack([row[name] for row in rows]),
                dtype=None if name in whole else torch.float32,
                device=device,
            )
            for name in rows[0]
        }
        return cls(
            table=torch.stack(columns, -1),
            end_m=torch.floor(routes.end_m).clamp(min=1.0, max=routes.x_m.shape[1] - 1.0),
            town=routes.town,
            **tables,
        )

    def rows(self, first: int, last: int) -> Course:
        """The courses of some of the worlds."""
        return Course(**{f.name: getattr(self, f.name)[first:last] for f in fields(self)})

    def where(self, mask: Tensor, other: Course) -> Course:
        """`other` where mask [n], these elsewhere."""

        def picked(name: str) -> Tensor:
            mine = getattr(self, name)
            wide = mask.view(-1, *[1] * (mine.dim() - 1))
            return torch.where(wide, getattr(other, name), mine)

        return Course(**{f.name: picked(f.name) for f in fields(self)})

    def at(self, s_m: Tensor) -> Station:
        """The course at s [n, m], straight on beyond its ends."""
        n, stations, _ = self.table.shape
        low = torch.minimum(torch.floor(s_m).clamp(min=0.0), (self.end_m - 1.0)[:, None])
        part = (s_m - low)[..., None]
        first = torch.arange(n, device=s_m.device)[:, None] * stations
        row = first + low.to(torch.int64)
        flat = self.table.view(-1, 6)
        here, onward = flat[row], flat[row + 1]
        gain = onward - here
        x, y = (here[..., :2] + gain[..., :2] * part).unbind(-1)
        rest = here[..., 2:] + gain[..., 2:] * part.clamp(0.0, 1.0)
        cos, sin, curvature, pace = rest.unbind(-1)
        size = torch.sqrt(cos * cos + sin * sin)
        return Station(
            x_m=x, y_m=y, cos=cos / size, sin=sin / size, curvature=curvature, pace_mps=pace
        )

    def foot(
        self, x_m: Tensor, y_m: Tensor, guess_m: Tensor, rounds: int = 2
    ) -> tuple[Tensor, Tensor, Station]:
        """s, d and the course there, of points [n, m] whose s is about `guess_m`.

        Each round moves the guess by the way along the tangent, divided by 1 - curvature x d.
        """
        s = guess_m
        for _ in range(rounds):
            here = self.at(s)
            along, d = _parts(here, x_m, y_m)
            s = s + along / (1.0 - here.curvature * d).clamp(min=0.3)
        here = self.at(s)
        return s, _parts(here, x_m, y_m)[1], here

    def follow(self, x_m: Tensor, y_m: Tensor, start_m: Tensor) -> tuple[Tensor, Tensor]:
        """s and d of paths [n, p, t] that begin near `start_m` [n]."""
        guess = start_m[:, None].expand(x_m.shape[:2])
        s_all, d_all = [], []
        for i in range(x_m.shape[2]):
            guess, d, _ = self.foot(x_m[..., i], y_m[..., i], guess, rounds=2)
            s_all.append(guess)
            d_all.append(d)
        return torch.stack(s_all, -1), torch.stack(d_all, -1)


def _parts(here: Station, x_m: Tensor, y_m: Tensor) -> tuple[Tensor, Tensor]:
    """Of points seen from places on the course: the way along it, and to its left."""
    dx, dy = x_m - here.x_m, y_m - here.y_m
    return dx * here.cos + dy * here.sin, dy * here.cos - dx * here.sin


_CONFLICT = (
    "conflict_lane", "conflict_from_m", "conflict_to_m", "conflict_other_from_m",
    "conflict_other_to_m", "conflict_yields",
)  # fmt: skip
_TABLES = ("left", "right", "signal", "stop_m", "length_m", "first", "x_m", "y_m", *_CONFLICT)


def _pace(routes: Routes) -> Tensor:
    """The pace at each station: v(s)^2 = min over t >= s of v_bend(t)^2 + 2 b (t - s)."""
    limit, bend = (v.cpu().numpy().astype(np.float64) for v in (routes.limit_mps, routes.curvature))
    square = np.minimum(limit**2, LATERAL_MPS2 / np.maximum(np.abs(bend), 1e-4))
    ramp = 2.0 * BRAKE_MPS2 * np.arange(square.shape[1])
    least = np.minimum.accumulate((square + ramp)[:, ::-1], 1)[:, ::-1] - ramp
    return torch.tensor(np.sqrt(least), dtype=torch.float32, device=routes.x_m.device)


def _heeded(known: dict[str, Array], g: int, lane: Array, lane_s: Array) -> dict[str, Array]:
    """The tables of one route."""
    new = np.flatnonzero(np.diff(lane, prepend=-1) != 0)
    lanes, entry = lane[new].tolist(), (new - lane_s[new]).tolist()
    on_route = np.zeros(known["left"].shape[1] + 1, bool)
    for one in lanes:
        for side in ("left", "right"):
            beside = one
            while beside >= 0 and not (beside != one and on_route[beside]):
                on_route[beside] = True
                beside = int(known[side][g, beside])
    stops, crossings, wait = [], [], -_NEVER
    for one, enter in zip(lanes, entry, strict=True):
        crossings += _crossings(known, g, one, enter, wait, set(lanes))
        stop = enter + float(known["stop_m"][g, one])
        if np.isfinite(stop):
            wait = stop
            if known["signal"][g, one] >= 0 and stop > 0.0:
                stops.append((stop, int(known["signal"][g, one])))
    crossings.sort()
    stop_rows = _fixed(stops, (_NEVER, 0), STOPS)
    cross = _fixed(crossings, (_NEVER, _NEVER, -1, 0.0, 0.0, _NEVER), CROSSINGS)
    names = ("from_m", "to_m", "lane", "other_from_m", "other_to_m", "wait_m")
    tables = {f"cross_{name}": cross[:, i] for i, name in enumerate(names)}
    tables["cross_lane"] = tables["cross_lane"].astype(np.int64)
    return {
        "on_route": on_route,
        "stop_m": stop_rows[:, 0],
        "stop_signal": stop_rows[:, 1].astype(np.int64),
        **tables,
    }


def _crossings(
    known: dict[str, Array], g: int, one: int, enter: float, wait: float, own: set[int]
) -> list[tuple[float, ...]]:
    """The lanes that traffic of a lane gives way to, but those that begin where it does."""
    rows = []
    for c in range(known["conflict_lane"].shape[2]):
        other, low, high, other_low, other_high, yields = (
            known[name][g, one, c] for name in _CONFLICT
        )
        if other < 0 or not yields or int(other) in own or _fork(known, g, one, int(other)):
            continue
        begin = enter + float(low)
        near = begin - _WAIT_BACK_M <= wait <= begin
        rows.append(
            (
                begin, enter + float(high), int(other), float(other_low), float(other_high),
                wait if near else begin - _WAIT_SHORT_M,
            )
        )  # fmt: skip
    return rows


def _fork(known: dict[str, Array], g: int, one: int, other: int) -> bool:
    """Whether two lanes begin at one place."""
    a, b = known["first"][g, one], known["first"][g, other]
    gap = np.hypot(known["x_m"][a] - known["x_m"][b], known["y_m"][a] - known["y_m"][b])
    return bool(gap < 0.5)


def _fixed(rows: list[Any], rest: tuple[float, ...], count: int) -> Array:
    """The first `count` rows, padded."""
    kept = [*rows[:count], *[rest] * max(0, count - len(rows))]
    return np.array(kept, np.float64)
