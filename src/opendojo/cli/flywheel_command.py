"""`opendojo flywheel run|show|find|watch|networks|promote|rollback`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.flywheel.config import FlywheelConfig

__all__ = ["run"]

Folder = Annotated[Path, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Common):
    """Turn the flywheel: the fleet drives, the present network looks on, windows that matter are
    labelled and learnt, and a better network takes over. The same command goes on where it was
    left, also after a kill; more rounds may be asked for later."""

    out: Folder = Path("runs/flywheel")
    """Folder of the run."""
    rounds: int = 3
    """Rounds after the first network."""
    budget: int = 96
    """Windows that are labelled in a round."""
    how: Literal["mined", "random"] = "mined"
    """random is the floor: any windows, as many."""
    triggers: tuple[str, ...] = ("braking", "collision", "dark", "disagreement", "error", "jerk")
    """What is looked for; `novelty` too, and `query: night and turn > 5 deg/s`."""
    clips: tuple[Path, ...] = ()
    """Recordings that join the first round, labelled by their own logs."""
    network: Path | None = None
    """A training run whose network is the first one."""
    drives: int = 24
    """Drives of a round."""
    seconds: float = 14.0
    """Length of each."""
    steps: int = 120
    """Training steps of a round."""
    first_steps: int = 240
    """Training steps of the first network."""
    roads: int = 16
    """Roads of each of the three sets on which networks are judged."""
    seed: int = 0
    """Of everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Show(Common):
    """Write the page of a run: what was found, why, what it taught, scores per round."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    out: Path | None = None
    """The page's file; RUN/flywheel.html where not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Find(Common):
    """Find windows by tags ("night merge"), by a query ("night and error > 2 m"), by likeness."""

    words: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORDS")]
    """Tags, or a query over tags, logs and scores."""
    folder: Annotated[Path, tyro.conf.arg(name="in", metavar="RUN")] = Path("runs/flywheel")
    """Folder of a run, or of a watch."""
    most: int = 20
    """Windows told."""
    alike: bool = False
    """Also tell what looks like those that were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFolder(Common):
    """Watch a folder into which clips arrive; look at them turn by turn."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Where clips arrive; nothing in it is moved or removed."""
    network: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """A training run, or a flywheel run whose present network looks."""
    out: Path = Path("runs/watch")
    """Folder of what is found."""
    clips: int = 16
    """Clips of a turn."""
    budget: int = 16
    """Windows chosen in a turn."""
    settle_s: float = 2.0
    """A clip is taken when it has not changed for so long."""
    poll_s: float = 2.0
    """Time between looks into an idle folder."""
    once: bool = False
    """Leave when nothing waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks(Common):
    """List the networks of a run: parents, scores, who is promoted."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Common):
    """Make a network the present one, by hand."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NETWORK")]
    """Its name, or the first letters of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Common):
    """Undo the last promotion."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    kind = (
        Annotated[Run, tyro.conf.subcommand("run")]
        | Annotated[Show, tyro.conf.subcommand("show")]
        | Annotated[Find, tyro.conf.subcommand("find")]
        | Annotated[WatchFolder, tyro.conf.subcommand("watch")]
        | Annotated[Networks, tyro.conf.subcommand("networks")]
        | Annotated[Promote, tyro.conf.subcommand("promote")]
        | Annotated[Rollback, tyro.conf.subcommand("rollback")]
    )
    chosen: Any = parse(kind, "flywheel", arguments,  # type: ignore[arg-type]
                        "Let a network keep learning from the clips that matter.")  # fmt: skip
    handlers = {
        Run: _run, Show: _show, Find: _find, WatchFolder: _watch, Networks: _networks,
        Promote: _promote, Rollback: _rollback,
    }  # fmt: skip
    return handlers[type(chosen)](chosen)


def _config(chosen: Run) -> FlywheelConfig:
    from opendojo.flywheel.config import FlywheelConfig

    usual = FlywheelConfig()
    return replace(
        usual,
        rounds=chosen.rounds,
        seed=chosen.seed,
        first_train=replace(usual.first_train, steps=chosen.first_steps),
        train=replace(usual.train, steps=chosen.steps),
        first_fleet=replace(usual.first_fleet, seconds=chosen.seconds),
        fleet=replace(usual.fleet, drives=chosen.drives, seconds=chosen.seconds),
        mine=replace(usual.mine, budget=chosen.budget, how=chosen.how, triggers=chosen.triggers),
        exam=replace(usual.exam, roads=chosen.roads),
    )


def _run(chosen: Run) -> int:
    from opendojo.flywheel.run import run_flywheel

    progress = Progress()
    told = run_flywheel(
        _config(chosen), chosen.out, clips=chosen.clips, network=chosen.network,
        on_progress=progress,
    )  # fmt: skip
    progress.close()
    if chosen.json:
        print_document(told)
        return 0
    for line in told["rounds"]:
        scores = ", ".join(f"{name} {s['mean']:.1f}" for name, s in line["scores"].items())
        mark = "promoted" if line["promoted"] else "kept out"
        print(f"round {line['number']}: {line['network']} {scores}; {mark}: {line['why']}")
    for name, scores in (told["floors"] or {}).items():
        print(f"floor {name}: " + ", ".join(f"{s} {v:.1f}" for s, v in scores.items()))
    print(f"present network: {told['present']}; look: opendojo flywheel show {chosen.out}")
    return 0


def _show(chosen: Show) -> int:
    from opendojo.flywheel.page import write_page

    page = write_page(chosen.folder, chosen.out)
    if chosen.json:
        print_document({"page": str(page)})
    else:
        print(page)
    return 0


def _find(chosen: Find) -> int:
    from opendojo.flywheel.find import find

    found = find(chosen.folder, chosen.words, most=chosen.most, alike=chosen.alike)
    if chosen.json:
        print_document({"words": chosen.words, "found": [one.as_dict() for one in found]})
        return 0
    for one in found:
        like = "" if one.alike is None else f"  alike {one.alike:.2f}"
        print(f"{one.place}  {one.clip_id[:12]}  {one.time_s:6.1f} s  {one.error_m:6.2f} m off  "
              f"{', '.join(one.tags)}{like}")  # fmt: skip
    print(f"{len(found)} windows")
    return 0


def _watch(chosen: WatchFolder) -> int:
    from opendojo.flywheel.mine import MineConfig
    from opendojo.flywheel.registry import Registry
    from opendojo.flywheel.watch import Watch, WatchConfig
    from opendojo.train import load_network

    present = Registry(chosen.network / "registry").present
    registry = Registry(chosen.network / "registry")
    network = load_network(chosen.network) if present is None else registry.load(present.name)
    config = WatchConfig(
        clips=chosen.clips, settle_s=chosen.settle_s, mine=MineConfig(budget=chosen.budget)
    )
    watch, progress, turns = Watch(chosen.folder, chosen.out, network, config), Progress(), []
    while True:
        turn = watch.turn()
        if turn is None:
            if chosen.once:
                break
            time.sleep(chosen.poll_s)
            continue
        turns.append(asdict(turn))
        note = f"{turn.chosen} chosen of {turn.windows} windows"
        if turn.share < 1.0:
            note += f"; looked at {turn.share:.0%} of {turn.waiting} waiting, the rest waits on"
        progress(f"turn {turn.number}", len(turn.clips), len(turn.clips), note)
    progress.close()
    if chosen.json:
        print_document({"path": str(chosen.out), "turns": turns})
    else:
        print(f"{chosen.out}: {len(turns)} turns, {sum(t['chosen'] for t in turns)} windows chosen")
    return 0


def _networks(chosen: Networks) -> int:
    from opendojo.flywheel.registry import Registry

    registry = Registry(chosen.folder / "registry")
    present = registry.present
    if chosen.json:
        print_document(
            {
                "present": None if present is None else present.name,
                "history": registry.history,
                "networks": [entry.as_dict() for entry in registry.entries()],
            }
        )
        return 0
    for entry in registry.entries():
        mark = "*" if present is not None and entry.name == present.name else " "
        scores = ", ".join(
            f"{name} {s['mean']:.1f} ({s['low']:.1f} to {s['high']:.1f})"
            for name, s in entry.intervals.items()
        )
        print(
            f"{mark} {entry.name}  round {entry.number}  from {entry.parent or 'nothing'}  {scores}"
        )
    return 0


def _promote(chosen: Promote) -> int:
    from opendojo.flywheel.registry import Registry

    entry = Registry(chosen.folder / "registry").promote(chosen.name, "by hand")
    return _present(chosen, entry.name)


def _rollback(chosen: Rollback) -> int:
    from opendojo.flywheel.registry import Registry

    return _present(chosen, Registry(chosen.folder / "registry").rollback().name)


def _present(chosen: Common, name: str) -> int:
    if chosen.json:
        print_document({"present": name})
    else:
        print(f"present network: {name}")
    return 0
