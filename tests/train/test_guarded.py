"""Training under the guard: the same bits, a wrong product undone, memory that changed found."""

from dataclasses import replace

import pytest
import torch
from fake_road import FakeRoad

from opendojo.guard.faults import Fault
from opendojo.guard.inject import Injector
from opendojo.model import NetConfig
from opendojo.train import TrainConfig, train
from opendojo.train.record import read_json

NET = NetConfig(
    cameras=("front", "left"),
    width_px=64,
    height_px=32,
    forecast_width_px=16,
    forecast_height_px=8,
)
CONFIG = TrainConfig(steps=3, threads=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "cfloat8"])
def test_a_guarded_run_has_the_bits_of_a_plain_one(tmp_path, precision):
    config = replace(CONFIG, precision=precision)
    right = train(tmp_path / "plain", NET, FakeRoad(), config)
    for kind in ("full", "sampled"):
        run = train(tmp_path / kind, NET, FakeRoad(), replace(config, guard=kind))
        assert run.digest == right.digest
        told = read_json(tmp_path / kind / "guard.json")
        assert told is not None
        assert told["steps"] == 3
        assert told["guarded_share_of_flops"] >= 0.99
        assert told["suspicions"] == 0


def test_a_transient_fault_is_undone(tmp_path):
    """One wrong number in one product. Numbers that are scaled (`lane`) would not do: those of a
    head that begins at zero stay as they are."""
    right = train(tmp_path / "plain", NET, FakeRoad(), CONFIG)
    fault = Fault(seed=3, site="product", model="scale", duration="transient", place=0.5)

    def harmed(name: str, guard: str) -> str:
        with Injector(fault) as injector:
            injector.counts, injector.armed = {"product": 84}, True
            run = train(tmp_path / name, NET, FakeRoad(), replace(CONFIG, guard=guard))
        assert injector.done == 1
        return run.digest

    assert harmed("unguarded", "off") != right.digest, "the fault is masked: harm another product"
    assert harmed("guarded", "full") == right.digest
    told = read_json(tmp_path / "guarded" / "guard.json")
    assert told is not None
    assert told["verdicts"] == {"transient": 1}


def test_guard_and_compile_exclude_each_other():
    with pytest.raises(ValueError, match="compiled"):
        TrainConfig(guard="full", compile=True)
    assert torch.get_num_threads() >= 1
