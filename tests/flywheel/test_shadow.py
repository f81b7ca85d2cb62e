"""Shadow runs: columns against the network asked directly, in any batching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clips import make_clip
from opendojo.flywheel.findings import Findings, joined, tags_of
from opendojo.flywheel.shadow import ShadowConfig, loader_of, run_shadow
from opendojo.loader import ego_paths
from opendojo.model import DrivingNet, NetConfig, motion_of
from opendojo.store import Store, StoreSpec, stage_part


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    spec = StoreSpec()
    clips = [make_clip(k, instants=64) for k in range(3)]
    made = Store.create(tmp_path_factory.mktemp("flywheel") / "store", spec)
    with made.staging() as staging:
        made.publish(stage_part(clips, spec, staging))
    return made.reload()


@pytest.fixture(scope="module")
def network() -> DrivingNet:
    torch.manual_seed(0)
    made = DrivingNet(NetConfig())
    for parameter in made.parameters():  # no last layer at zero: pictures must count
        torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


@pytest.fixture(scope="module")
def findings(store: Store, network: DrivingNet) -> Findings:
    return run_shadow(network, [store], ShadowConfig(batch=4, workers=0))


def test_errors_are_those_of_the_network_itself(
    store: Store, network: DrivingNet, findings: Findings
) -> None:
    assert len(findings) == 24
    loader = loader_of(network, [store], ShadowConfig(batch=3, workers=0))
    with torch.inference_mode():
        for batch in loader.batches(0):
            output = network(batch.frames, batch.camera_mask, batch.lens, motion_of(batch))
            path, known = batch.path_m[:, -1], batch.path_mask[:, -1]
            gap = (output.path_m[:, -1] - path).norm(dim=-1)
            for row, number in enumerate(batch.window_id.tolist()):
                told = findings.columns["error_m"][number]
                if known[row].float().mean() < 0.5:
                    assert np.isnan(told)
                else:
                    assert told == pytest.approx(gap[row][known[row]].mean().item(), rel=1e-3)
    assert np.isfinite(findings.columns["error_m"]).sum() >= 6


def test_places_and_logs(store: Store, findings: Findings) -> None:
    for row in (0, 7, 23):
        episode = next(
            e for e in store.episodes if e.clip_id == findings.clip_id[findings.clip[row]]
        )
        log = store.log(episode)
        last = findings.first[row] + 7
        assert findings.time_s[row] == pytest.approx(log.time_s[last])
        path, _ = ego_paths(log, findings.time_s[row : row + 1], np.array([4.0]))
        if np.isfinite(findings.columns["aside_m"][row]):
            assert findings.columns["aside_m"][row] == pytest.approx(path[0, 0, 1], abs=1e-3)
    assert findings.columns["turn_radps"] == pytest.approx(np.full(24, 0.05), abs=1e-3)
    assert findings.columns["decel_mps2"] == pytest.approx(np.zeros(24), abs=1e-6)
    assert np.isnan(findings.columns["ttc_s"]).all()


def test_batching_changes_nothing(store: Store, network: DrivingNet, findings: Findings) -> None:
    again = run_shadow(network, [store], ShadowConfig(batch=24, workers=1))
    assert (again.clip == findings.clip).all()
    for name, column in findings.columns.items():
        assert again.columns[name] == pytest.approx(column, rel=1e-3, abs=1e-4, nan_ok=True), name
    assert np.abs(again.embedding - findings.embedding).max() < 0.01
    assert again.network == findings.network


def test_a_dark_camera_matters(store: Store, network: DrivingNet, findings: Findings) -> None:
    half = findings.columns["disagreement_m"]
    assert np.isnan(half[1::2]).all()
    assert (half[::2] > 0).all()
    other = DrivingNet(network.config)
    config = ShadowConfig(batch=24, workers=0, drop_every=0)
    calm = run_shadow(network, [store], config)
    assert np.isnan(calm.columns["disagreement_m"]).all()
    both = run_shadow(network, [store], config, ensemble=[other])
    assert (both.columns["disagreement_m"] > 0).all()


def test_saved_and_joined(tmp_path: Path, findings: Findings) -> None:
    findings.save(tmp_path / "f.npz")
    again = Findings.load(tmp_path / "f.npz")
    assert again.clip_id == findings.clip_id
    assert again.columns.keys() == findings.columns.keys()
    assert (again.embedding == findings.embedding).all()
    both = joined([findings, again.rows(np.array([3, 5]))])
    assert len(both) == 26
    assert both.clip_id[both.clip[24]] == findings.clip_id[findings.clip[3]]
    with pytest.raises(ValueError, match="not there"):
        Findings.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError):
        Findings.load(tmp_path / "bad.npz")


def test_tags_follow_from_columns() -> None:
    nan = np.nan
    tags = tags_of(
        {
            "speed_mps": np.array([20.0, 0.1, 12.0, nan]),
            "luma": np.array([0.1, 0.5, 0.5, nan]),
            "aside_m": np.array([0.0, 0.0, -3.2, nan]),
            "heading_rad": np.array([0.0, nan, 0.02, nan]),
            "turn_radps": np.array([0.0, 0.0, -0.2, nan]),
        }
    )
    assert tags["night"].tolist() == [True, False, False, False]
    assert tags["merge"].tolist() == [False, False, True, False]
    assert tags["standing"].tolist() == [False, True, False, False]
    assert tags["right"].tolist() == [False, False, True, False]
    assert not any(flags[3] for flags in tags.values())
