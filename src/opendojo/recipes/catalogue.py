"""The runs that have a name. Each is a function; one is built from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opendojo.model import LossConfig, NetConfig
from opendojo.recipes.live import LiveConfig
from opendojo.recipes.recipe import LiveRecipe, Recipe
from opendojo.train import OptimConfig, TrainConfig
from opendojo.world import WorldConfig

__all__ = ["RECIPES", "base", "demo", "town"]


def demo() -> Recipe:
    """Minutes on two cores: the whole way from a drawn fleet to a judged network."""
    return Recipe(train=TrainConfig(steps=260, checkpoint_every=50))


def base() -> Recipe:
    """A starting point for one's own recordings: the next size up, many times the steps."""
    return replace(
        demo(),
        net=NetConfig(size="tiny"),
        train=TrainConfig(
            steps=4000, checkpoint_every=200, optim=OptimConfig(lr=1e-3, warmup_steps=200)
        ),
        blind_steps=1000,
    )


def town() -> Recipe:
    """Forty minutes on two cores: drives in the world, is corrected by its expert, drives again."""
    # as many bends and junctions as straight roads: on an even mix most of the driving is straight
    towns = ("mixed", "urban", "roundabout", "mixed", "urban", "country", "mixed", "urban",
             "roundabout", "highway")  # fmt: skip
    live = LiveConfig(
        world=WorldConfig(towns=towns), worlds=32, parts=2, steps=200, rounds=8, round_steps=420,
        batch=64, instants=(0, 4, 6, 7), flip=0.5,
    )  # fmt: skip
    return LiveRecipe(
        net=NetConfig(size="tiny"),
        live=live,
        train=TrainConfig(
            steps=live.rounds * live.round_steps,
            checkpoint_every=live.round_steps,
            precision="bf16",
            loss=LossConfig(ahead=3.0, aside=2.0),
            optim=OptimConfig(lr=1.5e-3, warmup_steps=50, ema_decay=0.99),
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"base": base, "demo": demo, "town": town}
"""Every recipe by name."""
