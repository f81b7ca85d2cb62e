"""The loop around the step: resumes by itself, stops cleanly, writes down what it did.

A run interrupted anywhere and started again ends with the very bits of an undisturbed one: the
order of batches depends on (seed, epoch), random choices on (seed, step), arithmetic on the thread
count, which is recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from opendojo.guard import digest
from opendojo.loader.batch import Batch
from opendojo.model import DrivingNet, NetConfig
from opendojo.store.atomic import write_json
from opendojo.train.checkpoint import Checkpoint, clean, load_newest, save
from opendojo.train.config import TrainConfig
from opendojo.train.metrics import Metrics
from opendojo.train.record import read_json, read_net_config, write_circumstances, write_config
from opendojo.train.step import Progress, StepResult, SuspectStep, make_optimizer, step

__all__ = ["BatchSource", "TrainResult", "load_network", "train"]


class BatchSource(Protocol):
    """Where batches come from: `loader.Loader`, or anything with the same two methods."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in their order, from `start_batch` on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to; written to done.json when it is finished."""

    digest: str
    """`guard.digest` of the network and the optimizer."""
    steps: int
    """Optimizer steps done."""
    frames: int
    """Pictures trained on."""
    seconds: float
    """Wall time of all attempts, from the start of each to its last logged step or end."""
    cpu_seconds: float
    """Processor time of all attempts, this process only."""
    interrupted: bool = False
    """True where `stop` ended the run before its last step."""


def train(
    run_dir: Path | str,
    net_config: NetConfig,
    loader: BatchSource,
    config: TrainConfig,
    *,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    data: str = "",
) -> TrainResult:
    """Train a network in `run_dir`, from its newest checkpoint where there is one.

    `on_step` is given each row of the metrics; `stop` is asked after each step and ends the run
    with a checkpoint. The first Ctrl-C does the same and then raises `KeyboardInterrupt`. `data` is
    a fingerprint of what is trained on. A finished run returns its recorded result at once.

    Raises `ValueError` where the folder holds another run or the loader is empty, `SuspectStep`
    where a step was not finite (its windows are in suspect.json), `DamagedCheckpoint` where no
    checkpoint is whole.
    """
    run_dir = Path(run_dir)
    if len(loader) == 0:
        raise ValueError("the loader has no batch: it needs more windows or a smaller batch")
    run_dir.mkdir(parents=True, exist_ok=True)
    config = dataclasses.replace(config, threads=_threads(run_dir, config))
    write_config(run_dir, net_config, config, data)
    done = read_json(run_dir / "done.json")
    if done is not None:
        return TrainResult(**done)
    write_circumstances(run_dir, config, data)
    with _threads_set(config), _interrupts() as interrupted:
        run = _Run(run_dir, net_config, config)
        try:
            return run.go(loader, on_step, stop, interrupted)
        except SuspectStep as error:
            write_json(run_dir / "suspect.json", error.as_dict())
            raise
        finally:
            run.metrics.close()


def load_network(run_dir: Path | str) -> DrivingNet:
    """The network of a run's newest whole checkpoint, in evaluation mode.

    Raises `ValueError` where the run has none.
    """
    run_dir = Path(run_dir)
    network = DrivingNet(read_net_config(run_dir))
    checkpoint = load_newest(run_dir / "checkpoints")
    if checkpoint is None:
        raise ValueError(f"{run_dir} has no checkpoint yet: train it first")
    network.load_state_dict(checkpoint.network)
    return network.eval()


class _Run:
    """One attempt at a run: weights, optimizer, progress, clocks."""

    def __init__(self, run_dir: Path, net_config: NetConfig, config: TrainConfig) -> None:
        self.run_dir = run_dir
        self.config = config
        self.started_s, self.cpu_started_s = time.perf_counter(), time.process_time()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = DrivingNet(net_config).train()
        self.optimizer = make_optimizer(self.network, config.optim)
        self.progress = Progress()
        clean(self.folder)
        checkpoint = load_newest(self.folder)
        if checkpoint is not None:
            self.network.load_state_dict(checkpoint.network)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.progress = checkpoint.progress
        self.metrics = Metrics(run_dir / "metrics.jsonl", self.progress.step)

    @property
    def folder(self) -> Path:
        return self.run_dir / "checkpoints"

    def go(
        self,
        loader: BatchSource,
        on_step: Callable[[dict[str, Any]], None] | None,
        stop: Callable[[], bool] | None,
        interrupted: threading.Event,
    ) -> TrainResult:
        """Step until the last one, a stop or an interrupt; what `train` returns and raises."""
        with contextlib.closing(self._timed(loader)) as timed:
            for batch, wait_s, began_s in timed:
                result = step(self.network, self.optimizer, batch, self.progress, self.config)
                row = self._advance(len(loader), result, wait_s, time.perf_counter() - began_s)
                self._report(row, on_step)
                halted = interrupted.is_set() or (stop is not None and stop())
                if halted or self._checkpoint_due:
                    self._save()
                if halted and not self._finished:
                    if interrupted.is_set():
                        raise KeyboardInterrupt
                    return self._result(interrupted=True)
        result = self._result(interrupted=False)
        write_json(self.run_dir / "done.json", asdict(result))
        return result

    @property
    def _finished(self) -> bool:
        return self.progress.step == self.config.steps

    @property
    def _checkpoint_due(self) -> bool:
        return self._finished or self.progress.step % self.config.checkpoint_every == 0

    def _report(
        self, row: dict[str, Any], on_step: Callable[[dict[str, Any]], None] | None
    ) -> None:
        if self._finished or self.progress.step % self.config.log_every == 0:
            self.metrics.write(row)
        if on_step is not None:
            on_step(row)

    def _timed(self, loader: BatchSource) -> Generator[tuple[Batch, float, float], None, None]:
        """Batches until the last step, each with the wait for it and when the wait began."""
        while not self._finished:
            batches = loader.batches(self.progress.epoch, self.progress.batch)
            with contextlib.closing(_delegated(batches)) as delegated:
                began_s = time.perf_counter()
                for batch in delegated:
                    yield batch, time.perf_counter() - began_s, began_s
                    if self._finished:
                        return
                    began_s = time.perf_counter()
            assert self.progress.batch == 0, "the loader gave fewer batches than its length"

    def _advance(
        self, epoch_batches: int, result: StepResult, wait_s: float, took_s: float
    ) -> dict[str, Any]:
        before = self.progress
        epoch, batch = divmod(before.epoch * epoch_batches + before.batch + 1, epoch_batches)
        self.progress = Progress(
            step=before.step + 1, epoch=epoch, batch=batch, frames=before.frames + result.frames
        )
        return {
            "step": self.progress.step,
            "frames": result.frames,
            "epoch": before.epoch,
            **{f"loss_{name}": value for name, value in result.losses.items()},
            "lr": result.lr,
            "grad_norm": result.grad_norm,
            "frames_per_s": result.frames / took_s,
            "data_wait_share": wait_s / took_s,
            **self._spent(),
        }

    def _spent(self) -> dict[str, float]:
        spent = self.metrics.spent
        return {
            "seconds": spent["seconds"] + time.perf_counter() - self.started_s,
            "cpu_seconds": spent["cpu_seconds"] + time.process_time() - self.cpu_started_s,
        }

    def _save(self) -> None:
        self.metrics.sync()
        checkpoint = Checkpoint(
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            progress=self.progress,
        )
        save(self.folder, checkpoint, self.config.keep)

    def _result(self, interrupted: bool) -> TrainResult:
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return TrainResult(
            digest=digest(state),
            steps=self.progress.step,
            frames=self.progress.frames,
            interrupted=interrupted,
            **self._spent(),
        )


def _delegated(batches: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same batches; closing it closes the source too, and with it a thread that reads ahead."""
    yield from batches


def _threads(run_dir: Path, config: TrainConfig) -> int:
    """The count asked for, else the one this run began with, else torch's choice."""
    before = read_json(run_dir / "config.json")
    recorded = before["train"]["threads"] if before else None
    return config.threads or recorded or torch.get_num_threads()


@contextlib.contextmanager
def _threads_set(config: TrainConfig) -> Iterator[None]:
    before = torch.get_num_threads()
    assert config.threads is not None
    torch.set_num_threads(config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that no step is torn; the second one interrupts.

    Signals reach the main thread only: elsewhere the flag is never set and `stop` is the way.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
