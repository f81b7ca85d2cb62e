"""Every driver over the same held-out roads, with intervals: what `opendojo evaluate` prints.

table([ExpertDriver(), NetworkDriver(network), StopDriver()])    # three held-out seed sets
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.evaluate.closed_loop import DriveConfig, drive
from opendojo.evaluate.driver import Driver
from opendojo.evaluate.floors import ExpertDriver, ReplayDriver
from opendojo.evaluate.scenes import HELD_OUT_SETS, published, scene_hashes, together
from opendojo.evaluate.score import Route
from opendojo.evaluate.windows import TERMS
from opendojo.world import World

__all__ = ["interval", "table"]

_RESAMPLES, _LEVEL = 2000, 0.95


def table(
    drivers: Sequence[Driver],
    seed_sets: Sequence[Sequence[int]] | None = None,
    config: DriveConfig | None = None,
    *,
    on_driver: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Every driver over fixed sets of held-out roads: plain values, ready for JSON.

    For each driver and each number of `Route`: `mean` over the sets, `values` of each set, `min`
    and `max` of those, and `low` and `high`, the 95 % bootstrap interval over the routes. `terms`
    holds the same for the dojo score and its sub-scores, where drives are long enough for windows.

    `scenes` has a hash for each road: town, route and first traffic. `fingerprint` is a hash of
    those, the seeds and the configuration; two tables compare only if it is equal. `published`
    names the published list (`scenes.SCENES`) that these roads are, where they are one.
    `on_driver` hears each driver's name before it drives.
    """
    sets = [list(seeds) for seeds in (HELD_OUT_SETS if seed_sets is None else seed_sets)]
    config = config or DriveConfig()
    flat = [seed for seeds in sets for seed in seeds]
    world = World(flat, config.world, device=config.device)
    hashes = scene_hashes(world)
    results: dict[str, Any] = {}
    for driver in drivers:
        if on_driver:
            on_driver(driver.name)
        drives = drive(driver, flat, config, world=world)
        results[driver.name] = _summary(drives.routes, [len(seeds) for seeds in sets])
        if isinstance(driver, ExpertDriver):
            for other in drivers:
                if isinstance(other, ReplayDriver):
                    other.adopt(world, drives.trace)
    resolved = dataclasses.asdict(config)
    resolved.pop("device")  # where it runs must not change what is driven
    whole = together(hashes)
    return {
        "score": "driving score of OpenDojo, 0 to 100; not CARLA's",
        "terms": "dojo score, 0 to 1: mean of 4 s windows x completion; not NAVSIM's EPDMS",
        "interval": f"{_LEVEL:.0%} bootstrap over {len(flat)} routes, {_RESAMPLES} resamples",
        "drivers": results,
        "seed_sets": sets,
        "limit_s": config.limit_s,
        "scenes": {str(seed): value for seed, value in hashes.items()},
        "scenes_hash": whole,
        "published": next((n for n, known in published().items() if known["all"] == whole), None),
        "fingerprint": _fingerprint({"seed_sets": sets, "config": resolved, "scenes": whole}),
    }


_NOT_NUMBERS = ("seed", "terms")


def _summary(routes: Sequence[Route], sizes: Sequence[int]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(Route) if f.name not in _NOT_NUMBERS]
    summary: dict[str, Any] = {
        name: _figures([float(getattr(route, name)) for route in routes], sizes) for name in names
    }
    if all(route.terms for route in routes):
        summary["terms"] = {
            name: _figures([route.terms[name] for route in routes], sizes)
            for name in ("score", "windows_score", *TERMS, "at_fault")
        }
    summary["routes"] = [route.as_dict() for route in routes]
    return summary


def _figures(values: Sequence[float], sizes: Sequence[int]) -> Mapping[str, Any]:
    bounds = np.cumsum([0, *sizes])
    of_sets = [float(np.mean(values[a:b])) for a, b in itertools.pairwise(bounds)]
    low, high = interval(np.array(values), np.repeat(1.0 / np.array(sizes), sizes))
    return {
        "mean": float(np.mean(of_sets)),
        "values": of_sets,
        "min": min(of_sets),
        "max": max(of_sets),
        "low": low,
        "high": high,
    }


def interval(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a weighted mean (Efron 1979), over `values` [n].

    The draws are fixed: equal values have equal intervals. It says nothing about roads unlike
    these, and where all values are equal it has no width.
    """
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(values), (_RESAMPLES, len(values)))
    shares = (np.ones(len(values)) if weights is None else weights)[picked]
    means = (values[picked] * shares).sum(1) / shares.sum(1)
    low, high = np.quantile(means, [(1.0 - _LEVEL) / 2.0, (1.0 + _LEVEL) / 2.0])
    return float(low), float(high)


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
