"""Plans: ranges from one's own earlier jobs, else from the machine's model, else the limit."""

from __future__ import annotations

import pytest
from service_help import add_job, add_tenant

APART = 0.25
"""How far the table of sizes may be from today's traces: the modelled step's own interval is wider,
its ends lie a third below and a half above."""


def _plan(api, secret, **asked):
    head = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "k"}
    reply = api.post("/v1/jobs?dry_run=true", json=asked, headers=head)
    assert reply.status_code == 200, reply.text
    return reply.json()


def _machine(name):
    from opendojo.service.forecast import Machine

    return Machine.named(name)


def test_own_earlier_jobs_are_the_range_and_others_are_not(api, database):
    tenant, secret = add_tenant(database, "a", price_micro=3_600_000)
    other, _ = add_tenant(database, "b")
    walls_ms = iter((5000, 9000, 7000, 1000))
    for number in range(4):
        who = other if number == 3 else tenant
        job = add_job(database, who, ["demo", "--steps", "5"], at_ms=number, chips=2)
        for _ in range(3):
            api.manager.tick()
        api.manager.launcher.advance(next(walls_ms))
        with database.reading() as session:
            from opendojo.service.models import Attempt

            attempt = session.query(Attempt.id).filter_by(job_id=job).scalar()
        before = _plan(api, secret, command=["demo", "--steps", "5"], chips=2)
        assert "measured" not in before["time"]["how"] or number == 3
        api.manager.launcher.end(attempt, 0)
        api.manager.tick()
    plan = _plan(api, secret, command=["demo", "--steps", "5"], chips=2, limit_s=8)
    assert (plan["time"]["low"], plan["time"]["high"]) == (5.0, 8.0)
    assert plan["cost"]["low"] == pytest.approx(2 * 5.0 * 3.6 / 3600)
    assert plan["time"]["how"].startswith("measured: 3 earlier")
    for unlike in ({"command": ["demo"], "chips": 2}, {"command": ["demo", "--steps", "5"]}):
        assert _plan(api, secret, **unlike)["time"]["low"] == 0


def test_energy_of_a_named_machine_by_hand(api, database):
    api.manager.machine = _machine("dgx-h100")
    _, secret = add_tenant(database, "a")
    plan = _plan(api, secret, command=["demo"], chips=2, limit_s=100)
    # 8 chips of 700 W of which training draws 82 %, 2,500 W around them, PUE at most 1.58
    assert plan["energy"]["high"] == pytest.approx(100 * 2 * (8 * 0.82 * 700 + 2500) * 1.58 / 8)
    assert plan["energy"]["low"] == 0 and "modelled" in plan["energy"]["how"]
    assert (plan["time"]["low"], plan["time"]["high"]) == (0, 100)


def test_training_is_modelled_as_the_machine_room_does(api, database):
    from opendojo.machine import find_pod
    from opendojo.machine.driving import driving_shape
    from opendojo.machine.placement import place

    api.manager.machine, api.manager.chips = _machine("dgx-h100"), 8
    _, secret = add_tenant(database, "a")
    words = ["train", "base", "--stores", "frames", "--train.steps=1000", "--loader.batch", "64"]
    step = place(driving_shape("tiny"), find_pod("dgx-h100"), chips=4, batch=64.0)[0]
    plan = _plan(api, secret, command=words, chips=4, limit_s=86400)
    assert plan["time"]["low"] == pytest.approx(1000 * step.low_s)
    assert plan["time"]["high"] == pytest.approx(1000 * step.high_s)
    assert "80 %" in plan["time"]["how"] and "without start-up" in plan["time"]["how"]
    brief = _plan(api, secret, command=words, chips=4, limit_s=1)
    assert (brief["time"]["low"], brief["time"]["high"]) == (1, 1)
    assert "ends it before" in brief["time"]["how"]
    town = _plan(api, secret, command=["train", "town"], chips=4, limit_s=86400)
    assert 0 < town["time"]["low"] < town["time"]["high"] == 86400, "drives are not modelled"
    many = _plan(api, secret, command=["train", "base"], chips=1000)
    assert many["time"]["low"] == 0 and "only 8 chips" in many["time"]["how"]
    large = _plan(api, secret, command=["train", "base", "--net.size", "huge"], chips=4)
    assert large["time"]["low"] == 0 and "not modelled" in large["time"]["how"]


@pytest.mark.parametrize(
    "words",
    ["train base --train.steps", "train base --train.steps x", "train", "demo", "train mine",
     "train base --train.steps -3", "train base --network m:f",
     "train base --loader.batch=9999999999"],
)  # fmt: skip
def test_what_cannot_be_read_is_not_guessed(words):
    from opendojo.service.forecast import training

    assert training(words.split()) is None


def test_the_last_option_counts():
    from opendojo.service.forecast import training

    found = training(["train", "demo", "--train.steps", "7", "--train.steps=9"])
    assert found is not None and (found.steps, found.size) == (9, "nano")


def test_names_of_machines():
    assert _machine("").pod is None
    chip = _machine("h100").chip
    assert chip is not None and chip.name == "H100-80GB SXM5"
    with pytest.raises(ValueError, match="nearest"):
        _machine("dgx-h1000")


def test_recipes_are_as_the_table_says():
    from opendojo.recipes import RECIPES
    from opendojo.service.forecast import training

    for name, make in RECIPES.items():
        found, recipe = training(["train", name]), make()
        assert found is not None, f"add {name} to service/recipes.toml"
        live, frames = getattr(recipe, "live", None), recipe.loader.window.frames
        cells = recipe.loader.batch * frames if live is None else live.batch * len(live.shown)
        told = (found.size, found.steps, found.batch * frames, found.drives)
        assert told == (recipe.net.size, recipe.train.steps, cells, live is not None)


@pytest.mark.parametrize(
    "size",
    [
        "nano",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("tiny", "small", "base", "large")),
    ],
)
def test_the_table_of_sizes_is_a_trace(size):
    from opendojo.machine.driving import driving_shape, driving_sizes
    from opendojo.machine.shapes import shape_of
    from opendojo.model.sizes import SIZES
    from opendojo.model.workloads import load_workload

    assert driving_sizes() == tuple(SIZES)
    kept, traced = driving_shape(size), shape_of(load_workload(size))
    assert kept.values == pytest.approx(traced.values, rel=APART), "trace it again: driving.toml"
    assert kept.units == traced.units
    assert kept.kept_bytes == pytest.approx(traced.kept_bytes, rel=APART)
    assert kept.largest_bytes == pytest.approx(traced.largest_bytes, rel=APART)
