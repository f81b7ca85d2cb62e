"""Any module, any batch: built by name, cut into parts, named."""

from __future__ import annotations

import sys
import types
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_road import FakeRoad
from ranks_kit import Numbers, Plain, Small
from torch import Tensor, nn

from opendojo.train import OptimConfig, TrainConfig, load_network, load_trainee, train
from opendojo.train.trainee import build, frames_in, parts_of, rows_in, to_device, window_ids

CONFIG = TrainConfig(steps=6, checkpoint_every=4, threads=1, optim=OptimConfig(warmup_steps=1))

Pair = namedtuple("Pair", ["x", "y"])


@dataclass
class Two:
    x: Tensor
    name: str


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("foreign_networks")
    module.__dict__.update(small=Small, number=3, wrong=lambda: 4)
    monkeypatch.setitem(sys.modules, "foreign_networks", module)
    return module


def test_a_factory_is_found_by_name(foreign: types.ModuleType) -> None:
    assert isinstance(build("foreign_networks:small"), Small)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("foreign_networks", ["package.module:factory"]),
        ("no.such.module:f", ["no.such.module", "PYTHONPATH"]),
        ("foreign_networks:smal", ["foreign_networks", "smal", "small"]),
        ("foreign_networks:number", ["no callable number"]),
        ("foreign_networks:wrong", ["returned int", "torch.nn.Module"]),
    ],
)
def test_a_wrong_name_says_what_and_how(
    foreign: types.ModuleType, spec: str, words: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        build(spec)
    assert all(word in str(caught.value) for word in words)


def test_a_network_of_somebody_else_is_trained_resumed_and_loaded(
    foreign: types.ModuleType, tmp_path: Path
) -> None:
    seen: list[dict[str, Any]] = []
    spec = "foreign_networks:small"
    train(tmp_path / "a", spec, Numbers(), CONFIG, stop=lambda: True)
    result = train(tmp_path / "a", spec, Numbers(), CONFIG, on_step=seen.append)
    assert result.digest == train(tmp_path / "b", Small, Numbers(), CONFIG).digest
    assert {"loss_square", "loss_size", "loss_total"} <= seen[0].keys()
    assert seen[0]["frames"] == 8, "rows where nothing else says"
    loaded = load_trainee(tmp_path / "a")
    other = load_trainee(tmp_path / "b", Small())
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    with pytest.raises(ValueError, match="give it as trainee"):
        load_trainee(tmp_path / "b")
    with pytest.raises(ValueError, match="not a driving network"):
        load_network(tmp_path / "a")
    with pytest.raises(ValueError, match=r"net\.class"):
        train(tmp_path / "a", Small, Numbers(), CONFIG)


def test_batches_of_every_shape_are_cut_by_rows() -> None:
    x, y = torch.arange(10).view(5, 2), torch.arange(5)
    for batch in ({"x": x, "y": y, "n": 3}, (x, y), [x, y], Pair(x, y), Two(x, "n")):
        parts = parts_of(batch, 2)
        assert [share for _, share in parts] == [0.6, 0.4]
        assert [rows_in(part) for part, _ in parts] == [3, 2]
        assert type(parts[0][0]) is type(batch)
    whole = torch.tensor(7.0)
    (first, _), _ = parts_of({"x": x, "w": whole}, 2)
    assert first["w"] is whole
    assert first["x"].data_ptr() == x.data_ptr(), "parts are views"
    with pytest.raises(ValueError, match="accumulate"):
        parts_of({"n": 3}, 2)


def test_the_drivers_batch_is_cut_and_named() -> None:
    batch = FakeRoad(batch=4).draw(np.random.default_rng(0))
    (first, _), (second, _) = parts_of(batch, 2)
    assert window_ids(first) + window_ids(second) == window_ids(batch) != []
    assert first.frame_count + second.frame_count == batch.frame_count == frames_in(Plain(), batch)
    assert window_ids((torch.zeros(2),)) == []
    assert to_device(batch, torch.device("cpu")) is batch


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path: Path, parts: int) -> None:
    import dataclasses

    rows: list[list[dict[str, Any]]] = [[], []]
    for number, count in enumerate((1, parts)):
        config = dataclasses.replace(CONFIG, accumulate=count)
        train(tmp_path / str(number), Plain, Numbers(), config, on_step=rows[number].append)
    for name in ("loss_total", "grad_norm"):
        whole, cut = ([row[name] for row in each] for each in rows)
        assert cut == pytest.approx(whole, rel=1e-5)


class Gated(nn.Module):
    """Says what it was given, for the trainer's own hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)
        self.drawn: list[float] = []
        self.kinds: set[torch.dtype] = set()

    def prepare(self, batch: dict[str, Tensor], draw: torch.Generator) -> dict[str, Tensor]:
        self.drawn.append(float(torch.rand((), generator=draw)))
        return {**batch, "noise": torch.rand(len(batch["x"]), 1, generator=draw)}

    def frames_of(self, batch: dict[str, Tensor]) -> int:
        return 3 * len(batch["x"])

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        out = self.layer(batch["x"]) + batch["noise"]
        self.kinds.add(self.layer(batch["x"]).dtype)
        return {"loss": (out.float() - batch["y"]).square().mean()}


def test_random_choices_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    one, two, other = Gated(), Gated(), Gated()
    two.load_state_dict(one.state_dict())
    result = train(tmp_path / "1", one, Numbers(), CONFIG)
    assert result.frames == 6 * 8 * 3
    torch.manual_seed(123)
    train(tmp_path / "2", two, Numbers(), CONFIG, stop=lambda: len(two.drawn) == 4)
    assert two.drawn[1:] == one.drawn[1 : len(two.drawn)]
    train(tmp_path / "2", two, Numbers(), CONFIG)
    assert torch.equal(one.layer.weight, two.layer.weight)
    import dataclasses

    train(tmp_path / "3", other, Numbers(), dataclasses.replace(CONFIG, seed=1))
    assert not set(other.drawn[1:]) & set(one.drawn[1:])


def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(tmp_path: Path) -> None:
    import dataclasses

    trainee = Gated()
    result = train(tmp_path, trainee, Numbers(), dataclasses.replace(CONFIG, precision="bf16"))
    assert torch.bfloat16 in trainee.kinds and trainee.layer.weight.dtype == torch.float32
    assert result.steps == 6


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(tmp_path, Small, Numbers(), CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
def test_a_compiled_trainee_learns_the_same(tmp_path: Path) -> None:
    import dataclasses

    rows: list[list[dict[str, Any]]] = [[], []]
    for number, compiled in enumerate((False, True)):
        config = dataclasses.replace(CONFIG, compile=compiled)
        train(tmp_path / str(number), Plain, Numbers(), config, on_step=rows[number].append)
    plain, compiled_rows = ([row["loss_total"] for row in each] for each in rows)
    assert compiled_rows == pytest.approx(plain, rel=1e-4)
    assert load_trainee(tmp_path / "1", Plain()).state_dict().keys() == Plain().state_dict().keys()
