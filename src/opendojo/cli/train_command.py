"""`opendojo train RECIPE --stores STORE ... --run RUN`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainArguments(Common):
    """Train a driving network on one or several stores.

    The first word picks the recipe, options override it: `opendojo train base --stores s --run r
    --train.optim.lr 5e-4`. The same call goes on where an earlier one stopped. Fleet, store,
    blind network and exam of the recipe are for `opendojo demo`; they have no say here.
    """

    stores: tuple[Path, ...]
    """Stores to read."""
    run: Path
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen: Any = parse(_with_recipes(), "train", arguments, TrainArguments.__doc__ or "")
    from opendojo.loader import Loader
    from opendojo.store import Store
    from opendojo.train import train

    recipe = chosen.recipe
    loader = Loader([Store.open(path) for path in chosen.stores], recipe.loader)
    progress = Progress()

    def told(row: dict[str, Any]) -> None:
        note = f"loss {row['loss_total']:.3f}, {row['frames_per_s']:,.0f} frames/s"
        progress("training", row["step"], recipe.train.steps, note)

    result = train(
        chosen.run, recipe.net, loader, recipe.train, on_step=told, data=loader.fingerprint
    )
    progress.close()
    document = {"run": str(chosen.run), **dataclasses.asdict(result)}
    if chosen.json:
        print_document(document)
    else:
        print(f"{chosen.run}: {result.steps} steps, {result.frames:,} frames, "
              f"{result.seconds:.0f} s, digest {result.digest}")  # fmt: skip
    return 0


def _with_recipes() -> Any:
    """The arguments with a recipe to choose; made late, for recipes import torch."""
    from opendojo.recipes import RECIPES

    choice: Any = tyro.extras.subcommand_type_from_defaults(
        {name: make() for name, make in RECIPES.items()},
        {name: (make.__doc__ or "").strip() for name, make in RECIPES.items()},
    )
    return make_dataclass(
        "Train",
        [("recipe", Annotated[choice, tyro.conf.arg(name="")])],
        bases=(TrainArguments,),
        frozen=True,
        kw_only=True,
        slots=True,
    )
