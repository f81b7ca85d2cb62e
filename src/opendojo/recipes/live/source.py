"""Batches from the live world: rounds of driving between stretches of training.

A round begins every `round_steps` steps of the training, on a checkpoint. What it drives depends on
the weights at that step and on (seed, round), so that a run that was stopped goes on with the same
batches: rounds that are on the disk are read, one that is missing is driven again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from opendojo.evaluate import NetworkDriver
from opendojo.loader import Batch
from opendojo.loader.lens import lens_rows
from opendojo.model import DrivingNet, NetConfig
from opendojo.model.truth import Truth
from opendojo.model.vocabulary import Vocabulary
from opendojo.recipes.live.collect import drive_and_label
from opendojo.recipes.live.exam import SCORED
from opendojo.recipes.live.rounds import Round, read_round, write_round
from opendojo.world import TRAINING_SEEDS, World, WorldConfig

__all__ = ["LiveBatch", "LiveConfig", "LiveSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How much is driven, where, by whom."""

    world: WorldConfig = field(default_factory=WorldConfig)
    """Towns, traffic, rig and step."""
    worlds: int = 40
    """Worlds driven at once; each round has new ones."""
    steps: int = 150
    """Steps of a round."""
    rounds: int = 16
    """Rounds in all."""
    round_steps: int = 120
    """Training steps on each."""
    keep: int = 12
    """Rounds that are trained on, the newest."""
    expert_halves: float = 2.0
    """The expert's share of the wheel halves in so many rounds; the first round is all his."""
    expert_least: float = 0.15
    """What it does not fall below."""
    batch: int = 32
    """Windows in a batch."""
    window: int = 8
    """Instants in a window."""
    fresh: float = 0.5
    """Share of each batch that comes from the newest round."""
    seed: int = 0
    """Decides roads, pushes and the order."""

    def expert_share(self, number: int) -> float:
        """The part of the worlds that the expert drives in a round."""
        return max(self.expert_least, 0.5 ** (number / self.expert_halves))

    def seeds(self, number: int) -> list[int]:
        """The worlds of a round."""
        first = (self.seed * 9973 + number) * self.worlds
        return [TRAINING_SEEDS[(first + i) % len(TRAINING_SEEDS)] for i in range(self.worlds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBatch(Batch):
    """A batch that knows what the route asks for."""

    command: torch.Tensor
    """int64 [b, t]: 0 unknown, else 1 and `world.route`'s FOLLOW, LEFT, STRAIGHT, RIGHT."""
    truth: Truth
    """What the judge said of some candidates."""


class LiveSource:
    """Where the trainer gets batches of the student's own drives from."""

    def __init__(self, folder: Path, config: LiveConfig, net: NetConfig) -> None:
        self.folder, self.config = Path(folder), config
        self._vocabulary = Vocabulary(net)
        self._rounds: dict[int, Round] = {}
        cameras = config.world.cameras
        self._lens = torch.from_numpy(lens_rows(cameras, [camera.name for camera in cameras]))

    def __len__(self) -> int:
        return self.config.rounds * self.config.round_steps

    @property
    def round_steps(self) -> int:
        """Training steps between two rounds."""
        return self.config.round_steps

    def follow(self, network: Callable[[], DrivingNet], step: int) -> None:
        """Drive the round that the step belongs to, unless it is there."""
        number = min(step // self.config.round_steps, self.config.rounds - 1)
        if number in self._rounds:
            return
        path = self.folder / f"round-{number:04d}"
        if not path.exists():
            driver = NetworkDriver(network()) if number else None
            world = World(self.config.seeds(number), self.config.world)
            share = self.config.expert_share(number)
            write_round(
                self.folder, path.name,
                drive_and_label(
                    world, driver, self.config.steps, self._vocabulary, expert_share=share
                ),
            )  # fmt: skip
        for old in range(max(0, number - self.config.keep + 1), number + 1):
            if old not in self._rounds:
                self._rounds[old] = read_round(self.folder / f"round-{old:04d}")
        for old in [key for key in self._rounds if key <= number - self.config.keep]:
            del self._rounds[old]
            shutil.rmtree(self.folder / f"round-{old:04d}", ignore_errors=True)

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[LiveBatch]:
        """The batches of all rounds in order, from `start_batch` on; `follow` comes before each."""
        del epoch
        for number in range(start_batch, len(self)):
            yield self._batch(number)

    def _batch(self, number: int) -> LiveBatch:
        config = self.config
        rng = np.random.Generator(np.random.Philox(key=[config.seed, number + (1 << 40)]))
        newest = max(self._rounds)
        others = [key for key in self._rounds if key != newest]
        fresh = config.batch if not others else round(config.batch * config.fresh)
        picks: list[tuple[Round, int, int]] = []
        while len(picks) < config.batch:
            key = newest if len(picks) < fresh else others[int(rng.integers(len(others)))]
            drives = self._rounds[key]
            total, worlds = drives.episode.shape
            step = int(rng.integers(total - config.window + 1))
            world = int(rng.integers(worlds))
            if drives.episode[step, world] == drives.episode[step + config.window - 1, world]:
                picks.append((drives, step, world))
        return self._gathered(picks, number)

    def _gathered(self, picks: list[tuple[Round, int, int]], number: int) -> LiveBatch:
        def rows(name: str) -> torch.Tensor:
            t = self.config.window
            return torch.from_numpy(np.stack([getattr(r, name)[s : s + t, w] for r, s, w in picks]))

        camera = self.config.world.cameras[0]
        yuv, speed, path = rows("yuv"), rows("speed_mps"), rows("path_m")
        b, t, c = yuv.shape[:3]
        time_s = torch.arange(t, dtype=torch.float64) * self.config.world.step_s
        return LiveBatch(
            yuv=yuv,
            rgb_frames=yuv.new_zeros(b, t, 0, 3, camera.height_px, camera.width_px),
            height_px=camera.height_px,
            width_px=camera.width_px,
            camera_mask=torch.ones(b, c, dtype=torch.bool),
            lens=self._lens.expand(b, -1, -1),
            time_s=time_s.expand(b, -1),
            speed_mps=speed,
            speed_mask=torch.ones(b, t, dtype=torch.bool),
            path_m=path,
            path_mask=torch.ones(path.shape[:-1], dtype=torch.bool),
            drawn=torch.ones(b, dtype=torch.bool),
            window_id=torch.arange(number * b, (number + 1) * b),
            command=rows("command"),
            truth=Truth(
                judged=rows("judged"),
                terms=rows("terms"),
                terms_mask=SCORED.expand(*rows("terms").shape),
            ),
        )
