"""Fixed lists of held-out roads, and hashes by which a change of the world is noticed.

scenes = held_out("clean")                     # three sets of five roads, one in each kind of town
scenes.config, scenes.sets
hashes = scene_hashes(World(seeds, config))    # {seed: hash of town, route and first traffic}
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from opendojo.world import EVALUATION_SEEDS, TOWNS, World, WorldConfig
from opendojo.world.config import Preset

__all__ = [
    "HELD_OUT_SETS",
    "PUBLISHED",
    "SCENES",
    "Scenes",
    "held_out",
    "published",
    "scene_hashes",
    "together",
]

_SET_SEEDS, _SETS, _ROADS = 1000, 3, 5
PUBLISHED = Path(__file__).with_name("scenes.json")
"""Where the hashes of the published lists are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """A list of roads to be judged on."""

    name: str
    """Of the list: the preset, and the kind of towns where it is one."""
    config: WorldConfig
    """Traffic, looks and kinds of towns."""
    sets: tuple[tuple[int, ...], ...]
    """Seeds, set by set."""


def held_out(
    preset: Preset = "clean",
    towns: tuple[str, ...] = TOWNS,
    roads: int = _ROADS,
    sets: int = _SETS,
) -> Scenes:
    """A list of held-out roads.

    Every road lies in a town of its own, and the kinds of towns take turns; so five roads over all
    kinds are one in each. A longer list begins with the shorter one.

    Raises:
        ValueError: no roads, or more than the seeds set aside for a set.
    """
    config = WorldConfig(preset=preset, towns=towns)
    step = config.worlds_per_town
    if not 1 <= roads <= _SET_SEEDS // step:
        raise ValueError(f"{roads} roads in a set: give 1 to {_SET_SEEDS // step}")
    if not 1 <= sets <= len(EVALUATION_SEEDS) // _SET_SEEDS:
        raise ValueError(f"{sets} sets: give 1 to {len(EVALUATION_SEEDS) // _SET_SEEDS}")
    kind = "" if towns == TOWNS else "-" + "-".join(towns)
    return Scenes(
        name=f"{preset}{kind}",
        config=config,
        sets=tuple(
            tuple(EVALUATION_SEEDS[_SET_SEEDS * i + step * k] for k in range(roads))
            for i in range(sets)
        ),
    )


SCENES: dict[str, Scenes] = {
    scenes.name: scenes
    for scenes in (
        held_out("clean"),
        held_out("hard"),
        held_out("adversarial"),
        *(held_out("clean", (kind,)) for kind in TOWNS),
    )
}
"""The published lists, by name."""

HELD_OUT_SETS = SCENES["clean"].sets
"""Three sets of roads that nothing is trained on."""


@lru_cache(maxsize=1)
def published() -> dict[str, dict[str, str]]:
    """For each published list the hash of `all` its roads and of the `first`, as they were when
    figures were last made with it."""
    return json.loads(PUBLISHED.read_text("utf-8")) if PUBLISHED.exists() else {}


def scene_hashes(world: World) -> dict[int, str]:
    """For each seed a hash of its town, its route, and who is where at the start.

    Lengths are rounded to a millimetre, so that libraries which differ in last places agree.
    """
    towns = {g: _hash(world.towns.towns[g]) for g in set(world.town.tolist())}
    world.reset()
    routes, state = world.routes, world.state
    tables = {
        "route": (routes.x_m, routes.y_m, routes.lane, routes.limit_mps),
        "ego": (state.ego.x_m, state.ego.y_m, state.ego.speed_mps),
        "others": (state.agents.mask, state.agents.kind, state.agents.x_m, state.agents.y_m),
    }
    rows = {name: [column.cpu().numpy() for column in columns] for name, columns in tables.items()}
    return {
        seed: _hash([towns[g], {name: [c[i] for c in columns] for name, columns in rows.items()}])
        for i, (seed, g) in enumerate(zip(world.seeds, world.town.tolist(), strict=True))
    }


def together(hashes: dict[int, str]) -> str:
    """One hash of a list of scenes."""
    return _hash(hashes)


def _hash(value: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()[:16]


def _feed(digest: Any, value: Any) -> None:
    """Everything in a value, structs by their fields' names, numbers to a thousandth."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            digest.update(field.name.encode())
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, dict):
        for key, item in value.items():
            digest.update(str(key).encode())
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(b"[%d" % len(value))
        for item in value:
            _feed(digest, item)
    elif isinstance(value, np.ndarray | float):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = np.round(array.astype(np.float64), 3) + 0.0  # no negative zeros
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    else:
        digest.update(str(value).encode())
