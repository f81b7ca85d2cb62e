"""The bird's-eye atlas of towns: rasters that serve the pictures and the scores alike."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["CELL_M", "EDGE_CELL_M", "EDGE_STEP_M", "LINE_STEP_M", "Atlas", "Ground"]

CELL_M = 0.25
"""Side of a cell of `lines` and `ground`."""
EDGE_CELL_M = 0.5
"""Side of a cell of `edge` and `lane`."""
LINE_STEP_M = 1.0 / 128.0
EDGE_STEP_M = 1.0 / 16.0


class Ground:
    """Values of the low four bits of `Atlas.ground`."""

    GRASS = 0
    ROAD = 1
    SIDEWALK = 2
    CROSSING = 3
    """The painted stripes of a crossing, not the gaps."""
    STOP = 4
    """A stop line."""
    ISLAND = 5
    YELLOW = 16
    """A bit: the nearest line is yellow."""
    WIDE = 32
    """A bit: the nearest line is wider than 0.2 m (0.25 m); else it is 0.15 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Rasters of g towns. Row r, column c of a raster with cells of side k belongs to the square
    [x0 + c k, x0 + (c + 1) k) x [y0 + r k, y0 + (r + 1) k); what is beyond is as the rim is.

    `lines` and `edge` hold distances at the cells' low corners. Each entry packs four bytes, so
    that one look-up serves a bilinear interpolation: bits 0-7 the corner (r, c), 8-15 (r, c + 1),
    16-23 (r + 1, c), 24-31 (r + 1, c + 1).
    """

    lines: Tensor
    """int32 [g, h, w]: distance from the middle of one painted line, the one nearest to the cell's
    middle, positive on the left of the line's direction, (byte - 128) * LINE_STEP_M, so within
    -1..+0.99 m. A cell without paint within 0.8 m of its middle, or in a gap of dashes, is -1 (all
    bytes 255)."""
    edge: Tensor
    """int32 [g, h / 2, w / 2]: distance from the edge of the union of "road" areas, positive on the
    road, (byte - 128) * EDGE_STEP_M."""
    ground: Tensor
    """uint8 [g, h, w]: what covers the cell's middle, `Ground`."""
    lane: Tensor
    """int16 [g, h / 2, w / 2]: the lane whose middle line is nearest to the cell's middle, among
    those that the cell's middle lies on; -1 where it lies on none."""
    x0_m: Tensor
    y0_m: Tensor
    """float32 [g]: the low corner."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Rows and columns of `lines` that are each town's own; empty: all. What follows them is bare,
    as their rims are."""
