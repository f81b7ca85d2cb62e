"""The flywheel end to end, killed and resumed; search, watch, page, registry on what it left."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flywheel_kit import DRAWN, small

from opendojo.flywheel.find import find, query_of
from opendojo.flywheel.page import write_page
from opendojo.flywheel.registry import Registry
from opendojo.flywheel.run import run_flywheel
from opendojo.flywheel.watch import Watch, WatchConfig

KIT = Path(__file__).with_name("flywheel_kit.py")


def identity(folder: Path) -> str:
    """All that must be the same after any kills."""
    told = {
        "registry": Registry(folder / "registry").fingerprint(),
        "choices": [json.loads(p.read_text()) for p in sorted(folder.glob("rounds/*/choice.json"))],
    }
    return json.dumps(told, sort_keys=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flywheel") / "run"
    run_flywheel(small(), folder)
    return folder


@pytest.mark.slow
def test_a_run_leaves_a_registry_with_lineage(whole: Path) -> None:
    registry = Registry(whole / "registry")
    first, second = registry.entries()
    assert (first.parent, second.parent) == (None, first.name)
    assert set(second.scores) == {"clean", "events", "night"}
    assert second.verdict["sets"]["better"]["scenes"] == 2
    assert second.energy["wall_s"] > 0
    assert registry.load(second.name).config == small().net
    assert run_flywheel(small(), whole)["present"] == registry.present.name  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="other settings"):
        run_flywheel(small(seed=1), whole)


@pytest.mark.slow
def test_promotion_and_rollback(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "registry", tmp_path / "registry")
    registry = Registry(tmp_path / "registry")
    first, second = registry.entries()
    while registry.present is not None and registry.present.name != first.name:
        registry.rollback()
    with pytest.raises(ValueError, match="no earlier"):
        registry.rollback()
    registry.promote(second.name[:6], "by hand")
    assert registry.present is not None
    assert registry.present.name == second.name
    assert registry.rollback().name == first.name
    assert registry.present.name == first.name
    with pytest.raises(ValueError, match="no one network"):
        registry.promote("nobody", "")


@pytest.mark.slow
def test_page_and_search(whole: Path, tmp_path: Path) -> None:
    page = write_page(whole, tmp_path / "page.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for line in Registry(whole / "registry").entries():
        assert line.name in page
    every = find(whole, "speed >= 0", most=1000)
    assert len(every) >= 20
    errors = [one.error_m for one in every if not math.isnan(one.error_m)]
    assert errors == sorted(errors, reverse=True)
    some = find(whole, f"error > {every[2].error_m} m", most=50)
    assert len(some) == 2
    both = find(whole, f"error > {every[2].error_m} m", most=6, alike=True)
    assert [one.alike is None for one in both] == [True] * 2 + [False] * 4
    with pytest.raises(ValueError, match="no findings"):
        find(tmp_path, "night")


@pytest.mark.slow
def test_watching_never_loses_a_clip_and_says_its_share(whole: Path, tmp_path: Path) -> None:
    arriving = tmp_path / "arriving"
    arriving.mkdir()
    network = Registry(whole / "registry").load(Registry(whole / "registry").entries()[0].name)
    drives = sorted((whole / "rounds").glob("*/drives/drive-*"))
    for k, drive in enumerate(drives):
        shutil.copytree(drive, arriving / f"clip-{k}")
    (arriving / "broken.mp4").write_bytes(b"no video")
    config = WatchConfig(clips=2, most_waiting=3, settle_s=0.0, workers=1)

    def watch() -> Watch:
        return Watch(arriving, tmp_path / "home", network, config)

    first = watch().turn()
    assert first is not None
    assert first.sampled
    assert first.share == pytest.approx(2 / (len(drives) + 1))
    place = watch()._claim()  # a turn that is killed right after it claimed
    assert place is not None
    seen = list(first.clips)
    while (turn := watch().turn()) is not None:
        seen += turn.clips
    assert sorted(Path(p).name for p in seen) == sorted(p.name for p in arriving.iterdir())
    assert len(list(arriving.iterdir())) == len(drives) + 1
    assert find(tmp_path / "home", "speed >= 0")


@pytest.mark.slow
def test_kills_at_random_instants_change_nothing(whole: Path, tmp_path: Path) -> None:
    draw, folder = random.Random(5), tmp_path / "run"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(KIT.parent)])}
    for _ in range(60):
        process = subprocess.Popen([sys.executable, str(KIT), str(folder)], env=env)
        until_s = time.monotonic() + draw.uniform(2.0, 25.0)
        while process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
    else:
        pytest.fail("it never came to its end")
    assert identity(folder) == identity(whole)


def test_words_are_tags_or_a_query() -> None:
    assert query_of("night merge").text == "night and merge"
    assert query_of("night").text == "night"
    assert query_of("night or merge").text == "night or merge"
    assert DRAWN.agents == 2
