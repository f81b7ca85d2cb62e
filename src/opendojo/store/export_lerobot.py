"""One LeRobotDataset v3.0 per dataset of a store, complete with the statistics that trainers want.

A dataset's folder is such a data set already, but for `meta/stats.json`; an export is a folder of
its own, without the packet index, that can be moved, changed and uploaded. Files are copied, by
reference to the same blocks where the file system can (Btrfs, XFS), which takes no room and lets
either be changed. Videos are hard links of the store's where that is asked for: whoever then writes
into one writes into the store.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.atomic import sync_file, sync_folder
from opendojo.store.export_report import ExportReport
from opendojo.store.layout import Episode, video_key
from opendojo.store.lerobot import info_json, write_tasks
from opendojo.store.publish import part_files
from opendojo.store.store import Store

__all__ = ["export_lerobot"]

_SAMPLED_FRAMES = 256
"""Frames of each camera that a picture's statistics are taken from, spread over the clips."""
_FICLONE = 0x40049409
"""Linux's `ioctl` that lets two files share blocks until one of them is changed."""
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def export_lerobot(store: Store, out: Path, *, link: bool = False) -> Iterator[ExportReport]:
    """Write the data sets that are not in `out` yet, or have grown; a report for each.

    `link` makes the videos hard links of the store's, where both are on one disk. Raises
    `ValueError` before anything is written where the store is remote.
    """
    store.path  # noqa: B018 - it tells what to do where there is none
    return _datasets(store, out, link)


def _datasets(store: Store, out: Path, link: bool) -> Iterator[ExportReport]:
    for dataset, counted in store.pointer["datasets"].items():
        target = out / dataset
        if _clips_in(target) == counted["clips"]:
            yield ExportReport(clips_known=counted["clips"])
            continue
        partial = out / f".partial-{dataset}"
        shutil.rmtree(partial, ignore_errors=True)
        size = _fill(store, dataset, counted, partial, link)
        retired = out / f".retired-{dataset}"
        shutil.rmtree(retired, ignore_errors=True)
        if target.exists():
            target.rename(retired)
        partial.rename(target)
        sync_folder(out)
        shutil.rmtree(retired, ignore_errors=True)
        frames = counted["instants"] * len(counted["cameras"])
        yield ExportReport(clips=counted["clips"], frames=frames, bytes=size)


def _clips_in(target: Path) -> int:
    """Clips of a data set that was exported before; it is whole where it has its name."""
    info = target / "meta" / "info.json"
    return json.loads(info.read_text())["total_episodes"] if info.is_file() else -1


def _fill(store: Store, dataset: str, counted: dict[str, Any], partial: Path, link: bool) -> int:
    """Write one data set; the size of its files."""
    for number in range(counted["parts"]):
        for name, path in part_files(counted["cameras"], number).items():
            if name.startswith("index."):
                continue
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(store.path / dataset / path, target, link=link and name.endswith(".mp4"))
    meta = partial / "meta"
    total = {"episodes": counted["clips"], "frames": counted["instants"]}
    info = info_json(dataset, counted["fps"], counted["cameras"], store.spec, total)
    (meta / "info.json").write_text(json.dumps(info, indent=1))
    write_tasks(meta / "tasks.parquet")
    (meta / "stats.json").write_text(json.dumps(_stats(store, dataset, counted), indent=1))
    for path in (partial, *sorted(partial.rglob("*"))):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    return sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())


def _put(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another disk, or one without links: copied below
    with source.open("rb") as given, target.open("xb") as made:
        try:
            fcntl.ioctl(made.fileno(), _FICLONE, given.fileno())
        except OSError:
            shutil.copyfileobj(given, made, 1 << 20)


def _stats(store: Store, dataset: str, counted: dict[str, Any]) -> dict[str, Any]:
    """LeRobot's statistics of every feature of which anything is known."""
    import pyarrow.dataset as ds

    files = [
        str(store.path / dataset / part_files(counted["cameras"], number)["data.parquet"])
        for number in range(counted["parts"])
    ]
    rows = ds.dataset(files, format="parquet")
    stats: dict[str, Any] = {}
    for name in rows.schema.names:
        values = rows.to_table(columns=[name]).column(name).to_numpy().astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            stats[name] = _described(values[:, None], [1])
    episodes = _sampled(store, dataset)
    for camera in counted["cameras"]:
        stats[video_key(camera)] = _described(_pixels(store, episodes, camera), [3, 1, 1])
    return stats


def _sampled(store: Store, dataset: str) -> list[Episode]:
    """Clips of a dataset to sample frames of, spread evenly."""
    number = store.episodes.dataset_names.index(dataset)
    places = np.flatnonzero(store.episodes.dataset == number)
    step = -(-len(places) // _SAMPLED_FRAMES)
    return [store.episodes[int(place)] for place in places[::step]]


def _described(values: npt.NDArray[np.float64], shape: list[int]) -> dict[str, Any]:
    """Statistics over the rows of [n, channels], each in the shape that LeRobot keeps it in."""
    found = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        **{name: np.quantile(values, share, axis=0) for name, share in _QUANTILES.items()},
    }
    described: dict[str, Any] = {name: v.reshape(shape).tolist() for name, v in found.items()}
    return described | {"count": [len(values)]}


def _pixels(store: Store, episodes: list[Episode], camera: str) -> npt.NDArray[np.float64]:
    """Pixels of frames spread over the clips, RGB from 0 to 1, [n, 3].

    Every eighth row and column stands for the rest: statistics of millions of pixels gain nothing
    from the others. Colours are those of BT.601 in limited range, as `clip.Frame` has them.
    """
    spec = store.spec
    each = max(1, _SAMPLED_FRAMES // len(episodes))
    out: list[npt.NDArray[np.float64]] = []
    width, height = spec.width_px, spec.height_px
    for episode in episodes:
        instants = np.unique(np.linspace(0, episode.instants - 1, each).astype(int)).tolist()
        frame = np.empty((1, 1, spec.frame_bytes), np.uint8)
        for instant in instants:
            store.decode(episode, [instant], frame, [camera])
            luma, chroma = np.split(frame[0, 0], [width * height])
            y = luma.reshape(height, width)[::8, ::8].astype(np.float64)
            u, v = chroma.reshape(2, height // 2, width // 2)[:, ::4, ::4].astype(np.float64)
            y, u, v = 1.164383 * (y - 16.0), u - 128.0, v - 128.0
            rgb = [y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u]
            out.append(np.clip(np.stack(rgb, -1).reshape(-1, 3) / 255.0, 0.0, 1.0))
    return np.concatenate(out)
