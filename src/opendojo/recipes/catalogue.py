"""The runs that have a name. Each is a function; one is built from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opendojo.model import NetConfig
from opendojo.recipes.recipe import Recipe
from opendojo.train import OptimConfig, TrainConfig

__all__ = ["RECIPES", "base", "demo"]


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


RECIPES: dict[str, Callable[[], Recipe]] = {"base": base, "demo": demo}
"""Every recipe by name."""
