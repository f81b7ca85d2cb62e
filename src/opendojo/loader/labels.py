"""Labels: where the ego will be, as seen from each instant of a window.

`ego_paths` says what a label is, from a whole log. `label_windows` gives the same numbers for the
windows of a task at once, from the few rows of each that count. It relies on a store's logs being
known without gaps over the time they cover: ingest samples them at the frames' times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opendojo.clip import Log
from opendojo.loader.ring import Rows
from opendojo.loader.window import WindowSpec

__all__ = ["LOG_WIDTH", "ego_paths", "label_windows", "reaches", "rows_wanted"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_SLACK_S = 1e-6
"""Times nearer than this are one time."""
_APART_S = 1e5
"""Windows are laid one after the other on one axis of time, so far apart, to be searched at once.
Doubles still tell 1e-9 s apart out there."""
LOG_WIDTH = 1 + len(Log.names())
"""Leading float64 columns of a row of a store's index: `time_s` and every log column."""
_TIME, _X, _Y, _YAW, _SPEED, _DISTURBED = (
    ("time_s", *Log.names()).index(name)
    for name in ("time_s", "x_m", "y_m", "yaw_rad", "speed_mps", "disturbed")
)


def ego_paths(log: Log, now_s: Floats, ahead_s: Floats) -> tuple[npt.NDArray[np.float32], Bools]:
    """The ego's later places as seen from each of several instants.

    `now_s` is [t], `ahead_s` [p]; returns path_m float32 [t, p, 2] in the vehicle's axes at each
    instant, and its mask [t, p]: False where the log does not reach or the vehicle was pushed off
    its driver's intent on the way there.
    """
    later_s = now_s[:, None] + ahead_s[None, :]
    dx = log.sample("x_m", later_s) - log.sample("x_m", now_s)[:, None]
    dy = log.sample("y_m", later_s) - log.sample("y_m", now_s)[:, None]
    yaw = log.sample("yaw_rad", now_s)[:, None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    path = np.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1)
    mask = np.isfinite(path).all(-1) & _undisturbed(log, now_s, later_s)
    return np.where(mask[..., None], path, 0.0).astype(np.float32), mask


def _undisturbed(log: Log, now_s: Floats, later_s: Floats) -> Bools:
    if log.disturbed is None:
        return np.ones(later_s.shape, bool)
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(log.disturbed) > 0)])
    before_now = total[np.searchsorted(log.time_s, now_s - _SLACK_S)]
    before_later = total[np.searchsorted(log.time_s, later_s - _SLACK_S)]
    return before_later == before_now[:, None]


def rows_wanted(spec: WindowSpec, rate_hz: float) -> int:
    """Rows from a window's first that its frames and labels take, at an even rate."""
    return spec.span(rate_hz) + 2 + int(np.ceil(spec.path_horizon_s * rate_hz))


def reaches(columns: Floats, spec: WindowSpec, rate_hz: float) -> bool:
    """Whether rows that begin at a window's first go as far as its last label."""
    last = min(spec.span(rate_hz), len(columns) - 1)
    return bool(columns[-1, _TIME] >= columns[last, _TIME] + spec.path_horizon_s + _SLACK_S)


def label_windows(columns: Sequence[Floats], rates_hz: Floats, spec: WindowSpec, out: Rows) -> Ints:
    """Fill the labels of b windows; returns their instants, int64 [b, t], counted from the first.

    `columns` are float64 [n, 8] each: `time_s` and every log column, from a window's first instant
    on; `rates_hz` [b] are its clip's nominal rate. `out` holds time_s, speed_mps, speed_mask,
    path_m and path_mask of b rows.
    """
    table, ends = _stacked(columns)
    windows = np.arange(len(columns))[:, None]
    instants = _instants(table[:, :, _TIME], ends, spec.spans(rates_hz), spec)
    now = table[windows, instants]
    out["time_s"][:] = now[:, :, _TIME] - now[:, :1, _TIME]
    speed = now[:, :, _SPEED]
    known = np.isfinite(speed)
    out["speed_mask"][:] = known
    out["speed_mps"][:] = np.where(known, speed, 0.0)
    _paths(table, ends, now, spec, out)
    return instants


def _stacked(columns: Sequence[Floats]) -> tuple[Floats, Ints]:
    """The columns of all windows as one [b, n, 8], the last row repeated at later times."""
    ends = np.array([len(rows) for rows in columns], np.int64)
    longest = int(ends.max())
    table = np.empty((len(columns), longest, columns[0].shape[1]))
    for place, rows in enumerate(columns):
        count = len(rows)
        table[place, :count] = rows
        if count < longest:
            table[place, count:] = rows[-1]
            table[place, count:, _TIME] += np.arange(1, longest - count + 1)
    return table, ends


def _instants(time_s: Floats, ends: Ints, spans: Ints, spec: WindowSpec) -> Ints:
    """The stored instants nearest to each window's times, rising: int64 [b, t]."""
    if spec.rate_hz is None:
        return np.broadcast_to(np.arange(spec.frames), (len(ends), spec.frames))
    last = np.minimum(spans, ends - 1)[:, None]
    widest = int(last.max()) + 1
    aims = time_s[:, :1] + np.arange(spec.frames) / spec.rate_hz
    after = (time_s[:, None, :widest] < aims[:, :, None]).sum(-1)
    after = np.minimum(np.maximum(after, 1), last)
    # Where one instant is all there is, it is every aim's nearest.
    before = np.maximum(after - 1, 0)
    windows = np.arange(len(ends))[:, None]
    nearer = np.abs(time_s[windows, after] - aims) < np.abs(time_s[windows, before] - aims)
    return np.where(nearer, after, before)


def _paths(table: Floats, ends: Ints, now: Floats, spec: WindowSpec, out: Rows) -> None:
    # Decoding leaves little of numpy in the caches, so a call saved counts more than its numbers.
    windows, columns = len(table), table.shape[2]
    now_s = now[:, :, _TIME]
    later_s = now_s[:, :, None] + spec.path_times_s
    shape = later_s.shape
    later_s = later_s.reshape(windows, -1)
    line, apart = _line(table)
    after = _count_before(line, table, later_s, apart)
    high = np.minimum(np.maximum(after, 1), ends[:, None] - 1)
    high += np.arange(0, windows * table.shape[1], table.shape[1])[:, None]
    rows = table.reshape(-1, columns)
    row = rows.take(high, 0)
    high -= 1
    before = rows.take(high, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # only where the mask is False
        share = (later_s - before[:, :, _TIME]) / (row[:, :, _TIME] - before[:, :, _TIME])
    np.minimum(share, 1.0, out=share)
    dx, dy = (
        (before[:, :, at] + share * (row[:, :, at] - before[:, :, at])).reshape(shape)
        - now[:, :, at, None]
        for at in (_X, _Y)
    )
    yaw = now[:, :, _YAW, None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    ahead, left = cos * dx + sin * dy, cos * dy - sin * dx
    end_s = table[np.arange(windows), ends - 1, _TIME]
    mask = (later_s <= end_s[:, None] + _SLACK_S).reshape(shape)
    mask &= np.isfinite(ahead)
    mask &= np.isfinite(left)
    pushed = table[:, :, _DISTURBED] > 0
    if pushed.any():
        total = np.zeros((windows, table.shape[1] + 1), np.int64)
        np.cumsum(pushed, axis=1, out=total[:, 1:])
        which = np.arange(windows)[:, None]
        later = total[which, after].reshape(shape)
        mask &= later == total[which, _count_before(line, table, now_s, apart)][:, :, None]
    out["path_mask"][:] = mask
    path = out["path_m"]
    path[..., 0] = np.where(mask, ahead, 0.0)
    path[..., 1] = np.where(mask, left, 0.0)


def _line(table: Floats) -> tuple[Floats, Floats]:
    """The times of all windows on one axis, and what takes each window's times there, [b, 1]."""
    apart = np.arange(len(table), dtype=np.float64)[:, None] * np.float64(_APART_S)
    return (table[:, :, _TIME] - table[:, :1, _TIME] + apart).ravel(), apart


def _count_before(line: Floats, table: Floats, time_s: Floats, apart: Floats) -> Ints:
    """Rows of each window before each of its times: int64 [b, k] of float64 [b, k]."""
    found = line.searchsorted(time_s - table[:, :1, _TIME] + apart - _SLACK_S)
    found -= np.arange(0, len(line), table.shape[1])[:, None]
    return found
