"""Decoding into the caller's memory gives the bits that copying gives, or is not done at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags

from clips import make_clip
from opendojo.store import Store, StoreSpec, stage_part
from opendojo.store.decode import PacketReader
from opendojo.store.direct import can_hold, open_direct

CAMERAS, WINDOW = 2, 8


def stored(path: Path, **spec: object) -> Store:
    store = Store.create(path, StoreSpec(width_px=128, height_px=64, **spec))  # type: ignore[arg-type]
    names = ("front", "left")
    with store.staging() as staging:
        clips = [make_clip(seed, instants=24, cameras=names) for seed in range(2)]
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


def aligned(rows: int, frame_bytes: int) -> np.ndarray:
    """Memory that starts on a line of the cache and goes on after its last row."""
    memory = np.full(rows * CAMERAS * frame_bytes + 4096, 7, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin:][: rows * CAMERAS * frame_bytes].reshape(rows, CAMERAS, frame_bytes)


@pytest.mark.parametrize("instants", [range(8), range(3, 11), [0, 2, 2, 9, 9, 15], range(16, 24)])
def test_in_place_equals_copied(tmp_path: Path, instants: range | list[int]) -> None:
    store = stored(tmp_path / "s")
    out = aligned(len(instants), store.spec.frame_bytes)
    assert can_hold(128, 64, out[:, 0])
    copied = np.zeros(out.shape, np.uint8)
    for _ in range(3):
        for episode in store.episodes:
            store.decode(episode, instants, out, in_place=True)
            store.decode(episode, instants, copied)
            assert np.array_equal(out, copied)


def test_it_is_used_here(tmp_path: Path) -> None:
    """With the libraries that are pinned, pictures do go straight to their place."""
    store = stored(tmp_path / "s")
    episode = store.episodes[0]
    _, extradata = store.extradata(episode, "front")
    (key,) = store.packets(episode, "front", 0, 1)
    assert open_direct(extradata, key, 128, 64) is not None
    assert open_direct(extradata, key, 256, 64) is None
    (between,) = store.packets(episode, "front", 1, 1)
    assert open_direct(extradata, between, 128, 64) is None
    assert open_direct(extradata, b"\0" * 64, 128, 64) is None


def test_a_damaged_packet_is_told_of_and_reaches_nothing_else(tmp_path: Path) -> None:
    store = stored(tmp_path / "s")
    episode = store.episodes[0]
    good = aligned(WINDOW, store.spec.frame_bytes)
    store.decode(episode, range(8), good, in_place=True)
    wanted = good.copy()
    rows = store.rows(episode, 8, WINDOW).copy()
    rows["front.bytes"][2:] = rows["front.bytes"][2:][::-1]  # packets cut in the wrong places
    bad = aligned(WINDOW, store.spec.frame_bytes)
    with pytest.raises(ValueError, match="verify"):
        store.decode(episode, range(8, 16), bad, rows=rows, in_place=True)
    store.decode(episode, range(8), good, in_place=True)
    assert np.array_equal(good, wanted)


def test_memory_that_does_not_fit_is_copied_into(tmp_path: Path) -> None:
    store = stored(tmp_path / "s")
    memory = np.zeros((WINDOW, CAMERAS, store.spec.frame_bytes + 1), np.uint8)
    odd = memory[..., 1:]
    assert not can_hold(128, 64, odd[:, 0])
    store.decode(store.episodes[0], range(8), odd, in_place=True)
    even = np.zeros((WINDOW, CAMERAS, store.spec.frame_bytes), np.uint8)
    store.decode(store.episodes[0], range(8), even)
    assert np.array_equal(odd, even)


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_a_packet_of_another_format_writes_nothing_past_its_row(pixels: str) -> None:
    """Its headers lie in the packet; the file's own say 4:2:0 of eight bits."""
    spec = StoreSpec(width_px=128, height_px=64)
    plain, foreign = coded("yuv420p", own_headers=False), coded(pixels, own_headers=True)
    head = ("h264", plain[1])
    reader = PacketReader(spec)
    memory = np.full(3 * spec.frame_bytes + 4096, 7, np.uint8)
    begin = -memory.ctypes.data % 64
    rows = memory[begin:][: 3 * spec.frame_bytes].reshape(3, spec.frame_bytes)
    reader.decode(head, plain[0], [len(plain[0])], [0], rows[:1], in_place=True)
    assert reader._direct[head] is not None, "this machine does not decode in place"
    assert not (rows[0] == 7).all()
    rows[:] = 7
    for in_place in (True, False):
        with pytest.raises(ValueError, match="packet"):
            reader.decode(head, foreign[0], [len(foreign[0])], [0], rows[:1], in_place=in_place)
        assert (rows[1:] == 7).all()
        assert (memory[begin + rows.size :] == 7).all()
    assert open_direct(coded(pixels, own_headers=False)[1], foreign[0], 128, 64) is None


def coded(pixels: str, *, own_headers: bool) -> tuple[bytes, bytes]:
    """A key packet of 128x64 and the headers beside it, empty where they are in the packet."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 128, 64, pixels
    encoder.time_base = Fraction(1, 10)
    encoder.options = {"crf": "30", "tune": "zerolatency"}
    if not own_headers:
        encoder.flags |= Flags.global_header
    noise = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    (packet,) = [*encoder.encode(frame), *encoder.encode(None)]
    return bytes(packet), encoder.extradata or b""


def test_other_codecs_are_copied(tmp_path: Path) -> None:
    store = stored(tmp_path / "s", codec="mpeg2")
    out = aligned(WINDOW, store.spec.frame_bytes)
    copied = np.zeros(out.shape, np.uint8)
    store.decode(store.episodes[0], range(8), out, in_place=True)
    store.decode(store.episodes[0], range(8), copied)
    assert np.array_equal(out, copied)
