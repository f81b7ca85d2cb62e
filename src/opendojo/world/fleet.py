"""Records a small fleet: drives of the expert through worlds of training seeds, as folders.

Now and then the vehicle is pushed off its way for half a second, so that the recordings hold
recoveries and not only a driver who is always right (Bojarski et al. 2016 shift cameras to the same
end). What is recorded depends on the seed and the configuration alone, to the byte: not on how many
processes share the work, nor on which drives were there before.
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

import opendojo
from opendojo.clip import Log, Track
from opendojo.world.config import TRAINING_SEEDS, WorldConfig
from opendojo.world.draw.scene import Kind
from opendojo.world.pushes import Pushes
from opendojo.world.recording import PARTIAL, DriveWriter
from opendojo.world.world import World

__all__ = ["record_fleet"]

_TOGETHER = 12
"""Most drives whose encoders one process keeps open."""
_SEED_STRIDE = 9973
"""Fleets of neighbouring seeds share no road up to so many drives."""
_FASTEST_MPS = 20.0

Report = Callable[[int], bool]
"""Told of so many more frames; answers whether to go on."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Drives that are drawn together."""

    out_dir: Path
    drives: tuple[int, ...]
    seed: int
    frames: int
    config: WorldConfig

    @property
    def world_seeds(self) -> list[int]:
        return [(self.seed * _SEED_STRIDE + k) % len(TRAINING_SEEDS) for k in self.drives]

    def generator(self, i: int) -> dict[str, Any]:
        """What made the i-th of these drives."""
        config = self.config
        return {
            "name": "opendojo.world",
            "version": opendojo.__version__,
            "seed": self.seed,
            "world_seed": self.world_seeds[i],
            "frames": self.frames,
            "route_m": config.route_m,
            "step_s": config.step_s,
            "towns": list(config.towns),
            "preset": config.preset,
            "agents": config.agents,
            "noise": config.noise,
            "rig_error": config.rig_error,
        }


def record_fleet(
    out_dir: Path | str,
    *,
    drives: int = 24,
    seconds: float = 30.0,
    seed: int = 0,
    config: WorldConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    processes: int | None = None,
) -> dict[str, int]:
    """Record drives `drive-00000`, `drive-00001`, ... into a folder; those there already stay.

    Args:
        out_dir: made where it is missing; half-written drives of an earlier run are removed.
        drives: how many drives the folder shall hold.
        seconds: length of each.
        seed: of the fleet; equal seeds give equal bytes.
        config: the world; its route is lengthened to what the drives need.
        on_progress: told (frames done, frames in all) now and then.
        processes: how many to share the work among; as many as there are cores, where None. With
            more than one, the caller's main module must be importable (as `multiprocessing` asks).

    Returns:
        Counts: `drives` and `frames` written now, `kept` drives that were there.

    Raises:
        ValueError: a drive there was made with other settings.
        OSError: the folder cannot be written, or is full; no half drive is left.
    """
    if drives < 1 or seconds <= 0 or seed < 0:
        raise ValueError("a fleet needs drives >= 1, seconds > 0 and seed >= 0")
    config = config or WorldConfig()
    needed_m = _FASTEST_MPS * seconds
    config = dataclasses.replace(config, route_m=max(config.route_m, needed_m))
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    for left in out_dir.glob(PARTIAL + "*"):
        shutil.rmtree(left)
    frames = max(round(seconds / config.step_s), 1)
    whole = _Job(
        out_dir=out_dir, drives=tuple(range(drives)), seed=seed, frames=frames, config=config
    )
    missing = [k for k in whole.drives if not _is_there(whole, k)]
    jobs = _share(whole, missing, processes or len(os.sched_getaffinity(0)))
    total = len(missing) * frames * len(config.cameras)
    report = on_progress or (lambda _done, _total: None)
    if processes == 1 or len(jobs) < 2:
        _record_here(jobs, report, total)
    else:
        _record_in_processes(jobs, report, total, processes or len(os.sched_getaffinity(0)))
    return {"drives": len(missing), "kept": drives - len(missing), "frames": total}


def _is_there(job: _Job, drive: int) -> bool:
    """Whether a drive is recorded; raises ValueError where it came from other settings."""
    described = _folder(job.out_dir, drive) / "drive.json"
    if not described.exists():
        return False
    made_by = json.loads(described.read_text(encoding="utf-8")).get("generator")
    if made_by != job.generator(drive):
        raise ValueError(
            f"{described.parent} was made with other settings: record into an empty folder"
        )
    return True


def _folder(out_dir: Path, drive: int) -> Path:
    return out_dir / f"drive-{drive:05d}"


def _share(whole: _Job, missing: Sequence[int], processes: int) -> list[_Job]:
    """Jobs of even size, none above _TOGETHER, a multiple of `processes` of them."""
    rounds = max(math.ceil(len(missing) / (_TOGETHER * processes)), 1)
    size = max(math.ceil(len(missing) / (rounds * processes)), 1)
    groups = [tuple(missing[i : i + size]) for i in range(0, len(missing), size)]
    return [dataclasses.replace(whole, drives=group) for group in groups]


def _record_here(jobs: Sequence[_Job], report: Callable[[int, int], None], total: int) -> None:
    done = 0

    def more(pictures: int) -> bool:
        nonlocal done
        done += pictures
        report(done, total)
        return True

    for job in jobs:
        _record(job, more)


class _Shared(Protocol):
    value: int

    def get_lock(self) -> Any: ...


_worker: tuple[_Shared, Any] | None = None
"""In a worker process: the count of pictures drawn, and whether to stop."""


def _begin_worker(done: _Shared, stop: Any) -> None:
    global _worker
    _worker = done, stop
    torch.set_num_threads(1)
    # an interrupt is for the parent to handle: it says when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _record_in_worker(job: _Job) -> None:
    assert _worker is not None
    done, stop = _worker

    def more(pictures: int) -> bool:
        with done.get_lock():
            done.value += pictures
        return not stop.is_set()

    _record(job, more)


def _record_in_processes(
    jobs: Sequence[_Job], report: Callable[[int, int], None], total: int, processes: int
) -> None:
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        min(processes, len(jobs)), context, initializer=_begin_worker, initargs=(done, stop)
    ) as pool:
        pending = {pool.submit(_record_in_worker, job) for job in jobs}
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when="FIRST_EXCEPTION")
                for future in finished:
                    future.result()
                report(done.value, total)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _record(job: _Job, more: Report) -> None:
    """Draw a job's drives side by side and publish them; leaves none where told to stop."""
    world = World(job.world_seeds, job.config)
    rate_hz = 1 / Fraction(job.config.step_s).limit_denominator(1000)
    pushes = [Pushes(seed, job.frames, job.config.step_s) for seed in job.world_seeds]
    cameras = job.config.cameras
    rows = []
    with ExitStack() as stack:
        writers = [
            stack.enter_context(DriveWriter(_folder(job.out_dir, k), cameras, rate_hz))
            for k in job.drives
        ]
        for frame in range(job.frames):
            planes = world.render().numpy()
            for writer, pictures in zip(writers, planes, strict=True):
                writer.write(pictures)
            speed = world.speed_mps.tolist()
            push = torch.tensor([p.at(frame, v) for p, v in zip(pushes, speed, strict=True)])
            rows.append(_row(world, push))
            world.step(world.expert() + push)
            if not more(len(writers) * len(cameras)):
                return
        time_s = np.arange(job.frames) / float(rate_hz)
        for i, writer in enumerate(writers):
            log, tracks = _described(rows, i, time_s)
            writer.publish(log, tracks, job.generator(i))


def _row(world: World, push: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What a log and the tracks keep of this instant: [n, 7] and [n, a, 8], float64."""
    ego, agents = world.state.ego, world.state.agents
    disturbed = (push[:, 0] != 0.0).to(torch.float32)
    values = [getattr(ego, name) for name in _LOG_COLUMNS[:-1]] + [disturbed]
    others = [getattr(agents, name).to(torch.float32) for name in _TRACK_COLUMNS]
    return torch.stack(values, 1).numpy(), torch.stack(others, 2).numpy()


_LOG_COLUMNS = ("x_m", "y_m", "yaw_rad", "speed_mps", "steer_rad", "accel_mps2", "disturbed")
_TRACK_COLUMNS = (
    "mask", "kind", "length_m", "width_m", "height_m", "x_m", "y_m", "yaw_rad",
)  # fmt: skip
_JUMP_M = 8.0
"""Nobody gets so far in a step: whoever does is somebody else in the same slot."""
_KINDS: dict[int, Literal["car", "truck", "cyclist", "pedestrian"]] = {
    Kind.CAR: "car", Kind.TRUCK: "truck", Kind.CYCLIST: "cyclist", Kind.PEDESTRIAN: "pedestrian",
}  # fmt: skip


def _described(
    rows: Sequence[tuple[np.ndarray, np.ndarray]], i: int, time_s: np.ndarray
) -> tuple[Log, list[Track]]:
    """The log and the tracks of the i-th world."""
    table = np.stack([row[0][i] for row in rows], 1).astype(np.float64)
    log = Log(time_s=time_s, **dict(zip(_LOG_COLUMNS, table, strict=True)))
    others = np.stack([row[1][i] for row in rows]).astype(np.float64)  # [t, a, 8]
    tracks: list[Track] = []
    for a in range(others.shape[1]):
        for first, last in _stays(others[:, a]):
            stay = others[first:last, a]
            kind, length, width, height = stay[0, 1:5]
            tracks.append(
                Track(
                    track_id=len(tracks), kind=_KINDS[int(kind)], length_m=length, width_m=width,
                    height_m=height, time_s=time_s[first:last], x_m=stay[:, 5], y_m=stay[:, 6],
                    yaw_rad=stay[:, 7],
                )
            )  # fmt: skip
    return log, tracks


def _stays(slot: np.ndarray) -> list[tuple[int, int]]:
    """First steps, and those after the last, of each road user that was in a slot [t, 8]."""
    there = slot[:, 0] > 0.5
    moved = np.hypot(*np.diff(slot[:, 5:7], axis=0).T)
    same = there[1:] & there[:-1] & (moved < _JUMP_M) & (np.diff(slot[:, 1:3], axis=0) == 0).all(1)
    begins = np.flatnonzero(there & ~np.concatenate([[False], same]))
    ends = np.flatnonzero(there & ~np.concatenate([same, [False]])) + 1
    return list(zip(begins.tolist(), ends.tolist(), strict=True))
