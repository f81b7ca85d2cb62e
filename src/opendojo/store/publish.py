"""Publishing: staged parts become part of the store in one instant, once.

Order: files are renamed into place, folders synced, LeRobot's own `info.json` renewed, a segment of
the catalogue written, and last of all `store.json`, the pointer, replaced. A kill before that
leaves the old store and some files that nothing lists, which the next writer sweeps away; a kill
after it leaves the new one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import file_sha256, locked, sync_file, sync_folder, write_json
from opendojo.store.catalogue import CLIP_ID_BYTES, EPISODE_DTYPE, Segment
from opendojo.store.files import POINTER, LocalFiles
from opendojo.store.layout import StoreSpec, part_path, video_key
from opendojo.store.lerobot import data_table, episode_table, info_json, write_tasks
from opendojo.store.part import StagedClip, StagedPart
from opendojo.store.segments import Addition, remove_segments, write_segment

__all__ = ["LOCK", "part_files", "publish_parts", "renew_infos"]

LOCK = ".lock"


def publish_parts(root: Path, spec: StoreSpec, parts: Sequence[StagedPart]) -> int:
    """Make staged parts visible; return the frames added. Clips already there are left out."""
    with locked(root / LOCK):
        pointer: dict[str, Any] = json.loads((root / POINTER).read_text())
        files = LocalFiles(root)
        before = [line["name"] for line in pointer["segments"]]
        segments = [Segment(files, name) for name in before]
        draft = _Draft(root, spec, pointer["datasets"])
        for part in parts:
            new: dict[str, StagedClip] = {}
            for clip in part.clips:
                held = any(segment.before(clip.clip_id)[1] for segment in segments)
                if clip.instants and not held and clip.clip_id not in draft.clip_ids:
                    new.setdefault(clip.clip_id, clip)
            if new:
                draft.place(part, list(new.values()))
        if not draft.clip_ids:
            return 0
        renew_infos(root, spec, pointer)
        pointer["segments"] = write_segment(root, pointer["segments"], files, draft.addition())
        now = [line["name"] for line in pointer["segments"]]
        # One who read the pointer a moment ago still finds the segments it lists.
        pointer["retired"] = [name for name in before if name not in now]
        pointer["generation"] += 1
        write_json(root / POINTER, pointer)
        remove_segments(root, {*before, *now})
    return draft.frames


class _Draft:
    """What one publication adds; `datasets`, the pointer's counters, are carried on in place."""

    def __init__(self, root: Path, spec: StoreSpec, datasets: dict[str, Any]) -> None:
        self._root, self._spec, self._datasets = root, spec, datasets
        self.clip_ids: set[str] = set()
        self.frames = 0
        self._rows: list[npt.NDArray[Any]] = []
        self._gops: list[npt.NDArray[np.uint8]] = []
        self._gop_row = 0
        self._names: list[str] = []
        self._rigs: dict[tuple[str, ...], int] = {}
        self._files: list[dict[str, Any]] = []

    def place(self, part: StagedPart, clips: list[StagedClip]) -> None:
        """Rename a part's files into place and count its clips."""
        fresh = {"fps": part.fps, "cameras": list(part.camera_names)}
        counted: dict[str, Any] = self._datasets.setdefault(
            part.dataset, {**fresh, "parts": 0, "clips": 0, "instants": 0, "bytes": 0}
        )
        number = counted["parts"]
        files = _place_files(self._root, part, clips, number, counted)
        self._files += files
        self._add_rows(part, clips, number, counted["clips"])
        instants = sum(clip.instants for clip in clips)
        counted["parts"] += 1
        counted["clips"] += len(clips)
        counted["instants"] += instants
        counted["bytes"] += sum(file["bytes"] for file in files)
        self.clip_ids |= {clip.clip_id for clip in clips}
        self.frames += instants * len(part.camera_names)

    def _add_rows(
        self, part: StagedPart, clips: list[StagedClip], number: int, first_episode: int
    ) -> None:
        index = np.load(self._root / part.dataset / part_path("index", number, ".npy"))
        flags = np.bitwise_and.reduce([index[f"{n}.flags"] for n in part.camera_names])
        rows = np.zeros(len(clips), EPISODE_DTYPE)
        if part.dataset not in self._names:
            self._names.append(part.dataset)
        for row, clip in zip(rows, clips, strict=True):
            gops = np.bitwise_and.reduceat(
                flags[clip.row : clip.row + clip.instants],
                np.arange(0, clip.instants, self._spec.gop_frames),
            )
            row["clip_id"] = clip.clip_id
            row["rig"] = self._rigs.setdefault(clip.cameras, len(self._rigs))
            row["row"], row["instants"] = clip.row, clip.instants
            row["rate_hz"], row["drawn"] = clip.rate_hz, clip.origin == "drawn"
            row["gop_row"] = self._gop_row
            self._gops.append(gops)
            self._gop_row += len(gops)
        rows["dataset"], rows["part"] = self._names.index(part.dataset), number
        rows["number"] = first_episode + np.arange(len(clips))
        self._rows.append(rows)

    def addition(self) -> Addition:
        """What the catalogue is told."""
        return Addition(
            rows=np.concatenate(self._rows),
            gops=np.concatenate(self._gops),
            names={"datasets": self._names, "rigs": list(self._rigs)},
            files=self._files,
            frames=self.frames,
        )


def part_files(cameras: Sequence[str], number: int) -> dict[str, str]:
    """Paths of a part's files within its dataset, by their names in the staged folder."""
    targets = {
        "data.parquet": part_path("data", number, ".parquet"),
        "episodes.parquet": part_path("meta/episodes", number, ".parquet"),
        "index.npy": part_path("index", number, ".npy"),
        "index.json": part_path("index", number, ".json"),
    }
    for name in cameras:
        targets[f"{name}.mp4"] = part_path(f"videos/{video_key(name)}", number, ".mp4")
    return targets


def _place_files(
    root: Path, part: StagedPart, clips: list[StagedClip], number: int, counted: dict[str, int]
) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    for clip in clips:
        assert len(clip.clip_id.encode()) <= CLIP_ID_BYTES, f"clip id {clip.clip_id} is too long"
    data, episodes = data_table(part, clips, counted), episode_table(part, clips, number, counted)
    pq.write_table(data, str(part.folder / "data.parquet"))
    pq.write_table(episodes, str(part.folder / "episodes.parquet"))
    sync_file(part.folder / "data.parquet")
    sync_file(part.folder / "episodes.parquet")
    files: list[dict[str, Any]] = []
    for name, target in part_files(part.camera_names, number).items():
        staged, final = part.folder / name, root / part.dataset / target
        files.append(
            {
                "dataset": part.dataset,
                "part": number,
                "path": target,
                "bytes": staged.stat().st_size,
                "sha256": file_sha256(staged),
            }
        )
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(final)
        sync_folder(final.parent)
    return files


def renew_infos(root: Path, spec: StoreSpec, pointer: dict[str, Any]) -> None:
    """Write LeRobot's `info.json` and task table of each dataset from the pointer."""
    for name, counted in pointer["datasets"].items():
        meta = root / name / "meta"
        total = {"episodes": counted["clips"], "frames": counted["instants"]}
        info = info_json(name, counted["fps"], counted["cameras"], spec, total)
        if not (meta / "tasks.parquet").exists():
            write_tasks(meta / "tasks.parquet")
        if (
            not (meta / "info.json").exists()
            or json.loads((meta / "info.json").read_text()) != info
        ):
            write_json(meta / "info.json", info)
