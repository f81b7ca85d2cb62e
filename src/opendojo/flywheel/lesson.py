"""Lessons: labelled windows as training reads them, and batches that mix old ones with new.

lesson = read_lesson(network, store, rows, labels)
train(run_dir, trainee, Lessons([old], lesson, LessonConfig(), seed=0), config)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.flywheel.shadow import ShadowConfig, loader_of
from opendojo.loader import Batch
from opendojo.loader.reader import Reader
from opendojo.loader.ring import RowsLayout, row_fields
from opendojo.model import DrivingNet, Truth
from opendojo.store import Store

__all__ = ["LabelledBatch", "Lesson", "LessonConfig", "Lessons", "read_lesson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonConfig:
    """How lessons are mixed."""

    batch: int = 16
    """Windows in a batch."""
    fresh: float = 0.5
    """Share of a batch that is of the newest lesson; the rest is of all that came before."""
    trust: float = 0.3
    """Labels of a lower confidence are not learnt from."""

    def __post_init__(self) -> None:
        if self.batch < 2 or not 0.0 < self.fresh <= 1.0:
            raise ValueError("lesson.batch must be 2 or more, lesson.fresh above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """k labelled windows, all in memory: a window of eight instants and three small cameras takes
    some 300 KB."""

    yuv: npt.NDArray[np.uint8]
    """[k, t, c, frame_bytes]."""
    camera_mask: npt.NDArray[np.bool_]
    """[k, c]."""
    lens: npt.NDArray[np.float32]
    """[k, c, 16]."""
    time_s: npt.NDArray[np.float64]
    """[k, t]."""
    speed_mps: npt.NDArray[np.float32]
    """[k, t]."""
    speed_mask: npt.NDArray[np.bool_]
    """[k, t]."""
    path_m: npt.NDArray[np.float32]
    """[k, t, p, 2]."""
    path_mask: npt.NDArray[np.bool_]
    """[k, t, p]."""
    command: npt.NDArray[np.int64]
    """[k, t]; 0 where unknown."""
    confidence: npt.NDArray[np.float32]
    """[k, t]."""
    height_px: int
    width_px: int

    def __len__(self) -> int:
        return len(self.yuv)

    def rows(self, which: npt.NDArray[np.int64]) -> Lesson:
        """Some of the windows."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name[-2:] != "px"}
        return replace(self, **{name: array[which] for name, array in arrays.items()})

    def fingerprint(self) -> str:
        """Name of what there is to learn."""
        sha = hashlib.sha256()
        for name in ("yuv", "path_m", "path_mask", "command", "confidence"):
            sha.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return sha.hexdigest()[:16]


def read_lesson(
    network: DrivingNet,
    stores: Sequence[Store],
    rows: npt.NDArray[np.int64],
    relabel: Callable[[int], tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_],
                                   npt.NDArray[np.int64], npt.NDArray[np.float32]]],
) -> Lesson:  # fmt: skip
    """Read windows `rows` [k], numbered as in the findings of these stores, with their labels.

    `relabel` is asked for each of k: path [t, p, 2], mask [t, p], command [t], confidence [t].
    """
    loader = loader_of(network, stores, ShadowConfig(workers=0))
    net, spec = network.config, loader.config.window
    frame_bytes = 0 if net.blind else loader.width_px * loader.height_px * 3 // 2
    layout = RowsLayout(
        fields=row_fields(
            spec.frames, len(loader.config.read_cameras), spec.path_points, frame_bytes
        ),
        rows=len(rows),
    )
    views = layout.views(bytearray(layout.bytes), 0)
    reader = Reader(stores, loader.config, None)
    reader.fill(loader.table.orders(np.asarray(rows, np.int64)), views, lambda _: None)
    labels = [relabel(k) for k in range(len(rows))]
    path, mask, command, confidence = (np.stack(column) for column in zip(*labels, strict=True))
    return Lesson(
        yuv=views["frames"], camera_mask=views["camera_mask"], lens=views["lens"],
        time_s=views["time_s"], speed_mps=views["speed_mps"], speed_mask=views["speed_mask"],
        path_m=path, path_mask=mask, command=command, confidence=confidence,
        height_px=loader.height_px, width_px=loader.width_px,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledBatch(Batch):
    """A batch that knows what the route asked for, and has labels of its own."""

    command: Tensor
    """int64 [b, t]: as `model.Motion` counts; 0 unknown."""
    truth: Truth
    """The path to learn."""

    def _each(self, change: Callable[[Tensor], Tensor]) -> LabelledBatch:
        changed = {name: change(tensor) for name, tensor in self.tensors().items()}
        return replace(self, **changed, truth=self.truth.each(change))


class Lessons:
    """Batches for the trainer: as a function of the seed and the step alone.

    `old` are the lessons of earlier rounds, `new` that of this one; without old ones all is new.
    """

    def __init__(
        self, old: Sequence[Lesson], new: Lesson, config: LessonConfig, *, steps: int, seed: int
    ) -> None:
        if len(new) == 0 and not any(len(lesson) for lesson in old):
            raise ValueError("there is no lesson: no window was chosen")
        self._old = [lesson for lesson in old if len(lesson)]
        self._new, self._config, self._steps, self._seed = new, config, steps, seed
        names = [lesson.fingerprint() for lesson in (*self._old, new)]
        facts = repr((names, config, steps, seed)).encode()
        self.fingerprint = hashlib.sha256(facts).hexdigest()[:16]
        """Name of all that is learnt from, and how it is mixed."""

    def __len__(self) -> int:
        return self._steps

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[LabelledBatch]:
        """The batches of the run from `start_batch` on."""
        for number in range(start_batch, self._steps):
            yield self._batch(epoch * self._steps + number)

    def _batch(self, number: int) -> LabelledBatch:
        config = self._config
        rng = np.random.Generator(np.random.Philox(key=[self._seed, number + (1 << 41)]))
        fresh = config.batch if not self._old else round(config.batch * config.fresh)
        fresh = 0 if len(self._new) == 0 else fresh
        parts = [self._new.rows(rng.integers(0, len(self._new), fresh))] if fresh else []
        sizes = np.array([len(lesson) for lesson in self._old])
        picks = rng.integers(0, max(int(sizes.sum()), 1), config.batch - fresh)
        ends = np.cumsum(sizes)
        for k, lesson in enumerate(self._old):
            mine = picks[np.searchsorted(ends, picks, "right") == k] - (ends[k] - sizes[k])
            if len(mine):
                parts.append(lesson.rows(mine))
        return self._joined(parts, number)

    def _joined(self, parts: Sequence[Lesson], number: int) -> LabelledBatch:
        def rows(name: str) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))

        yuv, confidence = rows("yuv"), rows("confidence")
        path, mask = rows("path_m"), rows("path_mask")
        mask = mask & (confidence >= self._config.trust)[..., None]
        path = torch.where(mask[..., None], path, 0.0)
        b, t = yuv.shape[:2]
        height, width = parts[0].height_px, parts[0].width_px
        return LabelledBatch(
            yuv=yuv, rgb_frames=yuv.new_zeros(b, t, 0, 3, height, width), height_px=height,
            width_px=width, camera_mask=rows("camera_mask"), lens=rows("lens"),
            time_s=rows("time_s"), speed_mps=rows("speed_mps"), speed_mask=rows("speed_mask"),
            path_m=path, path_mask=mask, drawn=torch.ones(b, dtype=torch.bool),
            window_id=torch.arange(number * b, number * b + b), command=rows("command"),
            truth=Truth(path_m=path, path_mask=mask),
        )  # fmt: skip
