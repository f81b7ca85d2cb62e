"""The pictures of all cameras of all worlds, and the truth about their pixels.

Two stages (`columns`, `paint`): per image column the few boxes that it meets, then per pixel the
colour, in luma at full and in chroma at half resolution. On a CPU in eager mode worlds are drawn in
tiles that fit a core's cache, dealt to as many threads as torch has; compiled, or on a GPU, many
worlds at a time by the same functions.

    renderer = Renderer(cameras, atlas, looks, seeds, device)
    frames = renderer.render(scene)          # uint8 [n, c, 3 h / 2, w], planar I420
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.world.draw.column_bands import Bands, Coated, Coats, bands, coated, cut, make_coats
from opendojo.world.draw.columns import Met, Picked, Seen, geometry, meet, pick
from opendojo.world.draw.lens import Fans, Tile, make_rig
from opendojo.world.draw.look import Look
from opendojo.world.draw.noise import Noise
from opendojo.world.draw.paint import Job, hill_slopes, paint_tile
from opendojo.world.draw.paint_labels import paint_labels, truth_of
from opendojo.world.draw.paint_raster import pack
from opendojo.world.draw.scene import Boxes, Labels, Scene
from opendojo.world.town.atlas import Atlas

__all__ = ["Renderer"]

_TILE_PX = 32768
"""Pixels that eager operations work on at a time; also what torch does not deal to threads."""
_EAGER_WORLDS, _COMPILED_WORLDS = 8, 16
"""Worlds whose columns are prepared at a time on a CPU, and drawn at a time when compiled."""
_KEEP: dict[str, Any] = {"realize_opcount_threshold": 50, "realize_reads_threshold": 12}
"""How much the compiler may hold in registers rather than store: enough for the pixels' stage to be
one loop. Far more takes it minutes."""


class Renderer:
    """Draws a batch of worlds; keeps what does not change between frames."""

    def __init__(
        self,
        cameras: Sequence[Camera] | Sequence[Sequence[Camera]],
        atlas: Atlas,
        look: Look,
        seeds: Sequence[int],
        device: torch.device,
        *,
        compiled: bool = False,
        noise: float = 1.0,
    ) -> None:
        """Prepare tables.

        Args:
            cameras: One rig for all worlds, or one a world, of equal numbers and picture sizes.
            atlas: The towns' rasters, on `device`.
            look: The worlds' looks, on `device`.
            seeds: Of the worlds' noise.
            device: Where to draw.
            compiled: Whether to draw by `torch.compile`, which takes a while at the first frame.
            noise: A factor on the sensor's noise; 0 leaves it out.
        """
        per_world = [(c,) if isinstance(c, Camera) else tuple(c) for c in cameras]
        rigs = [tuple(c for (c,) in per_world)] if isinstance(cameras[0], Camera) else per_world
        if len(rigs) not in (1, len(seeds)):
            raise ValueError(f"{len(rigs)} rigs for {len(seeds)} worlds: give one, or one a world")
        small = device.type == "cpu" and not compiled
        self._rig = make_rig(rigs, device, _TILE_PX if small else None, padded=compiled)
        self._device, self._look, self._compiled, self._small = device, look, compiled, small
        # threads of our own, each with its tiles in its core's cache; torch's would share each tile
        self._threads = torch.get_num_threads()
        self._pool = None
        if small and self._threads > 1:
            self._pool = ThreadPoolExecutor(self._threads, initializer=_alone)
        self._raster = pack(atlas)
        self._coats = make_coats(device)
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=device)
        self._sigma = noise
        self._noise = Noise(self._rig.height_px, self._rig.width_px, device)
        self._cameras = torch.arange(self._rig.cameras, device=device)
        if noise != 1.0:
            self._look = dataclasses.replace(look, noise=look.noise * noise)
        self._boxes, self._meet, self._pick = _box_stage, meet, pick
        self._columns = _column_stage
        self._painters: dict[tuple[int, bool], Any] = {}
        if compiled:
            for stage in ("_boxes", "_meet", "_pick", "_columns"):
                setattr(self, stage, _compiled(getattr(self, stage), {}))

    @property
    def cameras(self) -> int:
        """Cameras of a rig."""
        return self._rig.cameras

    def render(self, scene: Scene) -> Tensor:
        """Pictures of one instant: planar I420, BT.601 limited range, uint8 [n, c, 3 h / 2, w]."""
        n, rig = len(self._seeds), self._rig
        out = torch.empty(
            (n, rig.cameras, rig.height_px * 3 // 2, rig.width_px),
            dtype=torch.uint8, device=self._device,
        )  # fmt: skip
        chunk = n
        if self._small:
            chunk = min(_EAGER_WORLDS, -(-n // self._threads))
        elif self._device.type == "cpu":
            chunk = min(n, _COMPILED_WORLDS)
        # a last chunk that overlaps keeps all shapes alike for the compiler
        firsts = [
            min(first, n - chunk) if self._compiled else first for first in range(0, n, chunk)
        ]
        spans = [(first, min(first + chunk, n)) for first in firsts]

        def draw(span: tuple[int, int]) -> None:
            with torch.inference_mode():
                self._draw(scene, *span, out[span[0] : span[1]])

        if self._pool is None:
            for span in spans:
                draw(span)
        else:
            list(self._pool.map(draw, spans))
            torch.set_num_threads(self._threads)
        return out

    def labels(self, scene: Scene) -> Labels:
        """The truth about every pixel, [n, c, h, w]."""
        n, rig = len(self._seeds), self._rig
        shape = n, rig.cameras, rig.height_px, rig.width_px
        out = Labels(
            kind=torch.empty(shape, dtype=torch.uint8, device=self._device),
            depth_m=torch.empty(shape, device=self._device),
            instance=torch.empty(shape, dtype=torch.int16, device=self._device),
        )
        chunk = _EAGER_WORLDS if self._small else n
        for first in range(0, n, chunk):
            last = min(first + chunk, n)
            some = rows_of(scene, first, last)
            for fans in self._rig.fans:
                own = fans.rows(first, last)
                truth = truth_of(some, own)
                for tile in fans.tiles:
                    part = cut(truth, slice(None), slice(tile.first, tile.last))
                    view = tile.luma.rows(first, last)
                    values = paint_labels(tile.ground, tile.sky, view, some, self._raster, part)
                    for to, value in zip(
                        (out.kind, out.depth_m, out.instance), values, strict=True
                    ):
                        _put(to[first:last], value, fans, tile, 1)
        return out

    def _draw(self, scene: Scene, first: int, last: int, out: Tensor) -> None:
        """Draw worlds [first, last) into `out`."""
        rig, n = self._rig, last - first
        some, look = rows_of(scene, first, last), self._look.rows(first, last)
        starts = self._noise.starts(self._seeds[first:last], some.step, self._cameras)
        half = n, rig.cameras, rig.height_px // 2, rig.width_px // 2
        blocks = out.view(n, rig.cameras, 6, -1)
        planes = out, blocks[:, :, 4].view(half), blocks[:, :, 5].view(half)
        for fans in rig.fans:
            own = fans.rows(first, last)
            seen, coats = self._boxes(some, look, own, self._coats)
            met = self._meet(seen, own)
            tables = self._columns(some, look, own, seen, met, coats, self._pick(met))
            for tile in fans.tiles:
                for chroma in (False, True):
                    view = (tile.chroma if chroma else tile.luma).rows(first, last)
                    step = max(1, _TILE_PX // view.slope[0].numel()) if self._small else n
                    for a in range(0, n, step):
                        part = slice(a, min(a + step, n))
                        stack = cut(tables[chroma], part, slice(tile.first, tile.last))
                        seen_by = view.rows(part.start, part.stop)
                        job = Job(
                            (1, 2) if chroma else (0,), tile.ground, tile.sky, seen_by, *stack
                        )
                        values = self._painter(tile, chroma)(
                            job,
                            rows_of(some, part.start, part.stop),
                            look.rows(part.start, part.stop),
                            self._raster,
                            None if chroma else self._noise_of(fans, tile, starts[part]),
                        )
                        for to, value in zip(
                            planes[1:] if chroma else planes, values, strict=False
                        ):
                            _put(to[part], value, fans, tile, 1 + chroma)

    def _painter(self, tile: Tile, chroma: bool) -> Any:
        """`paint_tile`, or what it is compiled to for a tile."""
        if not self._compiled:
            return paint_tile
        key = id(tile), chroma
        if key not in self._painters:
            self._painters[key] = _compiled(paint_tile, _KEEP)
        return self._painters[key]

    def _noise_of(self, fans: Fans, tile: Tile, starts: Tensor) -> tuple[Tensor, Tensor] | None:
        """The table and the rows of a tile's noise."""
        if not self._sigma:
            return None
        cameras = list(fans.cameras[tile.first : tile.last])
        tops = torch.tensor(fans.tops[tile.first : tile.last], device=self._device)
        return self._noise.table, starts[:, cameras] + (tops + tile.top)


def _box_stage(scene: Scene, look: Look, fans: Fans, coats: Coats) -> tuple[Seen, Coated]:
    """What the fans see of the boxes."""
    seen = geometry(scene, fans)
    return seen, coated(scene, look, fans, seen, coats)


def _column_stage(
    scene: Scene, look: Look, fans: Fans, seen: Seen, met: Met, coats: Coated, picked: Picked
) -> tuple[tuple[Tensor, Bands], tuple[Tensor, Bands]]:
    """The hills and the bands of columns, for luma and for chroma."""
    luma, chroma = bands(look, fans, seen, met, coats, picked)
    hills = hill_slopes(fans.bearing, scene, look), hill_slopes(fans.chroma_bearing, scene, look)
    return (hills[0], luma), (hills[1], chroma)


def _compiled(stage: Any, options: dict[str, Any]) -> Any:
    """A stage as one graph for these shapes.

    The function is a copy: the compiler counts graphs by code object and refuses the ninth.
    """
    own = FunctionType(stage.__code__.replace(), stage.__globals__, stage.__name__)
    return torch.compile(own, fullgraph=True, dynamic=False, options=options)


def _alone() -> None:
    """Keep torch from dealing this thread's operations to further threads."""
    torch.set_num_threads(1)


def rows_of(scene: Scene, first: int, last: int) -> Scene:
    """Some of the worlds."""
    boxes = Boxes(**{name: getattr(scene.boxes, name)[first:last] for name in Boxes.__slots__})
    rest = (name for name in Scene.__slots__ if name != "boxes")
    return Scene(boxes=boxes, **{name: getattr(scene, name)[first:last] for name in rest})


def _put(to: Tensor, value: Tensor, fans: Fans, tile: Tile, step: int) -> None:
    """Lay a tile [n, f, rows, w] into pictures [n, c, h, w]."""
    for i in range(tile.last - tile.first):
        top = (fans.tops[tile.first + i] + tile.top) // step
        to[:, fans.cameras[tile.first + i], top : top + value.shape[2]] = value[:, i]
