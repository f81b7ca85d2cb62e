"""Rolling windows over what was driven: hand-made logs, and what cheating drivers gain."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from opendojo.evaluate import DriveConfig, ExpertDriver, roll
from opendojo.evaluate.trace import Tracer, impact_mps
from opendojo.evaluate.windows import EVERY, driven_terms, plan_motion, starts, window_terms
from opendojo.world import World, WorldConfig
from opendojo.world.judge_terms import INSTANTS

COUNTRY = WorldConfig(towns=("country",), agents=4)
CONFIG = DriveConfig(world=COUNTRY, limit_s=6.0)
SEEDS = [1_000_000, 1_000_001]


@pytest.fixture(scope="module")
def world() -> World:
    return World(SEEDS, COUNTRY)


@pytest.fixture(scope="module")
def driven(world: World) -> Tracer:
    tracer = Tracer(EVERY)
    for moment in roll(ExpertDriver(), SEEDS, CONFIG, beyond=True, world=world):
        tracer.add(moment)
    return tracer


def test_windows_begin_each_second_up_to_the_one_that_holds_the_end() -> None:
    assert list(starts(end=100, last=100)) == [0, 10, 20, 30, 40, 50, 60]
    assert list(starts(end=95, last=110)) == [0, 10, 20, 30, 40, 50, 60]
    assert list(starts(end=95, last=99)) == [0, 10, 20, 30, 40, 50], "only whole ones"
    assert list(starts(end=12, last=40)) == [0]
    assert not list(starts(end=12, last=39))


def test_a_window_is_what_the_judge_says_of_the_states_as_a_plan(
    world: World, driven: Tracer
) -> None:
    """One at a time by hand, or many at once: the same."""
    rows, first = torch.tensor([1, 0, 1]), torch.tensor([20, 0, 10])
    many = window_terms(world, driven.log, rows, first)
    for k in range(3):
        one = window_terms(world, driven.log, rows[k : k + 1], first[k : k + 1])
        for field in dataclasses.fields(one):
            assert torch.equal(getattr(one, field.name)[0], getattr(many, field.name)[k])
    assert (many.nc == 1).all() and (many.dac == 1).all() and (many.ddc == 1).all()
    assert many.ep.min() > 0.9, "the expert drives as it plans"
    way = driven.log.s_m[60][1] - driven.log.s_m[20][1]
    assert many.progress_m[0, 0] == pytest.approx(float(way), abs=0.05)


def test_what_the_others_did_counts_not_what_was_foreseen(world: World, driven: Tracer) -> None:
    """Somebody who stands in the way at the fourth second, and only then."""
    log = driven.log
    ego = log.ego[30]
    x, y = ego.middle()
    agents = list(log.agents)
    there = agents[30].mask.clone()
    there[0] = False
    there[0, 0] = True
    still = dataclasses.replace(
        agents[30],
        mask=there,
        x_m=agents[30].x_m.index_put((torch.tensor([0]), torch.tensor([0])), x[0]),
        y_m=agents[30].y_m.index_put((torch.tensor([0]), torch.tensor([0])), y[0]),
        speed_mps=agents[30].speed_mps * 0.0,
    )
    agents[30] = still
    changed = dataclasses.replace(log, agents=agents)
    rows, first = torch.tensor([0, 1]), torch.tensor([0, 0])
    terms = window_terms(world, changed, rows, first)
    assert terms.nc[:, 0].tolist() == [0.0, 1.0]
    assert terms.impact_mps[0, 0] == pytest.approx(float(ego.speed_mps[0]), rel=1e-4)
    assert float(terms.score[0, 0]) == 0.0


def test_the_impact_of_a_collision_is_the_relative_speed(world: World, driven: Tracer) -> None:
    agents, ego = driven.log.agents[20], driven.log.ego[20]
    assert impact_mps(ego, agents).tolist() == [0.0, 0.0]
    x, y = ego.middle()
    on_top = dataclasses.replace(
        agents,
        mask=torch.ones_like(agents.mask),
        x_m=x[:, None].expand_as(agents.x_m),
        y_m=y[:, None].expand_as(agents.y_m),
        yaw_rad=ego.yaw_rad[:, None].expand_as(agents.yaw_rad),
        speed_mps=torch.full_like(agents.speed_mps, 2.0),
    )
    torch.testing.assert_close(impact_mps(ego, on_top), (ego.speed_mps - 2.0).abs())


def test_standing_where_the_expert_would_drive_earns_no_progress(
    world: World, driven: Tracer
) -> None:
    """The same log, with the vehicle left where it was at its first second."""
    last = len(driven.log.ego) - 1
    log = driven.log
    halt = dataclasses.replace(log.ego[10], speed_mps=log.ego[10].speed_mps * 0.0)
    stood = dataclasses.replace(
        log,
        ego=[*log.ego[:10], *[halt] * (last - 9)],
        s_m=[*log.s_m[:10], *[log.s_m[10]] * (last - 9)],
    )
    fast, slow = (driven_terms(world, given, [last, last]) for given in (log, stood))
    for moving, standing in zip(fast, slow, strict=True):
        assert standing["ep"] < 0.2 and moving["ep"] > 0.9
        assert standing["windows"] == moving["windows"] == 3.0
    parked = dataclasses.replace(
        stood, expert={step: (way * 0.0, factor) for step, (way, factor) in log.expert.items()}
    )
    first = torch.tensor([20])
    assert window_terms(world, stood, torch.tensor([0]), first).ep.item() < 1e-5
    assert window_terms(world, parked, torch.tensor([0]), first).ep.item() == 1.0


def test_plans_that_turn_one_way_and_then_another_cost_consistency(
    world: World, driven: Tracer
) -> None:
    def bent(path_m: Tensor | None, step: int) -> Tensor:
        assert path_m is not None
        aside = (0.02 if step % 10 else -0.02) * path_m[..., 0].square()
        return torch.stack([path_m[..., 0], path_m[..., 1] + aside], -1)

    rows, first = torch.tensor([0, 0, 1]), torch.tensor([0, 10, 20])
    plans = [bent(path_m, step) for step, path_m in enumerate(driven.log.plans_m)]
    for log, wanted in ((driven.log, 1.0), (dataclasses.replace(driven.log, plans_m=plans), 0.0)):
        terms = window_terms(world, log, rows, first)
        assert terms.ec[:, 0].tolist() == [1.0, wanted, wanted]
    blank = dataclasses.replace(driven.log, plans_m=[None] * len(plans))
    assert window_terms(world, blank, rows, first).ec[:, 0].tolist() == [1.0, 1.0, 1.0]


def test_a_plans_motion_is_that_of_its_points() -> None:
    """A circle of 20 m at 8 m/s, told in 16 or in 40 points."""
    for points in (16, 40):
        time_s = torch.arange(1, points + 1) * (4.0 / points)
        turn = time_s * 8.0 / 20.0
        path_m = torch.stack([20.0 * turn.sin(), 20.0 * (1.0 - turn.cos())], -1)[None]
        speed, yaw = plan_motion(path_m)
        assert speed.shape == yaw.shape == (1, INSTANTS)
        assert (speed - 8.0).abs().max() < 0.01
        ahead = torch.arange(INSTANTS) * 0.1 * 8.0 / 20.0
        assert (yaw[0, 3:-3] - ahead[3:-3]).abs().max() < 0.01
    speed, yaw = plan_motion(torch.zeros(1, 16, 2))
    assert not speed.any() and not yaw.any()


def test_the_expert_of_a_window_is_asked_from_its_first_state(world: World, driven: Tracer) -> None:
    world.reset()
    choice = world.choice()
    way, multiplier = driven.log.expert[0]
    assert torch.equal(way, choice.terms.progress_m[:, 0])
    assert torch.equal(multiplier, choice.terms.multiplier[:, 0])
    assert set(driven.log.expert) == set(range(0, len(driven.log.ego), EVERY))
