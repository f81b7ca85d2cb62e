from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from recordings import make_video, read_all

from opendojo.clip import BadClip, Clip
from opendojo.ingest import IngestOptions, find_clips, ingest
from opendojo.ingest.decoding import Decoding, decoding
from opendojo.ingest.workers import Batch, Workers
from opendojo.store import Store, StoreSpec


def the_clip(path: Path) -> Clip:
    (clip,) = find_clips(path)
    assert isinstance(clip, Clip), clip
    return clip


def outcome(clip: Clip, how: Decoding) -> Any:
    """Every plane and time, and where it broke off and why."""
    with decoding(how):
        steps, bad = read_all(clip)
    planes = [b"".join(p.tobytes() for p in (f.y, f.u, f.v)) for (f,) in steps]
    return planes, [f.time_s for (f,) in steps], bad and (bad.cause, bad.frame, bad.byte)


def test_frame_threads_change_neither_pictures_nor_verdicts(tmp_path: Path):
    path = make_video(tmp_path / "a.mkv", frames=30, options={"g": "6"})
    alone = outcome(the_clip(path), Decoding())
    assert len(alone[0]) == 30 and alone[2] is None
    for threads in (2, 3, 7):
        assert outcome(the_clip(path), Decoding(threads=threads)) == alone
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    clip, verdicts = the_clip(path), []
    for threads in (1, 4):
        options = IngestOptions(threads=threads)
        with Workers(1, StoreSpec(), tmp_path / f"{threads}", options) as pool:
            (staged,) = pool.run(iter([Batch(clips=(clip,))]))
        (kept,) = staged.parts[0].clips
        assert kept.damage is not None
        file = (staged.parts[0].folder / "front.mp4").read_bytes()
        found = (kept.instants, kept.damage.cause, kept.damage.frame, kept.damage.byte, file)
        verdicts.append(found)
        assert len(list((tmp_path / f"{threads}").iterdir())) == 1
    assert verdicts[0] == verdicts[1]


def test_a_skipped_loop_filter_drifts_and_the_report_says_by_how_much(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", frames=24, options={"crf": "40"})
    exact, quick = (outcome(the_clip(path), Decoding(skip_loop_filter=s))[0] for s in (False, True))
    assert len(exact) == len(quick) and exact != quick
    for skip, drifts in ((True, True), (False, False)):
        store = Store.create(tmp_path / f"store-{skip}")
        options = IngestOptions(skip_loop_filter=skip, drift_frames=8)
        camera = ingest([path], store, workers=1, options=options).cameras["front"]
        assert (camera.drift_db is not None) is drifts
        if camera.drift_db is not None:
            assert 20.0 < camera.drift_db < 70.0
        assert camera.frames == 24 and set(camera.flagged) == {
            "dark",
            "frozen",
            "blurred",
            "duplicate",
        }
        assert 20.0 < camera.psnr_least_db <= camera.psnr_db + 1e-6 <= 100.0


def test_pictures_that_claim_to_be_huge_are_rejected_unread(tmp_path: Path):
    path = make_video(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    size = struct.pack(">HH", 48, 64)  # in each picture's own header
    lie = struct.pack(">HH", 60000, 60000)
    assert size in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(size, lie))
    (bad,) = find_clips(path)
    assert isinstance(bad, BadClip)


@pytest.mark.parametrize(
    "wrong", [{"threads": 0}, {"hang_s": 0.0}, {"memory_mb": 10}, {"drift_frames": 0}]
)
def test_dials_are_checked(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IngestOptions(**wrong)
