from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from opendojo.evaluate import DriveConfig, ExpertDriver, Observation, StopDriver, film, record
from opendojo.evaluate.above import route_picture, surroundings
from opendojo.evaluate.film import film_frame
from opendojo.evaluate.gallery import bird_eye_picture
from opendojo.evaluate.picture import NETWORK
from opendojo.evaluate.record import Recording
from opendojo.world import WorldConfig

SEED = 1_000_000
COUNTRY = WorldConfig(route_m=12.0, towns=("country",), agents=4)


class Planner(ExpertDriver):
    """Drives like the expert and says it will go straight on."""

    name = "network"

    def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
        path_m = torch.zeros(len(observation.speed_mps), 16, 2)
        path_m[..., 0] = observation.speed_mps[:, None] * torch.arange(1, 17) * 0.25
        return observation.world.expert(), path_m


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(Planner(), SEED, DriveConfig(world=COUNTRY, limit_s=4.0))


def test_a_recording_is_the_drive_that_is_scored(recording: Recording) -> None:
    steps = len(recording.trace.time_s)
    assert recording.frames.shape == (steps, 3, 6, 32, 64)
    assert recording.paths_m is not None and recording.paths_m.shape == (steps, 16, 2)
    assert recording.traffic.x_m.shape == recording.traffic.there.shape == (steps, 4)
    assert recording.ending == "completed" and recording.route.score == 100.0


def test_the_film_plays_and_is_whole(recording: Recording, tmp_path: Path) -> None:
    path = film(recording, tmp_path / "drive.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["drive.mp4"]
    with av.open(path) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(10.0)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == len(recording.trace.time_s) + 15
    error = np.abs(frames[0].astype(int) - film_frame(recording, 0).astype(int)).mean()
    assert error < 6.0


def test_a_film_that_fails_leaves_nothing(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(sys.modules["opendojo.evaluate.film"], "surroundings", broken)
    with pytest.raises(OSError, match="disk full"):
        film(recording, tmp_path / "drive.mp4")
    assert not list(tmp_path.iterdir())


def test_the_plan_is_drawn_in_the_front_picture_only(recording: Recording) -> None:
    plain = record(ExpertDriver(), SEED, DriveConfig(world=COUNTRY, limit_s=0.1))
    changed = (film_frame(recording, 0) != film_frame(plain, 0)).any(-1)
    front, others = changed[:400, :800], changed[400:, 440:]
    assert front.sum() > 500 and not others.any()
    assert not front[:180].any(), "nothing above the horizon"


def test_the_view_from_above_shows_vehicle_way_and_plan(recording: Recording) -> None:
    def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
        return int((np.abs(picture.astype(int) - colour).max(-1) < 12).sum())

    last = len(recording.trace.time_s) - 1
    around = surroundings(recording, last, (400, 288))
    assert around.shape == (288, 400, 3)
    orange = (240, 150, 40)
    row, column = round(288 * 0.68), 200
    assert count(around[row - 20 : row + 20, column - 20 : column + 20], orange) > 100, "vehicle"
    elsewhere = around.copy()
    elsewhere[row - 30 : row + 30, column - 30 : column + 30] = 0
    assert count(elsewhere, orange) > 20, "its way, behind"
    assert count(elsewhere, NETWORK) > 50, "its plan, ahead"
    route = route_picture(recording)
    assert count(route, orange) > 50 and route.shape[0] <= 800 and route.shape[1] <= 1400


def test_the_ground_is_without_vehicles(recording: Recording) -> None:
    middle = recording.ground.pixels(
        np.array([recording.trace.x_m[0, 0], recording.trace.y_m[0, 0]])
    ).astype(int)
    u, v = middle
    patch = recording.ground.rgb[v - 2 : v + 3, u : u + 8].reshape(-1, 3)
    assert np.ptp(patch.astype(int), axis=0).max() < 40, "asphalt, no car"


def test_how_it_ended_is_said() -> None:
    config = DriveConfig(world=COUNTRY, limit_s=0.3)
    stopped = record(StopDriver(), SEED, config)
    assert stopped.paths_m is None and stopped.ending == "out of time"
    assert "out of time" in bird_eye_picture(stopped).caption
