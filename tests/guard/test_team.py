"""Four ranks under the guard: no bit changes, and whatever one rank does wrong is undone by all."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from opendojo import guard
from opendojo.guard.faults import MODELS, Fault
from opendojo.guard.inject import Injector

RANKS, STEPS = 4, 4


class Net(nn.Module):
    """Products, normalisation by running statistics, dropout, a layer that no step uses."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(24, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Dropout(0.1)]
        self.body = nn.Sequential(*layers, nn.Linear(32, 8))
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).square().mean()


class Run:
    """A short training, the same each time but for what is done to it."""

    def __init__(self, rank: int, *, guarded: bool = True) -> None:
        torch.manual_seed(0)
        self.model = DistributedDataParallel(Net(), find_unused_parameters=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.rank, self.lines = rank, list[str]()
        self.watch = None
        if guarded:
            team = guard.Team()
            guard.Wire(team, self.model)
            self.watch = guard.Watch(
                self.model, self.optimizer, guard.FULL, team=team, tell=self.lines.append
            )

    def go(self, faults: Any = None, between: Any = None) -> list[torch.Tensor]:
        for number in range(STEPS):
            torch.manual_seed(100 * number + self.rank)
            x = torch.randn(16, 24)
            if between is not None:
                between(number, self)
            enter = faults(number) if faults is not None else contextlib.nullcontext()
            with enter:
                self._step(x)
        return [p.detach().clone() for p in self.model.parameters()]

    def _step(self, x: torch.Tensor) -> None:
        if self.watch is None:
            self.optimizer.zero_grad()
            self.model(x).backward()
            self.optimizer.step()
        else:
            self.watch.step(lambda: self.model(x))


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def told(run: Run) -> list[tuple[int, str, str]]:
    assert run.watch is not None
    return sorted({(e.rank, e.what, e.verdict) for e in run.watch.ledger.events})


def clean(rank: int) -> dict[str, Any]:
    plain, run = Run(rank, guarded=False).go(), Run(rank)
    found = run.go()
    assert run.watch is not None
    ledger = run.watch.ledger
    return {"same": same(plain, found), "events": told(run), "checks": ledger.checks > 0,
            "unknown": dict(ledger.unknown)}  # fmt: skip


def trials(rank: int) -> list[dict[str, Any]]:
    """Transient faults of one rank's products, rank and place by turns."""
    plain, rows = Run(rank).go(), []
    models = [model for model in MODELS if model != "bit"]
    for number in range(24):
        guilty, model = number % RANKS, models[number % len(models)]
        place = (number * 0.37) % 1.0
        run = Run(rank)
        fault = Fault(seed=number, site="product", model=model, duration="transient", place=place)
        injector = Injector(fault if rank == guilty else None)
        injector.counts = {"product": 5}

        @contextlib.contextmanager
        def harmed(step: int, one: Injector = injector) -> Iterator[None]:
            one.begin()
            one.armed = step == 1
            with one:
                yield

        found = run.go(harmed)
        rows.append({"same": same(plain, found), "told": told(run), "guilty": guilty})
    return rows


def memory(rank: int) -> list[dict[str, Any]]:
    """A weight that changes between two steps; one that the update of one rank writes wrongly."""
    plain, rows = Run(rank).go(), []

    def at_rest(number: int, run: Run) -> None:
        if run.rank == 2 and number == 1:
            assert run.watch is not None
            with torch.no_grad():
                run.model.module.body[0].weight[3, 3] += 0.5

    for guilty in range(RANKS):
        run = Run(rank)
        if rank == guilty:

            def wrong(*_: Any, one: Run = run) -> None:
                if one.watch is not None and one.watch.number == 2:
                    with torch.no_grad():
                        one.model.module.body[4].bias[0] += 1e-3

            run.optimizer.register_step_post_hook(wrong)
        found = run.go()
        rows.append({"same": same(plain, found), "told": told(run), "guilty": guilty})
    run = Run(rank)
    assert run.watch is not None
    run.watch.rates = guard.Rates(rest=1, replicas=1)
    found = run.go(between=at_rest)
    rows.append({"same": same(plain, found), "told": told(run), "guilty": 2})
    return rows


def wire(rank: int) -> list[tuple[int, str, str]]:
    """What one rank receives is not what was sent."""
    run = Run(rank)
    assert run.watch is not None and run.watch.team is not None and run.watch.team.wire is not None
    own, seen = run.watch.team.wire, [0]

    def received(total: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        if rank == 1 and seen[0] == 2:
            total[5] += 1.0
            own._after[-1] = total.double().sum()
        return total

    run.model = DistributedDataParallel(Net(), find_unused_parameters=True)
    run.model.register_comm_hook(
        None, lambda _, bucket: own.reduced(bucket).then(lambda f: received(f.value()))
    )
    run.optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2)
    run.watch.model, run.watch.optimizer = run.model, run.optimizer
    run.go()
    return told(run)


def permanent(rank: int) -> tuple[str, list[int], list[str]]:
    run = Run(rank)

    class Broken(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            out = func(*args, **(kwargs or {}))
            if rank == 3 and func is torch.ops.aten.mm.default:
                out.data.view(-1)[0] += 100.0
            return out

    try:
        run.go(lambda _: Broken())
    except guard.PermanentFault as error:
        return type(error).__name__, sorted({e.rank for e in error.events}), run.lines
    return "", [], []


def _rank(rank: int, name: str, place: Any, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=RANKS)
    results.put(globals()[name](rank))
    dist.barrier()
    dist.destroy_process_group()


def on_four(name: str, folder: Any) -> list[Any]:
    results = multiprocessing.get_context("spawn").SimpleQueue()
    spawn(_rank, args=(name, folder / "meeting", results), nprocs=RANKS)
    return [results.get() for _ in range(RANKS)]


@pytest.mark.slow
def test_a_guarded_run_of_four_has_the_bits_of_a_plain_one(tmp_path):
    for one in on_four("clean", tmp_path):
        assert one == {"same": True, "events": [], "checks": True, "unknown": {}}


@pytest.mark.slow
def test_the_guilty_rank_is_named_by_all_and_no_bit_is_lost(tmp_path):
    every = on_four("trials", tmp_path)
    assert every[1:] == every[:-1], "the ranks tell the same"
    assert all(row["same"] for row in every[0])
    harmed = [row for row in every[0] if row["told"]]
    assert len(harmed) >= 16
    assert all(row["told"][0][0] == row["guilty"] for row in harmed)
    assert all({verdict for _, _, verdict in row["told"]} == {"transient"} for row in harmed)


@pytest.mark.slow
def test_memory_of_one_rank_is_put_right_from_another(tmp_path):
    for rows in on_four("memory", tmp_path):
        assert all(row["same"] for row in rows)
        for row in rows[:RANKS]:
            assert row["told"] == [(row["guilty"], "replica", "restored")]
        assert rows[RANKS]["told"] == [(2, "rest", "restored")]


@pytest.mark.slow
def test_a_fault_of_the_wire_is_told_from_one_of_arithmetic(tmp_path):
    for found in on_four("wire", tmp_path):
        assert found == [(1, "wire", "transient")]


@pytest.mark.slow
def test_a_permanent_fault_ends_all_ranks_with_the_guilty_ones_name(tmp_path):
    for number, (name, ranks, lines) in enumerate(on_four("permanent", tmp_path)):
        assert (name, ranks) == ("PermanentFault", [3])
        assert [line for line in lines if "rank 3" in line] == lines
        assert number == 0 or len(lines) <= 1
