"""What a shadow run found: columns over windows, an embedding each, as one file.

findings = Findings.load(path)
findings.columns["error_m"]        # float64 [n], NaN where nothing is known
findings.tags()["night"]           # bool [n]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import sync_folder

__all__ = ["Findings", "joined", "tags_of"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NIGHT_LUMA = 0.22
"""Mean brightness of the first camera, of 1, under which it is dark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """n windows of some stores, in the order of their clips and times."""

    clip_id: tuple[str, ...]
    """Ids of the clips, of which `clip` has the numbers."""
    clip: npt.NDArray[np.int64]
    """int64 [n]: the clip each window is of."""
    first: npt.NDArray[np.int64]
    """int64 [n]: the window's first instant in its clip."""
    time_s: Floats
    """float64 [n]: time in the clip of the window's last instant, from which the plan was made."""
    columns: dict[str, Floats]
    """float64 [n] each; NaN where nothing is known."""
    embedding: npt.NDArray[np.float16]
    """float16 [n, d]."""
    network: str = ""
    """Digest of the network that drove in shadow."""
    data: str = ""
    """Fingerprint of the stores."""
    window: Mapping[str, Any] = field(default_factory=dict)
    """What a window was: frames, rate, path; those who read it again need the same."""

    def __len__(self) -> int:
        return len(self.clip)

    def tags(self) -> dict[str, Flags]:
        """Tags of every window, bool [n]."""
        return tags_of(self.columns)

    def searchable(self) -> dict[str, npt.NDArray[Any]]:
        """Columns and tags together, for queries."""
        return {**self.columns, **self.tags()}

    def rows(self, which: npt.NDArray[Any]) -> Findings:
        """Some of the windows."""
        return Findings(
            clip_id=self.clip_id,
            clip=self.clip[which],
            first=self.first[which],
            time_s=self.time_s[which],
            columns={name: column[which] for name, column in self.columns.items()},
            embedding=self.embedding[which],
            network=self.network,
            data=self.data,
            window=self.window,
        )

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all."""
        told = {
            "clip_id": list(self.clip_id),
            "network": self.network,
            "data": self.data,
            "window": dict(self.window),
        }
        arrays: dict[str, Any] = {
            "told": np.frombuffer(json.dumps(told).encode(), np.uint8),
            "clip": self.clip,
            "first": self.first,
            "time_s": self.time_s,
            "embedding": self.embedding,
            **{f"column {name}": column for name, column in self.columns.items()},
        }
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)

    @classmethod
    def load(cls, path: Path) -> Findings:
        """Read what `save` wrote. Raises `ValueError` where there is nothing, or something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            told = json.loads(arrays["told"].tobytes())
            columns = {
                name.removeprefix("column "): array
                for name, array in arrays.items()
                if name.startswith("column ")
            }
            return cls(
                clip_id=tuple(told.pop("clip_id")),
                clip=arrays["clip"],
                first=arrays["first"],
                time_s=arrays["time_s"],
                columns=columns,
                embedding=arrays["embedding"],
                **told,
            )
        except FileNotFoundError:
            raise ValueError(f"{path} is not there: run the shadow first") from None
        except (KeyError, OSError, EOFError) as error:
            raise ValueError(f"{path} holds no findings ({error}): remove it, run again") from None


def joined(parts: list[Findings]) -> Findings:
    """Several runs' findings as one; a column that one of them lacks is not known there."""
    names = sorted({name for part in parts for name in part.columns})
    ids: list[str] = []
    clips: list[npt.NDArray[np.int64]] = []
    for part in parts:
        clips.append(part.clip + len(ids))
        ids += part.clip_id
    return Findings(
        clip_id=tuple(ids),
        clip=np.concatenate(clips),
        first=np.concatenate([part.first for part in parts]),
        time_s=np.concatenate([part.time_s for part in parts]),
        columns={
            name: np.concatenate(
                [part.columns.get(name, np.full(len(part), np.nan)) for part in parts]
            )
            for name in names
        },
        embedding=np.concatenate([part.embedding for part in parts]),
        network=parts[-1].network,
        data="-".join(dict.fromkeys(part.data for part in parts)),
        window=parts[-1].window,
    )


def tags_of(columns: Mapping[str, Floats]) -> dict[str, Flags]:
    """Tags that follow from the columns, each False where they are not known.

    `merge` is a move of a lane's width to the side that ends along the old heading: a merge or a
    change of lanes.
    """
    rows = len(next(iter(columns.values()))) if columns else 0
    nothing = np.full(rows, np.nan)

    def column(name: str) -> Floats:
        return columns.get(name, nothing)

    speed, turn, aside = column("speed_mps"), column("turn_radps"), column("aside_m")
    with np.errstate(invalid="ignore"):
        straight_on = np.abs(column("heading_rad")) < 0.08
        return {
            "braking": column("decel_mps2") > 2.5,
            "fast": speed > 16.0,
            "left": turn > 0.08,
            "merge": (np.abs(aside) > 1.8) & (np.abs(aside) < 6.0) & straight_on & (speed > 5.0),
            "night": column("luma") < NIGHT_LUMA,
            "right": turn < -0.08,
            "slow": speed < 4.0,
            "standing": speed < 0.5,
            "turning": np.abs(turn) > 0.08,
        }
