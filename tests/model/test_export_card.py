"""The card says what is known, with floors and ranges, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opendojo.model.export_card import card_markdown, make_card, network_folder

NETWORK = {
    "cameras": ["front"],
    "width_px": 128,
    "height_px": 64,
    "path_times_s": [2.0, 4.0],
    "parameters": 395_595,
}
EXPORT: dict[str, Any] = {
    "files": {"car.onnx": {"graph": "step", "sha256": "ab" * 32}},
    "parity": {"car.onnx": {"worst": 2e-6, "rows": 32, "bar": 1e-4}},
    "latency": {"p50_ms": 3.0, "p95_ms": 4.0, "p99_ms": 9.0, "instants": 100, "machine": "a CPU",
                "threads": 2},
}  # fmt: skip


def score(mean: float) -> dict[str, Any]:
    ends = {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean, "values": [mean]}
    return {"score": ends, "success": {**ends, "mean": mean / 100}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "job" / "train" / "k1" / "network"
    run.mkdir(parents=True)
    config = {"net": {"size": "nano"}, "train": {"steps": 5}, "data": "feed"}
    (run / "config.json").write_text(json.dumps(config))
    (run / "run.json").write_text(json.dumps({"seed": 3, "commit": "c0ffee", "versions": {}}))
    done = {"digest": "d1", "steps": 5, "frames": 480, "seconds": 2.0}
    (run / "done.json").write_text(json.dumps(done))
    return run


def test_a_card_has_scores_with_floors_energy_with_range_and_limits(run: Path) -> None:
    table = {"drivers": {"network": score(40.0), "stop": score(10.0), "expert": score(80.0)}}
    (run.parent / "exam-1.json").write_text(json.dumps(table))
    energy = {"joules": 415.0, "low": 210.0, "high": 830.0, "measured": False}
    energy |= {"method": "estimated by cpu_model", "scope": "threads", "excludes": ["disk"]}
    report = {"train": {"run": str(run)}, "energy": energy}
    (run.parents[2] / "report.json").write_text(json.dumps(report))
    card = make_card(run, network=NETWORK, **EXPORT)
    assert card["data"]["fingerprint"] == "feed"
    assert card["training"]["config"]["net"]["size"] == "nano"
    page = card_markdown(card)
    assert "| **network** | 40.0 | 36.0 to 44.0 | 40 % |" in page
    assert page.index("expert") < page.index("**network**") < page.index("| stop |")
    assert "415 J (210 to 830), estimated" in page
    assert "p99 9.0 ms" in page and "within 2.0e-06" in page
    assert "does not show skill on real roads" in page
    assert json.loads(json.dumps(card)) == card


def test_what_is_not_known_is_said_to_be(run: Path) -> None:
    page = card_markdown(make_card(run, network=NETWORK, **EXPORT))
    assert "this run was never judged" in page
    assert "no energy was written down" in page


def test_the_log_of_steps_stands_in_for_a_report(run: Path) -> None:
    rows = [{"step": i, "joules_per_frame": j, "energy_method": "nvml+rapl",
             "energy_measured": True} for i, j in enumerate((0.5, 0.4, 0.6, None))]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    card = make_card(run, network=NETWORK, **EXPORT)
    assert card["energy"]["joules"] == pytest.approx(0.5 * 480)
    assert card["energy"]["measured"]
    page = card_markdown(card)
    assert "240 J" in page and "measured: nvml+rapl" in page and "range was not kept" in page


def test_a_job_means_the_network_it_trained(run: Path, tmp_path: Path) -> None:
    job = run.parents[2]
    (job / "report.json").write_text(json.dumps({"train": {"run": str(run)}}))
    assert network_folder(job) == run == network_folder(run)
    with pytest.raises(ValueError, match="there is no folder"):
        network_folder(tmp_path / "nothing")
    with pytest.raises(ValueError, match="neither config"):
        network_folder(tmp_path)
