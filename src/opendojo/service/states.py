"""The states of a job, and which may follow which."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HOLDING", "LEGAL", "IllegalMove", "State", "check_move"]


class State(StrEnum):
    """Where a job stands; the words are those of the API."""

    SUBMITTED = "submitted"
    QUEUED = "queued"
    ADMITTED = "admitted"
    STARTING = "starting"
    RUNNING = "running"
    PREEMPTING = "preempting"
    PREEMPTED = "preempted"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Nothing follows."""
        return not LEGAL[self]


_S = State
LEGAL: dict[State, frozenset[State]] = {
    _S.SUBMITTED: frozenset({_S.QUEUED}),
    _S.QUEUED: frozenset({_S.ADMITTED, _S.CANCELLED}),
    _S.ADMITTED: frozenset({_S.STARTING, _S.CANCELLING}),
    _S.STARTING: frozenset(
        {_S.RUNNING, _S.PREEMPTING, _S.CANCELLING, _S.SUCCEEDED, _S.RETRYING, _S.FAILED}
    ),
    _S.RUNNING: frozenset({_S.PREEMPTING, _S.CANCELLING, _S.SUCCEEDED, _S.RETRYING, _S.FAILED}),
    _S.PREEMPTING: frozenset({_S.PREEMPTED, _S.CANCELLING, _S.SUCCEEDED}),
    _S.PREEMPTED: frozenset({_S.QUEUED}),
    _S.RETRYING: frozenset({_S.QUEUED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.SUCCEEDED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""What may follow each state; a job waits in QUEUED only, and has an attempt from ADMITTED on."""

HOLDING = frozenset({_S.ADMITTED, _S.STARTING, _S.RUNNING, _S.PREEMPTING, _S.CANCELLING})
"""States in which a job holds chips."""


class IllegalMove(RuntimeError):
    """A transition that the table does not know."""


def check_move(old: State, new: State) -> None:
    """Raise IllegalMove unless `new` may follow `old`."""
    if new not in LEGAL[old]:
        raise IllegalMove(f"a job cannot go from {old} to {new}")
