"""`opendojo train RECIPE --stores STORE ... --run RUN`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.loader import Loader
    from opendojo.recipes import Recipe

__all__ = ["run"]

EXIT_USAGE, EXIT_DATA, EXIT_RESOURCES, EXIT_LOST = 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainArguments(Common):
    """Train a driving network, or one of your own, on one or several stores.

    The first word picks the recipe, options override it: `opendojo train base --stores s --run r
    --train.optim.lr 5e-4`. The same call goes on where an earlier one stopped. Fleet, store,
    blind network and exam of the recipe are for `opendojo demo`; they have no say here.
    """

    stores: tuple[Path, ...] = ()
    """Stores to read; the recipe `town` needs none."""
    run: Path
    """Folder of the run."""
    network: str | None = None
    """`package.module:factory` of a network of your own, in place of the recipe's: a callable that
    returns a module whose forward(batch) gives a dict of losses."""
    ranks: int | None = None
    """Processes that share the training, started by torchrun; they share out each batch, so that
    the recipe's batch is what all of them take together. Another number may go on with a run. Not
    given: one; of a recipe that drives in the world one for each core, up to its live.parts."""
    parallel: Literal["ddp", "fsdp"] | None = None
    """Each rank keeps the whole network (ddp) or a shard of it (fsdp); else the recipe's."""
    stall_s: float = 900.0
    """Ranks that log no step for so long are ended and started again."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    chosen: Any = parse(_with_recipes(), "train", arguments, TrainArguments.__doc__ or "")
    from opendojo.train.launch import is_worker, stop_all

    if chosen.ranks is not None and chosen.ranks < 1:
        raise ValueError(f"ranks {chosen.ranks}: must be at least 1")
    ranks = 1 if is_worker() else chosen.ranks or _usual_ranks(chosen)
    if ranks > 1:
        return _launched(chosen, arguments, ranks)
    try:
        result = _train(chosen)
    except Exception as error:
        ending = _ending(error)
        if ending is None:
            raise
        stop_all(chosen.run, *ending, faulty=_faulty(error))
        return _said(*ending)
    return 0 if is_worker() else _told(chosen, result)


def _ending(error: Exception) -> tuple[int, str] | None:
    """Exit code and sentence for what would happen again; None for what may not."""
    from opendojo.clip import BadClip
    from opendojo.guard import PermanentFault
    from opendojo.store import BadStore
    from opendojo.train import DamagedCheckpoint, SuspectStep

    if isinstance(error, SuspectStep | DamagedCheckpoint | BadStore | BadClip):
        return EXIT_DATA, str(error)
    if isinstance(error, PermanentFault):
        return EXIT_RESOURCES, str(error)
    return (EXIT_USAGE, str(error)) if isinstance(error, ValueError) else None


def _faulty(error: Exception) -> list[int]:
    """Ranks that the guard found wrong for good."""
    from opendojo.guard import PermanentFault

    return sorted({e.rank for e in error.events}) if isinstance(error, PermanentFault) else []


def _said(code: int, sentence: str) -> int:
    print(f"opendojo: {sentence}", file=sys.stderr)
    return code


def _usual_ranks(chosen: Any) -> int:
    """How many ranks, where nobody said.

    On a processor two ranks of one thread do more than one of two: of a step of size tiny a fifth
    is spent in operators too small to be shared out, and a world has nothing else.
    """
    import torch

    from opendojo.recipes import LiveRecipe

    recipe: Recipe = chosen.recipe
    accelerated = recipe.train.device != "cpu" and torch.cuda.is_available()
    if not isinstance(recipe, LiveRecipe) or accelerated or recipe.train.guard != "off":
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), recipe.live.parts))


def _launched(chosen: Any, arguments: list[str], ranks: int) -> int:
    """Have `torchrun` run this very command as several ranks."""
    from opendojo.train import LaunchFailed, launch

    words = ["train", *arguments]
    try:
        stopped = launch(words, chosen.run, ranks=ranks, stall_s=chosen.stall_s)
    except LaunchFailed as error:
        return _said(EXIT_LOST, str(error))
    if stopped is not None:
        return _said(stopped.code, stopped.sentence)
    return _told(chosen, json.loads((chosen.run / "done.json").read_text()))


def _train(chosen: Any) -> dict[str, Any]:
    """Train in this process: alone, or as a rank of several; only rank 0 shows progress."""
    from opendojo.train import train

    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    recipe: Recipe = chosen.recipe
    source = _source(chosen, recipe, rank, ranks)
    config = recipe.train
    if chosen.parallel is not None:
        config = dataclasses.replace(config, parallel=chosen.parallel)
    progress = Progress()

    def told(row: dict[str, Any]) -> None:
        note = f"loss {row['loss_total']:.3f}, {row['frames_per_s']:,.0f} frames/s"
        if row["peak_share"] is not None:
            note += f", {100 * row['peak_share']:.0f} % of peak"
        progress("training", row["step"], config.steps, note)

    result = train(
        chosen.run,
        chosen.network or recipe.net,
        source,
        config,
        on_step=told if rank == 0 else None,
        data=source.fingerprint,
    )
    progress.close()
    return dataclasses.asdict(result)


def _source(chosen: Any, recipe: Recipe, rank: int, ranks: int) -> Any:
    """Stores, the live world, or both, as the recipe has it."""
    from opendojo.recipes import LiveRecipe
    from opendojo.recipes.live import LiveSource
    from opendojo.train import Mixed

    if not isinstance(recipe, LiveRecipe):
        if not chosen.stores:
            raise ValueError("give --stores: this recipe learns from stores alone")
        return _loader(chosen.stores, recipe, rank, ranks)
    if chosen.network is not None:
        raise ValueError("--network: a recipe that drives in the world trains the driving network")
    live = LiveSource(chosen.run / "live", recipe.live, recipe.net, rank, ranks)
    if not chosen.stores:
        return live
    loader = _loader(chosen.stores, recipe, rank, ranks)
    return Mixed([(live, 1.0), (loader, recipe.store_weight)], recipe.train.seed)


def _loader(stores: tuple[Path, ...], recipe: Recipe, rank: int, ranks: int) -> Loader:
    """This rank's share of the recipe's batches, read by its share of the machine."""
    from opendojo.loader import Loader
    from opendojo.store import Store

    config = recipe.loader
    if ranks > 1:
        if config.batch % ranks:
            raise ValueError(f"loader.batch {config.batch} cannot be shared by {ranks} ranks")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(ranks)))
        cores = len(os.sched_getaffinity(0))
        workers = max(1, cores // here) if config.workers is None else config.workers
        config = dataclasses.replace(
            config,
            batch=config.batch // ranks,
            workers=workers,
            keep_bytes=config.keep_bytes // here,
        )
    return Loader([Store.open(path) for path in stores], config, rank, ranks)


def _told(chosen: Any, result: dict[str, Any]) -> int:
    document = {"run": str(chosen.run), **result}
    if chosen.json:
        print_document(document)
    else:
        print(f"{chosen.run}: {result['steps']} steps, {result['frames']:,} frames, "
              f"{result['seconds']:.0f} s, digest {result['digest']}")  # fmt: skip
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
