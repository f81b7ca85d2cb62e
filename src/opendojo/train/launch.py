"""Starts the ranks of a run on this machine by `torchrun`, and stays until the run is done.

`torchrun` restarts all ranks where one dies, and the run goes on from its checkpoint. What this
adds is what restarts on one machine were found to need:

- workers do not share the rendezvous' store, else a restarted one reads the addresses of the
  attempt before (`TORCH_DISABLE_SHARE_RDZV_TCP_STORE`; pytorch issue 135712),
- gloo uses the loopback interface,
- an attempt that shows no progress for long is ended, and another begun with a fresh rendezvous,
- a rank whose arithmetic is wrong for good is left out: the others go on, on their own devices
  (`parallel.place_of`),
- success is the published record `done.json`, never an exit code alone: a finished run is a
  success even where a rank fails while it parts.

    launch(["train", "demo", "--stores", "s", "--run", "r"], Path("r"), ranks=2)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from opendojo.store.atomic import write_json

__all__ = ["LaunchFailed", "Stopped", "is_worker", "launch", "stop_all"]

_LAUNCH, _PLACES = "OPENDOJO_LAUNCH", "OPENDOJO_PLACES"
_USAGE = 2
"""Exit code of ranks that find their number does not fit the batch."""
_POLL_S = 0.1
_PARTING_S = 15.0
"""How long ranks may take to end after the run is done or was told to end."""


class LaunchFailed(RuntimeError):
    """The ranks did not finish the run, in as many attempts as were allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why the ranks gave up for a reason that a restart would not mend."""

    code: int
    """Exit code of the command."""
    sentence: str
    """What happened and what to do."""
    faulty: tuple[int, ...] = ()
    """Ranks whose devices must not go on; the others may."""


def is_worker() -> bool:
    """Whether this process is a rank that `torchrun` started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def stop_all(run_dir: Path, code: int, sentence: str, faulty: Sequence[int] = ()) -> None:
    """Called by a rank: a restart would end the same way, so let the launcher stop all of them.

    Where that is for the sake of `faulty` ranks, it starts again without them.
    """
    launch_id = os.environ.get(_LAUNCH)
    if launch_id is not None and run_dir.is_dir():
        told = {"launch": launch_id, "code": code, "sentence": sentence, "faulty": list(faulty)}
        write_json(run_dir / "stopped.json", told)


def launch(
    words: Sequence[str],
    run_dir: Path,
    *,
    ranks: int,
    module: str = "opendojo.cli",
    restarts: int = 3,
    attempts: int = 3,
    stall_s: float = 900.0,
) -> Stopped | None:
    """Run `python -m module words...` as so many ranks until the run in `run_dir` is done.

    An attempt allows `torchrun` that many restarts, and is ended where for `stall_s` no step was
    logged. Where the ranks stopped because some are faulty the others are started again, fewer
    still where so many cannot share the batch. Returns None when the run is done, or why the ranks
    stopped themselves. Raises `LaunchFailed` after the last attempt, `KeyboardInterrupt` after
    handing a Ctrl-C on.
    """
    if ranks < 1:
        raise ValueError(f"ranks {ranks}: must be at least 1")
    run_dir.mkdir(parents=True, exist_ok=True)  # where ranks say why they stop
    places, attempt = list(range(ranks)), 1
    while attempt <= attempts:
        launch_id = uuid.uuid4().hex
        finished = _done(run_dir)
        process = _started(words, module, places, ranks, restarts, launch_id)
        try:
            how = _watched(process, run_dir, launch_id, stall_s, finished=finished)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # handed on to the ranks, which keep a checkpoint
            _end(process, politely_s=2 * _PARTING_S)
            raise
        _end(process, politely_s=_PARTING_S)
        stopped = _stopped(run_dir, launch_id)
        if stopped is not None:
            left = _left(places, stopped, fewer=len(places) < ranks)
            if left == places or not left:
                return stopped
            print(
                f"{stopped.sentence}; going on with {len(left)} of {ranks} ranks", file=sys.stderr
            )
            places = left
            continue
        if _done(run_dir):
            return None
        print(f"attempt {attempt} of {attempts} {how}", file=sys.stderr, flush=True)
        attempt += 1
    raise LaunchFailed(
        f"{ranks} ranks did not finish {run_dir} in {attempts} attempts; what they said is above, "
        "and the same command goes on from the newest checkpoint"
    )


def _left(places: list[int], stopped: Stopped, *, fewer: bool) -> list[int]:
    """The places that a run which stopped goes on with; all of them: it does not."""
    if stopped.faulty:
        return [place for rank, place in enumerate(places) if rank not in stopped.faulty]
    # some are out already, and so many may not be able to share the batch
    return places[:-1] if fewer and stopped.code == _USAGE else places


def _started(
    words: Sequence[str],
    module: str,
    places: Sequence[int],
    of: int,
    restarts: int,
    launch_id: str,
) -> subprocess.Popen[bytes]:
    cores, ranks = len(os.sched_getaffinity(0)), len(places)
    environment = {
        "OMP_NUM_THREADS": str(max(1, cores // ranks)),
        "GLOO_SOCKET_IFNAME": "lo",
        **os.environ,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        _LAUNCH: launch_id,
        _PLACES: ",".join(str(place) for place in (*places, of)),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", f"--max-restarts={restarts}", "-m"]
    command += ["--", module, *words]  # after `--`, --run is not taken for torchrun's --run-path
    # A session of its own: Ctrl-C reaches the ranks once, handed on from here.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _watched(
    process: subprocess.Popen[bytes],
    run_dir: Path,
    launch_id: str,
    stall_s: float,
    *,
    finished: bool,
) -> str:
    """Wait for the end, for a record of one, or for a stall; how it ended, in words.

    A run that was `finished` before has its record already: then the end itself is waited for.
    """
    moved_s, seen = time.monotonic(), _pulse(run_dir)
    while process.poll() is None:
        time.sleep(_POLL_S)
        if (_done(run_dir) and not finished) or _stopped(run_dir, launch_id) is not None:
            return "ended"
        pulse = _pulse(run_dir)
        if pulse != seen:
            moved_s, seen = time.monotonic(), pulse
        if time.monotonic() - moved_s > stall_s:
            return f"made no step in {stall_s:.0f} s and was ended"
    return f"failed with code {process.returncode}"


def _end(process: subprocess.Popen[bytes], politely_s: float) -> None:
    """Let the ranks end by themselves, then by a signal, then without mercy."""
    family = _family(process)
    for step, patience_s in (("wait", politely_s), ("interrupt", politely_s), ("kill", politely_s)):
        if step == "interrupt":
            process.terminate()
        if step == "kill":
            for member in family:
                member.kill()
        family = [*family, *(each for each in _family(process) if each not in family)]
        _, family = psutil.wait_procs(family, timeout=patience_s)
        if not family and process.poll() is not None:
            return


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        top = psutil.Process(process.pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pulse(run_dir: Path) -> tuple[int, ...]:
    """Changes with every logged step and every start."""
    paths = (run_dir / "metrics.jsonl", run_dir / "run.json")
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _done(run_dir: Path) -> bool:
    return (run_dir / "done.json").exists()


def _stopped(run_dir: Path, launch_id: str) -> Stopped | None:
    path = run_dir / "stopped.json"
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    if told["launch"] != launch_id:
        return None
    return Stopped(
        code=told["code"], sentence=told["sentence"], faulty=tuple(told.get("faulty", ()))
    )
