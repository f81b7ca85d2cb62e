"""A watched training: same bits as an unwatched one, with and without faults."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from opendojo import guard
from opendojo.guard.campaign import run_campaign
from opendojo.guard.faults import draw_fault, read_seeds, write_seeds
from opendojo.guard.mode import Mode

EVERYTHING = guard.Rates(products=1, duplicates=1, saved=1, rest=1, optimizer=1)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, groups=2), nn.GELU(), nn.Flatten(),
            nn.Linear(16 * 16, 32), nn.LayerNorm(32), nn.Dropout(0.1), nn.Linear(32, 10),
        )  # fmt: skip


def loss_of(model, number, dtype=torch.float32):
    draw = torch.Generator().manual_seed(number)
    x, labels = torch.randn(4, 3, 8, 8, generator=draw), torch.randint(0, 10, (4,), generator=draw)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return F.cross_entropy(model(x).float(), labels)


def trained(rates, *, own_loop=False, dtype=torch.float32, steps=6, meddle=None, ring=None):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        if rates is None:
            for number in range(steps):
                optimizer.zero_grad()
                loss_of(model, number, dtype).backward()
                optimizer.step()
            return guard.digest([model.state_dict(), optimizer.state_dict()]), None
        with guard.watch(model, optimizer, rates, ring=ring) as watch:
            for number in range(steps):
                if meddle is not None:
                    meddle(number, model, optimizer)
                if own_loop:
                    optimizer.zero_grad()
                    loss_of(model, number, dtype).backward()
                    optimizer.step()
                else:
                    watch.step(lambda n=number: loss_of(model, n, dtype))
        return guard.digest([model.state_dict(), optimizer.state_dict()]), watch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_being_watched_changes_no_bit(dtype):
    right, _ = trained(None, dtype=dtype)
    for rates in (EVERYTHING, guard.FULL, guard.SAMPLED):
        for own_loop in (False, True):
            bits, watch = trained(rates, own_loop=own_loop, dtype=dtype)
            assert bits == right
            assert not watch.ledger.events
            assert watch.ledger.guarded_share == 1.0
            assert watch.ledger.steps == 6


def test_memory_that_changed_is_found_and_the_run_redone_with_the_same_bits():
    right, _ = trained(None)

    def meddle(number, model, optimizer):
        if number == 4 and not meddle.done:
            meddle.done = True
            model[6].weight.data[3, 5] += 1e-6

    meddle.done = False
    bits, watch = trained(EVERYTHING, meddle=meddle, ring=guard.Ring(2, 2))
    assert bits == right
    assert [event.verdict for event in watch.ledger.events] == ["restored"]
    assert watch.ledger.events[0].where == "weight 6.weight"
    assert "put back" in watch.ledger.events[0].line()
    meddle.done = False
    with pytest.raises(guard.CorruptState, match=r"weight 6\.weight"):
        trained(EVERYTHING, meddle=meddle)
    meddle.done = False
    with pytest.raises(guard.CorruptState):
        trained(EVERYTHING, meddle=meddle, own_loop=True)


def test_own_loops_are_stopped_before_the_weights_change(monkeypatch):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    right = guard.digest(model.state_dict())
    flags = Mode.flags
    with guard.watch(model, optimizer) as watch:
        loss_of(model.eval(), 0).backward()
        watch.mode.add("mm #3", "product")
        with pytest.raises(guard.Suspected, match="the step was not taken"):
            optimizer.step()
    assert guard.digest(model.state_dict()) == right
    assert Mode.flags is flags


def test_what_cannot_be_guarded_is_counted():
    model = nn.Linear(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with guard.watch(model, optimizer, guard.FULL, least_flops=1e9) as watch:
        watch.step(lambda: model(torch.randn(8, 64)).square().mean())
    assert watch.ledger.guarded_share == 0.0
    assert "not guarded" in watch.ledger.text()


def test_uneven_steps_are_told():
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    calls = []

    def uneven():
        calls.append(1)
        return (model(torch.ones(2, 4)) * (1.0 + len(calls))).sum()

    with guard.watch(model, optimizer) as watch:
        assert watch.qualify(lambda: model(torch.ones(2, 4)).sum())
        assert not watch.qualify(uneven)
    assert "aten::mul" in watch.uneven[0]


def test_a_small_campaign_finds_harm_and_recovers_every_run():
    campaign = run_campaign(range(24), dtypes=("fp32",))
    table = campaign.table()
    assert table["harmful"] >= 8
    assert table["missed"] == []
    assert table["recovered_bit_equal"]["share"] == 1.0
    spike = table["peers"]["loss spike, factor 10"]["share"]
    assert spike < table["harmful_detected"]["share"]


def test_permanent_faults_stop_the_run():
    seeds = [s for s in range(4000) if draw_fault(s).duration == "permanent"]
    loud = [s for s in seeds if draw_fault(s).model == "lane" and s % 3 == 0][:4]
    trials = run_campaign(loud, dtypes=("fp32",)).trials
    stopped = [t for t in trials if t.harmful]
    assert stopped
    assert all(t.verdict == "permanent" and t.recovered is None for t in stopped)


def test_seals(tmp_path):
    path = tmp_path / "seeds.json"
    write_seeds(path, 5, 10)
    assert read_seeds(path) == range(5, 15)
    path.write_text(path.read_text().replace('first\\": 5', 'first\\": 6'))
    with pytest.raises(ValueError, match="seal"):
        read_seeds(path)
    models = [draw_fault(seed).model for seed in range(4000)]
    assert models.count("bit") / 4000 < 0.4
    assert 0.002 < models.count("not_finite") / 4000 < 0.02
