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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.world.draw.column_bands import (
    Bands,
    Coated,
    Coats,
    bands,
    coated,
    cut,
    halved,
    make_coats,
)
from opendojo.world.draw.columns import Picked, Seen, geometry, meet, pick
from opendojo.world.draw.lens import Fans, Tile, make_rig
from opendojo.world.draw.look import Look
from opendojo.world.draw.noise import Noise
from opendojo.world.draw.paint import Job, hill_slopes, paint_tile
from opendojo.world.draw.paint_labels import paint_labels, truth_of
from opendojo.world.draw.paint_raster import Raster, pack
from opendojo.world.draw.scene import Boxes, Labels, Scene
from opendojo.world.draw.tones import first_cell, spread, tones_of
from opendojo.world.town.atlas import Atlas

__all__ = ["Renderer"]

_TILE_PX = 131072
"""Pixels that eager operations work on at a time: few enough for a core's cache, so many that
threads seldom wait for each other's Python."""
_EAGER_WORLDS, _COMPILED_WORLDS = 16, 16
"""Worlds that a thread draws at a time on a CPU."""
_STORE = {"realize_opcount_threshold": 8}
"""Has the compiler store what boxes are made from, of which there are few, not work it out anew."""


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
        host = device.type == "cpu"
        small = host and not compiled
        tall = rigs[0][0].height_px > 255
        counts = torch.float32 if compiled else torch.int16 if tall else torch.uint8
        self._rig = make_rig(rigs, device, _TILE_PX if small else None, counts)
        self._device, self._look, self._small = device, look, small
        # threads of our own, each with its worlds in its core's cache; torch's would share tiles
        self._threads = torch.get_num_threads()
        self._pool = None
        if host and self._threads > 1:
            self._pool = ThreadPoolExecutor(self._threads, initializer=_alone)
        self._raster = pack(atlas)
        self._coats = make_coats(device)
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=device)
        self._noise = Noise(self._rig.height_px, self._rig.width_px, device) if noise else None
        self._cameras = torch.arange(self._rig.cameras, device=device)
        if noise != 1.0:
            self._look = dataclasses.replace(look, noise=look.noise * noise)
        self._warm = not compiled
        # shapes stay as they are, so nothing needs to be looked at anew with each call
        options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
        if host:
            options |= {"cpp.threads": 1}
        self._stages = [_stages(fans, options if compiled else None) for fans in self._rig.fans]

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
        if self._device.type == "cpu":
            most = _EAGER_WORLDS if self._small else _COMPILED_WORLDS
            chunk = min(most, -(-n // self._threads))
        # a last chunk that overlaps keeps all shapes alike for the compiler
        firsts = [first if self._small else min(first, n - chunk) for first in range(0, n, chunk)]
        spans = [(first, min(first + chunk, n)) for first in firsts]

        def draw(span: tuple[int, int]) -> None:
            with torch.inference_mode():
                self._draw(scene, *span, out[span[0] : span[1]])

        if not self._warm:
            # the compiler is for one thread
            draw(spans.pop())
            self._warm = True
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
                    tops = [top + tile.top for top in fans.tops[tile.first : tile.last]]
                    cameras = fans.cameras[tile.first : tile.last]
                    for to, value in zip(
                        (out.kind, out.depth_m, out.instance), values, strict=True
                    ):
                        _put(to[first:last], value, cameras, tops)
        return out

    def _draw(self, scene: Scene, first: int, last: int, out: Tensor) -> None:
        """Draw worlds [first, last) into `out`."""
        rig, n = self._rig, last - first
        some, look = rows_of(scene, first, last), self._look.rows(first, last)
        small = n, rig.cameras, rig.height_px // 2, rig.width_px // 2
        blocks = out.view(n, rig.cameras, 6, -1)
        planes = out, blocks[:, :, 4].view(small), blocks[:, :, 5].view(small)
        noise = None
        if self._noise is not None:
            starts = self._noise.starts(self._seeds[first:last], some.step, self._cameras)
            noise = self._noise.table, starts
        for fans, stages in zip(rig.fans, self._stages, strict=True):
            own = fans.rows(first, last)
            columns = _columns(some, look, own, self._raster, self._coats, stages)
            for i, tile in enumerate(own.tiles):
                for chroma in (False, True):
                    painter = stages.tile(i, chroma)
                    to = planes[1:] if chroma else planes[:1]
                    self._paint(own, tile, chroma, columns, noise, painter, to)

    def _paint(
        self, fans: Fans, tile: Tile, chroma: bool, columns: _Columns,
        noise: tuple[Tensor, Tensor] | None, painter: Any, planes: tuple[Tensor, ...],
    ) -> None:  # fmt: skip
        """Paint a tile into `planes`, some worlds at a time."""
        view, n = tile.chroma if chroma else tile.luma, len(columns.tones)
        cameras = list(fans.cameras[tile.first : tile.last])
        tops = [top + tile.top for top in fans.tops[tile.first : tile.last]]
        noisy = None
        if noise is not None and not chroma:
            noisy = noise[1][:, cameras] + torch.tensor(tops, device=self._device)
        step = max(1, _TILE_PX // view.slope[0].numel()) if self._small else n
        for a in range(0, n, step):
            part = slice(a, min(a + step, n))
            stack = columns.chroma if chroma else columns.luma
            stack = cut(stack, part, slice(tile.first, tile.last))
            seen_by = view.rows(part.start, part.stop)
            job = Job((1, 2) if chroma else (0,), tile.ground, tile.sky, seen_by, *stack)
            rows = None if noise is None or noisy is None else (noise[0], noisy[part])
            values = painter(job, columns.tones[part], columns.first[part], self._raster, rows)
            for to, value in zip(planes, values, strict=True):
                _put(to[part], value, cameras, [top >> chroma for top in tops])


class _Stages(NamedTuple):
    """The steps of drawing, as they are or compiled."""

    boxes: Callable[..., Any]
    meet: Callable[..., Any]
    bands: Callable[..., Any]
    tile: Callable[..., Any]
    """Of a tile's place among the fans' and whether for chroma: its painter."""


class _Columns(NamedTuple):
    """What pixels of fans are painted from."""

    tones: Tensor
    first: Tensor
    """As `paint_tile` takes them."""
    luma: tuple[Tensor, Bands]
    chroma: tuple[Tensor, Bands]
    """Hills and bands."""


def _box_stage(scene: Scene, look: Look, fans: Fans, raster: Raster, coats: Coats) -> Any:
    """The worlds' tones and first cells, what fans see of the boxes, the hills of columns."""
    seen = geometry(scene, fans)
    hills = hill_slopes(fans.bearing, scene, look), hill_slopes(fans.chroma_bearing, scene, look)
    coat = coated(scene, look, fans, seen, coats)
    tones = tones_of(scene, look, raster)
    return tones, first_cell(scene, raster), seen, coat, hills


def _meet_stage(seen: Seen, fans: Fans) -> tuple[tuple[Tensor, ...], Picked]:
    met = meet(seen, fans)
    return (met.entry, met.leave, met.by_u) if fans.level else (), pick(met)


def _band_stage(
    tones: Tensor, fans: Fans, met: tuple[Tensor, ...], picked: Picked, coat: Coated
) -> tuple[Bands, Bands]:
    return bands(spread(tones), fans, met, coat, picked)


def _columns(
    scene: Scene, look: Look, fans: Fans, raster: Raster, coats: Coats, stages: _Stages
) -> _Columns:
    """The columns' stage."""
    fans = fans._replace(tiles=())
    tones, first, seen, coat, hills = stages.boxes(scene, look, fans, raster, coats)
    luma, chroma = stages.bands(tones, fans, *stages.meet(seen, fans), coat)
    return _Columns(tones, first, (hills[0], luma), (hills[1], halved(chroma)))


def _stages(fans: Fans, options: dict[str, Any] | None) -> _Stages:
    """The steps of drawing fans; with `options` compiled."""
    if options is None:
        return _Stages(_box_stage, _meet_stage, _band_stage, lambda tile, chroma: paint_tile)
    painters = {
        (i, chroma): _compiled(paint_tile, options)
        for i in range(len(fans.tiles))
        for chroma in (False, True)
    }
    return _Stages(
        _compiled(_box_stage, options | _STORE),
        _compiled(_meet_stage, options),
        _compiled(_band_stage, options),
        lambda tile, chroma: painters[tile, chroma],
    )


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


def _put(to: Tensor, value: Tensor, cameras: Sequence[int], tops: Sequence[int]) -> None:
    """Lay fans' rows [n, f, rows, w] into pictures [n, c, h, w], at rows `tops` of `cameras`."""
    rows = value.shape[2]
    for i, (camera, top) in enumerate(zip(cameras, tops, strict=True)):
        to[:, camera, top : top + rows] = value[:, i]
