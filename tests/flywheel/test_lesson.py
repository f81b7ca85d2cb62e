"""Lessons and the registry: batches by arithmetic, networks with lineage, all or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from opendojo.cli.main import main
from opendojo.flywheel import registry as registry_file
from opendojo.flywheel.lesson import Lesson, LessonConfig, Lessons
from opendojo.flywheel.registry import Registry
from opendojo.model import DrivingNet, DrivingTrainee, NetConfig
from opendojo.train import TrainConfig, load_network, train

NET = NetConfig()


def lesson(seed: int, k: int = 5) -> Lesson:
    rng = np.random.default_rng(seed)
    t, c, p = 3, len(NET.cameras), NET.path_points
    ahead = np.arange(1, p + 1) * (NET.path_horizon_s / p)
    path = np.zeros((k, t, p, 2), np.float32)
    path[..., 0] = 10.0 * ahead
    return Lesson(
        yuv=rng.integers(16, 235, (k, t, c, NET.width_px * NET.height_px * 3 // 2), np.uint8),
        camera_mask=np.ones((k, c), bool),
        lens=np.tile(rng.normal(0, 0.1, (c, 16)).astype(np.float32), (k, 1, 1)),
        time_s=np.tile(np.arange(t) * 0.1, (k, 1)),
        speed_mps=np.full((k, t), 10.0 + seed, np.float32),
        speed_mask=np.ones((k, t), bool),
        path_m=path,
        path_mask=np.ones((k, t, p), bool),
        command=np.ones((k, t), np.int64),
        confidence=np.ones((k, t), np.float32),
        height_px=NET.height_px,
        width_px=NET.width_px,
    )


def test_batches_mix_old_and_new_by_arithmetic_alone() -> None:
    config = LessonConfig(batch=8, fresh=0.25)
    source = Lessons([lesson(1), lesson(2)], lesson(3), config, steps=40, seed=0)
    batches = list(source.batches(0))
    assert len(batches) == len(source) == 40
    for batch in batches:
        speeds = batch.speed_mps[:, 0].tolist()
        assert speeds.count(13.0) == 2, "a quarter is new"
    old = np.concatenate([b.speed_mps[:, 0].numpy() for b in batches])
    assert 0.35 < (old[old != 13.0] == 11.0).mean() < 0.65
    for late, early in zip(source.batches(0, 30), batches[30:], strict=True):
        assert (late.yuv == early.yuv).all()
    again = Lessons([lesson(1), lesson(2)], lesson(3), config, steps=40, seed=0)
    assert again.fingerprint == source.fingerprint
    other = Lessons([lesson(1)], lesson(3), config, steps=40, seed=0)
    assert other.fingerprint != source.fingerprint
    with pytest.raises(ValueError, match="no lesson"):
        Lessons([], lesson(1, k=0), config, steps=1, seed=0)


def test_labels_that_are_not_trusted_are_not_learnt_from() -> None:
    doubtful = replace(lesson(1), confidence=np.full((5, 3), 0.2, np.float32))
    (batch,) = Lessons([], doubtful, LessonConfig(batch=4, trust=0.3), steps=1, seed=0).batches(0)
    assert batch.truth.path_mask is not None
    assert not batch.truth.path_mask.any()
    (batch,) = Lessons([], doubtful, LessonConfig(batch=4, trust=0.1), steps=1, seed=0).batches(0)
    assert batch.path_mask.all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two training runs of a step, the second from the first one's weights."""
    home, made = tmp_path_factory.mktemp("runs"), list[Path]()
    for number in range(2):
        source = Lessons([], lesson(number), LessonConfig(batch=2), steps=1, seed=number)
        before = load_network(made[-1]) if made else DrivingNet(NET)
        trainee = DrivingTrainee.around(before)
        config = TrainConfig(steps=1, threads=1, seed=number)
        train(home / str(number), trainee, source, config, data=source.fingerprint)
        made.append(home / str(number))
    return made


def test_a_registry_keeps_lineage_and_goes_back(runs: list[Path], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    assert registry.present is None
    scores = {"clean": {"1": 40.0, "2": 60.0}}
    first = registry.add(runs[0], parent=None, data="a", scores=scores)
    assert first.intervals["clean"]["mean"] == 50.0
    assert registry.add(runs[0], parent=None, data="other") == first, "one network, one entry"
    second = registry.add(runs[1], parent=first.name, data="b", number=1, scores=scores)
    assert [e.parent for e in registry.entries()] == [None, first.name]
    registry.promote(first.name, "the first")
    registry.promote(second.name, "better")
    registry.promote(second.name, "again")
    assert [line["name"] for line in registry.history] == [first.name, second.name]
    weights = registry.load(second.name).state_dict()
    assert all(torch.equal(weights[k], v) for k, v in load_network(runs[1]).state_dict().items())
    assert registry.rollback().name == first.name
    assert Registry(tmp_path / "registry").present == first
    with pytest.raises(ValueError, match="no earlier"):
        registry.rollback()
    with pytest.raises(ValueError, match="parent"):
        registry.add(runs[1], parent="nobody", data="")


def test_an_entry_is_there_whole_or_not_at_all(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)

    def dies(_: Path) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(registry_file, "_sync_tree", dies)
        with pytest.raises(OSError, match="power"):
            registry.add(runs[0], parent=None, data="a")
    assert registry.entries() == []
    entry = registry.add(runs[0], parent=None, data="a")
    assert registry.entries() == [entry]


def test_commands(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry(tmp_path / "registry")
    names = [registry.add(run, parent=None, data="").name for run in runs]
    folder = str(tmp_path)
    for name in names:
        assert main(["flywheel", "promote", folder, name, "--json"]) == 0
    assert main(["flywheel", "rollback", folder, "--json"]) == 0
    told = json.loads("{" + capsys.readouterr().out.rpartition("\n{")[2])
    assert told["present"] == names[0]
    assert main(["flywheel", "networks", folder, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["networks"]) == 2
    assert main(["flywheel", "rollback", folder]) == 2
    assert main(["flywheel", "find", "night", "--in", folder]) == 2
    assert main(["flywheel", "show", folder]) == 2
    assert "no closed round" in capsys.readouterr().err
