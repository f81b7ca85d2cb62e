from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_clips import make_trouble
from recordings import make_video

from opendojo.ingest import IngestOptions, cluster, ingest
from opendojo.ingest.workers import Batch
from opendojo.store import Store, StoreSpec, verify_store

_ON_RAY = """
import sys
from opendojo.ingest import IngestOptions, ingest
from opendojo.store import Store
options = IngestOptions(cluster="local")
report = ingest([sys.argv[1]], Store.create(sys.argv[2]), options=options)
print(report.clips_new, report.rejects, report.damaged)
"""


class FakeRay:
    """Runs in this process what Ray would run on nodes; the first ones cannot write."""

    def __init__(self, sick_nodes: int) -> None:
        self.sick_nodes, self.tasks = sick_nodes, 0
        self.data, self._rows = self, []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def from_items(self, rows: list[Any], override_num_blocks: int) -> FakeRay:
        assert override_num_blocks == len(rows)
        self._rows = rows
        return self

    def map(self, stage: Callable[[Any], Any], num_cpus: int) -> FakeRay:
        self._stage = stage
        return self

    def iter_rows(self) -> Iterator[Any]:
        for row in self._rows:
            self.tasks += 1
            task, *work = pickle.loads(row["work"])
            if self.tasks <= self.sick_nodes:
                Path(task[1].parent / "file").touch()
                task = (task[0], task[1].parent / "file" / "inside", task[2])
            yield self._stage({"work": pickle.dumps((task, *work))})

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(("sick_nodes", "tasks"), [(0, 2), (1, 3), (99, 5)])
def test_a_node_that_cannot_write_is_not_the_end(
    sick_nodes: int, tasks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ray = FakeRay(sick_nodes)
    monkeypatch.setattr(cluster, "_connected", lambda address: ray)
    monkeypatch.setattr(cluster, "_PAUSE_S", 0.0)
    batches = [Batch(clips=(make_trouble("none", tmp_path / name),)) for name in "ab"]
    with cluster.Cluster(StoreSpec(), tmp_path / "staging", IngestOptions(cluster="x")) as pool:
        if sick_nodes == 99:
            with pytest.raises(NotADirectoryError):
                list(pool.run(iter(batches)))
            assert ray.tasks == tasks  # each twice, and the first once more
            return
        results = list(pool.run(iter([None, *batches])))
    assert ray.tasks == tasks
    kept = [clip.clip_id for one in results for part in one.parts for clip in part.clips]
    assert sorted(kept) == ["a", "b"] and not any(one.lost for one in results)


@pytest.mark.slow
def test_a_cluster_stores_what_one_machine_does(tmp_path: Path):
    pytest.importorskip("ray")
    (tmp_path / "fleet").mkdir()
    for k in range(4):
        make_video(tmp_path / "fleet" / f"{k}.mp4", frames=9 + k)
    (tmp_path / "fleet" / "broken.mp4").write_text("no video")
    alone, ray = (Store.create(tmp_path / name) for name in ("alone", "ray"))
    ingest([tmp_path / "fleet"], alone, workers=2)
    command = [sys.executable, "-c", _ON_RAY, str(tmp_path / "fleet"), str(tmp_path / "ray")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    assert told.stdout.split() == ["4", "1", "0"]
    alone, ray = alone.reload(), ray.reload()
    assert verify_store(ray, decode=True) == []
    assert alone.clip_ids() == ray.clip_ids()
    for one, other in zip(alone.episodes, ray.episodes, strict=True):
        assert one.instants == other.instants
        frames = [np.empty((one.instants, 1, alone.spec.frame_bytes), np.uint8) for _ in range(2)]
        alone.decode(one, range(one.instants), frames[0])
        ray.decode(other, range(one.instants), frames[1])
        assert np.array_equal(*frames)
