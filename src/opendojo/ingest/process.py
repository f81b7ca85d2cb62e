"""Processes that read recordings, so that a hostile file can harm nothing but its reader.

FFmpeg can be led to crash, to take all memory or to loop for ever. What opens recordings runs in a
`Child`: its memory is bounded, it sends a beat whenever it got a step further, and one that falls
silent is killed and said to hang.

Children are forked by a `Nursery`, a fresh interpreter that has imported everything once and runs
no threads: starting one takes milliseconds, no lock of the caller is copied, and nothing of the
caller's script is run again, so no `if __name__` guard is needed. They do not see Ctrl-C; the
parent ends them, and where the parent is killed they end with their pipe.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NoReturn

__all__ = [
    "MOST_KILLS",
    "Beat",
    "Child",
    "Ended",
    "Nursery",
    "killed_too_often",
    "pause_s",
]

_START = (
    "import gc; gc.disable(); "  # importing leaves no garbage, and looking for it takes a tenth
    "import sys; from opendojo.ingest.process import nurse; nurse(int(sys.argv[1]))"
)
_BEAT, _READY = "beat", "ready"
_BEAT_S = 0.25
_KEPT_BYTES = 32 << 20
"""Of glibc: what is smaller comes from the heap and stays there."""
_STARTS = 3
_START_S = 60.0
"""What a child may take at least until it is ready."""
_NURSERY_S = 120.0
"""A nursery that does not answer for so long is replaced: it was stopped, or never came up."""
_PAUSE_S = 0.25
_ENDING_S = 1.0


class Ended(Exception):
    """A child is no more; its text says why, in words for people."""

    def __init__(self, text: str, *, killed: bool = False) -> None:
        super().__init__(text)
        self.killed = killed
        """Whether it met SIGKILL, which comes from outside: nothing that it read sends it."""


MOST_KILLS = 6
"""Kills of its process that a clip or a file is given; after that it takes too much memory."""


def pause_s(kills: int) -> float:
    """How long to wait after so many kills before the next attempt: memory may come free."""
    return _PAUSE_S * 2 ** (kills - 1)


def killed_too_often(kills: int) -> str:
    """Why something is given up, in words."""
    return f"its worker was killed {kills} times (signal 9): from outside, or out of memory"


class Beat:
    """Called by a child at every step; tells the parent now and then."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._next_s = 0.0

    def __call__(self) -> None:
        """Say that there is progress."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _BEAT_S
            self._pipe.send((_BEAT, None))


class Nursery:
    """A process that forks children; started when the first is asked for, again where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def fork(self, theirs: Connection) -> int:
        """Fork a child that holds this end of a pipe; its process id.

        Raises `RuntimeError` where none can be started.
        """
        starts = kills = 0
        while starts < _STARTS and kills < MOST_KILLS:
            try:
                pid = self._ask("fork", theirs)
            except (OSError, EOFError):  # it ended, at whatever
                if self._ended() == -signal.SIGKILL:
                    kills += 1
                    time.sleep(pause_s(kills))
                else:
                    starts += 1
                continue
            assert pid is not None
            return pid
        raise RuntimeError(f"no process could be started {starts + kills} times over: see above")

    def exit_code(self, pid: int) -> int | None:
        """Wait for a child that is ending; None where the nursery does not know it."""
        if self._pipe is None:  # a new one would not know it either
            return None
        try:
            return self._ask("wait", pid)
        except (OSError, EOFError):
            self._ended()
            return None

    def _ask(self, what: str, about: Any) -> int | None:
        pipe = self._pipe or self._start()
        if isinstance(about, Connection):
            pipe.send((what, None))
            assert self._process is not None
            send_handle(pipe, about.fileno(), self._process.pid)
        else:
            pipe.send((what, about))
        if not pipe.poll(_NURSERY_S):
            raise EOFError("the nursery does not answer")
        return pipe.recv()

    def _start(self) -> Connection:
        self._pipe, theirs = Pipe()
        # One thread each: they are one a core, and each thread's arena counts as address space.
        # The path is the parent's, for what is unpickled may come from anywhere on it.
        environment = {
            **os.environ,
            # Pictures are taken and given back by the thousand: keep their pages.
            "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(4 * _KEPT_BYTES),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        # The mask is inherited and stays: a Ctrl-C is for the parent alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return self._pipe

    def close(self) -> None:
        """End it; its children go on until their pipes close."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.wait()
        self._pipe = self._process = None

    def _ended(self) -> int | None:
        """How one whose pipe broke ended; None where it did not, and had to be made to."""
        code = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_ENDING_S)
        self.close()
        return code

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Child:
    """A process that does one duty: `duty(pipe, beat, *arguments)`, a function of a module."""

    def __init__(
        self,
        nursery: Nursery,
        duty: Callable[..., None],
        *arguments: Any,
        hang_s: float,
        memory_mb: int,
    ) -> None:
        self._nursery = nursery
        self._hang_s = hang_s
        self._ready = False
        self.pipe, theirs = Pipe()
        with theirs:
            self.pid = nursery.fork(theirs)
        self._heard_s = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # `receive` finds out why
            self.pipe.send((memory_mb, duty, arguments))

    def send(self, message: Any) -> None:
        """Hand it something to do; the time it may be silent begins."""
        if self._ready:
            self._heard_s = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # one that died while idle: see `receive`
            self.pipe.send(message)

    def receive(self) -> Any | None:
        """Its next message, None where that is a beat. Raises `Ended` where it died.

        Waits: call it where `pipe` is ready.
        """
        try:
            kind, message = self.pipe.recv()
        except (EOFError, ConnectionResetError) as fault:
            code = self._end()
            raise Ended(_ending(code), killed=code in (None, -signal.SIGKILL)) from fault
        self._ready, self._heard_s = True, time.monotonic()
        return None if kind in (_BEAT, _READY) else message

    def check(self) -> None:
        """End it and raise `Ended` where it was silent for too long."""
        bound_s = self._hang_s if self._ready else max(self._hang_s, _START_S)
        if time.monotonic() - self._heard_s <= bound_s:
            return
        if not self.pipe.poll():
            self.end()
            raise Ended(f"no progress for {bound_s:g} s: it was ended")

    def end(self) -> None:
        """Make it go, whatever it is at."""
        if not self.pipe.closed:
            self._end()

    def _end(self) -> int | None:
        self.pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self._nursery.exit_code(self.pid)


def _ending(code: int | None) -> str:
    if code is None or code == -signal.SIGKILL:
        return "its worker was killed (signal 9): from outside, or out of memory"
    return f"its worker died of {f'signal {-code}' if code < 0 else f'exit code {code}'}"


def nurse(handle: int) -> None:
    """The life of a nursery, on the pipe with this file descriptor."""
    import opendojo.ingest.search
    import opendojo.ingest.workers  # noqa: F401 - what children will need

    gc.freeze()  # what is imported stays: no child's collector looks through it again
    gc.enable()
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        pipe = Connection(handle)
        while True:
            what, pid = pipe.recv()
            if what == "wait":
                pipe.send(_waited(pid))
                continue
            theirs = recv_handle(pipe)
            pid = os.fork()
            if pid == 0:
                pipe.close()
                _live(Connection(theirs))
            os.close(theirs)
            pipe.send(pid)


def _waited(pid: int) -> int | None:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # of a nursery before this one
        return None


def _live(pipe: Connection) -> NoReturn:
    """The life of a child."""
    code = 1
    try:
        memory_mb, duty, arguments = pipe.recv()
        if memory_mb:
            resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pipe.send((_READY, None))
        duty(pipe, Beat(pipe), *arguments)
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0  # the parent is gone
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
