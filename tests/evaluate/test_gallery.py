from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from opendojo.clip import Camera, Clip, Frame, Log
from opendojo.evaluate import forecast_pictures, open_loop, sample_pictures
from opendojo.evaluate.picture import NETWORK
from opendojo.loader import Loader, LoaderConfig
from opendojo.model import DrivingNet, NetConfig
from opendojo.store import Store, StoreSpec, stage_part
from opendojo.world import front_three

INSTANTS = 72


def clip(number: int, cameras: tuple[Camera, ...], drawn: bool) -> Clip:
    """Seven seconds straight on at 8 m/s past a grey pattern that moves."""
    rows, columns = np.mgrid[0:64, 0:128]

    def read(width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        assert (width_px, height_px) == (128, 64)
        for k in range(INSTANTS):
            y = (100 + 60 * np.sin((columns + 3 * k + 40 * number) / 9) * (rows > 32)).astype("u1")
            grey = np.full((32, 64), 128, np.uint8)
            yield tuple(Frame(y=y, u=grey, v=grey, time_s=k / 10) for _ in cameras)

    t = np.arange(INSTANTS) / 10
    log = Log(time_s=t, x_m=8 * t, y_m=0 * t, yaw_rad=0 * t, speed_mps=np.full(INSTANTS, 8.0))
    return Clip(
        clip_id=f"{number:032x}",
        source=f"made-{number}",
        origin="drawn" if drawn else "recorded",
        cameras=cameras,
        rate_hz=10.0,
        read=read,
        log=log,
    )


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    rig = front_three()
    guessed = replace(rig[0], calibrated=False)
    clips = [clip(1, rig, drawn=True), clip(2, (guessed,), drawn=False)]
    store = Store.create(tmp_path_factory.mktemp("stores") / "store", StoreSpec())
    with store.staging() as staging:
        store.publish(stage_part(clips, store.spec, staging))
    return Loader([Store.open(store.path)], LoaderConfig(split="all", batch=4))


@pytest.fixture(scope="module")
def network() -> DrivingNet:
    torch.manual_seed(0)
    return DrivingNet(NetConfig())


def test_samples_show_drawn_and_recorded_windows_with_both_paths(
    network: DrivingNet, loader: Loader
) -> None:
    samples = sample_pictures(network, loader, count=4)
    captions = [sample.caption for sample in samples]
    assert [caption.split(",")[0] for caption in captions] == ["drawn"] * 2 + ["recorded"] * 2
    assert all("8.0 m/s" in caption for caption in captions)
    assert ["not calibrated" in caption for caption in captions] == [False, False, True, True]
    for sample in samples:
        assert sample.rgb.shape == (256, 512, 3)
        yellow = (sample.rgb[..., 0].astype(int) - sample.rgb[..., 2]) > 60
        assert yellow[140:].sum() > 300, "the driven path, on the ground"
        assert not yellow[:128].any(), "and not in the sky"


def test_forecast_pictures_are_last_frame_forecast_and_truth(
    network: DrivingNet, loader: Loader
) -> None:
    last, forecast, truth = forecast_pictures(network, loader)
    assert last.rgb.shape == forecast.rgb.shape == truth.rgb.shape == (160, 320)
    assert not np.array_equal(last.rgb, truth.rgb)
    off = np.abs(last.rgb.astype(int) - truth.rgb.astype(int)).mean()
    assert f"{off:.1f} levels" in last.caption or f"{off:.0f}" in last.caption


def test_a_blind_network_has_no_forecast_to_show(loader: Loader) -> None:
    assert forecast_pictures(DrivingNet(NetConfig(blind=True)), loader) == []


def test_open_loop_on_a_real_store(network: DrivingNet, loader: Loader) -> None:
    blind = DrivingNet(NetConfig(blind=True))
    result = open_loop(network, loader, blind=blind)
    drawn, recorded = result["path"]["drawn"], result["path"]["recorded"]
    assert drawn["constant-velocity"]["ade_m"] == pytest.approx(0.0, abs=0.01)
    assert drawn["stop"]["ade_m"] > 3.0 and {"network", "blind"} <= set(recorded)
    counts = [result["forecast"][group]["copy"]["windows"] for group in ("all", "drawn")]
    assert counts == [18, 9]
    assert result["forecast"]["all"]["copy"]["rmse"] >= result["forecast"]["all"]["copy"]["mae"]


def test_the_networks_colour_is_in_the_samples(network: DrivingNet, loader: Loader) -> None:
    """With a plan forced straight on, blue lies in the lower middle."""

    class Straight(DrivingNet):
        def plan(self, memory: torch.Tensor) -> torch.Tensor:
            path = torch.zeros(*memory.shape[:2], 16, 2)
            path[..., 0] = torch.arange(1, 17) * 2.0
            return path

    torch.manual_seed(0)
    sample = sample_pictures(Straight(NetConfig()), loader, count=1)[0]
    patch = sample.rgb[200:250, 246:266].astype(int).mean((0, 1))
    grey_share = 1 - 165 / 255
    assert patch[2] - patch[0] > 0.5 * (1 - grey_share) * (NETWORK[2] - NETWORK[0])
