"""What a run is told, whole: fleet, store, loader, network, training, exam."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from opendojo.evaluate import DriveConfig
from opendojo.loader import LoaderConfig
from opendojo.model import NetConfig
from opendojo.recipes.live import LiveConfig
from opendojo.store import StoreSpec
from opendojo.train import TrainConfig
from opendojo.world import EVALUATION_SEEDS, WorldConfig

__all__ = ["Exam", "Fleet", "LiveRecipe", "OnProgress", "Recipe"]

OnProgress = Callable[[str, int, int, str], None]
"""Told of a stage, how much of it is done, of how much, and a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The fleet that the world draws."""

    drives: int = 52
    """Recordings, each on a road of its own."""
    seconds: float = 24.0
    """Length of each."""
    seed: int = 0
    """Decides roads, traffic and looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """The roads a network is judged on: held out, fixed, in sets."""

    sets: int = 3
    """Sets of roads, each a seed of its own; every figure is given for each and as their mean."""
    roads: int = 8
    """Roads in a set."""
    route_m: float = 250.0
    """Length of each."""
    towns: tuple[str, ...] = ("country",)
    """Kinds of towns they lie in."""
    agents: int = 8
    """Most other road users around each vehicle."""
    limit_s: float = 35.0
    """Time after which a drive ends, wherever it is."""

    @property
    def seed_sets(self) -> tuple[tuple[int, ...], ...]:
        """Seeds of the roads, set by set."""
        return tuple(
            tuple(EVALUATION_SEEDS[100 * i : 100 * i + self.roads]) for i in range(self.sets)
        )

    @property
    def drive(self) -> DriveConfig:
        """The closed loop these roads are driven in."""
        world = WorldConfig(route_m=self.route_m, agents=self.agents, towns=self.towns)
        return DriveConfig(world=world, limit_s=self.limit_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A full configuration of a run."""

    fleet: Fleet = field(default_factory=Fleet)
    """What is drawn."""
    store: StoreSpec = field(default_factory=StoreSpec)
    """How frames are kept."""
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    """What training reads."""
    clip_weight: float = 3.0
    """How often the user's own windows come for each time the drawn ones do."""
    net: NetConfig = field(default_factory=NetConfig)
    """The network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Its training."""
    blind_steps: int = 100
    """Steps for which the blind network, a floor, is trained."""
    exam: Exam = field(default_factory=Exam)
    """Its judgement."""

    def __post_init__(self) -> None:
        window, net = self.loader.window, self.net
        if (window.path_points, window.path_horizon_s) != (net.path_points, net.path_horizon_s):
            raise ValueError("loader.window and net differ in path_points or path_horizon_s")
        if self.loader.cameras != net.cameras:
            raise ValueError("loader.cameras and net.cameras must be the same")
        if (self.store.width_px, self.store.height_px) != (net.width_px, net.height_px):
            raise ValueError("store and net must have one frame size")

    def resolved(self) -> dict[str, Any]:
        """Every value, for the record beside a run."""
        return json.loads(json.dumps(asdict(self)))

    def key(self, fingerprint: str) -> str:
        """A short name for this training on this data: equal inputs, equal key."""
        parts = {k: v for k, v in self.resolved().items() if k not in ("fleet", "exam")}
        text = json.dumps([parts, fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRecipe(Recipe):
    """A run that learns from its own drives in the world; stores may be mixed in."""

    live: LiveConfig = field(default_factory=LiveConfig)
    """What is driven, and when."""
    store_weight: float = 1.0
    """With stores: how often their batches come for each time the world's do, both being as long as
    they are."""
