"""What stands around an ego, found by one look-up, and the scene that the cameras see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from opendojo.world.draw.look import Look, box_paints
from opendojo.world.draw.scene import Boxes, Kind, Scene
from opendojo.world.state import State
from opendojo.world.town.towns import Towns

__all__ = ["NEAREST", "Scenery"]

NEAREST = 24
"""Things that stand around the ego and are drawn: those nearest to it."""
_CELL_M = 8.0
_BRAKES_MPS2 = -0.6
"""Brake lamps shine below this acceleration."""


class Scenery:
    """Makes scenes of states; knows which things are nearest to each place of each town."""

    def __init__(self, towns: Towns, town: Tensor, seeds: Tensor, look: Look) -> None:
        self._towns, self._town, self._seeds, self._look = towns, town, seeds, look
        self._low, self._near = _nearest(towns)
        kinds = towns.static_kind[town]
        self._static_paint = box_paints(seeds, kinds, look)

    def scene(self, state: State, signals: Tensor) -> Scene:
        """What there is to be drawn; `signals` is int64 [n, signals], what the lights show."""
        ego = state.ego
        return Scene(
            x_m=ego.x_m, y_m=ego.y_m, yaw_rad=ego.yaw_rad, town=self._town, step=state.step,
            boxes=self._boxes(state, signals),
        )  # fmt: skip

    def _boxes(self, state: State, signals: Tensor) -> Boxes:
        agents, towns, town = state.agents, self._towns, self._town[:, None]
        near = self._around(state)
        there = near >= 0
        near = near.clamp(min=0)
        columns = {
            name: getattr(towns, f"static_{name}")[town, near]
            for name in ("kind", "x_m", "y_m", "yaw_rad", "length_m", "width_m", "base_m", "top_m")
        }
        signal = towns.static_signal[town, near]
        shows = signals.gather(1, signal.clamp(min=0)) if signals.shape[1] else signal * 0
        lamp = torch.where((signal >= 0) & (columns["kind"] == int(Kind.SIGNAL)), shows, 0)
        paint = self._static_paint.gather(1, near[..., None].expand(-1, -1, 3))
        zero = torch.zeros_like(agents.x_m)
        mine = {
            "kind": agents.kind, "x_m": agents.x_m, "y_m": agents.y_m, "yaw_rad": agents.yaw_rad,
            "length_m": agents.length_m, "width_m": agents.width_m, "base_m": zero,
            "top_m": agents.height_m,
        }  # fmt: skip
        brakes = (agents.accel_mps2 < _BRAKES_MPS2) & (agents.kind <= int(Kind.TRUCK))
        return Boxes(
            mask=torch.cat([agents.mask, there], 1),
            paint=torch.cat([box_paints(self._seeds, agents.kind, self._look), paint], 1),
            lamp=torch.cat([brakes.to(torch.int64), lamp], 1),
            **{name: torch.cat([mine[name], columns[name]], 1) for name in columns},
        )

    def _around(self, state: State) -> Tensor:
        """The things nearest to the egos, int64 [n, NEAREST], -1 for none."""
        _, rows, columns, _ = self._near.shape
        cell = [
            torch.floor((at - self._low[self._town, axis]) * (1.0 / _CELL_M)).to(torch.int64)
            for axis, at in ((0, state.ego.x_m), (1, state.ego.y_m))
        ]
        column, row = cell[0].clamp(0, columns - 1), cell[1].clamp(0, rows - 1)
        return self._near[self._town, row, column].to(torch.int64)


def _nearest(towns: Towns) -> tuple[Tensor, Tensor]:
    """The low corners [g, 2] of the towns, and the nearest things per cell, int32
    [g, rows, columns, NEAREST]."""
    mask = towns.static_mask.cpu().numpy()
    x, y = towns.static_x_m.cpu().numpy(), towns.static_y_m.cpu().numpy()
    half = np.maximum(towns.static_length_m.cpu().numpy(), towns.static_width_m.cpu().numpy()) / 2
    bounds = np.array([town.bounds_m for town in towns.towns])
    low = bounds[:, :2]
    size = np.ceil((bounds[:, 2:] - low).max(0) / _CELL_M).astype(int)
    cx, cy = (low[:, i, None] + (np.arange(size[i]) + 0.5) * _CELL_M for i in (0, 1))
    out = np.full((len(low), size[1], size[0], NEAREST), -1, np.int32)
    for g in range(len(low)):
        known = np.flatnonzero(mask[g])
        count = min(NEAREST, len(known))
        if not count:
            continue
        dx = x[g, known] - cx[g][None, :, None]
        dy = y[g, known] - cy[g][:, None, None]
        far = np.hypot(dx, dy) - half[g, known]
        best = np.argsort(far, 2, kind="stable")[:, :, :count]
        out[g, :, :, :count] = known[best]
    device = towns.device
    corner = torch.tensor(low, dtype=torch.float32, device=device)
    return corner, torch.tensor(out, device=device)
