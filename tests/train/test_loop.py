"""A run that is interrupted, killed or damaged ends with the bits of an undisturbed one."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from fake_road import FakeRoad

from opendojo.guard import digest
from opendojo.model import DrivingTrainee, LossConfig, NetConfig
from opendojo.train import (
    OptimConfig,
    SuspectStep,
    TrainConfig,
    load_network,
    read_metrics,
    train,
)
from opendojo.train.checkpoint import newest_whole, read_progress

NET = NetConfig(
    cameras=("front",), width_px=32, height_px=32, forecast_width_px=8, forecast_height_px=8
)
CONFIG = TrainConfig(
    steps=8,
    optim=OptimConfig(warmup_steps=2),
    checkpoint_every=3,
    threads=1,
    loss=LossConfig(forecast=1.0),
)
ROAD = FakeRoad(count=3, batch=2, cameras=1, width_px=32, height_px=32)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed")
    return run_dir, train(run_dir, NET, ROAD, CONFIG)


def progress_of(run_dir):
    place = newest_whole(run_dir / "checkpoints")
    return None if place is None else read_progress(place)


def test_a_run_leaves_its_whole_record(undisturbed):
    run_dir, result = undisturbed
    assert result.steps == 8 and result.frames == 8 * 2 * 8 and not result.interrupted
    assert result.seconds > 0 and result.cpu_seconds > 0
    assert json.loads((run_dir / "done.json").read_text()) == dataclasses.asdict(result)
    assert progress_of(run_dir).step == 8
    config = json.loads((run_dir / "config.json").read_text())
    assert config["train"]["optim"]["warmup_steps"] == 2 and config["net"]["size"] == "nano"
    circumstances = json.loads((run_dir / "run.json").read_text())
    assert circumstances["versions"]["torch"] == torch.__version__
    assert circumstances["attempts"] == 1 and circumstances["threads"] == 1
    rows = read_metrics(run_dir / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["epoch"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert all(0 <= row["data_wait_share"] <= 1 and row["frames_per_s"] > 0 for row in rows)
    wanted = {"loss_total", "loss_path", "loss_forecast", "lr", "grad_norm", "cpu_seconds"}
    assert wanted <= rows[0].keys()


def test_a_finished_run_returns_its_result_without_touching_the_loader(undisturbed):
    run_dir, result = undisturbed

    class Untouchable(FakeRoad):
        def batches(self, epoch, start_batch=0):
            raise AssertionError("read")

    assert train(run_dir, NET, Untouchable(), CONFIG) == result


@pytest.mark.parametrize("at", [1, 3, 5, 7])
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, undisturbed, at):
    seen = []
    first = train(tmp_path, NET, ROAD, CONFIG, on_step=seen.append, stop=lambda: len(seen) == at)
    assert first.interrupted and first.steps == at and not (tmp_path / "done.json").exists()
    second = train(tmp_path, NET, ROAD, CONFIG)
    assert second.digest == undisturbed[1].digest and second.frames == undisturbed[1].frames
    assert second.seconds > first.seconds and second.cpu_seconds > first.cpu_seconds
    losses = [
        [row["loss_total"] for row in read_metrics(run_dir / "metrics.jsonl")]
        for run_dir in (tmp_path, undisturbed[0])
    ]
    assert losses[0] == losses[1]
    assert json.loads((tmp_path / "run.json").read_text())["attempts"] == 2


def test_a_run_stopped_at_every_step_ends_the_same(tmp_path, undisturbed):
    for _ in range(CONFIG.steps):
        result = train(tmp_path, NET, ROAD, CONFIG, stop=lambda: True)
    assert not result.interrupted and result.digest == undisturbed[1].digest


def test_the_first_ctrl_c_checkpoints_and_raises(tmp_path, undisturbed):
    before = signal.getsignal(signal.SIGINT)

    def press(row):
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, NET, ROAD, CONFIG, on_step=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert progress_of(tmp_path).step == 4
    assert train(tmp_path, NET, ROAD, CONFIG).digest == undisturbed[1].digest


def test_the_second_ctrl_c_does_not_wait(tmp_path):
    def press_twice(row):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, NET, ROAD, CONFIG, on_step=press_twice)
    assert progress_of(tmp_path) is None


def test_a_damaged_newest_checkpoint_costs_time_but_no_bit(tmp_path, undisturbed, capsys):
    seen = []
    train(tmp_path, NET, ROAD, CONFIG, on_step=seen.append, stop=lambda: len(seen) == 7)
    broken = tmp_path / "checkpoints" / "step-00000007" / "__0_0.distcp"
    broken.write_bytes(broken.read_bytes()[:-9])
    result = train(tmp_path, NET, ROAD, CONFIG, on_step=seen.append)
    assert str(broken) in capsys.readouterr().err
    assert seen[7]["step"] == 7 and result.digest == undisturbed[1].digest
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 9))


RUN = """
import os, signal, sys
from test_loop import CONFIG, NET, ROAD
from opendojo.train import train

def die(row):
    if row["step"] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

train(sys.argv[1], NET, ROAD, CONFIG, on_step=die)
"""


def killed(run_dir, at):
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": ":".join([here, str(Path(here).parent), *sys.path])}
    command = [sys.executable, "-c", RUN, str(run_dir), str(at)]
    assert subprocess.run(command, env=env, check=False).returncode == -signal.SIGKILL


def test_a_killed_process_resumes_to_the_same_bits(tmp_path, undisturbed):
    killed(tmp_path, 5)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 5
    result = train(tmp_path, NET, ROAD, CONFIG)
    assert result.digest == undisturbed[1].digest


@pytest.mark.slow
def test_processes_killed_at_any_step_resume_to_the_same_bits(tmp_path, undisturbed):
    for at in range(1, CONFIG.steps + 1):
        killed(tmp_path / str(at), at)
        assert train(tmp_path / str(at), NET, ROAD, CONFIG).digest == undisturbed[1].digest


def test_another_seed_gives_other_bits(tmp_path, undisturbed):
    other = dataclasses.replace(CONFIG, seed=1)
    assert train(tmp_path, NET, ROAD, other).digest != undisturbed[1].digest


def test_a_folder_of_another_run_is_refused_by_field(undisturbed):
    run_dir, _ = undisturbed
    other = dataclasses.replace(CONFIG, optim=OptimConfig(lr=1e-4, warmup_steps=2))
    with pytest.raises(ValueError, match=r"train\.optim\.lr 0\.002, not 0\.0001"):
        train(run_dir, NET, ROAD, other)
    with pytest.raises(ValueError, match=r"net\.size"):
        train(run_dir, dataclasses.replace(NET, size="tiny"), ROAD, CONFIG)
    with pytest.raises(ValueError, match="data"):
        train(run_dir, NET, ROAD, CONFIG, data="other")


def test_the_thread_count_is_recorded_used_and_put_back(tmp_path):
    config = dataclasses.replace(CONFIG, steps=2, threads=None)
    before = torch.get_num_threads()
    used = []
    calls = []
    train(
        tmp_path,
        NET,
        ROAD,
        dataclasses.replace(config, threads=2),
        on_step=lambda row: used.append(torch.get_num_threads()),
        stop=lambda: True,
    )
    train(tmp_path, NET, ROAD, config, on_step=lambda row: calls.append(torch.get_num_threads()))
    assert used == [2] and calls == [2] and torch.get_num_threads() == before


def test_a_suspect_step_leaves_a_record_and_no_checkpoint_of_it(tmp_path):
    class Poisoned(FakeRoad):
        def batches(self, epoch, start_batch=0):
            for number, batch in enumerate(super().batches(epoch, start_batch), start_batch):
                if epoch == 1 and number == 1:
                    batch.path_m[0, 0, 0, 0] = float("nan")
                yield batch

    poisoned = Poisoned(count=3, batch=2, cameras=1, width_px=32, height_px=32)
    with pytest.raises(SuspectStep):
        train(tmp_path, NET, poisoned, CONFIG)
    record = json.loads((tmp_path / "suspect.json").read_text())
    assert record["step"] == 4 and len(record["window_ids"]) == 2
    assert progress_of(tmp_path).step == 3


def test_an_empty_loader_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no batch"):
        train(tmp_path, NET, FakeRoad(count=0), CONFIG)


def test_it_runs_outside_the_main_thread(tmp_path, undisturbed):
    results = []
    worker = threading.Thread(target=lambda: results.append(train(tmp_path, NET, ROAD, CONFIG)))
    worker.start()
    worker.join()
    assert results[0].digest == undisturbed[1].digest


def test_the_trained_network_is_loaded_for_evaluation(undisturbed, tmp_path):
    run_dir, _ = undisturbed
    seen = []
    config = dataclasses.replace(CONFIG, checkpoint_every=8)
    with torch.random.fork_rng():
        torch.manual_seed(CONFIG.seed)
        trainee = DrivingTrainee(NET, LossConfig(forecast=1.0))
    train(tmp_path / "mine", trainee, ROAD, config, on_step=seen.append)
    network = load_network(run_dir)
    assert not network.training and network.config == NET
    assert digest(network.state_dict()) == digest(trainee.network.state_dict())
    with pytest.raises(ValueError, match=r"config\.json"):
        load_network(tmp_path)
    mine = load_network(tmp_path / "mine")
    assert mine.config == NET and digest(mine.state_dict()) == digest(network.state_dict())
