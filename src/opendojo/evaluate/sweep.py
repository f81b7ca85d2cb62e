"""Robustness: the same drivers on the same roads, with something made worse step by step.

worse = sweep("cameras", [NetworkDriver(network), StopDriver()], seed_sets)
worse["variants"][1]["table"]["drivers"]["network"]["score"]["mean"]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from opendojo.evaluate.closed_loop import DriveConfig
from opendojo.evaluate.driver import Driver
from opendojo.evaluate.table import table
from opendojo.world import WorldConfig

__all__ = ["SWEEPS", "sweep", "variants"]

Change = dict[str, Any]


def _cameras(world: WorldConfig) -> dict[str, Change]:
    dropped = {f"without {c.name}": {"dead": (i,)} for i, c in enumerate(world.cameras)}
    return {"all cameras": {"dead": ()}, **dropped}


SWEEPS: dict[str, Callable[[WorldConfig], dict[str, Change]]] = {
    "cameras": _cameras,
    "latency": lambda _: {f"{1000 * s:.0f} ms": {"latency_s": s} for s in (0.0, 0.1, 0.2)},
    "preset": lambda _: {name: {"preset": name} for name in ("clean", "hard", "adversarial")},
    "rig": lambda _: {f"rig error {e:g}": {"rig_error": e} for e in (0.0, 0.5, 1.0, 2.0)},
}
"""What may be swept: cameras that are black, one at a time; the delay of the controls; traffic,
looks and faults together; errors of the cameras' mounts and lenses (1: 2 degrees, 5 cm, 2 %)."""


def variants(kind: str, config: DriveConfig) -> dict[str, DriveConfig]:
    """The configurations of a sweep by name, the first the undisturbed one.

    Raises:
        ValueError: there is no such sweep.
    """
    if kind not in SWEEPS:
        raise ValueError(f"no sweep {kind!r}: give one of {', '.join(SWEEPS)}")
    return {
        name: dataclasses.replace(config, world=dataclasses.replace(config.world, **change))
        for name, change in SWEEPS[kind](config.world).items()
    }


def sweep(
    kind: str,
    drivers: Sequence[Driver],
    seed_sets: Sequence[Sequence[int]] | None = None,
    config: DriveConfig | None = None,
    *,
    on_driver: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """A table for each variant: plain values, ready for JSON.

    Where a sweep changes the pictures alone, drivers without pixels drive once, and their figures
    stand in every table.
    """
    pictures_alone = kind in ("cameras", "rig")
    results: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    for name, changed in variants(kind, config or DriveConfig()).items():
        now = [d for d in drivers if not (kept and pictures_alone and not d.needs_pixels)]
        told = None if on_driver is None else _told(on_driver, name)
        scores = table(now, seed_sets, changed, on_driver=told)
        if pictures_alone and not kept:
            kept = {d.name: scores["drivers"][d.name] for d in drivers if not d.needs_pixels}
        known = {**kept, **scores["drivers"]}
        scores["drivers"] = {d.name: known[d.name] for d in drivers}
        results.append({"name": name, "table": scores})
    return {"sweep": kind, "variants": results}


def _told(on_driver: Callable[[str], None], variant: str) -> Callable[[str], None]:
    return lambda driver: on_driver(f"{driver}, {variant}")
