"""What `opendojo bench frames` says of a store follows from what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clips import make_clip
from opendojo.cli import main
from opendojo.machine import FLEET_FRAMES_PER_DAY
from opendojo.recipes.bench import _share, bench_frames, copy_bytes_per_s
from opendojo.store import Store, StoreSpec, stage_part


def test_shares_are_medians_of_neighbouring_turns() -> None:
    rates = {
        "memcpy": [100.0, 200.0, 400.0],
        "bare_decode": [10.0, 20.0, 40.0],
        "one_worker": [9.0, 16.0, 38.0],
        "all_workers": [18.0, 30.0, 77.9],
    }
    told = _share(rates, 12288)
    assert told["share_of_bare_decode"] == pytest.approx(0.9)  # not 16 / 20
    assert told["share_of_memcpy"] == pytest.approx(0.09)
    assert told["all_over_one"] == pytest.approx(2.0)
    assert told["cores"] == pytest.approx(FLEET_FRAMES_PER_DAY / 86_400 / 16.0)
    assert told["kind"] == "modelled"


def test_copying_is_measured_in_bytes() -> None:
    assert copy_bytes_per_s(1 << 20) > 1e8


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no store"):
        bench_frames(tmp_path, seconds=0.1)
    with pytest.raises(ValueError, match="above 0"):
        bench_frames(tmp_path, seconds=0.0)


@pytest.mark.slow
def test_a_store_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.create(tmp_path / "store", StoreSpec())
    with store.staging() as staging:
        store.publish(
            stage_part([make_clip(k, instants=32) for k in range(2)], store.spec, staging)
        )
    words = ["bench", "frames", "--store", str(store.path), "--seconds", "0.2"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 2 * 32 * 3
    assert told["rates"].keys() == {"memcpy", "bare_decode", "one_worker", "all_workers"}
    for rate in told["rates"].values():
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
    for part in ("loading", "ingest"):
        assert told[part]["kind"] == "modelled"
        assert told[part]["cores"] * told[part]["frames_per_core_s"] == pytest.approx(
            FLEET_FRAMES_PER_DAY / 86_400
        )
    assert main(words) == 0
    assert "cores for loading" in capsys.readouterr().out
