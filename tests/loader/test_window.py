"""Windows: numbering, the held-out split, flags, and what they cost."""

from __future__ import annotations

import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from opendojo.loader import WindowSpec, WindowTable
from opendojo.loader import window as module
from opendojo.store import Store
from opendojo.store.quality import BLURRED, DARK


def _plain_split(instants: int, span: int, gop: int, share: float) -> int:
    last_start = (instants - span) // gop * gop
    cut = min(int(instants * (1.0 - share)), last_start)
    return cut if cut >= span and share > 0 else instants


class _Episodes(list):
    """Stands in for `store.Episodes`: columns, and items where they are asked for."""

    def __init__(self, instants: Any, rate_hz: Any, flags: Any = None) -> None:
        super().__init__(range(len(instants)))
        self.instants, self.rate_hz, self._flags = instants, rate_hz, flags
        if flags is not None:
            # As in a store, whose clips are sorted by id: groups lie in another order.
            order = np.random.default_rng(0).permutation(len(flags))
            self.gops = np.concatenate([flags[place] for place in order])
            ends = np.cumsum([len(flags[place]) for place in order])
            self.gop_row = np.empty(len(flags), np.int64)
            self.gop_row[order] = ends - [len(flags[place]) for place in order]

    def gop_flags(self, place: int) -> Any:
        return self._flags[place]


def _store(instants: Any, rate_hz: Any, flags: Any = None, gop: int = 8) -> Any:
    episodes = _Episodes(np.asarray(instants, np.int64), np.asarray(rate_hz, float), flags)
    return SimpleNamespace(spec=SimpleNamespace(gop_frames=gop), episodes=episodes)


@pytest.mark.parametrize("split", ["train", "held-out", "all"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_the_windows_are_those_of_the_plain_rule(split: Any, share: float) -> None:
    rng = np.random.default_rng(0)
    instants, rates = rng.integers(1, 120, 200), rng.choice([5.0, 10.0, 20.0, 25.0], 200)
    stores = [_store(instants[:150], rates[:150]), _store(instants[150:], rates[150:], gop=4)]
    spec = WindowSpec()
    table = WindowTable(stores, spec, split, share, stride_groups=2)
    plain = []
    for place, (count, rate) in enumerate(zip(instants.tolist(), rates.tolist(), strict=True)):
        gop = 8 if place < 150 else 4
        span = int(7 * rate / 10.0 + 0.5) + 1
        cut = _plain_split(count, span, gop, share)
        begin = -(-cut // gop) * gop if split == "held-out" else 0
        end = cut if split == "train" else count
        plain += [(place, first) for first in range(begin, end - span + 1, 2 * gop)]
    assert [table.find(window) for window in range(len(table))] == plain
    orders = table.orders(np.arange(len(table)))
    assert orders["first"].tolist() == [first for _, first in plain]
    assert [
        (store, number) for store, number in zip(orders["store"], orders["episode"], strict=True)
    ] == [table.episodes.locate(place) for place, _ in plain]


def test_windows_over_flagged_groups_are_left_out() -> None:
    flags = [np.array([0, 0, DARK, 0, BLURRED, 0], np.uint8), np.zeros(3, np.uint8)]
    store = _store([48, 24], [10.0, 20.0], flags)
    spec = WindowSpec(frames=8)
    plain = WindowTable([store], spec, "all", 0.0)
    clean = WindowTable([store], spec, "all", 0.0, without=("dark",))
    assert [plain.find(w) for w in range(len(plain))] == [
        *((0, first) for first in range(0, 41, 8)), (1, 0), (1, 8),
    ]  # fmt: skip
    assert [clean.find(w) for w in range(len(clean))] == [
        *((0, first) for first in (0, 8, 24, 32, 40)), (1, 0), (1, 8),
    ]  # fmt: skip
    assert clean.orders(np.arange(7))["first"].tolist() == [0, 8, 24, 32, 40, 0, 8]
    with pytest.raises(ValueError, match="choose of dark"):
        WindowTable([store], spec, "all", 0.0, without=("foggy",))


@pytest.mark.parametrize("split", ["train", "held-out", "all"])
@pytest.mark.parametrize("stride", [1, 3])
def test_clean_windows_are_counted_as_they_are_found(
    split: Any, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 37)
    rng = np.random.default_rng(stride)
    instants, rates = rng.integers(1, 150, 200), rng.choice([5.0, 10.0, 25.0], 200)
    flags = [rng.choice([0, 0, 0, DARK, BLURRED], -(-n // 8)).astype(np.uint8) for n in instants]
    store = _store(instants, rates, flags)
    spec = WindowSpec()
    told = {"stride_groups": stride}
    plain = WindowTable([store], spec, split, 0.3, **told)
    clean = WindowTable([store], spec, split, 0.3, **told, without=("dark",))
    kept = []
    for number in range(len(plain)):
        place, first = plain.find(number)
        last = first + spec.span(float(rates[place])) - 1
        if not (flags[place][first // 8 : last // 8 + 1] & DARK).any():
            kept.append((place, first))
    assert 10 < len(kept) < len(plain)
    assert [clean.find(number) for number in range(len(clean))] == kept
    assert clean.orders(np.arange(len(clean)))["first"].tolist() == [first for _, first in kept]


def test_leaving_out_costs_little_however_many_groups_there_are() -> None:
    rng = np.random.default_rng(0)
    flags = list(rng.choice([0, 0, 0, DARK], (50_000, 20)).astype(np.uint8))
    store = _store(np.full(50_000, 160), np.full(50_000, 10.0), flags)
    began_s = time.process_time()
    table = WindowTable([store], WindowSpec(), "train", 0.2, without=("dark",))
    assert time.process_time() - began_s < 0.3  # a million groups; clip by clip it takes 1.5 s
    assert 100_000 < len(table) < 700_000


def test_a_million_episodes_cost_little() -> None:
    store = _store(np.full(700_000, 1430), np.full(700_000, 10.0))
    tracemalloc.start()
    table = WindowTable([store], WindowSpec(), "train", 0.2)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 30e6
    place, first = table.find(len(table) - 1)
    assert (place, first) == (699_999, 1136)


def test_training_and_held_out_share_no_frame(store: Store) -> None:
    spec = WindowSpec()
    seen: dict[str, set] = {}
    for split in ("train", "held-out"):
        table = WindowTable([store], spec, split, 0.2)
        seen[split] = set()
        for window in range(len(table)):
            place, first = table.find(window)
            _, episode = table.episodes[place]
            assert first % store.spec.gop_frames == 0
            covered = range(first, first + spec.span(episode.rate_hz))
            assert covered.stop <= episode.instants
            seen[split] |= {(episode.clip_id, instant) for instant in covered}
    assert seen["train"]
    assert seen["held-out"]
    assert not seen["train"] & seen["held-out"]
