"""Memory that processes share: zero, one for all who map it, and aligned where it is huge."""

from __future__ import annotations

import os

import numpy as np
import pytest

from opendojo.loader.ring import Memory

HUGE = 2 << 20


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("size", [1, 4096, HUGE - 1, HUGE, 3 * HUGE + 5])
def test_it_is_zero_and_shared(size: int, huge: bool) -> None:
    memory = Memory.create(size, huge=huge)
    own = np.frombuffer(memory.map, np.uint8)
    assert len(own) >= size
    assert not own.any()
    again = Memory(os.dup(memory.descriptor))
    other = np.frombuffer(again.map, np.uint8)
    own[size - 1] = 7
    assert other[size - 1] == 7
    if huge and size >= HUGE:
        assert len(own) % HUGE == 0
    memory.close()
    again.close()
    assert other[size - 1] == 7  # the map outlives the descriptor


def test_a_kernel_that_refuses_huge_pages_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opendojo.loader.ring._MADV_COLLAPSE", 9999)
    memory = Memory.create(2 * HUGE, huge=True)
    assert not np.frombuffer(memory.map, np.uint8).any()
    memory.close()
