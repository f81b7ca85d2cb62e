from __future__ import annotations

import json
import tracemalloc
from datetime import datetime
from pathlib import Path

from opendojo.clip import BadClip
from opendojo.ingest.rejects import Rejects


def test_entries_are_lines_of_json(tmp_path: Path):
    path = tmp_path / "rejects.jsonl"
    bad = BadClip("a \n b.mp4", "torn", remedy="mend", frame=3, byte=70)
    Rejects(path).add(bad, kept_frames=2)
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert datetime.fromisoformat(entry.pop("time")).tzinfo is not None
    assert entry == {
        "file": "a \n b.mp4",
        "cause": "torn",
        "remedy": "mend",
        "frame": 3,
        "byte": 70,
        "kept_frames": 2,
    }


def test_the_same_fault_is_written_once(tmp_path: Path):
    path = tmp_path / "rejects.jsonl"
    for _ in range(2):
        for rejects in [Rejects(path)] * 2:
            rejects.add(BadClip("a.mp4", "torn", frame=3), kept_frames=3)
    assert len(path.read_text().splitlines()) == 1
    Rejects(path).add(BadClip("a.mp4", "torn", frame=4), kept_frames=4)
    assert len(path.read_text().splitlines()) == 2


def test_a_line_that_a_kill_cut_short_harms_no_other(tmp_path: Path):
    path = tmp_path / "rejects.jsonl"
    Rejects(path).add(BadClip("a.mp4", "torn"), kept_frames=0)
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    rejects = Rejects(path)
    rejects.add(BadClip("a.mp4", "torn"), kept_frames=0)
    rejects.add(BadClip("b.mp4", "torn"), kept_frames=0)
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["file"] == "b.mp4"


def test_adding_does_not_read_what_is_there(tmp_path: Path):
    path = tmp_path / "rejects.jsonl"
    rejects = Rejects(path)
    line = b'{"file": "old.mp4"}' + b" " * (1 << 20) + b"\n"
    path.write_bytes(8 * line)
    tracemalloc.start()
    try:
        rejects.add(BadClip("a.mp4", "torn"), kept_frames=0)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 1 << 20
    assert len(path.read_text().splitlines()) == 9
