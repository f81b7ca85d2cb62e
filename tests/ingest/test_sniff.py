from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import test_images
import test_udacity
from drives import make_drive
from recordings import make_video

from opendojo.clip import BadClip, Clip
from opendojo.ingest.sniff import find_clips, source_files


def found(path: Path) -> tuple[list[Clip], list[BadClip]]:
    everything = list(find_clips(path))
    clips = [clip for clip in everything if isinstance(clip, Clip)]
    return clips, [bad for bad in everything if isinstance(bad, BadClip)]


def names(clips: list[Clip]) -> list[str]:
    return [Path(clip.source).name for clip in clips]


def test_a_folder_of_anything(tmp_path: Path):
    make_video(tmp_path / "b.mp4")
    (tmp_path / "nested" / "deep").mkdir(parents=True)
    make_video(tmp_path / "nested" / "deep" / "A.MOV")
    shutil.copy(make_video(tmp_path / "plain.mkv", frames=3), tmp_path / "nameless")
    make_drive(tmp_path / "drive-1")
    test_images.make_folder(tmp_path / "pictures", ["0.jpg 90"], pictures=1)
    test_udacity.make_folder(tmp_path / "sim", [("one", 0.0, 1.0)])
    for name in ("LICENSE", "notes.md", "data.json", "table.csv", "a.jpg", "readme.txt", "x.bin"):
        (tmp_path / name).write_text("something else")
    (tmp_path / "c.mp4").write_text("no video")
    (tmp_path / "d.webm").touch()
    clips, bad = found(tmp_path)
    assert names(clips) == ["b.mp4", "drive-1", "nameless", "A.MOV", "pictures", "plain.mkv", "sim"]
    assert [Path(one.file).name for one in bad] == ["c.mp4", "d.webm"]


def test_a_file_by_its_name(tmp_path: Path):
    video = make_video(tmp_path / "a.mp4").rename(tmp_path / "a.recording")
    assert found(tmp_path)[0] == []  # its ending claims nothing
    assert names(found(video)[0]) == ["a.recording"]
    control = make_drive(tmp_path / "d")
    assert names(found(control)[0]) == ["d"]
    text = tmp_path / "notes.md"
    text.write_text("hello")
    assert [bad.file for bad in found(text)[1]] == [str(text)]


def test_nothing_readable_is_told_with_what_would_be(tmp_path: Path):
    for name in (None, "notes.txt"):
        if name:
            (tmp_path / name).write_text("hello")
        clips, (bad,) = found(tmp_path)
        assert clips == [] and bad.file == str(tmp_path)
        assert "drive.json" in bad.remedy and "video" in bad.remedy


def test_a_path_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match="does not exist"):
        find_clips(tmp_path / "nowhere")


def test_links_in_circles_and_to_nothing(tmp_path: Path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    make_video(inner / "v.mp4")
    (inner / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(inner, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "z.mp4").symlink_to(tmp_path / "gone.mp4")
    clips, bad = found(tmp_path)
    assert len(clips) == 1
    assert [Path(one.file).name for one in bad] == ["z.mp4"]


def test_pipes_and_folders_under_the_names_of_recordings(tmp_path: Path):
    os.mkfifo(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "data.txt")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b.mp4").mkdir()
    make_video(tmp_path / "b.mp4" / "c.mp4")
    clips, bad = found(tmp_path)
    assert names(clips) == ["c.mp4"]
    assert [Path(one.file).name for one in bad] == ["a.mp4", "data.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_told(tmp_path: Path):
    make_video(tmp_path / "a.mp4").chmod(0)
    (tmp_path / "b").mkdir(mode=0)
    clips, bad = found(tmp_path)
    assert clips == [] and len(bad) == 2


def test_hidden_files_and_drives_being_written_are_passed_over(tmp_path: Path):
    make_drive(tmp_path / ".partial-d")
    make_video(tmp_path / "a.mp4")
    (tmp_path / "._a.mp4").write_bytes(b"\0" * 100)
    clips, bad = found(tmp_path)
    assert names(clips) == ["a.mp4"] and bad == []


def test_skipped_folders_are_not_entered(tmp_path: Path):
    (tmp_path / "store").mkdir()
    make_video(tmp_path / "store" / "a.mp4")
    make_video(tmp_path / "b.mp4")
    clips = list(find_clips(tmp_path, skip=[tmp_path / "store"]))
    assert [Path(clip.source).name for clip in clips if isinstance(clip, Clip)] == ["b.mp4"]


def test_the_order_is_that_of_the_names(tmp_path: Path):
    for name in ("c.mp4", "a.mp4", "b/x.mp4", "b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_video(tmp_path / name, frames=1)
    sources = [str(Path(clip.source).relative_to(tmp_path)) for clip in found(tmp_path)[0]]
    assert sources == ["a.mp4", "b/x.mp4", "b.mp4", "c.mp4"]


def test_a_clip_knows_its_files(tmp_path: Path):
    control = make_drive(tmp_path / "d")
    (clip,) = found(control)[0]
    assert {file.name for file in source_files(clip)} == {"front.mp4", "left.mp4", "right.mp4"}


def test_the_real_data_is_found_without_a_fault(shared_data: Path):
    for folder, clips in (("road", 4), ("rc", 1), ("roadside", 1), ("comma2k19", 1)):
        good, bad = found(shared_data / folder)
        assert (len(good), len(bad)) == (clips, 0), folder


def test_a_search_goes_on_behind_a_path(tmp_path: Path):
    for name in ("a.mp4", "b/x.mp4", "b/y.mp4", "c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_video(tmp_path / name, frames=1)
    for after, rest in (
        ("a.mp4", ["x.mp4", "y.mp4", "c.mp4"]),
        ("b", ["x.mp4", "y.mp4", "c.mp4"]),  # what lies in a folder comes after it
        ("b/x.mp4", ["y.mp4", "c.mp4"]),
        ("c.mp4", []),
    ):
        opened: list[Path] = []
        clips = find_clips(tmp_path, after=tmp_path / after, opening=opened.append)
        assert names([clip for clip in clips if isinstance(clip, Clip)]) == rest
        assert [path.name for path in opened if path.suffix] == rest  # nothing before it is told of
