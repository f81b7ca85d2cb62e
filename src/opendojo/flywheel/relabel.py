"""Labels for chosen windows, from whoever knows: the world's expert, or the log's own future.

relabel = Relabel(round_folder, store, findings, spec)
path_m, mask, command, confidence = relabel.of(row)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from opendojo.clip import Track
from opendojo.flywheel.findings import Findings
from opendojo.flywheel.fleet import read_truth
from opendojo.flywheel.label import checked, expert_label, hindsight
from opendojo.loader import WindowSpec
from opendojo.store import Episode, Store

__all__ = ["Relabel", "tracks_of"]


class Relabel:
    """Labels of chosen windows: the expert's where the world drove, else hindsight from the log."""

    def __init__(self, folder: Path, store: Store, findings: Findings, spec: WindowSpec) -> None:
        self._folder, self._store, self._findings, self._spec = folder, store, findings, spec
        self._ahead_s = spec.path_times_s

    def of(
        self, row: int
    ) -> tuple[
        npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64],
        npt.NDArray[np.float32],
    ]:  # fmt: skip
        """Path [t, p, 2], mask [t, p], command [t], confidence [t] of a row of the findings."""
        findings = self._findings
        clip = findings.clip_id[findings.clip[row]]
        found = self._store.episodes.find(clip)
        assert found is not None, "findings are of this store"
        episode = self._store.episodes[found]
        log = self._store.log(episode)
        now = _instants(log.time_s, int(findings.first[row]), self._spec)
        speed = log.sample("speed_mps", log.time_s[now])
        drive = Path(self._store.source(episode)).name
        if episode.origin == "drawn" and (self._folder / "truth" / f"{drive}.npz").exists():
            truth = read_truth(self._folder, drive)
            label, command = expert_label(truth.path_m[now]), truth.command[now]
        else:
            label = hindsight(log, log.time_s[now], self._ahead_s)
            command = np.zeros(len(now), np.int64)
        label = checked(label, self._ahead_s, speed)
        return label.path_m, label.mask, command.astype(np.int64), label.confidence


def _instants(
    time_s: npt.NDArray[np.float64], first: int, spec: WindowSpec
) -> npt.NDArray[np.int64]:
    """Numbers of a window's instants in its clip: the stored ones nearest in time."""
    if spec.rate_hz is None:
        return np.arange(first, first + spec.frames)
    wanted = time_s[first] + np.arange(spec.frames) / spec.rate_hz
    right = np.clip(np.searchsorted(time_s, wanted), 1, len(time_s) - 1)
    left = right - 1
    return np.where(wanted - time_s[left] <= time_s[right] - wanted, left, right)


def tracks_of(store: Store, episode: Episode) -> list[Track]:
    """The other road users of a drive of the world's; none of any other clip."""
    path = Path(store.source(episode)) / "tracks.parquet"
    if not path.exists():
        return []
    import pyarrow.parquet as pq

    table = {name: np.array(column) for name, column in pq.read_table(path).to_pydict().items()}
    tracks: list[Track] = []
    for number in np.unique(table["track_id"]).tolist():
        mine = table["track_id"] == number
        one = {name: column[mine] for name, column in table.items()}
        length, width, height = (
            float(one[f"{side}_m"][0]) for side in ("length", "width", "height")
        )
        tracks.append(
            Track(
                track_id=int(number), kind=one["kind"][0], length_m=length, width_m=width,
                height_m=height, time_s=one["time_s"], x_m=one["x_m"], y_m=one["y_m"],
                yaw_rad=one["yaw_rad"],
            )
        )  # fmt: skip
    return tracks
