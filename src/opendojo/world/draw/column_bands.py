"""The coats of boxes: what colour a column's part of a box has, from its foot to its top.

Up a column a box is a stack of bands: its shadow on the ground, then five zones of the face that is
seen. The edges between them are slopes, or rows of the column. A band's number says where its
colour lies in a table, so that pixels need find no more than the greatest number of their bands.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from opendojo.world.draw.columns import (
    LAYERS,
    Picked,
    Seen,
    at_edges,
    cast,
    over,
    same,
    taken,
)
from opendojo.world.draw.edge_rows import crossing, row_of, span_of
from opendojo.world.draw.lens import Fans, cone
from opendojo.world.draw.look import Look
from opendojo.world.draw.scene import Kind, Scene
from opendojo.world.draw.tones import BLACK, Tones
from opendojo.world.exact import sin_cos

__all__ = [
    "BANDS",
    "Bands",
    "Coated",
    "Coats",
    "Outline",
    "bands",
    "clearness",
    "coated",
    "cut",
    "edge_slopes",
    "halved",
    "make_coats",
]

_ZONES = 5
BANDS = 1 + _ZONES
"""The shadow and the zones."""
_FAR = 1.0 / 500.0
_HEADLAMP, _TAIL, _BRAKE = (214.0, 0.0, 0.0), (66.0, -14.0, 60.0), (120.0, -26.0, 96.0)
_LIT = ((110.0, -22.0, 96.0), (170.0, -86.0, 26.0), (140.0, -4.0, -72.0))
"""Lamps of vehicles; of signals red, yellow, green: above black."""


class Coats(NamedTuple):
    """What a kind's zones look like; tables by `Kind`."""

    edge: Tensor
    """float32 [kinds, 4]: lower edges of zones 1 to 4 as shares of the box's height."""
    share: Tensor
    """float32 [kinds, 5]: how much of the box's paint a zone shows."""
    other: Tensor
    """float32 [kinds, 5, 3]: added to that, in daylight."""
    style: Tensor
    """float32 [kinds, 4]: 1 for vehicle, signal, building, tree."""
    code: Tensor
    """int64 [kinds]: bits 0-2 the style, 1 to 4, or 0; bit 3 whether it throws a shadow; bits 4-8
    which zones show the second colour (lamp, window, leaves)."""
    floors_m: Tensor
    """float32 [4]: lower edges of zones 1 to 4 of buildings, whatever their height."""
    lit: Tensor
    """float32 [3, 3]: colours of a signal's lamps."""


class Coated(NamedTuple):
    """What columns need to know of the boxes of n worlds that f fans see."""

    shape: tuple[Tensor, ...]
    """14 or 22 times float32 [n * f * k]: underside, edges of zones, top above the camera; cos, sin
    of its yaw; the camera in its axes, its half width, the light on its faces across u and v; its
    `Coats.code`; where fans are not level, the rest of `Seen.slabs`."""
    colours: tuple[tuple[Tensor, ...], ...]
    """For each plane 6 times float32 [n * f * k]: of the zones and the second, above black."""


class Outline(NamedTuple):
    """What the slopes of a box's edges follow from; float32 [n, f, LAYERS, w]."""

    slabs: tuple[Tensor, ...]
    heights_m: tuple[Tensor, ...]
    """Underside, lower edges of zones 1 to 4, top; above the camera."""
    shadow: Tensor
    """1 for boxes that throw a shadow."""
    ground_m: Tensor
    """The ground, above the camera: [n or 1, f, 1, 1]."""
    found: Tensor

    def layer(self, m: int) -> Outline:
        """One layer, [n, f, 1, w]."""

        def cut(t: Tensor) -> Tensor:
            return t[:, :, m, None]

        return Outline(
            tuple(cut(t) for t in self.slabs), tuple(cut(t) for t in self.heights_m),
            cut(self.shadow), self.ground_m, cut(self.found),
        )  # fmt: skip


class Bands(NamedTuple):
    """The stacks of bands of each column's boxes, for one picture plane or two.

    Band b of layer m has the number `BANDS` * (`LAYERS` - m) - b; 0 is no box.
    """

    edges: tuple[Tensor, ...]
    """How many rows of the fan lie above each of the seven edges, from the shadow's up, as
    `Fans.counts` [n, f, LAYERS, w]; () for fans that are not upright: see `outline`."""
    outline: Outline | None
    """Of fans that are not upright."""
    place: Tensor
    """int32 [n, f, 1, w]: where in the tables a column's number 0 would stand; each next one stands
    as far before as a fan has columns."""
    shades: tuple[Tensor, ...]
    """For each plane the colours by fan, number and column, flat."""


_T = TypeVar("_T")


def cut(value: _T, worlds: slice, fans: slice = slice(None)) -> _T:
    """Some worlds' and fans' part of (nested) tensors [n or 1, f, ...], all of flat ones."""
    if isinstance(value, Tensor):
        if value.ndim == 1:
            return value
        return value[:, fans] if len(value) == 1 else value[worlds, fans]  # pyright: ignore
    if isinstance(value, tuple):
        parts = (cut(part, worlds, fans) for part in value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)  # pyright: ignore
    return value


def make_coats(device: torch.device) -> Coats:
    """The tables."""
    kinds = len(Kind)
    edge, share = torch.ones(kinds, 4), torch.ones(kinds, _ZONES)
    other = torch.zeros(kinds, _ZONES, 3)
    style = torch.zeros(kinds, 4)
    code = torch.zeros(kinds, dtype=torch.int64)
    dark, glass, skin = (12.0, 0.0, 0.0), (22.0, 4.0, -2.0), (120.0, -14.0, 14.0)

    def coat(
        kind: Kind, edges: tuple[float, ...], shares: tuple[float, ...], looks: int | None = None
    ) -> None:
        edge[kind], share[kind] = torch.tensor(edges), torch.tensor(shares)
        if looks is not None:
            style[kind, looks] = 1.0
            code[kind] = looks + 1

    coat(Kind.CAR, (0.17, 0.40, 0.58, 0.92), (0.2, 0.92, 1.0, 0.06, 1.08), 0)
    coat(Kind.TRUCK, (0.11, 0.22, 0.32, 0.80), (0.2, 0.9, 0.9, 1.0, 1.04), 0)
    coat(Kind.CYCLIST, (0.28, 0.48, 0.62, 0.84), (0.0, 0.3, 0.9, 1.0, 0.0))
    coat(Kind.PEDESTRIAN, (0.24, 0.46, 0.66, 0.86), (0.25, 0.3, 1.0, 1.0, 0.0))
    coat(Kind.SIGNAL, (0.34, 0.67, 1.0, 1.0), (1.0,) * 5, 1)
    coat(Kind.BUILDING, (0.15, 0.3, 0.5, 0.7), (0.9, 0.95, 1.0, 1.0, 1.05), 2)
    coat(Kind.TREE, (0.22, 0.45, 0.65, 0.85), (0.72, 0.9, 1.0, 1.1, 1.18), 3)
    for kind in (Kind.CAR, Kind.TRUCK, Kind.CYCLIST):
        other[kind, 0] = torch.tensor(dark)
    other[Kind.CAR, 3] = torch.tensor(glass)
    other[Kind.CYCLIST, 4] = other[Kind.PEDESTRIAN, 4] = torch.tensor(skin)
    code[Kind.CAR :] += 1 << 3
    for kind, zones in ((Kind.CAR, 4), (Kind.TRUCK, 4), (Kind.BUILDING, 10), (Kind.TREE, 10)):
        code[kind] += zones << 4
    floors, lit = torch.tensor((0.9, 2.2, 3.9, 5.2)), torch.tensor(_LIT)
    return Coats(*(t.to(device) for t in (edge, share, other, style, code, floors, lit)))


def clearness(range_m: Tensor, haze: Tensor) -> Tensor:
    """Share of contrast left at a range: exp(-8 haze r) by (1 - haze r)^8, which takes only
    operations that are rounded alike everywhere."""
    left = (range_m * haze).clamp_(max=1.0)
    left = left.sub_(1.0)
    left = left.mul_(left)
    left = left.mul_(left)
    return left.mul_(left)


def edge_slopes(entry: Tensor, leave: Tensor, outline: Outline) -> tuple[Tensor, ...]:
    """Slopes of the seven edges: of the shadow, the foot, zones 1 to 4, the end."""
    low, *inner, high = outline.heights_m
    foot = torch.minimum(low * entry, low * leave)
    end = torch.maximum(high * entry, high * leave)
    reach = (entry * 0.35).clamp_(max=0.3).add_(1.0).mul_(entry).mul_(outline.ground_m)
    shadow = torch.minimum(foot, foot + outline.shadow * (reach - foot))
    return shadow, foot, *(height * entry for height in inner), end


def _edge_rows(fans: Fans, entry: Tensor, leave: Tensor, outline: Outline) -> list[Tensor]:
    """The rows of the seven edges of upright fans, from which on down pixels lie below them."""
    if fans.level:
        slopes = edge_slopes(entry, leave, outline)
        return [row_of(slope, fans.row, True) for slope in slopes]
    last, rows, casts = fans.height - 1.0, [], []
    for dx, dy in ((fans.top_x, fans.top_y), (fans.bottom_x, fans.bottom_y)):
        met = cast(dx[:, :, None], dy[:, :, None], outline.slabs)
        near = torch.minimum(met.in_u, met.in_v).clamp_(min=1e-6)
        far = torch.minimum(torch.maximum(met.out_u, met.out_v).clamp_(min=1e-6), near)
        slopes = edge_slopes(near, far, outline)
        rows.append([row_of(slope, fans.row, False) for slope in slopes])
        casts.append((met.in_u - met.out_v.clamp_(min=1e-6), met.in_v - met.out_u.clamp_(min=1e-6)))
    # a ray meets the box where it comes in by each axis before it leaves by the other
    (a, b), (c, d) = (span_of(top, low, last) for top, low in zip(*casts, strict=True))
    first, final = torch.maximum(a, c), torch.minimum(b, d)
    return [
        torch.minimum(torch.maximum(crossing(top, bottom, last), first), final)
        for top, bottom in zip(*rows, strict=True)
    ]


def _counted(fans: Fans, rows: list[Tensor], found: Tensor, step: int) -> tuple[Tensor, ...]:
    """`Bands.edges` for luma (step 1) or chroma (step 2), whose rows are `step` apart."""
    most, out = None, []
    for row in rows:
        if step == 2:
            row = (row - 0.5) * 0.5
        count = torch.ceil(row).clamp_(0.0, float(fans.height // step)).mul_(found)
        # whatever was rounded, no edge lies above the next
        most = count if most is None else torch.minimum(most, count)
        out.append(most.to(fans.counts))
    return tuple(out)


def bands(
    tones: Tones, fans: Fans, met: tuple[Tensor, ...], coated: Coated, picked: Picked
) -> tuple[Bands, Bands]:
    """The bands of the picked boxes, for luma and for chroma, both of all columns: see `halved`.

    `met`: for level fans `entry`, `leave` and `by_u` of `Met`; for others ().
    """
    index, found = picked
    got, given, paints = _chosen(index, coated, met)
    heights, (c, s, u, v, half_v, light_u, light_v, code) = tuple(got[:6]), got[6:14]
    dx, dy = fans.middle_x[:, :, None], fans.middle_y[:, :, None]
    if fans.level:
        slabs = c, s
        entry, leave, by_u = given
        du, dv = dx * c + dy * s, dy * c - dx * s
    else:
        slabs = c, s, *got[14:]
        entry, leave, one, two, du, dv = at_edges(dx, dy, slabs)
        by_u = over(two, one)
    bits = code.to(torch.int32)
    outline = Outline(
        slabs, heights, ((bits >> 3) & 1).to(torch.float32), -fans.mount_z_m[..., None, None], found
    )
    rows = _edge_rows(fans, entry, leave, outline) if fans.upright else []
    range_m = 1.0 / entry.clamp(min=_FAR)
    mark = _marks(du, dv, by_u, range_m, u, v, half_v, bits)
    beam = cone(
        fans.mount_x_m[..., None, None] + dx * range_m,
        fans.mount_y_m[..., None, None] + dy * range_m,
    )
    light = (light_v + by_u * (light_u - light_v)) * (1.0 + beam * tones["glow"])
    clear = clearness(range_m, tones["haze"])
    marks = [((bits >> (4 + zone)) & 1).to(torch.float32).mul_(mark) for zone in range(_ZONES)]
    shades = tuple(
        _shades(tones, plane, paint, light, clear, marks) for plane, paint in enumerate(paints)
    )
    place = _place(found)
    if fans.upright:
        outline = None
    return (
        Bands(_counted(fans, rows, found, 1), outline, place, shades[:1]),
        Bands(_counted(fans, rows, found, 2), outline, place, shades[1:]),
    )


def halved(bands: Bands) -> Bands:
    """Every other column."""

    def half(t: Tensor) -> Tensor:
        return t[..., ::2].contiguous()

    outline = bands.outline
    if outline is not None:
        outline = Outline(
            tuple(half(t) for t in outline.slabs), tuple(half(t) for t in outline.heights_m),
            half(outline.shadow), outline.ground_m, half(outline.found),
        )  # fmt: skip
    edges = tuple(half(edge) for edge in bands.edges)
    return Bands(edges, outline, half(bands.place), bands.shades)


def _chosen(
    index: Tensor, coated: Coated, more: tuple[Tensor, ...]
) -> tuple[list[Tensor], tuple[Tensor, ...], list[list[Tensor]]]:
    """What is known of the boxes of columns: `Coated.shape`, [n, f, k, w] `more`, colours."""
    n, f = index.shape[:2]
    k = coated.shape[0].shape[0] // (n * f)
    first = (torch.arange(n * f, device=index.device) * k).view(n, f, 1, 1)
    flat = (index + first).to(torch.int32)
    paints = [[taken(colour, flat) for colour in colours] for colours in coated.colours]
    got = [taken(plane, flat) for plane in coated.shape]
    return got, tuple(t.gather(2, index) for t in more), paints


def _place(found: Tensor) -> Tensor:
    """`Bands.place`."""
    n, f, _, width = found.shape
    device = found.device
    size = width * LAYERS * BANDS
    fan = torch.arange(1, n * f + 1, dtype=torch.int32, device=device).view(n, f, 1, 1) * size
    return fan + torch.arange(width, dtype=torch.int32, device=device)


def _shades(
    tones: Tones, plane: int, paint: list[Tensor], light: Tensor, clear: Tensor,
    marks: list[Tensor],
) -> Tensor:  # fmt: skip
    """A plane's part of `Bands.shades`."""
    veil = tones[f"horizon{plane}"]
    stack = [tones[f"asphalt{plane}"] * 0.5]
    for zone, mark in enumerate(marks):
        colour = paint[zone] * light
        stack.append(colour + mark * (paint[5] - colour))
    stack = [veil + clear * (colour - veil) for colour in stack]
    return torch.stack(stack, 3).flatten()


def coated(scene: Scene, look: Look, fans: Fans, seen: Seen, coats: Coats) -> Coated:
    """What columns need to know of the boxes that fans see."""
    boxes = scene.boxes
    rows = torch.arange(len(seen.slot), device=seen.slot.device)[:, None, None]
    kind = boxes.kind[rows, seen.slot]
    lamp = boxes.lamp[rows, seen.slot]
    paint = boxes.paint[rows, seen.slot]
    style = coats.style[kind].unbind(-1)
    vehicle, signal, building, tree = style
    tall = seen.high_m - seen.low_m
    edge = coats.edge[kind]
    # floors of buildings are alike, whatever the height
    edge = edge * tall[..., None] * (1.0 - building[..., None])
    edge = edge + coats.floors_m * building[..., None]
    edge = torch.minimum(edge, tall[..., None]) + seen.low_m[..., None]
    heights = [seen.low_m, *edge.unbind(-1), seen.high_m]
    lit = torch.where(signal > 0, 1 << (2 - lamp).clamp(min=0), 0) << 4
    code = coats.code[kind] + lit
    sin, cos = sin_cos(scene.yaw_rad)
    sun_x = look.sun[:, 0] * cos + look.sun[:, 1] * sin
    sun_y = look.sun[:, 1] * cos - look.sun[:, 0] * sin
    sun_x, sun_y = sun_x[:, None, None], sun_y[:, None, None]
    c, s = seen.slabs[:2]
    ahead, left = seen.u_m > 0, seen.v_m > 0
    sign_u, sign_v = torch.where(ahead, 1.0, -1.0), torch.where(left, 1.0, -1.0)
    ambient = look.ambient[:, None, None]
    light_u = ambient + (sign_u * (sun_x * c + sun_y * s)).clamp(min=0.0)
    light_v = ambient + (sign_v * (sun_y * c - sun_x * s)).clamp(min=0.0)
    # a lit signal shows on its front alone
    code = torch.where((signal > 0) & ~ahead, 0, code).to(torch.float32)
    shape = [
        *heights, c, s, seen.u_m, seen.v_m, seen.half_v_m, light_u, light_v, code,
        *(() if fans.level else seen.slabs[2:]),
    ]  # fmt: skip
    day = ((look.white[:, 0] - 16.0) * (1.0 / 190.0))[:, None, None]
    gain = look.gain[:, None, None]
    colours = []
    for plane in range(3):
        own = (paint[..., plane] - BLACK[plane])[..., None]
        zones = own * coats.share[kind] + coats.other[kind][..., plane] * day[..., None]
        rear = torch.where(lamp > 0, _BRAKE[plane], _TAIL[plane])
        alone = torch.where(ahead, _HEADLAMP[plane], rear) * vehicle
        tone = (look.building_tone[:, plane] - BLACK[plane])[:, None, None]
        alone = alone + signal * coats.lit[:, plane][lamp]
        alone = alone + building * tone + tree * 0.7 * own[..., 0]
        colours.append(_flat([*(zone * gain for zone in zones.unbind(-1)), alone * gain], seen))
    return Coated(_flat(shape, seen), tuple(colours))


def _flat(planes: list[Tensor], seen: Seen) -> tuple[Tensor, ...]:
    return tuple(plane.expand(seen.slot.shape).flatten() for plane in planes)


def _marks(
    du: Tensor, dv: Tensor, by_u: Tensor, range_m: Tensor, u: Tensor, v: Tensor, half_v: Tensor,
    bits: Tensor,
) -> Tensor:  # fmt: skip
    """Where along the face the second colour shows, 0..1."""
    style = (bits & 7).to(torch.float32)
    vehicle, signal, building, tree = (
        same(style, torch.full((), float(i), device=style.device)) for i in (1, 2, 3, 4)
    )
    across = (dv * range_m).add_(v)
    along = (du * range_m).add_(u)
    lamps = over(torch.abs(across), half_v * 0.58).mul_(by_u)
    place = along + by_u * (across - along)
    part = place * (1.0 / 2.4)
    part = part - torch.floor(part)
    window = over(0.26 - torch.abs(part - 0.5), torch.zeros_like(part))
    blur = ((range_m - 40.0) * (1.0 / 60.0)).clamp_(0.0, 1.0)
    window = window + blur * (0.5 - window)
    leaf = torch.floor(place * 1.3) * 0.618034
    leaf = (leaf - torch.floor(leaf)) * 0.65
    return lamps * vehicle + by_u * signal + window * building + leaf * tree
