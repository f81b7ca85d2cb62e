"""What is exported is what was stored: the same frames, cameras and logs, for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clips import make_clip
from opendojo.clip import BadClip, Clip
from opendojo.ingest.sniff import find_clips
from opendojo.store import Episode, Store, StoreSpec, stage_part, verify_store
from opendojo.store.export import ExportReport, export
from opendojo.store.foxglove import MESSAGES, decode, descriptor_set, encode

CLIPS = [
    make_clip(0, instants=19),
    make_clip(1, instants=11),
    make_clip(2, instants=10, cameras=("front",), rate_hz=25.0, with_log=False),
]


def publish(store: Store, clips: list[Clip]) -> Store:
    with store.staging() as staging:
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return publish(Store.create(tmp_path_factory.mktemp("store") / "s"), CLIPS)


def decoded(store: Store, episode: Episode) -> np.ndarray:
    out = np.empty((episode.instants, len(episode.cameras), store.spec.frame_bytes), np.uint8)
    store.decode(episode, range(episode.instants), out)
    return out


def read(clip: Clip, store: Store) -> np.ndarray:
    size = store.spec.width_px, store.spec.height_px
    steps = [
        [np.concatenate([f.y.ravel(), f.u.ravel(), f.v.ravel()]) for f in step]
        for step in clip.frames(*size)
    ]
    return np.array(steps)


def clips_in(folder: Path) -> list[Clip]:
    found = list(find_clips(folder))
    assert not [bad for bad in found if isinstance(bad, BadClip)]
    return [clip for clip in found if isinstance(clip, Clip)]


def same_logs(store: Store, episode: Episode, clip: Clip) -> None:
    stored = store.log(episode)
    times_s = stored.time_s
    if all(np.isnan(column).all() for column in stored.columns().values()):
        assert clip.log is None or not clip.log.columns()
        return
    assert clip.log is not None
    for name, column in stored.columns().items():
        got = clip.log.sample(name, times_s)
        assert np.allclose(got, column, rtol=0, atol=1e-9, equal_nan=True), name


@pytest.mark.parametrize("codec", ["h264", pytest.param("hevc", marks=pytest.mark.slow)])
def test_mcap_gives_every_frame_back_bit_for_bit(codec: Any, tmp_path: Path):
    store = publish(Store.create(tmp_path / "s", StoreSpec(codec=codec)), CLIPS)
    report = export(store, "mcap", tmp_path / "out")
    assert (report.clips, report.frames) == (3, store.frames)
    clips = clips_in(tmp_path / "out")
    assert len(clips) == 3
    for clip in clips:
        place = store.episodes.find(Path(clip.source).stem)
        assert place is not None
        episode = store.episodes[place]
        assert np.array_equal(read(clip, store), decoded(store, episode))
        assert (clip.origin, round(clip.rate_hz, 6)) == (episode.origin, episode.rate_hz)
        for camera, kept in zip(clip.cameras, episode.cameras, strict=True):
            assert camera.calibrated and camera.name == kept.name
            assert camera.fx_px == kept.fx_px and camera.cy_px == kept.cy_px
            assert np.allclose(camera.mount.matrix, kept.mount.matrix, atol=1e-12)
        same_logs(store, episode, clip)


def test_mcap_holds_a_stream_with_its_headers(store: Store, tmp_path: Path):
    from mcap.reader import make_reader

    export(store, "mcap", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.mcap"):
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            videos = [m.data for _, c, m in reader.iter_messages() if c.topic.endswith("video")]
        for number, data in enumerate(videos):
            packet = decode("foxglove.CompressedVideo", data)["data"]
            kinds = [part[0] & 31 for part in packet.split(b"\0\0\0\1")[1:]]
            assert (7 in kinds) == (5 in kinds), (path, number)  # SPS with each IDR picture
            assert kinds.count(1) + kinds.count(5) == 1  # one picture a message


def test_what_is_there_is_not_written_again(store: Store, tmp_path: Path):
    for to in ("mcap", "lerobot"):
        out = tmp_path / to
        heard: list[ExportReport] = []
        first = export(store, to, out, on_progress=heard.append)
        assert heard[-1] == first and first.bytes > 0
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
        again = export(store, to, out)
        assert (again.clips, again.clips_known) == (0, 3)
        del before[out / "export.json"]
        assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_an_export_that_was_stopped_goes_on(tmp_path: Path):
    store = publish(Store.create(tmp_path / "s"), CLIPS[:1])
    for to in ("mcap", "lerobot"):
        out = tmp_path / to

        def stop(report: ExportReport) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export(store, to, out, on_progress=stop)
        dataset = store.episodes[0].dataset
        (out / dataset / f".partial-{store.episodes[0].clip_id}.mcap").write_bytes(b"torn")
        (out / f".partial-{dataset}").mkdir()
    store = publish(store, CLIPS[1:])
    for to in ("mcap", "lerobot"):
        export(store, to, tmp_path / to)
        clips = clips_in(tmp_path / to)
        assert sorted(len(read(clip, store)) for clip in clips) == [10, 11, 19], to


def test_lerobot_gives_every_frame_back(store: Store, tmp_path: Path):
    report = export(store, "lerobot", tmp_path / "out")
    assert (report.clips, report.frames) == (3, store.frames)
    by_number = {(e.dataset, e.number): e for e in store.episodes}
    for clip in clips_in(tmp_path / "out"):
        source = Path(clip.source)
        episode = by_number[source.parent.name, int(source.name.removeprefix("episode-"))]
        assert np.array_equal(read(clip, store), decoded(store, episode))
        assert clip.cameras == episode.cameras and clip.origin == episode.origin
        same_logs(store, episode, clip)


def test_lerobot_has_what_the_package_wants(store: Store, tmp_path: Path):
    export(store, "lerobot", tmp_path / "out")
    folder = tmp_path / "out" / "10hz-front-left-right"
    assert not (folder / "index").exists()
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_episodes"] == 2
    stats = json.loads((folder / "meta/stats.json").read_text())
    data = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("data/*/*.parquet")))
    assert stats["speed_mps"]["mean"] == [pytest.approx(data["speed_mps"].mean())]
    assert stats["frame_index"]["max"] == [18.0] and stats["frame_index"]["count"] == [30]
    assert "steer_rad" not in stats  # nothing is known of it
    front = stats["observation.images.front"]
    assert np.shape(front["mean"]) == (3, 1, 1)
    assert 0 <= np.min(front["q01"]) <= np.min(front["q50"]) <= np.max(front["max"]) <= 1


def test_what_is_exported_may_be_changed_unless_links_were_asked_for(tmp_path: Path):
    store = publish(Store.create(tmp_path / "s"), CLIPS[:1])
    name = f"{store.episodes[0].dataset}/videos/observation.images.front/chunk-000/file-000.mp4"
    table = f"{store.episodes[0].dataset}/data/chunk-000/file-000.parquet"
    export(store, "lerobot", tmp_path / "linked", link=True)
    assert (tmp_path / "linked" / name).samefile(store.path / name)
    assert not (tmp_path / "linked" / table).samefile(store.path / table)
    export(store, "lerobot", tmp_path / "copied")
    for path in (tmp_path / "copied").rglob("*.*"):
        if path.is_file():
            path.write_bytes(b"something else")
    assert verify_store(store, decode=True) == []
    with pytest.raises(ValueError, match="nothing to link"):
        export(store, "mcap", tmp_path / "mcap", link=True)


def test_what_cannot_be_exported_is_told_before_anything_is_written(store: Store, tmp_path: Path):
    with pytest.raises(ValueError, match="lerobot or mcap"):
        export(store, "rosbag", tmp_path / "out")
    mpeg2 = Store.create(tmp_path / "s", StoreSpec(codec="mpeg2"))
    with pytest.raises(ValueError, match="codec h264"):
        export(mpeg2, "mcap", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ValueError, match="other things"):
        export(store, "mcap", tmp_path / "thesis")
    export(store, "mcap", tmp_path / "out")
    with pytest.raises(ValueError, match="another export"):
        export(store, "lerobot", tmp_path / "out")


def test_messages_survive_protobuf_there_and_back():
    rng = np.random.default_rng(0)
    for message, fields in MESSAGES.items():
        values: dict[str, Any] = {}
        for name, (_, kind) in fields.items():
            drawn: dict[str, Any] = {
                "double": float(rng.normal()), "doubles": rng.normal(size=9).tolist(),
                "int64": -int(rng.integers(1, 2**62)), "int32": int(rng.integers(2**31)),
                "fixed32": int(rng.integers(2**32)), "string": "Straße", "bytes": rng.bytes(300),
            }  # fmt: skip
            values[name] = drawn.get(kind, {})
        assert decode(message, encode(message, values)) == values
        assert message.rpartition(".")[2].encode() in descriptor_set(message)


def test_bytes_that_are_no_message_raise_value_error():
    rng = np.random.default_rng(1)
    whole = encode("foxglove.CompressedVideo", {"frame_id": "front", "data": bytes(40)})
    refused = 0
    for _ in range(300):
        data = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            decode("foxglove.CompressedVideo", bytes(data))
        except ValueError:
            refused += 1
    assert 0 < refused < 300  # and nothing else was raised
