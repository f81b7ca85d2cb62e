"""Runs: functions that return a full configuration, and the way from clips to a judged network.

recipe = demo()
run(recipe, Path("runs/demo"), clips=["dashcam/"])     # resumes where it was left
"""

from opendojo.recipes.catalogue import RECIPES, base, demo, town
from opendojo.recipes.ledger import Entry, Ledger
from opendojo.recipes.recipe import Exam, Fleet, LiveRecipe, Recipe
from opendojo.recipes.run import run

__all__ = [
    "RECIPES",
    "Entry",
    "Exam",
    "Fleet",
    "Ledger",
    "LiveRecipe",
    "Recipe",
    "base",
    "demo",
    "run",
    "town",
]
