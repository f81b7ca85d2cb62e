"""Where a worker lives: a process of its own, or a thread of this one. Either can be ended."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import Protocol

from opendojo.loader.ring import Rows
from opendojo.loader.worker import NO_SLOT, Job, Ring, serve, tell

__all__ = ["Hand", "ProcessHand", "ThreadHand"]

_MAIN = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from opendojo.loader.worker import main; main()"
)

_PAST_THE_CACHE = "glibc.cpu.x86_non_temporal_threshold=0x8000"
"""Planes of 32 KiB or more are written past the cache: the worker never reads them again, and need
not fetch from memory what it overwrites. It halved the cost of the copy into the ring."""


class Hand(Protocol):
    """A worker at work."""

    messages: int
    """Read end of the pipe on which it says what went wrong; at its end, so is the worker."""
    pid: int
    """Of the process it works in."""

    def end(self) -> str:
        """End it if it has not ended, wait for it, and say how it ended, for people."""
        ...


class ProcessHand:
    """A worker process. It is not forked: a fork of a program with threads may lock up."""

    def __init__(self, job: Job, pickled: bytes, worker: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment["GLIBC_TUNABLES"] = ":".join(
            filter(None, [os.environ.get("GLIBC_TUNABLES"), _PAST_THE_CACHE])
        )
        # A session of its own keeps the terminal's Ctrl-C from it.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, json.dumps(sys.path), str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            pass_fds=(job.ring, job.kept, job.tasks, job.ready),
            start_new_session=True,
        )
        self.pid = self._process.pid
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._stdout = stdout
        self.messages = stdout.fileno()
        with contextlib.suppress(BrokenPipeError):  # it has ended, as its messages will tell
            stdin.write(pickled)
            stdin.close()

    def end(self) -> str:
        """Kill it."""
        self._process.kill()
        code = self._process.wait()
        self._stdout.close()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


class ThreadHand:
    """A worker in this process: for small sets, where processes do not pay."""

    def __init__(self, pickled: bytes, worker: int, ring: Ring, kept: Rows | None) -> None:
        own: Job = pickle.loads(pickled)  # stores are used by one thread each
        self.pid = os.getpid()
        self.messages, end = os.pipe()
        self._thread = threading.Thread(
            target=_serve, args=(own, ring, kept, worker, end), daemon=True, name="loader"
        )
        self._thread.start()

    def end(self) -> str:
        """Wait for it: it ends once the pipe of tasks is closed."""
        if self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self.messages)
        return "ended"


def _serve(job: Job, ring: Ring, kept: Rows | None, worker: int, messages: int) -> None:
    try:
        serve(job, ring, kept, worker, messages)
    except Exception as error:
        tell(messages, NO_SLOT, error)
    finally:
        os.close(messages)
