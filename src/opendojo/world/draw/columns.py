"""Which boxes a column of pixels meets, and how: tables that the pixels' stage spreads over rows.

Seen along a ray of plan direction d, a vertical face at signed distance q with plan normal m is met
at the inverse range (m . d) / q: linear in d and free of division. In the axes of a box, with the
camera at (ou, ov), the two faces across u are met at du / (a - ou) and du / (-a - ou); of a pair
that the camera is outside of, one is the way in, the other the way out, and of a pair that it is
between, one is the way out. A ray is within the box where the nearest way out is farther than the
farthest way in (Kay and Kajiya 1986): entry = min of the ways in, exit = max of the ways out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opendojo.world.draw.lens import Fans
from opendojo.world.draw.scene import Boxes, Scene
from opendojo.world.exact import sin_cos

__all__ = [
    "LAYERS", "Cast", "Edges", "Met", "Picked", "Seen", "at_edges", "cast", "geometry", "meet",
    "over", "pick", "same", "taken",
]  # fmt: skip

LAYERS = 4
"""Boxes that are drawn in a column, at most: the nearest that are not quite hidden."""
_IN_VIEW = 16
"""Boxes that are looked at in a camera's columns, at most: those that appear largest."""
_INSIDE = 1e5
"""Inverse range of a way in that lies behind the camera."""
_NEAREST_M = 1e-3


class Seen(NamedTuple):
    """Boxes as fans see them, float32 [n, f, k] unless said otherwise."""

    slabs: tuple[Tensor, ...]
    """cos, sin of the box's yaw from the ego's; then of each axis u, v: factor and offset of the
    way in, the two factors of the way out."""
    low_m: Tensor
    high_m: Tensor
    """Underside and top, above the camera."""
    u_m: Tensor
    v_m: Tensor
    """The camera, in the box's axes."""
    half_u_m: Tensor
    half_v_m: Tensor
    slot: Tensor
    """int64: index into `Boxes`."""
    valid: Tensor
    """1 where there is a box that can be seen."""


class Cast(NamedTuple):
    """Where rays pass the faces of boxes, as inverse ranges; of each axis the way in and out."""

    in_u: Tensor
    in_v: Tensor
    out_u: Tensor
    out_v: Tensor
    du: Tensor
    dv: Tensor
    """The rays' directions in the boxes' axes."""


class Edges(NamedTuple):
    """Where rays meet outlines, as inverse ranges."""

    entry: Tensor
    leave: Tensor
    """The ray is within the outline between them; it misses where entry <= leave."""
    by_u: Tensor
    by_v: Tensor
    """Where it passes the way in of either axis; entry is the lesser."""
    du: Tensor
    dv: Tensor
    """Its direction in the box's axes."""

    def hit(self) -> Tensor:
        """The entry, 0 for a miss."""
        return over(self.entry, self.leave).mul_(self.entry)


class Picked(NamedTuple):
    """The chosen boxes of each column, nearest first."""

    place: Tensor
    """int64 [n, f, LAYERS, w]: into the k boxes of `Seen`."""
    found: Tensor
    """float32 [n, f, LAYERS, w]: 1 where there is one."""


class Met(NamedTuple):
    """How the middle rays of columns meet all boxes in view, float32 [n, f, k, w]."""

    entry: Tensor
    """0 for a miss."""
    leave: Tensor
    by_u: Tensor
    """1 where the way in is across u."""
    bottom: Tensor
    top: Tensor
    """Slopes between which the box is seen."""
    hide_low: Tensor
    hide_high: Tensor
    """Slopes between which it hides what is behind."""


def over(a: Tensor, b: Tensor) -> Tensor:
    """1 where a > b, else 0, in float32: eager masks of bool cost five times as much."""
    if torch.compiler.is_compiling():
        return (a > b).to(torch.float32)
    return torch.gt(a, b, out=torch.empty(0, device=a.device))


def same(a: Tensor, b: Tensor) -> Tensor:
    """1 where a = b, else 0, in float32."""
    if torch.compiler.is_compiling():
        return (a == b).to(torch.float32)
    return torch.eq(a, b, out=torch.empty(0, device=a.device))


def taken(table: Tensor, index: Tensor) -> Tensor:
    """table[index] of a flat table; indices are within it."""
    if torch.compiler.is_compiling():
        return torch.ops.aten._unsafe_index(table, [index])
    return table.index_select(0, index.view(-1)).view(index.shape)


def geometry(scene: Scene, fans: Fans) -> Seen:
    """Boxes of n worlds in the axes that the slab tests want; of many, those that look largest."""
    boxes = scene.boxes
    sin, cos = sin_cos(scene.yaw_rad)
    x, y = boxes.x_m - scene.x_m[:, None], boxes.y_m - scene.y_m[:, None]
    x, y = x * cos[:, None] + y * sin[:, None], y * cos[:, None] - x * sin[:, None]
    box_sin, box_cos = sin_cos(boxes.yaw_rad)
    c = box_cos * cos[:, None] + box_sin * sin[:, None]
    s = box_sin * cos[:, None] - box_cos * sin[:, None]
    n, k = x.shape
    f = fans.mount_x_m.shape[1]

    def wide(value: Tensor) -> Tensor:
        return value[:, None].expand(n, f, k)

    dx, dy = x[:, None] - fans.mount_x_m[..., None], y[:, None] - fans.mount_y_m[..., None]
    high = fans.mount_z_m[..., None]
    table = (
        dx, dy, wide(c), wide(s), wide(boxes.length_m * 0.5), wide(boxes.width_m * 0.5),
        wide(boxes.base_m) - high, wide(boxes.top_m) - high,
    )  # fmt: skip
    chosen, valid = _in_view(dx, dy, boxes, fans)
    dx, dy, c, s, a, b, low, high = (t.gather(2, chosen) for t in table)
    ou, ov = -(dx * c + dy * s), dx * s - dy * c
    slabs, outside = _slabs(ou, ov, c, s, a, b)
    # a camera inside a box does not see it, but may stand under it
    valid = valid * torch.maximum(outside, ((low > 0) | (high < 0)).to(torch.float32))
    return Seen(slabs, low, high, ou, ov, a, b, chosen, valid)


def _in_view(dx: Tensor, dy: Tensor, boxes: Boxes, fans: Fans) -> tuple[Tensor, Tensor]:
    """Of each fan the boxes within its rims that look largest, int64 [n, f, k], and whether."""
    n, f, k = dx.shape
    size = torch.sqrt(boxes.length_m * boxes.length_m + boxes.width_m * boxes.width_m)
    reach = size[:, None] * 0.5
    look = (size + (boxes.top_m - boxes.base_m))[:, None] * boxes.mask[:, None]
    key = look / torch.sqrt(dx * dx + dy * dy + 0.01)
    for rim in (0, 1):
        inward = fans.edge_x[..., rim, None] * dx + fans.edge_y[..., rim, None] * dy
        key = key * (inward > -reach)
    if k <= _IN_VIEW:
        return torch.arange(k, device=dx.device).expand(n, f, k), (key > 0).to(torch.float32)
    best, slot = key.topk(_IN_VIEW, dim=2)
    return slot, (best > 0).to(torch.float32)


def _slabs(
    ou: Tensor, ov: Tensor, c: Tensor, s: Tensor, a: Tensor, b: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """`Seen.slabs`, and 1 where the camera is outside of the box."""
    (u, outside_u), (v, outside_v) = _slab(ou, a), _slab(ov, b)
    return (c, s, *u, *v), (outside_u | outside_v).to(torch.float32)


def _slab(o: Tensor, half: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    apart = torch.abs(o)
    outside = apart > half
    sign = torch.where(o > 0, -1.0, 1.0)
    enter = torch.where(outside, sign / (apart - half).clamp(min=_NEAREST_M), 0.0)
    offset = torch.where(outside, 0.0, _INSIDE)
    leave = sign / (apart + half).clamp(min=_NEAREST_M)
    one = torch.where(outside, leave, 1.0 / (half - o).clamp(min=_NEAREST_M))
    two = torch.where(outside, leave, -1.0 / (half + o).clamp(min=_NEAREST_M))
    return (enter, offset, one, two), outside


def cast(dx: Tensor, dy: Tensor, slabs: tuple[Tensor, ...]) -> Cast:
    """Follow rays of plan directions (dx, dy); everything broadcasts."""
    c, s, enter_u, offset_u, one_u, two_u, enter_v, offset_v, one_v, two_v = slabs
    du, dv = (dx * c).add_(dy * s), (dy * c).sub_(dx * s)
    in_u, in_v = (du * enter_u).add_(offset_u), (dv * enter_v).add_(offset_v)
    out_u = torch.maximum(du * one_u, du * two_u)
    out_v = torch.maximum(dv * one_v, dv * two_v)
    return Cast(in_u, in_v, out_u, out_v, du, dv)


def at_edges(dx: Tensor, dy: Tensor, slabs: tuple[Tensor, ...]) -> Edges:
    """How rays of plan directions (dx, dy) meet outlines; everything broadcasts."""
    in_u, in_v, out_u, out_v, du, dv = cast(dx, dy, slabs)
    leave = torch.maximum(out_u, out_v).clamp_(min=1e-6)
    return Edges(torch.minimum(in_u, in_v), leave, in_u, in_v, du, dv)


def meet(seen: Seen, fans: Fans) -> Met:
    """Cast each column's middle ray at all boxes in view."""
    dx, dy = fans.middle_x[:, :, None], fans.middle_y[:, :, None]
    edges = at_edges(dx, dy, tuple(plane[..., None] for plane in seen.slabs))
    entry, leave = edges.hit().mul_(seen.valid[..., None]), edges.leave
    hiding = entry
    if not fans.level:
        entry, leave, hiding = _spread(seen, fans, edges, entry)
    low, high = seen.low_m[..., None], seen.high_m[..., None]
    return Met(
        entry,
        leave,
        over(edges.by_v, edges.by_u),
        torch.minimum(low * entry, low * leave),
        torch.maximum(high * entry, high * leave),
        low * hiding,
        high * hiding,
    )


def _spread(seen: Seen, fans: Fans, edges: Edges, entry: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entry, exit, and entry where it hides things, for columns whose rays spread about the middle.

    A line passes a box where its distance from the box's middle is at most the box's half width as
    seen along the line, which the spread widens or narrows.
    """
    apart = torch.sqrt(seen.u_m * seen.u_m + seen.v_m * seen.v_m)[..., None]
    a, b = seen.half_u_m[..., None], seen.half_v_m[..., None]
    reach = torch.sqrt(a * a + b * b)
    across = torch.abs(edges.dv * seen.u_m[..., None] - edges.du * seen.v_m[..., None])
    spare = torch.abs(edges.dv) * a + torch.abs(edges.du) * b - across
    ahead = edges.du * -seen.u_m[..., None] - edges.dv * seen.v_m[..., None] + reach
    widen = fans.spread[:, :, None] * apart
    none = torch.zeros_like(spare)
    meets = over(spare + widen, none) * over(ahead + widen, none) * seen.valid[..., None]
    least, most = 1.0 / (apart + reach), 1.0 / (apart - reach).clamp(min=0.3)
    near = torch.minimum(torch.maximum(edges.entry, least), most)
    far = torch.minimum(torch.maximum(edges.leave, least), most)
    hiding = over(spare, widen).mul_(entry)
    return torch.maximum(near.mul_(meets), entry), torch.minimum(far, edges.leave), hiding


def pick(met: Met) -> Picked:
    """The boxes of each column: nearest first, those left out that a nearer one hides."""
    entry = met.entry
    k = entry.shape[2]
    # counts down, so that of equals the first is the greatest
    rank = torch.arange(k, 0, -1, device=entry.device, dtype=torch.float32)[:, None]
    index, found = [], []
    for layer in range(LAYERS):
        best = entry.amax(2, keepdim=True)
        at = same(entry, best).mul_(rank).amax(2, keepdim=True)
        index.append((k - at).to(torch.int64))
        found.append(over(best, torch.zeros_like(best)))
        if layer + 1 < LAYERS:
            # sums of one term and zeros, in place of a look-up
            chosen = same(rank, at)
            low = (chosen * met.hide_low).sum(2, keepdim=True)
            high = (chosen * met.hide_high).sum(2, keepdim=True)
            left = torch.maximum(over(low, met.bottom), over(met.top, high))
            entry = left.sub_(chosen).clamp_(min=0.0).mul_(entry)
    return Picked(torch.cat(index, 2), torch.cat(found, 2))
