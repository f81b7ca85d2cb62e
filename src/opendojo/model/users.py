"""Other road users as the pictures show them: in which image tokens, how near, from where to where.

Of each image token four numbers are asked: whether somebody's outline meets its cell, the distance
of the nearest, and between which bearings he stands. They are learnt from the tokens themselves,
before any geometry: a few hundred steps do what the bird's-eye grid alone needs thousands for,
where one cell in 150 is occupied (`docs/log.md`). What they say is spread over bearings around the
vehicle, whatever the rig: how near is the nearest at each? So the plan reads it, as tokens beside
those of the bird's-eye places. (Nearest outlines by bearing: "stixels", Badino, Franke and
Pfeiffer, DAGM 2009.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.rays import Rays
from opendojo.model.sizes import USER_TOKENS, NetConfig

__all__ = ["Cells", "Users", "UsersHead", "users_loss", "users_truth"]

_REACH_M = 45.0
"""Who is farther away is no business of these tokens: at 128 pixels he is a few wide."""
_SCALE_M, _LEAST_M = 10.0, 0.5
_TOP_M = 1.5
"""Height up to which somebody's outline is taken to reach: a car's, near a person's."""
_BESIDE_RAD = 1.4
_BEYOND = 2.0
"""Bearings of edges are told up to so many half-widths of a cell from its middle."""
_BEARING_RAD = math.radians(75.0)
_BEARINGS = 51
_SOFT_RAD = math.radians(1.5)
_BEND = 0.1
_RARE = 3.0
"""What a token with somebody counts beside an empty one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Where image tokens look, in the vehicle's axes: float32 [w, k] each, of w rigs."""

    bearing: Tensor
    """Of the middle, rad, left."""
    elevation: Tensor
    """Of the middle, rad, up."""
    half_width: Tensor
    """Half of the bearings that a cell covers, rad."""
    half_height: Tensor
    origin_m: Tensor
    """float32 [w, k, 3]: the camera's place."""

    @classmethod
    def of(cls, rays: Rays, cells: tuple[int, int]) -> Cells:
        """From tokens' rays, camera after camera, of cells (rows, columns) each."""
        grid = rays.direction.unflatten(1, (-1, *cells))
        bearing = torch.atan2(grid[..., 1], grid[..., 0])
        elevation = torch.asin(grid[..., 2].clamp(-1.0, 1.0))
        wide = 0.5 * _turned(bearing.diff(dim=-1)).abs()
        high = 0.5 * elevation.diff(dim=-2).abs()
        return cls(
            bearing=bearing.flatten(1),
            elevation=elevation.flatten(1),
            half_width=torch.cat([wide, wide[..., -1:]], -1).flatten(1),
            half_height=torch.cat([high, high[..., -1:, :]], -2).flatten(1),
            origin_m=rays.origin_m,
        )

    def repeated(self, times: int) -> Cells:
        """Each rig so many times in a row."""
        named = {name: getattr(self, name) for name in Cells.__slots__}
        return Cells(**{name: t.repeat_interleave(times, 0) for name, t in named.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """What tokens say, float32 [n, k] each."""

    there: Tensor
    """Logit, or -inf of an absent camera."""
    log_range: Tensor
    """Natural logarithm of the nearest's distance over 10 m."""
    right: Tensor
    """Bearing of his right edge from the cell's middle, in half-widths of the cell."""
    left: Tensor
    """The like of his left edge."""


class UsersHead(nn.Module):
    """Image tokens to `Users`, and those to tokens of the scene."""

    bearings: Tensor

    def __init__(self, config: NetConfig, channels: int) -> None:
        super().__init__()
        self.ask = nn.Linear(channels, 4)
        self.lift = nn.Linear(2 * _BEARINGS, USER_TOKENS * config.widths.token)
        bearings = torch.linspace(-_BEARING_RAD, _BEARING_RAD, _BEARINGS)
        self.register_buffer("bearings", bearings, persistent=False)

    def forward(self, tokens: Tensor, there: Tensor, cells: Cells) -> tuple[Users, Tensor]:
        """Image tokens [n, k, channels] to what they say, and tokens [n, USER_TOKENS, d].

        there: bool [n, k], False for tokens of absent cameras; cells: of n rigs.
        """
        told = self.ask(tokens).float().unbind(-1)
        users = Users(
            there=told[0].masked_fill(~there, -torch.inf),
            log_range=told[1], right=told[2], left=told[3],
        )  # fmt: skip
        lifted = self.lift(self._around(users, cells).to(tokens.dtype))
        return users, lifted.unflatten(-1, (USER_TOKENS, -1))

    def _around(self, users: Users, cells: Cells) -> Tensor:
        """At each bearing, the nearest's nearness and whether there is one, [n, 2 * bearings]."""
        some = users.there.sigmoid()
        near = some * (-users.log_range.clamp(-1.5, 2.0)).exp()
        right = cells.bearing + users.right * cells.half_width
        left = cells.bearing + users.left * cells.half_width
        beyond = ((self.bearings - right[..., None]) / _SOFT_RAD).sigmoid()
        before = ((left[..., None] - self.bearings) / _SOFT_RAD).sigmoid()
        cover = beyond * before
        parts = [(x[..., None] * cover).amax(1) for x in (near, some)]
        return torch.cat(parts, -1)


def users_truth(cells: Cells, agents: Tensor, mask: Tensor) -> Users:
    """What tokens of w rigs should say; `there` is 1 or 0, [w, t, k].

    agents: float32 [w, t, a, 6], as `Truth.agents`; mask: bool [w, t, a]. Somebody meets a cell
    where the box around his outline does: from his right corner to his left, from the ground at his
    nearest corner to `_TOP_M` above it. The nearest of several counts.
    """
    x, y, yaw, length, width = (agents[..., i] for i in range(5))
    cos, sin = yaw.cos(), yaw.sin()
    halves = [(i * 0.5 * length, j * 0.5 * width) for i in (-1, 1) for j in (-1, 1)]
    corner_x = torch.stack([x + u * cos - v * sin for u, v in halves], -1)[:, :, :, None]
    corner_y = torch.stack([y + u * sin + v * cos for u, v in halves], -1)[:, :, :, None]
    ox, oy, oz = (cells.origin_m[:, None, None, :, i] for i in range(3))
    dx, dy = corner_x - ox[..., None], corner_y - oy[..., None]
    bearing = cells.bearing[:, None, None]
    apart = _turned(torch.atan2(dy, dx) - bearing[..., None])
    range_m = (dx * dx + dy * dy).sqrt().amin(-1).clamp(min=_LEAST_M)
    right, left = apart.amin(-1), apart.amax(-1)
    half = cells.half_width[:, None, None]
    hit = (right < half) & (left > -half) & (apart.abs().amax(-1) < _BESIDE_RAD)
    low, high = torch.atan2(-oz, range_m), torch.atan2(_TOP_M - oz, range_m)
    middle, tall = cells.elevation[:, None, None], cells.half_height[:, None, None]
    hit &= (low < middle + tall) & (high > middle - tall)
    hit &= mask[..., None] & (range_m < _REACH_M)
    nearest_m, who = torch.where(hit, range_m, torch.inf).min(2)
    there = nearest_m < _REACH_M

    def edge(of: Tensor) -> Tensor:
        picked = of.gather(2, who[:, :, None]).squeeze(2) / half.squeeze(2)
        return torch.where(there, picked.clamp(-_BEYOND, _BEYOND), 0.0)

    return Users(
        there=there.float(),
        log_range=torch.where(there, nearest_m / _SCALE_M, 1.0).log(),
        right=edge(right),
        left=edge(left),
    )


def users_loss(users: Users, truth: Users, known: Tensor) -> Tensor:
    """Cross entropy of who is there, and smooth L1 of the numbers of those who are.

    All of one shape [b, t, k]; known: bool [b, t]. Tokens of absent cameras do not count.
    """
    asked = known[..., None] & users.there.isfinite()
    logits = torch.where(asked, users.there, 0.0)
    rare = torch.tensor(_RARE, device=logits.device)
    some = F.binary_cross_entropy_with_logits(
        logits, truth.there, reduction="none", pos_weight=rare
    )
    total = (some * asked).sum() / asked.sum().clamp(min=1)
    met = asked & (truth.there > 0.5)
    for name in ("log_range", "right", "left"):
        shown = torch.where(met, getattr(users, name), 0.0)
        wanted = torch.where(met, getattr(truth, name), 0.0)
        error = F.smooth_l1_loss(shown, wanted, reduction="sum", beta=_BEND)
        total = total + 0.5 * error / met.sum().clamp(min=1)
    return total


def _turned(angle: Tensor) -> Tensor:
    return torch.atan2(angle.sin(), angle.cos())
