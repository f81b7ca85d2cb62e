"""Runs in few bits: recorded, resumed to the bit, shared by ranks, loaded as plain networks."""

import dataclasses
import json
import os
import subprocess
import sys
from typing import get_args

import pytest
import ranks_kit
import torch
from fake_road import FakeRoad

from opendojo.formats import names
from opendojo.model import LossConfig, NetConfig
from opendojo.train import (
    OptimConfig,
    Progress,
    TrainConfig,
    in_precision,
    load_network,
    make_optimizer,
    read_metrics,
    step,
    train,
)
from opendojo.train.config import PrecisionName

NET = NetConfig(
    cameras=("front",), width_px=32, height_px=32, forecast_width_px=8, forecast_height_px=8
)
CONFIG = TrainConfig(
    steps=6,
    optim=OptimConfig(warmup_steps=2),
    checkpoint_every=3,
    threads=1,
    loss=LossConfig(forecast=1.0),
    precision="cfloat8",
)
ROAD = FakeRoad(count=3, batch=2, cameras=1, width_px=32, height_px=32)


def losses(run_dir):
    return [row["loss_total"] for row in read_metrics(run_dir / "metrics.jsonl")]


def test_a_precision_is_one_of_the_table():
    assert set(get_args(PrecisionName)) == {"fp32", "bf16", *names("precision")}
    with pytest.raises(ValueError, match="there is no precision cfloat9: did you mean cfloat8"):
        TrainConfig(precision="cfloat9")  # type: ignore[arg-type]
    assert TrainConfig(precision="mxfp8").arithmetic == "fp32"


def test_a_run_in_cfloat8_resumes_to_the_same_bits_and_says_its_format(tmp_path):
    whole = train(tmp_path / "whole", NET, ROAD, CONFIG)
    parts = tmp_path / "parts"
    seen = []
    train(parts, NET, ROAD, CONFIG, on_step=seen.append, stop=lambda: len(seen) == 2)
    assert train(parts, NET, ROAD, CONFIG).digest == whole.digest
    plain = dataclasses.replace(CONFIG, precision="fp32")
    assert train(tmp_path / "plain", NET, ROAD, plain).digest != whole.digest
    told = json.loads((tmp_path / "whole/config.json").read_text())["train"]
    assert (told["precision"], told["sums"]) == ("cfloat8", "fp32")
    network = load_network(parts)
    assert {type(m).__module__.split(".")[0] for m in network.modules()} <= {"torch", "opendojo"}
    assert not any(hasattr(m, "numerics_plan") for m in network.modules())
    with pytest.raises(ValueError, match=r"train\.precision cfloat8, not fp8"):
        train(parts, NET, ROAD, dataclasses.replace(CONFIG, precision="fp8"))


def test_a_run_from_before_sums_goes_on(tmp_path):
    config = dataclasses.replace(CONFIG, precision="fp32", steps=2)
    result = train(tmp_path, NET, ROAD, config)
    path = tmp_path / "config.json"
    told = json.loads(path.read_text())
    del told["train"]["sums"]
    path.write_text(json.dumps(told))
    assert train(tmp_path, NET, ROAD, config) == result
    with pytest.raises(ValueError, match=r"train\.sums fp32, not bf16"):
        train(tmp_path, NET, ROAD, dataclasses.replace(config, sums="bf16"))


def test_a_step_of_a_network_that_was_not_converted_is_refused():
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="in_precision"):
        step(network, optimizer, {"x": torch.zeros(1, 2)}, Progress(), CONFIG)


class Fit(torch.nn.Module):
    """A line through 16 numbers, by two layers."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)
        )

    def forward(self, batch):
        return {"square": ((self.body(batch["x"]) - batch["y"]) ** 2).mean()}


@pytest.mark.parametrize("name", names("precision"))
def test_every_precision_learns(name):
    config = TrainConfig(precision=name, steps=150, optim=OptimConfig(lr=1e-2, weight_decay=0.0))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(128, 16, generator=generator)
    batch = {"x": x, "y": x @ torch.randn(16, 1, generator=generator)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = in_precision(Fit(), config)
        optimizer = make_optimizer(network, config.optim)
        found = [
            step(network, optimizer, batch, Progress(step=k), config).losses["total"]
            for k in range(config.steps)
        ]
    bits = config.formats.weights.bits
    assert sum(found[-10:]) / 10 < (0.02 if bits > 6.5 else 0.1) * found[0]


@pytest.mark.parametrize("scaling", ["channel", "history"])
def test_other_scalings_learn_and_resume_to_the_same_bits(tmp_path, scaling):
    config = dataclasses.replace(CONFIG, scaling=scaling)
    whole = train(tmp_path / "whole", NET, ROAD, config)
    own = train(tmp_path / "own", NET, ROAD, CONFIG)
    assert whole.digest != own.digest
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "own"), rel=0.1)
    seen = []
    parts = tmp_path / "parts"
    train(parts, NET, ROAD, config, on_step=seen.append, stop=lambda: len(seen) == 4)
    assert train(parts, NET, ROAD, config).digest == whole.digest
    assert not [name for name in load_network(parts).state_dict() if "numerics" in name]


def test_scalings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="precision mxfp8: its scaling is block"):
        TrainConfig(precision="mxfp8", scaling="channel")
    with pytest.raises(ValueError, match="bf16 has no scales"):
        TrainConfig(precision="bf16", scaling="history")
    with pytest.raises(ValueError, match="cannot be compiled"):
        TrainConfig(precision="cfloat8", scaling="history", compile=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
def test_compiled_it_learns_the_same(tmp_path):
    for compiled in (False, True):
        config = dataclasses.replace(ranks_kit.CONFIG, precision="cfloat8", compile=compiled)
        train(tmp_path / str(compiled), ranks_kit.Plain, ranks_kit.Numbers(), config)
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_share_it(tmp_path, parallel):
    """All of one batch over two ranks: each scales its half by its own largest number."""
    code = (
        "import dataclasses, sys\nfrom pathlib import Path\n"
        "from ranks_kit import CONFIG, Plain, trained\n"
        "config = dataclasses.replace(CONFIG, precision='cfloat8', parallel=sys.argv[1])\n"
        "for ranks in (1, 2):\n"
        "    statuses = trained(Path(sys.argv[2]) / str(ranks), config, ranks, make=Plain)\n"
        "    assert statuses == [0] * ranks, statuses\n"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", code, parallel, str(tmp_path)]
    run = subprocess.run(call, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    one, two = losses(tmp_path / "1/run"), losses(tmp_path / "2/run")
    assert two == pytest.approx(one, rel=0.05)
    assert two != one
