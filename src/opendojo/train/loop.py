"""The loop around the step: resumes by itself, stops cleanly, writes down what it did.

A run interrupted anywhere and started again ends with the very bits of an undisturbed one: the
order of batches depends on (seed, epoch), random choices on (seed, step, rank), arithmetic on the
number of ranks and of threads, which are recorded. Another number of ranks may go on with it; sums
are then taken in another order and the last bits differ.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from opendojo.guard import FULL, SAMPLED, Team, Watch, Wire, seen_regions
from opendojo.model import DrivingNet, DrivingTrainee, NetConfig
from opendojo.store.atomic import write_json
from opendojo.train.checkpoint import newest_whole, read_progress
from opendojo.train.config import TrainConfig
from opendojo.train.gauge import Gauge, model_flops, peak_of
from opendojo.train.metrics import Journal
from opendojo.train.parallel import (
    any_rank,
    bare,
    device_of,
    first,
    gathered,
    joined,
    keep_to_place,
    rank_of,
    ranks_of,
    shared,
    unsharded,
)  # fmt: skip
from opendojo.train.record import Opened, open_run, read_json, read_net, read_net_config
from opendojo.train.saver import Saver
from opendojo.train.settings import interrupts, settings
from opendojo.train.sources import BatchSource, Feed
from opendojo.train.state import allocate, digest_of, load_tensors, load_weights, tensors_of
from opendojo.train.step import (
    Progress,
    StepResult,
    SuspectStep,
    in_precision,
    make_optimizer,
    step,
)
from opendojo.train.trainee import build, rows_in, to_device

__all__ = ["TrainResult", "Trainable", "load_network", "load_trainee", "train"]

Trainable = nn.Module | Callable[[], nn.Module] | NetConfig | str
"""A trainee, what makes one, the driving network's configuration, or `package.module:factory`."""

OnStep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to; written to done.json when it is finished."""

    digest: str
    """`train.state.digest_of` weights and optimizer."""
    steps: int
    """Optimizer steps done."""
    frames: int
    """Pictures trained on, by all ranks."""
    seconds: float
    """Wall time of all attempts, from the start of each to its last logged step or end."""
    cpu_seconds: float
    """Processor time of all attempts, of rank 0's process only."""
    interrupted: bool = False
    """True where `stop` ended the run before its last step."""


def train(
    run_dir: Path | str,
    trainee: Trainable,
    source: BatchSource,
    config: TrainConfig,
    *,
    on_step: OnStep | None = None,
    stop: Callable[[], bool] | None = None,
    data: str = "",
) -> TrainResult:
    """Train in `run_dir`, from its newest checkpoint where there is one.

    Started by `torchrun`, each process is a rank and calls this alike; `source` gives the rank's
    share of each batch. `on_step` is given each row of the metrics; `stop` is asked after each step
    and ends the run with a checkpoint. The first Ctrl-C does the same and then raises
    `KeyboardInterrupt`. `data` is a fingerprint of what is trained on. A finished run returns its
    recorded result at once.

    Raises `ValueError` where the folder holds another run or the source is empty, `SuspectStep`
    where a step cannot be right (its windows are in suspect.json), `DamagedCheckpoint` where no
    checkpoint is whole.
    """
    run_dir = Path(run_dir)
    if len(source) == 0:
        raise ValueError("the loader has no batch: it needs more windows or a smaller batch")
    device = device_of(config.device)
    with joined(device):
        net = _described(trainee)
        opened = first(lambda: open_run(run_dir, net, config, data, ranks_of()))
        if opened.done is not None:
            return TrainResult(**opened.done)
        watched = opened.config.compile and opened.config.guard != "off"
        regions = seen_regions() if watched else contextlib.nullcontext()
        with settings(opened.config, device), regions, interrupts() as interrupted:
            made = _made(trainee, opened.config)
            run = _Run(run_dir, made, source, opened, device)
            try:
                return run.go(on_step, lambda: interrupted.is_set(), stop)
            except SuspectStep as error:
                ids = [number for rank in gathered(error.window_ids) for number in rank]
                if rank_of() == 0:
                    record = {**error.as_dict(), "window_ids": ids}
                    write_json(run_dir / "suspect.json", record)
                raise
            finally:
                run.close()


def load_network(run_dir: Path | str) -> DrivingNet:
    """The driving network of a run's newest whole checkpoint, in evaluation mode.

    Its weights' moving average where the run kept one. Raises `ValueError` where there is none.
    """
    run_dir = Path(run_dir)
    network = DrivingNet(read_net_config(run_dir))
    return _loaded(run_dir, network, "network.")


def load_trainee(run_dir: Path | str, trainee: nn.Module | None = None) -> Any:
    """As `load_network`, of any trainee: a run's own factory makes it where none is given."""
    run_dir = Path(run_dir)
    if trainee is None:
        net = read_net(run_dir)
        if "factory" not in net:
            raise ValueError(f"{run_dir} does not say how its network is made: give it as trainee")
        trainee = build(net["factory"])
    return _loaded(run_dir, trainee, "")


def _loaded(run_dir: Path, module: Any, prefix: str) -> Any:
    place = newest_whole(run_dir / "checkpoints")
    if place is None:
        raise ValueError(f"{run_dir} has no checkpoint yet: train it first")
    config = read_json(run_dir / "config.json") or {}
    ema = config["train"]["optim"].get("ema_decay") is not None
    load_weights(module, place, prefix, ema=ema)
    return module.eval()


def _described(trainee: Trainable) -> dict[str, Any]:
    """What config.json says of the network; of a driving network all, whatever its weights."""
    if isinstance(trainee, NetConfig):
        return asdict(trainee)
    if isinstance(trainee, DrivingTrainee):
        return asdict(trainee.network.config)
    if isinstance(trainee, str):
        return {"factory": trainee}
    kind: Any = type(trainee) if isinstance(trainee, nn.Module) else trainee
    return {"class": getattr(kind, "__qualname__", type(kind).__qualname__)}


def _made(trainee: Trainable, config: TrainConfig) -> nn.Module:
    """The trainee with the first weights that the seed decides."""
    torch.manual_seed(config.seed)
    if isinstance(trainee, NetConfig):
        return DrivingTrainee(trainee, config.loss)
    if isinstance(trainee, str):
        return build(trainee)
    return trainee if isinstance(trainee, nn.Module) else trainee()


def _watch(
    trainee: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> Watch | None:
    if config.guard == "off":
        return None
    rates, team = FULL if config.guard == "full" else SAMPLED, None
    if ranks_of() > 1:
        if not isinstance(trainee, DistributedDataParallel):
            raise ValueError("train.guard sees no shards yet: train with parallel ddp, or one rank")
        if next(trainee.parameters()).device.type == "cpu":
            keep_to_place()
        team = Team()
        Wire(team, trainee)
    return Watch(
        trainee, optimizer, rates, team=team, tell=lambda line: print(line, file=sys.stderr)
    )


class _Run:
    """One attempt at a run: weights, optimizer, progress, clocks."""

    def __init__(
        self,
        run_dir: Path,
        trainee: nn.Module,
        source: BatchSource,
        opened: Opened,
        device: torch.device,
    ) -> None:
        self.config, self.device, self.source = opened.config, device, source
        self.run_dir = run_dir
        trainee = in_precision(trainee.to(device), self.config).train()
        self.follow: Callable[..., None] | None = getattr(source, "follow", None)
        sharded = ranks_of() > 1 and self.config.parallel == "fsdp"
        self.plain = copy.deepcopy(trainee) if sharded and self.follow is not None else None
        if self.config.compile:
            trainee.compile()
        self.trainee = shared(trainee, self.config.parallel, device)
        self.optimizer = make_optimizer(self.trainee, self.config.optim)
        self.progress = Progress()
        self.watch = _watch(self.trainee, self.optimizer, self.config)
        allocate(self.optimizer)
        if opened.place is not None:
            load_tensors(tensors_of(self.trainee, self.optimizer), opened.place)
            self.progress = read_progress(opened.place)
        self.feed = Feed(source, self.progress)
        self.saver = Saver(run_dir / "checkpoints", self.config.keep)
        gauge = Gauge(peak_of(device, self.config.arithmetic), ranks_of())
        self.journal = Journal(run_dir, self.progress.step, gauge, self.config)

    def go(
        self,
        on_step: OnStep | None,
        interrupted: Callable[[], bool],
        stop: Callable[[], bool] | None,
    ) -> TrainResult:
        """Step until the last one, a stop or an interrupt; what `train` returns and raises."""
        while not self._finished:
            began_s = time.perf_counter()
            if self.follow is not None:
                self.follow(self._present, self.progress.step)
            batch, wait_s = self.feed.next()
            batch = to_device(batch, self.device)
            self._count_flops(batch)
            result = step(
                self.trainee, self.optimizer, batch, self.progress, self.config, self.watch
            )
            rows, epoch = rows_in(batch), self.progress.epoch
            self.feed.turn()
            self.progress = self._after(result)
            row = self.journal.row(self.progress.step, epoch, result, rows, wait_s, began_s)
            if on_step is not None:
                on_step(row)
            told = interrupted()
            halted = any_rank(told or (stop is not None and stop()))
            if halted or self._checkpoint_due:
                self._save(wait=halted or self._finished or self._round_begins)
            if halted and not self._finished:
                if any_rank(told):
                    raise KeyboardInterrupt
                return self._result(interrupted=True)
        result = self._result(interrupted=False)
        first(lambda: write_json(self.run_dir / "done.json", asdict(result)))
        return result

    def close(self) -> None:
        """End what runs beside the loop."""
        self.feed.close()
        self.saver.close()
        self.journal.close()
        if self.watch is not None and rank_of() == 0:
            write_json(self.run_dir / "guard.json", self.watch.ledger.document())

    @property
    def _finished(self) -> bool:
        return self.progress.step >= self.config.steps

    @property
    def _round_begins(self) -> bool:
        round_steps: int | None = getattr(self.source, "round_steps", None)
        return round_steps is not None and self.progress.step % round_steps == 0

    @property
    def _checkpoint_due(self) -> bool:
        whole = self.progress.step % self.config.checkpoint_every == 0
        return whole or self._finished or self._round_begins

    def _after(self, result: StepResult) -> Progress:
        epoch, batch = self.feed.place
        window = self.config.spike_window
        return Progress(
            step=self.progress.step + 1,
            epoch=epoch,
            batch=batch,
            frames=self.progress.frames + result.frames,
            recent=(*self.progress.recent, result.losses["total"])[-window:],
        )

    def _present(self) -> nn.Module:
        """The trainee as it is now, whole and usable on this rank."""
        if self.plain is not None:
            return unsharded(self.trainee, self.plain)
        return bare(self.trainee)

    def _count_flops(self, batch: Any) -> None:
        """Once in an attempt, on its first batch."""
        if not self.journal.counted:
            self.journal.flops_per_row = model_flops(bare(self.trainee), batch)
            self.journal.counted = True

    def _save(self, *, wait: bool) -> None:
        self.journal.sync()
        if self.watch is not None:
            self.watch.check_replicas()
        self.saver.save(tensors_of(self.trainee, self.optimizer), self.progress)
        if wait:
            self.saver.wait()

    def _result(self, interrupted: bool) -> TrainResult:
        result = TrainResult(
            digest=digest_of(tensors_of(self.trainee, self.optimizer)),
            steps=self.progress.step,
            frames=self.progress.frames,
            interrupted=interrupted,
            **self.journal.spent(),
        )
        return gathered(result)[0]
