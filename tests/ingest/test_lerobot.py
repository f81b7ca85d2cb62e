from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_folders import make_lerobot, pictures, write_video
from recordings import marked, read_all, times_of

from opendojo.clip import BadClip, Clip
from opendojo.ingest import lerobot_media
from opendojo.ingest.decoding import Decoding, decoding
from opendojo.ingest.lerobot import open_lerobot
from opendojo.ingest.sniff import find_clips, source_files


def opened(folder: Path) -> tuple[list[Clip], list[BadClip]]:
    found = list(open_lerobot(folder))
    clips = [clip for clip in found if isinstance(clip, Clip)]
    return clips, [bad for bad in found if isinstance(bad, BadClip)]


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_episodes_are_clips(version: str, tmp_path: Path):
    make_lerobot(tmp_path / "set", version=version)
    clips = list(find_clips(tmp_path))
    assert len(clips) == 2
    for e, (clip, length) in enumerate(zip(clips, (7, 5), strict=True)):
        assert isinstance(clip, Clip), clip
        assert [camera.name for camera in clip.cameras] == ["front", "wrist-left"]
        steps, damage = read_all(pickle.loads(pickle.dumps(clip)), 64, 48)
        assert damage is None and len(steps) == length
        assert times_of(steps) == [k / 10 for k in range(length)]
        for c in range(2):
            for step, number in zip(steps, pictures(e, c, length), strict=True):
                luma = marked(64, 48, number).to_ndarray()[:48]
                assert np.abs(step[c].y.astype(int) - luma).mean() < 6.0, (e, c)


def test_only_columns_that_name_their_unit_are_taken(tmp_path: Path):
    (_, second), _ = opened(make_lerobot(tmp_path / "set"))
    assert second.log is not None and list(second.log.columns()) == ["speed_mps"]
    assert second.log.at(np.array([0.2])).speed_mps == pytest.approx(4.2)


def test_an_episode_is_known_by_its_content(tmp_path: Path):
    (first, second), _ = opened(make_lerobot(tmp_path / "set"))
    (again, *_, third), _ = opened(make_lerobot(tmp_path / "other", lengths=(7, 5, 4)))
    assert first.clip_id == again.clip_id  # though more follows it in the same video
    assert len({first.clip_id, second.clip_id, third.clip_id}) == 3
    (moved, _), _ = opened(shutil.copytree(tmp_path / "set", tmp_path / "moved"))
    assert moved.clip_id == first.clip_id
    assert {path.suffix for path in source_files(moved)} == {".mp4"}


def test_a_video_that_is_too_short(tmp_path: Path):
    folder = make_lerobot(tmp_path / "set")
    video = next(folder.glob("videos/*left/*/*.mp4"))
    write_video(video, list(range(50, 60)))
    (_, second), bad = opened(folder)
    steps, damage = read_all(second)
    assert bad == [] and len(steps) == 3
    assert damage is not None and damage.frame == 3 and "3 of the episode's 5" in damage.cause


def edit(folder: Path, **changes: Any) -> Path:
    control = folder / "meta/info.json"
    control.write_text(json.dumps(json.loads(control.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"codebase_version": "v1.6"}, "version v1.6"),
        ({"fps": 0}, "fps"),
        ({"features": {}}, "no feature of video"),
        ({"features": 7}, "attribute"),
        ({"video_path": "/etc/{video_key}"}, "not a file of the data set"),
        ({"video_path": "../{video_key}"}, "not a file of the data set"),
        ({"video_path": "{episode_index:999999999999}"}, "not a path"),
        ({"video_path": "nowhere/{video_key}.mp4"}, "not an ordinary file"),
        ({"data_path": "{colour}.parquet"}, "colour"),
    ],
)
def test_a_control_file_that_does_not_fit(changes: dict[str, Any], cause: str, tmp_path: Path):
    clips, bad = opened(edit(make_lerobot(tmp_path / "set", lengths=(3,)), **changes))
    assert clips == [] and len(bad) == 1
    assert cause in bad[0].cause and bad[0].remedy


@pytest.mark.parametrize("table", ["meta/episodes", "data"])
def test_broken_tables_are_named(table: str, tmp_path: Path):
    folder = make_lerobot(tmp_path / "set")
    file = next((folder / table).glob("*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-30])
    clips, bad = opened(folder)
    assert clips == [] and bad and all(one.cause and one.remedy for one in bad)


def test_rows_that_are_too_few_leave_out_that_episode(tmp_path: Path):
    folder = make_lerobot(tmp_path / "set")
    file = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 10), file)
    clips, bad = opened(folder)
    assert len(clips) == 1 and "3 rows of the episode's 5" in bad[0].cause


def test_lengths_and_places_that_lie(tmp_path: Path):
    folder = make_lerobot(tmp_path / "set")
    file = folder / "meta/episodes/chunk-000/file-000.parquet"
    entries = pq.read_table(file).to_pylist()
    entries[0]["length"] = -4
    entries[1]["videos/observation.images.front/from_timestamp"] = float("nan")
    pq.write_table(pa.Table.from_pylist(entries), file)
    clips, bad = opened(folder)
    assert clips == [] and ["length" in bad[0].cause, "begins at nan" in bad[1].cause] == [True] * 2


def test_a_folder_that_only_looks_like_one_is_searched(tmp_path: Path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{}")
    write_video(tmp_path / "a.mp4", [1, 2, 3])
    (clip,) = find_clips(tmp_path)
    assert isinstance(clip, Clip) and Path(clip.source).name == "a.mp4"


def test_files_are_opened_once_for_all_their_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = make_lerobot(tmp_path / "set", lengths=(3, 4, 5, 6, 7, 8))
    opens: list[str] = []
    for name in ("opened", "read_table"):
        real = getattr(lerobot_media, name)

        def counted(file: Any, *more: Any, real: Any = real) -> Any:
            opens.append(Path(file).suffix)
            return real(file, *more)

        monkeypatch.setattr(lerobot_media, name, counted)
    clips, bad = opened(folder)
    assert len(clips) == 6 and bad == []
    assert sorted(opens) == [".mp4", ".mp4", ".parquet"]


def test_rows_may_lie_in_any_order(tmp_path: Path):
    folder = make_lerobot(tmp_path / "set", lengths=(4, 5))
    whole, _ = opened(folder)
    file = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.take([4, 0, 5, 1, 6, 2, 7, 3, 8]), file)  # each episode's still in order
    mixed, bad = opened(folder)
    assert bad == [] and [clip.clip_id for clip in mixed] == [clip.clip_id for clip in whole]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_damaged_picture_is_told_of_whatever_the_threads(threads: int, tmp_path: Path):
    folder = make_lerobot(tmp_path / "set", lengths=(30, 20))
    video = next(folder.glob("videos/*front/*/*.mp4"))
    with av.open(str(video)) as container:
        entry = container.streams.video[0].index_entries[12]  # a key frame: the next leans on it
    data = bytearray(video.read_bytes())
    data[entry.pos : entry.pos + entry.size] = b"\xff" * entry.size
    video.write_bytes(data)
    (first, second), bad = opened(folder)
    with decoding(Decoding(threads=threads)):
        steps, damage = read_all(first)
        assert damage is not None and len(steps) <= 12
        assert threads > 1 or len(steps) == 12
        steps, damage = read_all(second)
    assert bad == [] and len(steps) == 20 and damage is None


def test_threads_and_the_loop_filter_are_obeyed(tmp_path: Path):
    (clip, _), _ = opened(make_lerobot(tmp_path / "set", lengths=(40, 3)))
    planes = []
    for how in (Decoding(), Decoding(threads=4), Decoding(skip_loop_filter=True)):
        with decoding(how):
            steps, damage = read_all(clip, 64, 48)
        assert damage is None and len(steps) == 40
        planes.append([frame.y.tobytes() for step in steps for frame in step])
    assert planes[0] == planes[1] != planes[2]
