"""Every codec of the dial: files that play, packets that decode to the same bits, PSNR."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from clips import Pattern, make_clip
from opendojo.clip import Clip, Frame
from opendojo.store import Store, StoreSpec, stage_part, store_stats, verify_store

Codec = Literal["h264", "mpeg2", "hevc", "av1"]
CODECS: tuple[Codec, ...] = ("h264", "mpeg2", "hevc", "av1")
FIRST_STREAM = {"h264": "h264", "mpeg2": "mpeg2video", "hevc": "hevc", "av1": "av1"}


@dataclasses.dataclass(frozen=True)
class Noisy:
    """A moving pattern under noise, which needs another quality for the same PSNR."""

    pattern: Pattern

    def __call__(self, width_px: int, height_px: int) -> Iterator[tuple[Frame, ...]]:
        rng = np.random.default_rng(self.pattern.seed)
        for (frame,) in self.pattern(width_px, height_px):
            noise = rng.integers(0, 24, frame.y.shape, np.uint8)
            yield (dataclasses.replace(frame, y=frame.y // 2 + noise),)


def two_clips(instants: int = 20) -> list[Clip]:
    plain = make_clip(0, instants=instants, cameras=("front",))
    other = make_clip(1, instants=instants, cameras=("front",))
    assert isinstance(other.read, Pattern)
    return [plain, dataclasses.replace(other, read=Noisy(other.read))]


def stored(path: Path, spec: StoreSpec, clips: list[Clip]) -> Store:
    store = Store.create(path, spec)
    with store.staging() as staging:
        store.publish(stage_part(clips, spec, staging))
    return store.reload()


def decoded(store: Store, episode) -> np.ndarray:
    out = np.empty((episode.instants, len(episode.cameras), store.spec.frame_bytes), np.uint8)
    store.decode(episode, range(episode.instants), out)
    return out


def player_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray().ravel() for frame in container.decode(video=0)])


def luma_psnr_db(frames: np.ndarray, clip: Clip, spec: StoreSpec) -> float:
    truth = np.stack([step[0].y for step in clip.frames(spec.width_px, spec.height_px)])
    luma = frames[:, 0, : truth[0].size].reshape(truth.shape)
    return 10 * np.log10(255**2 / np.mean((luma.astype(float) - truth) ** 2))


@pytest.mark.parametrize("codec", CODECS)
def test_target_psnr_is_reached_and_every_file_plays_to_the_same_bits(
    tmp_path: Path, codec: Codec
) -> None:
    spec = StoreSpec(codec=codec, psnr_db=37.0)
    clips = two_clips(instants=16)
    store = Store.create(tmp_path / "s", spec)
    with store.staging() as staging:
        (part,) = stage_part(clips, spec, staging)
        store.publish([part])
    plain, noisy = part.clips
    assert plain.crf != noisy.crf  # or the rest would not show that clips share a file's headers
    store = store.reload()
    (video,) = store.path.rglob("*.mp4")
    with av.open(str(video)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == FIRST_STREAM[codec]
    played = player_frames(video)
    for episode in store.episodes:
        frames = decoded(store, episode)
        rows = slice(episode.row, episode.row + episode.instants)
        assert np.array_equal(frames[:, 0], played[rows])
        clip = next(clip for clip in clips if clip.clip_id == episode.clip_id)
        assert 36.3 < luma_psnr_db(frames, clip, spec) < 39.2, clip.source  # MPEG-2 steps by 2 dB
    assert verify_store(store, decode=True) == []
    camera = store_stats(store)["datasets"]["10hz-front"]["by_camera"]["front"]
    assert 36.3 < camera["least_psnr_db"] <= camera["psnr_db"] < 39.2


def test_encoders_are_quiet(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; "
        "from clips import make_clip; from opendojo.store import Store, StoreSpec, stage_part\n"
        "for codec in ('h264', 'hevc', 'av1'):\n"
        "    spec = StoreSpec(codec=codec)\n"
        "    stage_part([make_clip(0, instants=9)], spec, Path(sys.argv[1], codec))\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[1])]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout + run.stderr == ""


@pytest.mark.parametrize("codec", CODECS)
def test_the_quality_number_takes_effect(tmp_path: Path, codec: Codec) -> None:
    sizes, measured = [], []
    for crf in (8, 24):
        clips = two_clips(instants=9)[:1]
        store = stored(tmp_path / str(crf), StoreSpec(codec=codec, crf=crf), clips)
        row = store_stats(store)["datasets"]["10hz-front"]["by_camera"]["front"]
        sizes.append(row["bytes_per_frame"])
        measured.append(row["psnr_db"])
    assert sizes[0] > 1.5 * sizes[1]
    assert measured[0] > measured[1] + 1.5


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_whose_lines_the_decoder_pads(tmp_path: Path, codec: Codec) -> None:
    spec = StoreSpec(width_px=144, height_px=80, codec=codec)
    clips = two_clips(instants=10)[:1]
    store = stored(tmp_path / "s", spec, clips)
    frames = decoded(store, store.episodes[0])
    assert np.array_equal(frames[:, 0], player_frames(next(store.path.rglob("*.mp4"))))
    assert luma_psnr_db(frames, clips[0], spec) > 38


def test_a_spec_refuses_what_no_codec_takes() -> None:
    with pytest.raises(ValueError, match="one of h264, mpeg2, hevc, av1"):
        StoreSpec(codec="divx")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="crf of mpeg2 must be 1 to 31"):
        StoreSpec(codec="mpeg2", crf=40)
    with pytest.raises(ValueError, match="sides of 64 pixels"):
        StoreSpec(codec="av1", width_px=64, height_px=32)
    with pytest.raises(ValueError, match="psnr_db must be"):
        StoreSpec(psnr_db=400.0)
    assert StoreSpec() == StoreSpec(crf=20)
    assert StoreSpec(width_px=512, height_px=256).frame_bytes == 196_608
