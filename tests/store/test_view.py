"""A view shows what is in the store, and nothing that a source says is more than text."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest
from PIL import Image

from clips import make_clip
from opendojo.clip import Camera, Clip, Frame, Log
from opendojo.store import Store, stage_part
from opendojo.store.quality import FLAGS
from opendojo.store.view import view_store
from opendojo.store.view_choose import spread

HOSTILE = "</script><script>document.title='pwned'</script>\"'&\u2028<img src=x onerror=alert(1)>"


@dataclasses.dataclass(frozen=True)
class Flat:
    """Frames of one grey, `level` of 255."""

    level: int
    instants: int

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        y = np.full((height_px, width_px), self.level, np.uint8)
        half = np.full((height_px // 2, width_px // 2), 128, np.uint8)
        for k in range(self.instants):
            yield (Frame(y=y, u=half, v=half, time_s=k / 10),)


def flat_clip(name: str, level: int, speed_mps: float, yaw_rate_radps: float) -> Clip:
    time_s = np.arange(0, 12.0, 0.1)
    log = Log(
        time_s=time_s,
        yaw_rad=np.unwrap(yaw_rate_radps * time_s),
        speed_mps=np.full_like(time_s, speed_mps),
    )
    return Clip(
        clip_id=f"{name:0<32}",
        source=name,
        origin="recorded",
        cameras=(Camera.with_fov("front", 128, 64, 70),),
        rate_hz=10.0,
        read=Flat(level, len(time_s)),
        log=log,
    )


def make_store(path: Path, *clips: Clip) -> Store:
    store = Store.create(path)
    with store.staging() as staging:
        for clip in clips:  # parts of their own
            store.publish(stage_part([clip], store.spec, staging))
    return store.reload()


def read_view(out: Path) -> dict[str, Any]:
    """What the page's script reads."""
    (script,) = out.glob("view-*/clips.js")
    text = script.read_text()
    assert text.startswith("window.OPENDOJO_VIEW=")
    return json.loads(text.removeprefix("window.OPENDOJO_VIEW=").rstrip(";\n"))


def snapshot(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(
        tmp_path_factory.mktemp("view") / "s",
        make_clip(0),
        make_clip(1, instants=100, cameras=("front", "left")),
        flat_clip("aa", 30, 0.2, 0.0),
        flat_clip("bb", 70, 4.0, 0.3),
        flat_clip("cc", 150, 25.0, -0.3),
    )


@pytest.fixture(scope="module")
def view(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("view") / "out"
    made = view_store(store, out)
    assert (made["clips"], made["store_clips"]) == (5, 5)
    return out


def test_tags_say_what_the_clip_is(view: Path) -> None:
    tags = {clip["source"]: set(clip["tags"]) for clip in read_view(view)["clips"]}
    assert {"light:night", "speed:standing", "turn:straight", "origin:recorded"} <= tags["aa"]
    assert {"light:dusk", "speed:slow", "turn:turns-left", "length:under-1min"} <= tags["bb"]
    assert {"light:day", "speed:fast", "turn:turns-right", "camera:front"} <= tags["cc"]
    assert {"origin:drawn", "camera:left", "length:under-1min"} <= tags["pattern-1"]
    assert {"origin:recorded", "length:under-10s", "speed:medium"} <= tags["pattern-0"]


def test_a_damaged_clip_is_shown_as_unreadable_and_stops_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", *(make_clip(seed, instants=30) for seed in range(3)))
    bad = store.episodes[1]
    video = f"videos/observation.images.left/chunk-000/file-{bad.part:03d}.mp4"
    (store.path / bad.dataset / video).unlink()
    made = view_store(store, tmp_path / "out")
    assert (made["clips"], made["unreadable"]) == (3, 1)
    clips = {clip["id"]: clip for clip in read_view(tmp_path / "out")["clips"]}
    for clip_id, clip in clips.items():
        assert ("flag:unreadable" in clip["tags"]) == (clip_id == bad.clip_id)
    assert clips[bad.clip_id]["speed"] == [None]
    made = view_store(store, tmp_path / "out", tags=["unreadable"])
    assert made["clips"] == 1
    with Image.open(made["sheet"]) as sheet:
        assert sheet.size[1] > 100


def test_flag_shares_are_those_of_the_index(store: Store, view: Path) -> None:
    clips = {clip["id"]: clip for clip in read_view(view)["clips"]}
    seen = 0
    for episode in store.episodes:
        rows = store.rows(episode, 0, episode.instants)
        flags = np.stack([rows[f"{camera.name}.flags"] for camera in episode.cameras])
        for name, bit in FLAGS.items():
            share = float(np.mean((flags & bit) > 0))
            clip = clips[episode.clip_id]
            assert clip["flags"].get(name, 0.0) == pytest.approx(share, abs=1e-3)
            assert (f"flag:{name}" in clip["tags"]) == (share >= 0.1)
            seen += share > 0
    assert seen, "a picture that stands still is flagged"


def test_links_lead_to_the_clip_within_its_file(store: Store, view: Path) -> None:
    """The frame that a player shows at the link's second is the clip's first."""
    for clip in read_view(view)["clips"]:
        episode = store.episodes[store.episodes.find(clip["id"])]
        out = np.empty((1, len(episode.cameras), store.spec.frame_bytes), np.uint8)
        store.decode(episode, [0], out)
        for camera, link in enumerate(clip["videos"]):
            with av.open(str(view / unquote(link))) as container:
                frames = list(container.decode(video=0))
            (first,) = [f for f in frames if f.time == pytest.approx(clip["span"][0], abs=1e-3)]
            assert np.array_equal(first.to_ndarray().ravel(), out[0, camera])
            assert clip["span"][1] - clip["span"][0] == pytest.approx(clip["instants"] / 10)


def test_strips_hold_the_stills_in_order(store: Store, view: Path) -> None:
    clips = read_view(view)["clips"]
    number, clip = next((i, c) for i, c in enumerate(clips) if c["source"] == "pattern-1")
    episode = store.episodes[store.episodes.find(clip["id"])]
    width, height = store.spec.width_px, store.spec.height_px
    (path,) = view.glob(f"view-*/000/{number:03d}-0.jpg")
    luma = np.asarray(Image.open(path).convert("YCbCr"))[..., 0].astype(float)
    assert luma.shape == (height, len(clip["times"]) * width)
    out = np.empty((1, 2, store.spec.frame_bytes), np.uint8)
    for place, time_s in enumerate(clip["times"]):
        store.decode(episode, [round(time_s * 10)], out)
        aim = (out[0, 0, : width * height].reshape(height, width).astype(float) - 16) * 255 / 219
        cell = luma[:, place * width : (place + 1) * width]
        assert np.abs(cell - aim).mean() < 6


def test_the_same_view_again_changes_nothing(store: Store, view: Path) -> None:
    before = snapshot(view)
    view_store(store, view)
    assert snapshot(view) == before


def test_a_view_cut_short_leaves_the_one_before(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    view_store(store, out, clips=2)
    before = snapshot(out)

    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view_store(store, out, on_progress=cut)
    assert snapshot(out) == before
    (out / ".view-of-a-killed-call").mkdir()
    view_store(store, out)
    assert len(list(out.glob("view-*"))) == 1, "the data of the view before is swept"
    assert not (out / ".view-of-a-killed-call").exists()
    assert len(read_view(out)["clips"]) == 5


def test_tags_choose_clips_and_wrong_ones_are_named(store: Store, tmp_path: Path) -> None:
    made = view_store(store, tmp_path / "a", tags=["turns-left", "light:dusk"])
    assert [clip["source"] for clip in read_view(tmp_path / "a")["clips"]] == ["bb"]
    assert made["tags"] == ["turn:turns-left", "light:dusk"]
    view_store(store, tmp_path / "b", tags=["camera:right"])
    assert {len(clip["cameras"]) for clip in read_view(tmp_path / "b")["clips"]} == {3}
    with pytest.raises(ValueError, match="did you mean `night`"):
        view_store(store, tmp_path / "c", tags=["nihgt"])
    with pytest.raises(ValueError, match="ask for fewer tags"):
        view_store(store, tmp_path / "c", tags=["night", "fast"])
    with pytest.raises(ValueError, match="at least one clip"):
        view_store(store, tmp_path / "c", clips=0)


def test_a_folder_of_other_things_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>my page</h1>")
    with pytest.raises(ValueError, match="holds other things"):
        view_store(store, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    with pytest.raises(ValueError, match="lies in the store"):
        view_store(store, store.path / "view")
    assert not (store.path / "view").exists()


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_any_beginning_of_a_spread_is_even(count: int) -> None:
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    for taken in (2, 5, 16, 100):
        if taken < count:
            gaps = np.diff([-1, *sorted(order[:taken]), count])
            assert gaps.max() <= 4 * count / taken


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    cameras = ("front", "<img src=x onerror=document.title='pwned'>")
    clip = dataclasses.replace(make_clip(0, cameras=cameras), source=HOSTILE)
    view_store(make_store(place / "<b>s&amp;", clip), place / "out")
    return place / "out"


def test_what_a_source_says_stays_text(hostile: Path) -> None:
    (clip,) = read_view(hostile)["clips"]
    assert clip["source"] == HOSTILE
    (script,) = hostile.glob("view-*/clips.js")
    assert not set("<>&\u2028") & set(script.read_text())
    page = (hostile / "index.html").read_text()
    assert "pwned" not in page
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    for link in clip["videos"]:
        assert not set("<>\"' ") & set(link)
        assert (hostile / unquote(link)).is_file()


@pytest.mark.slow
def test_a_browser_shows_it_and_runs_nothing_of_it(hostile: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=4000"]
    run = subprocess.run(
        [*command, (hostile / "index.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    page = run.stdout
    assert "<article" in page, run.stderr
    assert "<title>&lt;b&gt;s&amp;amp;: OpenDojo store</title>" in page
    assert "&lt;script&gt;document.title='pwned'" in page
    assert "<script>document.title" not in page
    assert '<img src="x"' not in page
