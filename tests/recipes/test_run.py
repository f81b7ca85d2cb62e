"""The main job in miniature: whole, resumed, with clips of every quality."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clips import make_clip
from opendojo.evaluate import FLOORS
from opendojo.loader import LoaderConfig
from opendojo.recipes import RECIPES, Exam, Fleet, Ledger, Recipe, demo, run
from opendojo.store import Store, StoreSpec, verify_store
from opendojo.store.encode import VideoFile
from opendojo.train import TrainConfig

SMALL = dataclasses.replace(
    demo(),
    fleet=Fleet(drives=2, seconds=4.0),
    loader=LoaderConfig(batch=4),
    train=TrainConfig(steps=6, checkpoint_every=2, threads=1),
    blind_steps=3,
    exam=Exam(sets=3, roads=1, route_m=60.0, agents=2, limit_s=3.0),
)

_CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_run import SMALL
from opendojo.recipes import run
if __name__ == "__main__":
    def told(stage, done, total, note):
        print(stage, done, flush=True)
    run(SMALL, Path(sys.argv[1]), on_progress=told)
"""


def write_video(path: Path, seed: int, frames: int) -> Path:
    """A short real file of a moving pattern."""
    video = VideoFile(path, StoreSpec(), 10)
    video.begin_clip()
    for (frame,) in make_clip(seed, instants=frames, cameras=("front",)).frames(128, 64):
        video.add(frame)
    video.end_clip()
    video.close()
    return path


def outcome(data: dict[str, Any]) -> list[Any]:
    """What must not depend on interruptions."""
    train, evaluate = data["train"], data["evaluate"]
    return [train["digest"], train["steps"], evaluate, data["ingest"]["frames"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run") / "r"
    return folder, run(SMALL, folder)


@pytest.mark.slow
def test_a_run_leaves_report_film_and_figures(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = whole
    assert {"ingest", "train", "evaluate", "energy", "report"} <= data.keys()
    assert data["ingest"]["frames"] == 2 * 40 * 3
    assert data["ingest"]["rejects"] == 0
    assert data["ingest"]["frames_per_core_s"] > 0
    assert data["train"]["loading"]["frames_per_core_s"] > 0
    drivers = data["evaluate"]["closed_loop"]["drivers"]
    assert set(drivers) == {"network", "shuffled", "blind", *FLOORS}
    assert all(len(result["score"]["values"]) == 3 for result in drivers.values())
    energy = data["energy"]
    assert energy["joules"] is None or energy["low"] <= energy["joules"] <= energy["high"]
    assert energy["measured"] or "estimated" in energy["method"] or "not known" in energy["method"]
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/png;base64" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (folder / "drive.mp4").stat().st_size > 1000
    assert json.loads((folder / "report.json").read_text()) == data


@pytest.mark.slow
def test_the_second_call_does_nothing_again(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = whole
    stages: list[str] = []
    again = run(SMALL, folder, on_progress=lambda stage, *_: stages.append(stage))
    assert outcome(again) == outcome(data)
    assert "training network" not in stages
    assert "closed loop" not in stages
    assert again["train"]["seconds"] == data["train"]["seconds"]
    assert again["ingest"]["frames_per_core_s"] == data["ingest"]["frames_per_core_s"]


@pytest.mark.slow
def test_ones_own_clips_join_in_and_bad_ones_are_named(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, data = whole
    write_video(tmp_path / "one.mp4", 4, 40)
    (tmp_path / "two.mp4").write_text("dear diary")
    (tmp_path / "empty").mkdir()
    own = run(SMALL, folder, clips=[tmp_path])
    source = own["ingest"]["sources"]["clips"]
    assert (source["frames"], source["rejects"]) == (40, 1)
    assert own["ingest"]["frames"] == data["ingest"]["frames"] + 40
    assert own["train"]["digest"] != data["train"]["digest"]
    assert own["evaluate"]["open_loop"]["forecast"]["recorded"]["network"]["windows"] > 0
    (rejects,) = (folder / "store").glob("clips-*/rejects.jsonl")
    assert "two.mp4" in rejects.read_text()
    assert outcome(run(SMALL, folder)) == outcome(data)  # the first training is still there


@pytest.mark.slow
def test_clips_of_which_nothing_can_be_used_do_not_stop_the_rest(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, data = whole
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 99)
    own = run(SMALL, folder, clips=[tmp_path])
    assert own["ingest"]["rejects"] == 1
    assert own["train"]["digest"] == data["train"]["digest"]


def test_clips_that_are_not_there_are_told_of_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        run(SMALL, tmp_path / "r", clips=[tmp_path / "nowhere"])
    assert not (tmp_path / "r" / "drives").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="in use by another run"):
            run(SMALL, tmp_path)
    assert not (tmp_path / "drives").exists()


def _stopped_at(folder: Path, stage: str, number: int) -> bool:
    """Start a run and signal it when a stage begins; return whether it came to that."""
    command = [sys.executable, "-c", _CHILD, str(folder), str(Path(__file__).parent)]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    env = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    ) as process:
        assert process.stdout is not None
        reached = any(line.startswith(stage) for line in process.stdout)
        if reached:
            process.send_signal(number)
        process.stdout.close()
        process.wait(timeout=120)
    return reached


_STAGES = (
    "drawing",
    "ingesting",
    "training network 2",
    "training network 5",
    "training blind",
    "measuring",
    "closed loop 2",
    "open loop",
    "film",
)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_every_stage_it_ends_the_same(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, number: int
) -> None:
    _, data = whole
    folder = tmp_path / "r"
    reached = [stage for stage in _STAGES if _stopped_at(folder, stage, number)]
    assert len(reached) >= len(_STAGES) - 2, reached  # a stage may end before the signal comes
    again = run(SMALL, folder)
    assert outcome(again) == outcome(data)
    assert verify_store(Store.open(folder / "store" / "drawn"), decode=True) == []


def test_a_recipe_refuses_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="cameras"):
        Recipe(loader=LoaderConfig(cameras=("front",)))
    with pytest.raises(ValueError, match="frame size"):
        Recipe(store=StoreSpec(width_px=256, height_px=128))
    assert set(RECIPES) == {"base", "demo", "town"}


def test_the_ledger_adds_up_attempts_and_forgets_idle_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    for frames in (10, 0, 32):
        with Ledger(path).measure("ingest") as entry:
            entry.frames = frames
    with pytest.raises(KeyboardInterrupt), Ledger(path).measure("ingest") as entry:
        entry.frames = 8
        raise KeyboardInterrupt
    kept = Ledger(path).entry("ingest")
    assert kept.frames == 50
    assert kept.rates()["frames_per_s"] == pytest.approx(50 / kept.rates()["seconds"])
    assert Ledger(path).entry("nothing").rates()["frames_per_s"] == 0.0
