"""The content of a report, as a run would give it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from opendojo.evaluate.windows import TERMS


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Worlds this small gain nothing from threads, and lose much where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _numbers(mean: float, spread: float) -> dict[str, Any]:
    values = [mean - spread, mean, mean + spread]
    ends = {
        "min": values[0],
        "max": values[-1],
        "low": mean - 2 * spread,
        "high": mean + 2 * spread,
    }
    return {"mean": mean, "values": values, **ends}


def _driver(score: float, completion: float, success: float, collided: float) -> dict[str, Any]:
    return {
        "score": _numbers(score, 0.06 * score),
        "completion": _numbers(completion, 0.02),
        "success": _numbers(success, 0.0),
        "off_road": _numbers(max(0.0, 1 - success - collided), 0.0),
        "collided": _numbers(collided, 0.0),
        "impact_mps": _numbers(9.0 * collided, 0.5 * collided),
        "red_lights": _numbers(0.1 * (1 - success), 0.0),
        "off_lane_share": _numbers(0.1 * (1 - success), 0.0),
        "comfort": _numbers(0.9, 0.02),
        "mean_speed_mps": _numbers(8.1, 0.3),
        "seconds": _numbers(24.0, 2.0),
        "terms": {name: _numbers(success, 0.01) for name in ("score", "windows_score", *TERMS)},
        "routes": [],
    }


def _open_loop() -> dict[str, Any]:
    def paths(factor: float, windows: int) -> dict[str, Any]:
        errors = {"network": 1.31, "constant-velocity": 2.44, "stop": 12.9, "blind": 2.21}
        return {
            who: {"ade_m": ade * factor, "fde_m": 2.3 * ade * factor, "windows": windows}
            for who, ade in errors.items()
        }

    def forecasts(factor: float, windows: int) -> dict[str, Any]:
        return {
            "network": {"mae": 6.1 * factor, "rmse": 10.4 * factor, "windows": windows},
            "copy": {"mae": 8.8 * factor, "rmse": 16.0 * factor, "windows": windows},
        }

    groups = {"all": (1.0, 420), "drawn": (0.95, 380), "recorded": (1.5, 40)}
    return {
        "path": {name: paths(*how) for name, how in groups.items()},
        "path_horizon_s": 4.0,
        "forecast": {name: forecasts(*how) for name, how in groups.items()},
        "forecast_ahead_s": 0.4,
    }


@pytest.fixture
def report_data() -> dict[str, Any]:
    drivers = {
        "expert": _driver(97.2, 0.99, 0.96, 0.0),
        "network": _driver(71.4, 0.83, 0.58, 0.12),
        "blind": _driver(24.0, 0.3, 0.0, 0.05),
        "constant-velocity": _driver(19.1, 0.25, 0.0, 0.08),
        "stop": _driver(5.2, 0.05, 0.0, 0.0),
    }
    return {
        "ingest": {
            "clips": 31,
            "damaged_clips": 1,
            "frames": 24_680,
            "seconds": 21.4,
            "frames_per_s": 1153.3,
            "frames_per_core_s": 640.2,
        },
        "train": {
            "steps": 400,
            "frames": 307_200,
            "seconds": 240.0,
            "frames_per_s": 1280.0,
            "parameters": 612_345,
            "device": "2 cores of an AMD EPYC",
            "loading": {"frames_per_s": 9100.0, "frames_per_core_s": 8800.0},
        },
        "evaluate": {
            "closed_loop": {
                "drivers": drivers,
                "seed_sets": [list(range(8)), list(range(8)), list(range(8))],
                "limit_s": 45.0,
                "fingerprint": "0123456789abcdef",
            },
            "open_loop": _open_loop(),
        },
        "energy": {
            "joules": 5200.0,
            "low": 2100.0,
            "high": 9000.0,
            "frames": 307_200,
            "measured": False,
            "method": "processor time at 2 to 9 W a core; no meter on this machine",
        },
        "report": {
            "seed": 0,
            "data_fingerprint": "fedcba9876543210",
            "created": "2026-11-22T15:00:00Z",
            "config": {"train": {"steps": 400, "lr": 1e-3}},
            "versions": {"opendojo": "0.1.0", "torch": "2.13.0"},
            "machine": {"processor": "AMD EPYC", "cores": "2"},
        },
    }


@pytest.fixture
def metrics() -> list[dict[str, Any]]:
    rng = random.Random(0)

    def loss(step: int, end: float) -> float:
        return end * (1 + 9 * math.exp(-step / 60)) * (1 + 0.1 * rng.random())

    return [
        {"step": step, "losses": {"total": loss(step, 0.6), "path": loss(step, 0.5)}}
        for step in range(0, 400, 5)
    ]
