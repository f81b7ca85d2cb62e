"""`opendojo export` from outside: file, comparison, latency and card in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import opendojo.train
from opendojo.cli import main
from opendojo.model.export import Graph, Port
from opendojo.model.export_run import open_exported


class Theirs(nn.Module):
    """A network of somebody else's, small enough to be exported in no time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def graphs(self) -> list[Graph]:
        ports = (Port(name="x", dtype=torch.float32, shape=(4,)),)
        return [Graph(name="line", module=self, inputs=ports, outputs=("y",))]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    config = {"net": {"factory": "theirs:factory"}, "data": "feed"}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(opendojo.train, "load_trainee", lambda _: Theirs().eval(), raising=False)
    return folder


def test_one_call_gives_file_card_and_latency(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "car.pt2"
    assert main(["export", str(run), "--out", str(out), "--instants", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["data"]["fingerprint"] == "feed"
    assert told["export"]["parity"]["car.pt2"]["ok"]
    assert told["export"]["latency"]["instants"] == 5
    assert sorted(p.name for p in out.parent.iterdir()) == ["car.json", "car.md", "car.pt2"]
    card: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())
    assert {**card, "schema": 1, "path": str(out)} == told
    assert "this run was never judged" in out.with_suffix(".md").read_text()
    assert open_exported(out).meta["kind"] == "Theirs"


def test_an_export_that_differs_is_removed(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opendojo.model.export._difference", lambda *_: 0.5)
    out = tmp_path / "car.pt2"
    assert main(["export", str(run), "--out", str(out)]) == 1
    assert "differs from the network by 5.0e-01" in capsys.readouterr().err
    assert not out.exists() and not out.with_suffix(".md").exists()


def test_wrong_endings_and_folders_are_wrong_usage(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--out", "car.bin"]) == 2
    assert ".onnx or .pt2" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--out", "car.onnx"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["drive", str(tmp_path / "none.onnx")]) == 2
    assert "`opendojo export RUN --out" in capsys.readouterr().err
