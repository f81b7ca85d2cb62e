from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import make_video

from opendojo.ingest import ingest
from opendojo.store import Store, verify_store

_ON_RAY = """
import sys
from opendojo.ingest import IngestOptions, ingest
from opendojo.store import Store
options = IngestOptions(cluster="local")
report = ingest([sys.argv[1]], Store.create(sys.argv[2]), options=options)
print(report.clips_new, report.rejects, report.damaged)
"""


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
