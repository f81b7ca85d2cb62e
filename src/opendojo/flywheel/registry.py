"""The registry of networks: lineage, data, scores, energy; who is promoted, and who was before.

    registry/networks/<name>/entry.json     immutable; beside it what `train.load_network` reads
    registry/registry.json                  who is promoted, and all promotions in order

A network's name is that of its weights. Entries appear by one rename, the pointer changes by
another: a kill at any instant leaves the old state or the new one.

    registry = Registry(folder)
    entry = registry.add(run_dir, parent=None, data="...", scores={...})
    registry.promote(entry.name, "the first"); registry.rollback()
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opendojo.store.atomic import locked, sync_folder, write_json

if TYPE_CHECKING:
    from opendojo.model import DrivingNet

__all__ = ["Entry", "Registry"]

_SCHEMA = 1
_CIRCUMSTANCES = ("created", "energy")
"""Fields that differ from one run of the same work to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A network that was trained."""

    name: str
    """First letters of the digest of its weights."""
    digest: str
    """`guard.digest` of its weights."""
    parent: str | None
    """Name of the network whose weights it began with."""
    data: str
    """Fingerprint of what it was trained on."""
    number: int
    """Round in which it was made."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By set of scenes, the score of each scene."""
    intervals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By set of scenes `mean`, `low`, `high`: a 90 % bootstrap over scenes."""
    verdict: Mapping[str, Any] = field(default_factory=dict)
    """What the gate said."""
    energy: Mapping[str, Any] = field(default_factory=dict)
    """Joules of its training, with range and method."""
    created: str = ""
    """Date and time."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Registry:
    """Networks in a folder. Several processes may read; changes are made under a lock."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._networks = self.folder / "networks"
        self._pointer = self.folder / "registry.json"

    def add(
        self,
        run_dir: Path,
        *,
        parent: str | None,
        data: str,
        number: int = 0,
        scores: Mapping[str, Mapping[str, float]] | None = None,
        verdict: Mapping[str, Any] | None = None,
        energy: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Take a training run's network in; one that is there already stays as it is.

        Raises `ValueError` where the run has no network, or the parent is not known.
        """
        from opendojo.flywheel.shadow import network_digest
        from opendojo.train import load_network

        digest = network_digest(load_network(run_dir))
        name = digest[:12]
        if parent is not None and not self.holds(parent):
            raise ValueError(f"the parent {parent} is not in {self.folder}: add it first")
        self._networks.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock"):
            if self.holds(name):
                return self.entry(name)
            entry = Entry(
                name=name, digest=digest, parent=parent, data=data, number=number,
                scores=scores or {}, intervals=_intervals(scores or {}), verdict=verdict or {},
                energy=energy or {},
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )  # fmt: skip
            self._place(run_dir, entry)
        return entry

    def _place(self, run_dir: Path, entry: Entry) -> None:
        partial = self._networks / f".partial-{entry.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in ("config.json", "done.json", "run.json"):
            if (run_dir / name).exists():
                shutil.copy(run_dir / name, partial / name)
        newest = sorted(p for p in (run_dir / "checkpoints").iterdir() if p.is_dir())[-1]
        shutil.copytree(newest, partial / "checkpoints" / newest.name)
        write_json(partial / "entry.json", {"schema": _SCHEMA, **entry.as_dict()})
        _sync_tree(partial)
        partial.rename(self._networks / entry.name)
        sync_folder(self._networks)

    def holds(self, name: str) -> bool:
        """Whether there is a network of that name."""
        return (self._networks / name / "entry.json").exists()

    def entry(self, name: str) -> Entry:
        """What is known of a network, by its name or the first letters of it.

        Raises `ValueError` where there is none, or more than one.
        """
        fits = [name] if self.holds(name) else [e for e in self._names() if e.startswith(name)]
        if len(fits) != 1 or not name:
            known = ", ".join(fits or self._names()) or "none"
            raise ValueError(f"{self.folder} has no one network {name!r}: there are {known}")
        told = json.loads((self._networks / fits[0] / "entry.json").read_text())
        told.pop("schema")
        return Entry(**told)

    def entries(self) -> list[Entry]:
        """Every network, in the order of rounds."""
        return sorted(map(self.entry, self._names()), key=lambda e: (e.number, e.created, e.name))

    def _names(self) -> list[str]:
        there = self._networks.iterdir() if self._networks.exists() else ()
        return sorted(p.name for p in there if not p.name.startswith(".") and self.holds(p.name))

    def path(self, name: str) -> Path:
        """Folder of a network: `train.load_network` and `opendojo evaluate --run` take it."""
        return self._networks / self.entry(name).name

    def load(self, name: str) -> DrivingNet:
        """A network, in evaluation mode."""
        from opendojo.train import load_network

        return load_network(self.path(name))

    @property
    def history(self) -> list[dict[str, Any]]:
        """All promotions and rollbacks in order: `name`, `why`, `undone`."""
        if not self._pointer.exists():
            return []
        return json.loads(self._pointer.read_text())["history"]

    @property
    def present(self) -> Entry | None:
        """The promoted network; None before the first."""
        standing = [line for line in self.history if not line["undone"]]
        return self.entry(standing[-1]["name"]) if standing else None

    def promote(self, name: str, why: str) -> Entry:
        """Make a network the present one; nothing happens where it is already."""
        entry = self.entry(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock"):
            now = self.present
            if now is None or now.name != entry.name:
                line = {"name": entry.name, "why": why, "undone": False}
                self._write([*self.history, line])
        return entry

    def rollback(self) -> Entry:
        """Undo the last promotion that stands; returns the network that is present now.

        Raises `ValueError` where there is none before it.
        """
        with locked(self.folder / ".lock"):
            history = self.history
            standing = [k for k, line in enumerate(history) if not line["undone"]]
            if len(standing) < 2:
                raise ValueError(f"{self.folder} has no earlier network to go back to")
            history[standing[-1]]["undone"] = True
            self._write(history)
            return self.entry(history[standing[-2]]["name"])

    def _write(self, history: list[dict[str, Any]]) -> None:
        write_json(self._pointer, {"schema": _SCHEMA, "history": history})

    def fingerprint(self) -> dict[str, Any]:
        """All that it says but for circumstances (joules, dates): equal for equal work."""
        rows = [
            {k: v for k, v in entry.as_dict().items() if k not in _CIRCUMSTANCES}
            for entry in sorted(self.entries(), key=lambda e: (e.number, e.name))
        ]
        return {"history": self.history, "networks": rows}


def _intervals(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and 90 % bootstrap interval over the scenes of each set."""
    import numpy as np

    out: dict[str, dict[str, float]] = {}
    for name, by_scene in scores.items():
        values = np.array([by_scene[scene] for scene in sorted(by_scene)])
        rng = np.random.Generator(np.random.Philox(key=[len(values), 6]))
        means = values[rng.integers(0, len(values), (2000, len(values)))].mean(1)
        low, high = np.quantile(means, [0.05, 0.95])
        out[name] = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
    return out


def _sync_tree(folder: Path) -> None:
    """Push every file and folder of a tree to the disk."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
