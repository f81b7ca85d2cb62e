"""`opendojo train` from outside: networks of one's own, several ranks, exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from clips import make_clip
from opendojo.cli import main
from opendojo.loader.batch import Batch
from opendojo.store import Store, stage_part
from opendojo.train import load_network, read_metrics

SHORT = ["--train.steps", "4", "--loader.batch", "2", "--train.checkpoint-every", "2"]
THREADS = ["--train.threads", "1", "--loader.workers", "1"]


class Mean(torch.nn.Module):
    """Somebody else's network, as small as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Linear(1, 2)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        brightness = batch.yuv.float().mean((1, 2, 3))[:, None] / 255
        return {"miss": (self.scale(brightness) - batch.path_m[:, -1, 0]).abs().mean()}


class Broken(Mean):
    """One whose losses are no numbers."""

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"miss": super().forward(batch)["miss"] * float("nan")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store.create(tmp_path_factory.mktemp("train") / "s")
    with store.staging() as staging:
        clip = make_clip(0, instants=120)
        store.publish(stage_part([clip], store.spec, staging))
    return store.path


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))


def train(store: Path, run: Path, *words: str) -> int:
    return main(
        ["train", "demo", "--stores", str(store), "--run", str(run), *SHORT, *THREADS, *words]
    )


def test_a_network_of_ones_own(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(store, tmp_path / "r", "--network", "test_train_command:Mean", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4
    rows = read_metrics(tmp_path / "r/metrics.jsonl")
    assert len(rows) == 4 and rows[0]["loss_miss"] == rows[0]["loss_total"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--network", "test_train_command:Men"], 2, "Men"),
        (["--network", "test_train_command:Broken"], 3, "not finite"),
        (["--ranks", "0"], 2, "at least 1"),
    ],
)
def test_what_is_wrong_is_said(
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    assert train(store, tmp_path / "r", *words) == code
    assert said in capsys.readouterr().err
    if code == 3:
        record = json.loads((tmp_path / "r/suspect.json").read_text())
        assert len(record["window_ids"]) == 2 and record["why"] == "not finite"


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks(
    store: Path, tmp_path: Path, parallel: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--ranks", "2", "--parallel", parallel, "--json"]
    assert train(store, tmp_path / "r", *words) == 0
    assert json.loads(capfd.readouterr().out)["steps"] == 4
    assert json.loads((tmp_path / "r/run.json").read_text())["parallel"] == parallel
    assert load_network(tmp_path / "r").config.size == "nano"


@pytest.mark.slow
def test_ranks_that_find_a_mistake_hand_it_on(
    store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(store, tmp_path / "r", "--ranks", "2", "--loader.batch", "3") == 2
    assert "cannot be shared by 2 ranks" in capfd.readouterr().err
    broken = ["--ranks", "2", "--network", "test_train_command:Broken"]
    assert train(store, tmp_path / "s", *broken) == 3
    assert len(json.loads((tmp_path / "s/suspect.json").read_text())["window_ids"]) == 2
