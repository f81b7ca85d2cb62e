"""Training under the guard: the same bits, a wrong product undone, memory that changed found."""

from dataclasses import replace

import pytest
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
def test_in_compiled_regions_it_sees_every_product_and_undoes_a_fault(tmp_path):
    config = replace(CONFIG, compile=True)
    right = train(tmp_path / "plain", NET, FakeRoad(), config)
    run = train(tmp_path / "guarded", NET, FakeRoad(), replace(config, guard="full"))
    told = read_json(tmp_path / "guarded" / "guard.json")
    assert run.digest == right.digest
    assert told is not None
    assert told["guarded_share_of_flops"] >= 0.99 and told["suspicions"] == 0
    assert told["unknown_operators"] == {} and told["checks"] > 100
    fault = Fault(seed=3, site="product", model="scale", duration="transient", place=0.5)
    digests = {}
    for guard in ("off", "full"):
        with Injector(fault) as injector:
            injector.counts, injector.armed = {"product": 84}, True
            harmed = replace(config, guard=guard)
            digests[guard] = train(tmp_path / f"harmed-{guard}", NET, FakeRoad(), harmed).digest
        assert injector.done == 1
    assert digests["off"] != right.digest and digests["full"] == right.digest
    told = read_json(tmp_path / "harmed-full" / "guard.json")
    assert told is not None and told["verdicts"] == {"transient": 1}
