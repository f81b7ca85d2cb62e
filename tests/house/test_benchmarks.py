"""Benchmarks are listed, their results are well formed, and they still run."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import StoreSpec

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(HOME))
    return importlib.import_module("report")


def check_document(told: dict[str, Any], name: str) -> None:
    assert told["benchmark"] == name
    assert {"cpu", "cores", "memory_bytes", "system", "python"} <= told["machine"].keys()
    assert told["commit"]
    assert len(told["date"]) == 10
    for bar in told["bars"].values():
        assert {"value", "bar", "unit", "ok"} <= bar.keys()
        assert bar["ok"] in (True, False, None)


def test_every_benchmark_has_a_row_and_a_command(report: Any) -> None:
    page = (HOME / "README.md").read_text()
    names = {p.stem for p in HOME.glob("*.py")} - {"report"}
    assert {name for name, _, _ in report.benchmarks()} == names
    for name, what, command in report.benchmarks():
        assert what, f"{name}: its docstring says what it measures"
        assert f"| {name} | {what} | `{command}` |" in page, "run benchmarks/report.py"


def test_page_is_generated_from_the_results(report: Any) -> None:
    assert (HOME / "README.md").read_text() == report.readme(), "run benchmarks/report.py"
    for told in report.results():
        check_document(told, told["benchmark"])


def test_a_missed_bar_reads_as_missed(report: Any, tmp_path: Path) -> None:
    document = importlib.import_module("common.document")
    section = document.Section("part", "a part", judged=True)
    section.add("speed", "speed", [3.0, 1.0, 2.0], "frames/s")
    section.bar("speed", 2.0, 3.0, "frames/s")
    section.bar("size", 2.0, 3.0, "MB", at_most=True)
    smoke = document.Section("smoke", "a part", judged=False)
    smoke.bar("speed", 2.0, 3.0, "frames/s")
    told = document.document("demo", "a command", [section, smoke])
    check_document(told, "demo")
    assert told["figures"]["part.speed"] == {
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "n": 3,
        "unit": "frames/s",
    }
    verdicts = {name: bar["ok"] for name, bar in told["bars"].items()}
    assert verdicts == {"part.speed": False, "part.size": True, "smoke.speed": None}
    kept = document.save(told, tmp_path)
    assert json.loads(kept.read_text()) == told
    assert kept.name == f"demo_{document.machine_kind(told['machine'])}_{told['date']}.json"
    lines = "\n".join(report._result(told))
    assert "| part.speed | 2 frames/s | at least 3 | **no** |" in lines
    assert "| part.size | 2 MB | at most 3 | yes |" in lines


def test_a_loader_of_wrong_pictures_is_caught(report: Any, tmp_path: Path) -> None:
    """The check before the clock can fail: one level in one pixel is enough."""
    stores = importlib.import_module("common.stores")
    clip = make_clip(0, instants=16, cameras=("front",))
    store = stores.store_of(tmp_path / "store", StoreSpec(), [clip])
    measured = stores.measure(store, [clip])
    assert measured.frames == 16
    assert 30 < measured.psnr_db < 60
    window = np.empty((8, 1, store.spec.frame_bytes), np.uint8)
    store.decode(store.episodes[0], range(8, 16), window)
    assert measured.check(window[:, 0])[1] == 8
    window[3, 0, 77] ^= 1
    with pytest.raises(AssertionError, match="demuxer"):
        measured.check(window[:, 0])


@pytest.mark.slow
def test_frames_runs_small(tmp_path: Path) -> None:
    call = [sys.executable, str(HOME / "frames.py"), "--smoke", "--work", str(tmp_path)]
    run = subprocess.run(call, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    check_document(told, "frames")
    measured = {"loader", "cores", "seven", "index", "order"}
    if shutil.which("ffmpeg"):
        measured |= {"ingest"}
    else:
        assert told["conditions"]["ingest"][0].startswith("left out: there is no `ffmpeg`")
    assert {name.split(".")[0] for name in told["figures"]} >= measured
    assert all(bar["ok"] is None for bar in told["bars"].values())
    assert told["bars"]["order.exact"]["value"] == told["bars"]["order.exact"]["bar"]
    for name in ("torchcodec", "loaders", "lerobot"):
        assert told["conditions"][name] == ["it measures peers: call with --peers"]
    assert list(tmp_path.iterdir()) == []
