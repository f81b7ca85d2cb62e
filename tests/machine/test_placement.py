"""Placement: every layout is one that exists, the answer moves as the machine does, bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opendojo.cli import main
from opendojo.machine.chips import find_chip
from opendojo.machine.compare import compare
from opendojo.machine.layouts import layouts_of
from opendojo.machine.memory import rank_bytes
from opendojo.machine.placement import chips_for, place, rank_values
from opendojo.machine.plan import Terms
from opendojo.machine.pods import find_pod
from opendojo.machine.shapes import named_shape, shape_of
from opendojo.machine.what_if import changed, parse_factor, what_if
from opendojo.machine.workload import Operator, Workload

_FREE = Terms(decode_core_s=0.0, unit_bytes=0.0)


def test_every_layout_uses_all_chips_once() -> None:
    layouts = layouts_of(named_shape("moe-37b-of-671b"), 1536, 4096, 8)
    used = layouts["tp"] * layouts["cp"] * layouts["pp"] * layouts["dp"]
    assert len(used) > 1000
    assert (used == 1536).all()
    assert (np.mod(layouts["dp"] * layouts["cp"], layouts["ep"]) == 0).all()
    assert (layouts["mb"] * layouts["dp"] <= 4096).all()
    rows = np.stack(list(layouts.values()), 1)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_state_is_18_bytes_a_parameter_and_its_optimizer_is_divided() -> None:
    shape, pod = named_shape("gpt-7b"), find_pod("dgx-h100")
    layouts = layouts_of(shape, 8, 1024, 8)
    values = rank_values(shape, find_chip("h100"), pod, layouts, 8, 1024)
    held = rank_bytes(values)
    alone = (layouts["tp"] == 1) & (layouts["pp"] == 1) & (layouts["offload"] == 0)
    count = shape.values["parameters"]
    whole = alone & (layouts["shard"] == 0)
    state = held["weights"] + held["gradients"] + held["optimizer"]
    assert state[whole] == pytest.approx(18 * count)
    ranks = (layouts["dp"] * layouts["cp"])[alone & (layouts["shard"] == 1)]
    assert held["optimizer"][alone & (layouts["shard"] == 1)] == pytest.approx(12 * count / ranks)


def test_full_recompute_keeps_less_and_takes_longer() -> None:
    shape, pod = named_shape("gpt-7b"), find_pod("dgx-h100")
    plans = place(shape, pod, chips=8, best=100_000)
    pairs = {}
    for plan in plans:
        key = tuple(v for k, v in plan.layout.items() if k != "recompute")
        pairs.setdefault(key, {})[plan.layout["recompute"]] = plan
    both = [p for p in pairs.values() if 0 in p and 2 in p]
    assert both
    for pair in both:
        assert pair[2].memory["activations"] < pair[0].memory["activations"]
        assert pair[2].step_s > pair[0].step_s


def test_the_best_comes_first_and_fits() -> None:
    plans = place(named_shape("gpt-175b"), find_pod("dgx-h100"), chips=1024)
    steps = [plan.step_s for plan in plans]
    assert steps == sorted(steps) or np.ptp(np.log(steps)) < 1e-3
    for plan in plans:
        assert plan.memory_bytes <= 80e9
        assert plan.low_s < plan.step_s < plan.high_s
        assert plan.step_s == pytest.approx(sum(plan.parts.values()))
        assert 0.2 < plan.mfu < 0.7  # what published runs of this size reach


def test_a_quicker_chip_is_never_slower_and_a_slow_decoder_binds() -> None:
    shape, pod = named_shape("resnet50"), find_pod("dgx-h100")
    chip = find_chip("h100")
    base = place(shape, pod, chips=8, terms=_FREE)[0]
    for word in ("rate", "bandwidth", "link", "nic", "memory"):
        better = place(shape, pod, chips=8, chip=changed(chip, {word: 2.0}), terms=_FREE)[0]
        assert better.step_s <= base.step_s * (1 + 1e-9), word
    slow = place(shape, pod, chips=8, terms=Terms(decode_core_s=0.1))[0]
    assert slow.binds == "decode on the hosts"
    assert slow.step_s == pytest.approx(2048 * 0.1 / 112)
    assert place(shape, pod, chips=8, terms=replace(_FREE, unit_bytes=1e9))[0].binds == "storage"


def test_state_in_sram_is_as_quick_as_sram() -> None:
    shape, pod = named_shape("resnet50"), find_pod("dojo-exapod")
    tile = find_chip("dojo1")
    held = place(shape, pod, chips=1, batch=8, terms=_FREE)[0]
    small = place(shape, pod, chips=1, batch=8, terms=_FREE, chip=changed(tile, {"sram": 0.06}))[0]
    assert held.memory_bytes < tile.sram_bytes.value  # type: ignore[union-attr]
    assert small.parts["traffic"] > 5 * held.parts["traffic"]


def test_fewest_chips_give_the_rate_and_fewer_do_not() -> None:
    shape, pod = named_shape("resnet50"), find_pod("dgx-h100")
    plan = chips_for(shape, pod, 1e11, terms=_FREE)[0]
    assert plan.units_per_day >= 1e11
    fewer = place(shape, pod, chips=8 * math.floor(0.95 * plan.chips / 8), terms=_FREE)[0]
    assert fewer.units_per_day < 1e11


def test_what_does_not_fit_names_what_would() -> None:
    shape, pod = named_shape("gpt-175b"), find_pod("dgx-h100")
    with pytest.raises(ValueError, match=r"memory of .* GB or (\d+) chips") as caught:
        place(shape, pod, chips=4)
    count = int(str(caught.value).split(" or ")[-1].split()[0])
    assert place(shape, pod, chips=count, batch=4096)
    with pytest.raises(ValueError, match="give --batch"):
        place(shape, pod, chips=1021, batch=2)


def test_a_traced_step_has_the_arithmetic_of_its_operators() -> None:
    forward = Operator(name="a", kind="conv", phase="forward", flops=1e9, written_bytes=4e6)
    backward = Operator(name="a", kind="conv", phase="backward", flops=2e9)
    shape = shape_of(
        Workload(
            name="mine", operators=(forward, backward), parameters=1000, active_parameters=1000,
            activation_bytes=1e6, largest_activation_bytes=1e5,
        )
    )  # fmt: skip
    assert shape.flops() == pytest.approx(3e9)
    assert shape.values["elements"] == pytest.approx(2e6)


def test_claims_are_answered_by_the_plans() -> None:
    names = ("dojo1", "dojo2", "b200")
    plans, refused, claims = compare(named_shape("gpt-7b"), names, chips=64, terms=_FREE)
    assert not refused
    rate = {plan.chip: plan.units_per_day / plan.chips for plan in plans}
    ten, near = claims
    assert ten.ratio == pytest.approx(25 * rate["Tesla Dojo2"] / rate["Tesla D1 training tile"])
    assert near.ratio == pytest.approx(rate["Tesla Dojo2"] / rate[find_chip("b200").name])
    assert ten.low < ten.ratio < ten.high


def test_ranking_puts_what_binds_first() -> None:
    _, ranked, _ = what_if(named_shape("resnet50"), find_pod("dgx-h100"), chips=8, terms=_FREE)
    assert ranked[0].figure == "bandwidth"
    assert ranked[0].speedup > 1.5
    assert [one.speedup for one in ranked] == sorted((o.speedup for o in ranked), reverse=True)
    assert parse_factor("sram=2x") == ("sram", 2.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "gpt-175c"], "nearest is"),
        (["plan", "gpt-7b", "--on", "dojo2-exapot"], "nearest is 'dojo2-exapod'"),
        (["plan", "gpt-175b", "--on", "h100", "--chips", "2"], "does not fit"),
        (["plan", "gpt-7b", "--chips", "8", "--frames-per-day", "1e15"], "give"),
        (["what-if", "gpt-7b", "--set", "srem=2x"], "nearest is 'sram'"),
        (["what-if", "gpt-7b", "--set", "sram=-2x"], "above 0"),
        (["compare", "dojo9", "--network", "gpt-7b"], "nearest is"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["machine", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_commands_print_documents_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["machine", "plan", "resnet50", "--on", "dojo2-exapod", "--frames-per-day", "16e9",
                 "--json"]) == 0  # fmt: skip
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert plans[0]["units_per_day"] >= 16e9
    assert any("nobody has said" in note for note in plans[0]["assumed"])
    picture = tmp_path / "where.png"
    assert main(["machine", "explain", "gpt-7b", "--chips", "8", "--out", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
    assert main(["machine", "plan", "gpt-7b", "--chips", "8"]) == 0
    assert "USD/1e9" in capsys.readouterr().out
