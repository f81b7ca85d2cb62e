"""Batches from the live world: rounds of driving between stretches of training.

A round begins every `round_steps` steps of the training, on a checkpoint. What it drives depends on
the weights at that step and on (seed, round), so that a run that was stopped goes on with the same
batches: rounds that are on the disk are read, one that is missing is driven again. A round is
driven in parts; ranks share the parts, and each reads all of them, so that batches do not depend on
how many ranks there are.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from opendojo.evaluate import NetworkDriver
from opendojo.guard import digest
from opendojo.loader import AugmentConfig, Batch, augmented, is_flipped
from opendojo.loader.lens import lens_rows
from opendojo.model import DrivingTrainee, NetConfig
from opendojo.model.truth import Truth
from opendojo.recipes.live.around import Surveyor
from opendojo.recipes.live.collect import drive_and_label
from opendojo.recipes.live.exam import Examiner
from opendojo.recipes.live.mirror import check_mirror, mirrored_command, mirrored_truth
from opendojo.recipes.live.rounds import Round, read_round, write_round
from opendojo.world import TRAINING_SEEDS, World, WorldConfig

__all__ = ["LiveBatch", "LiveConfig", "LiveSource"]

_SPARE = 2
"""Rounds kept on the disk beyond those in use: a run may go back to an older checkpoint."""
_POLL_S = 0.2
_AHEAD_S = 2.0
"""Where a plan is looked at for how much it bends ..."""
_HARD_MPS2, _SHARP_RAD = 3.0, 0.2
"""... and what counts as much: a change of speed, and the bearing of the place it comes to ..."""
_LEAST_M = 1.0
"""... which is at least so far ahead, or noise of a car that stands would count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How much is driven, where, by whom."""

    world: WorldConfig = field(default_factory=WorldConfig)
    """Towns, traffic, rig and step."""
    worlds: int = 64
    """Worlds of a part, driven at once; each round has new ones."""
    parts: int = 1
    """Parts of a round; with several ranks each drives its share of them."""
    steps: int = 160
    """Steps of a round."""
    rounds: int = 9
    """Rounds in all."""
    round_steps: int = 330
    """Training steps from one round to the next."""
    keep: int = 12
    """Rounds that are trained on, the newest."""
    expert_halves: float = 2.0
    """The expert's share of the wheel halves in so many rounds; the first round is all his."""
    expert_least: float = 0.15
    """What it does not fall below."""
    batch: int = 32
    """Windows in a batch."""
    window: int = 8
    """Instants from the first of a window to its last."""
    instants: tuple[int, ...] = ()
    """Which of them the network is shown; empty: all. Neighbours teach much the same: more windows
    of fewer instants, those that the feature queue asks for, teach more in the same time."""
    flip: float = 0.0
    """Share of windows that are mirrored, left for right."""
    fresh: float = 0.5
    """Share of each batch that comes from the newest round."""
    plain: float = 0.2
    """How often a window is taken in which the expert drives straight on at one speed, for each
    time one is in which he turns or brakes: most of driving teaches little."""
    seed: int = 0
    """Decides roads, pushes and the order."""

    def __post_init__(self) -> None:
        counts = ("worlds", "parts", "steps", "rounds", "round_steps", "keep", "batch", "window")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"live.{name} {getattr(self, name)}: must be at least 1")
        if self.steps < self.window:
            raise ValueError(f"live.steps {self.steps}: a window alone has {self.window}")
        if self.expert_halves <= 0:
            raise ValueError(f"live.expert_halves {self.expert_halves}: must be above 0")
        if self.plain == 0:
            raise ValueError("live.plain 0: must be above 0, or a straight road has no windows")
        inside = all(0 <= instant < self.window for instant in self.instants)
        if not inside or list(self.instants) != sorted(set(self.instants)):
            raise ValueError(
                f"live.instants {self.instants}: must rise, from 0 to below {self.window}"
            )
        for name in ("expert_least", "fresh", "plain", "flip"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"live.{name} {getattr(self, name)}: must be from 0 to 1")

    @property
    def shown(self) -> tuple[int, ...]:
        """The instants of a window that are in a batch."""
        return self.instants or tuple(range(self.window))

    def expert_share(self, number: int) -> float:
        """The part of the worlds that the expert drives in a round."""
        return max(self.expert_least, 0.5 ** (number / self.expert_halves))

    def seeds(self, number: int, part: int = 0) -> list[int]:
        """The worlds of a part of a round."""
        first = ((self.seed * 9973 + number) * self.parts + part) * self.worlds
        return [TRAINING_SEEDS[(first + i) % len(TRAINING_SEEDS)] for i in range(self.worlds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBatch(Batch):
    """A batch that knows what the route asks for."""

    command: torch.Tensor
    """int64 [b, t]: 0 unknown, else 1 and `world.route`'s FOLLOW, LEFT, STRAIGHT, RIGHT."""
    truth: Truth
    """What the judge said of some candidates."""
    instants: tuple[int, ...]
    """Steps since the first of each instant."""

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> LiveBatch:
        changed = {name: change(tensor) for name, tensor in self.tensors().items()}
        return replace(self, **changed, truth=self.truth.each(change))


class LiveSource:
    """Where the trainer gets batches of the student's own drives from.

    `folder` must be one that all ranks see. Raises `ValueError` where network and world do not fit
    or the batch cannot be shared out.
    """

    def __init__(
        self, folder: Path, config: LiveConfig, net: NetConfig, rank: int = 0, ranks: int = 1
    ) -> None:
        if config.batch % ranks:
            raise ValueError(f"live.batch {config.batch} cannot be shared by {ranks} ranks")
        rig = config.world.cameras
        names = tuple(camera.name for camera in rig)
        sizes = {(camera.width_px, camera.height_px) for camera in rig}
        if names != net.cameras or sizes != {(net.width_px, net.height_px)}:
            raise ValueError("live.world.cameras and net differ in names or sizes of cameras")
        if config.flip:
            check_mirror(rig, net)
        self.folder, self.config = Path(folder), config
        self.rank, self.ranks = rank, ranks
        self._examiner, self._surveyor = Examiner(net), Surveyor(net)
        self._rounds: dict[int, list[Round]] = {}
        times_s = self._examiner.times_s
        nearest = int((times_s - _AHEAD_S).abs().argmin())
        self._ahead = nearest, float(times_s[nearest])
        self._candidates = self._examiner.vocabulary.mirrored()
        self._cameras = names
        self._lens = torch.from_numpy(lens_rows(rig, list(names)))
        facts = json.dumps([asdict(config), asdict(net)], sort_keys=True, default=str)
        self.fingerprint = digest(facts)
        """Name of what is driven; equal for equal configurations."""

    def __len__(self) -> int:
        return self.config.rounds * self.config.round_steps

    @property
    def round_steps(self) -> int:
        """Training steps between two rounds."""
        return self.config.round_steps

    def follow(self, trainee: Callable[[], nn.Module], step: int) -> None:
        """Drive the round that the step belongs to, unless it is there; every rank must ask.

        Raises `ValueError` where a round has been lost that only older weights could drive.
        """
        number = min(step // self.config.round_steps, self.config.rounds - 1)
        if number in self._rounds:
            return
        first = max(0, number - self.config.keep + 1)
        missing = [place for old in range(first, number) for place in self._lost(old)]
        begins = step == number * self.config.round_steps
        if not begins:
            missing += self._lost(number)
        if missing:
            raise ValueError(
                f"{missing[0]} is gone and cannot be driven again with the weights of step {step}: "
                "put it back, or begin anew in another folder"
            )
        if begins:
            self._drive(number, trainee)
        for old in range(first, number + 1):
            if old not in self._rounds:
                self._rounds[old] = [read_round(place) for place in self._places(old)]
        for old in [key for key in self._rounds if key < first]:
            del self._rounds[old]
        if self.rank == 0:
            for old in range(first - _SPARE):
                for place in self._places(old):
                    shutil.rmtree(place, ignore_errors=True)

    def _places(self, number: int) -> list[Path]:
        return [self.folder / f"round-{number:04d}-{part:02d}" for part in range(self.config.parts)]

    def _lost(self, number: int) -> list[Path]:
        return [place for place in self._places(number) if not place.exists()]

    def _drive(self, number: int, trainee: Callable[[], nn.Module]) -> None:
        """Drive this rank's parts of a round, and wait for the others'."""
        present = trainee()  # by all ranks, also those with nothing to drive
        for part, place in enumerate(self._places(number)):
            if part % self.ranks != self.rank or place.exists():
                continue
            driver = None
            if number:
                assert isinstance(present, DrivingTrainee), "the live world trains DrivingTrainee"
                driver = NetworkDriver(copy.deepcopy(present.network))
            world = World(self.config.seeds(number, part), self.config.world)
            share = self.config.expert_share(number)
            instants = drive_and_label(
                world,
                driver,
                self.config.steps,
                self._examiner,
                self._surveyor,
                expert_share=share,
            )
            write_round(self.folder, place.name, instants)
        while self._lost(number):  # a rank that dies is missed by the launcher
            time.sleep(_POLL_S)

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[LiveBatch]:
        """The batches of all rounds in order, from `start_batch` on; `follow` comes before each."""
        for number in range(start_batch, len(self)):
            yield self._batch(epoch * len(self) + number)

    def _batch(self, number: int) -> LiveBatch:
        config = self.config
        rng = np.random.Generator(np.random.Philox(key=[config.seed, number + (1 << 40)]))
        newest = max(self._rounds)
        others = [key for key in self._rounds if key != newest]
        fresh = config.batch if not others else round(config.batch * config.fresh)
        picks: list[tuple[Round, int, int]] = []
        while len(picks) < config.batch:
            key = newest if len(picks) < fresh else others[int(rng.integers(len(others)))]
            drives = self._rounds[key][int(rng.integers(config.parts))]
            total, worlds = drives.episode.shape
            step = int(rng.integers(total - config.window + 1))
            world = int(rng.integers(worlds))
            span = slice(step, step + config.window)
            whole = drives.episode[step, world] == drives.episode[span.stop - 1, world]
            chance = config.plain + (1.0 - config.plain) * self._bent(drives, span, world)
            if rng.random() < chance and whole:
                picks.append((drives, step, world))
        share = config.batch // self.ranks
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return self._gathered(picks[mine], number * config.batch + mine.start)

    def _bent(self, drives: Round, span: slice, world: int) -> float:
        """How far the expert's plans are from straight on at one speed: 0, not at all, to 1."""
        ahead = self._ahead
        x_m, y_m = drives.path_m[span, world, ahead[0]].T
        straight_m = drives.speed_mps[span, world] * ahead[1]
        accel_mps2 = np.abs(np.hypot(x_m, y_m) - straight_m) * 2.0 / ahead[1] ** 2
        turn_rad = np.abs(np.arctan2(y_m, np.maximum(x_m, _LEAST_M)))
        return float(
            np.clip(np.maximum(accel_mps2 / _HARD_MPS2, turn_rad / _SHARP_RAD), 0, 1).max()
        )

    def _gathered(self, picks: list[tuple[Round, int, int]], first_id: int) -> LiveBatch:
        shown = np.array(self.config.shown)

        def rows(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([getattr(r, name)[s + shown, w] for r, s, w in picks]))

        camera = self.config.world.cameras[0]
        yuv, speed, path = rows("yuv"), rows("speed_mps"), rows("path_m")
        terms = rows("terms")
        b, t, c = yuv.shape[:3]
        known = torch.ones(b, t, dtype=torch.bool)
        time_s = torch.from_numpy(shown).double() * self.config.world.step_s
        batch = LiveBatch(
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
            window_id=torch.arange(first_id, first_id + b),
            command=rows("command"),
            instants=self.config.shown,
            truth=Truth(
                judged=rows("judged"),
                terms=terms.nan_to_num(),
                terms_mask=~terms.isnan(),
                occupancy=rows("occupancy"),
                occupancy_mask=known,
                road=rows("road"),
                road_mask=known,
                agents=rows("agents"),
                agents_mask=rows("agents_mask"),
                agents_known=known,
            ),
        )
        return self._mirrored(batch) if self.config.flip else batch

    def _mirrored(self, batch: LiveBatch) -> LiveBatch:
        """Some windows, by their numbers, left for right."""
        augment, seed = AugmentConfig(flip=self.config.flip), self.config.seed
        chosen = is_flipped(batch.window_id, augment, seed=seed, epoch=0)
        seen = augmented(batch, augment, seed=seed, epoch=0, cameras=self._cameras)
        return replace(
            batch,
            yuv=seen.yuv,
            lens=seen.lens,
            path_m=seen.path_m,
            command=mirrored_command(batch.command, chosen),
            truth=mirrored_truth(batch.truth, chosen, self._candidates),
        )
