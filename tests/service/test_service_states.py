"""The state machine, by invention."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_only_legal_moves():
    from opendojo.service import LEGAL, IllegalMove, State
    from opendojo.service.states import check_move

    for old in State:
        for new in State:
            if new in LEGAL[old]:
                check_move(old, new)
            else:
                with pytest.raises(IllegalMove):
                    check_move(old, new)


@given(st.lists(st.integers(0, 10), max_size=60))
def test_any_walk_can_end_and_holds_one_attempt_at_a_time(choices):
    from opendojo.service import LEGAL, State
    from opendojo.service.states import HOLDING

    state, seen = State.SUBMITTED, [State.SUBMITTED]
    for choice in choices:
        if state.finished:
            break
        state = sorted(LEGAL[state])[choice % len(LEGAL[state])]
        seen.append(state)
    for before, after in itertools.pairwise(seen):
        assert after not in HOLDING or before in HOLDING or after == State.ADMITTED
        assert before != State.QUEUED or after in (State.ADMITTED, State.CANCELLED)
    todo, reached = [state], {state}
    while todo:
        for one in LEGAL[todo.pop()] - reached:
            reached.add(one)
            todo.append(one)
    assert any(one.finished for one in reached)
