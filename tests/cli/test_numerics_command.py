"""`opendojo numerics` from outside."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from PIL import Image

from opendojo.cli import main
from opendojo.formats import names
from opendojo.model import NetConfig
from opendojo.train import TrainConfig, train


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["numerics", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_format_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    document = told(capsys, "list")
    assert [one["name"] for one in document["formats"]] == list(names())
    assert main(["numerics", "list"]) == 0
    assert "cfloat8_1_4_3" in capsys.readouterr().out


def test_a_format_is_shown_with_its_gaps_and_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "line.png"
    document = told(capsys, "show", "cfloat8_1_4_3", "--bias", "11", "--picture", str(picture))
    assert (document["largest"], document["least"]) == (30.0, 2.0**-13)
    assert sum(row["numbers"] for row in document["gaps"]) == 127
    with Image.open(picture) as drawn:
        assert drawn.width > 600 and len(drawn.convert("RGB").getcolors(1 << 20) or ()) > 10
    one_nan = told(capsys, "show", "fp8_e4m3")
    assert one_nan["gaps"][-1] == {"from": 256.0, "gap": 32.0, "numbers": 7}


def test_a_wrong_name_or_bias_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["numerics", "show", "cfloat8"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["numerics", "show", "fp8_e4m3", "--bias", "3"]) == 2


def test_a_run_is_swept_by_layer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = NetConfig(
        cameras=("front",), width_px=32, height_px=32, forecast_width_px=8, forecast_height_px=8
    )
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "train"))
    fake_road = importlib.import_module("fake_road")
    road = fake_road.FakeRoad(count=3, batch=2, cameras=1, width_px=32, height_px=32)
    train(tmp_path, net, road, TrainConfig(steps=2, threads=1))
    words = ["sweep", str(tmp_path), "--formats", "cfloat8_1_4_3", "mxfp4", "bf16"]
    document = told(capsys, *words, "--tolerance", "0.05")
    assert len(document["weights"]) == len(document["gradients"]) > 5
    for row in document["weights"]:
        errors = {name: losses["error"] for name, losses in row["losses"].items()}
        zero = set(errors.values()) == {0.0}  # a layer that begins at 0
        assert zero or errors["bf16"] < errors["cfloat8_1_4_3"] < errors["mxfp4"]
        assert errors["cfloat8_1_4_3"] < 0.05
        assert row["recommended"] in ("cfloat8_1_4_3", "mxfp4")
    assert len(set(document["cfloat8_biases"].values())) <= 2
    assert main(["numerics", "sweep", str(tmp_path / "none")]) == 2
