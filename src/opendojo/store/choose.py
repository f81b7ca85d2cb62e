"""Quality by target: the largest quality number whose pictures are still good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opendojo.clip import BadClip, Clip, Frame
from opendojo.store.codec import CODECS
from opendojo.store.encode import ClipEncoder
from opendojo.store.layout import StoreSpec
from opendojo.store.psnr import Probe

__all__ = ["choose_quality"]

_TRIAL_GROUPS = 4
"""Groups of a clip on which qualities are tried."""


def choose_quality(
    clip: Clip, spec: StoreSpec, fps: int, step: Callable[[], None] = lambda: None
) -> tuple[int, ...]:
    """For each camera the largest quality number whose sampled groups reach `spec.psnr_db`.

    Reads the clip once, up to its last sample where its length is known; the best number where
    none reaches the target, and the spec's where the clip cannot be sampled. `step` is called at
    every frame that a trial encodes: trials take their time.
    """
    groups = _sample(clip, spec)
    if not groups:
        return (spec.quality,) * len(clip.cameras)
    cameras = range(len(clip.cameras))
    return tuple(
        _reach([instant[c] for group in groups for instant in group], spec, fps, step)
        for c in cameras
    )


def _sample(clip: Clip, spec: StoreSpec) -> list[list[tuple[Frame, ...]]]:
    """Up to a few groups spread evenly over a clip, in its order.

    They are the same whether its length is known (`Clip.read` may have `instants`) or found.
    """
    kept: list[list[tuple[Frame, ...]]] = []
    stride = 1
    instants: int | None = getattr(clip.read, "instants", None)
    try:
        for place, step in enumerate(clip.frames(spec.width_px, spec.height_px)):
            if place == _sampled_instants(instants, spec.gop_frames):
                break
            group, within = divmod(place, spec.gop_frames)
            if group % stride:
                continue
            if within == 0:
                if len(kept) == _TRIAL_GROUPS:
                    kept, stride = kept[::2], stride * 2
                    if group % stride:
                        continue
                kept.append([])
            kept[-1].append(step)
    except BadClip:
        pass  # encoding meets it again and reports it
    return kept


def _sampled_instants(instants: int | None, gop_frames: int) -> int | None:
    """Up to where a clip of so many instants is sampled."""
    if instants is None:
        return None
    groups, stride = -(-instants // gop_frames), 1
    while (groups - 1) // stride >= _TRIAL_GROUPS:
        stride *= 2
    return ((groups - 1) // stride * stride + 1) * gop_frames


def _reach(frames: Sequence[Frame], spec: StoreSpec, fps: int, step: Callable[[], None]) -> int:
    codec = CODECS[spec.codec]
    target = spec.psnr_db
    assert target is not None
    good, bad = codec.best, codec.worst + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _trial(frames, spec, fps, middle, step) >= target:
            good = middle
        else:
            bad = middle
    return good


def _trial(
    frames: Sequence[Frame], spec: StoreSpec, fps: int, crf: int, step: Callable[[], None]
) -> float:
    encoder, probe = ClipEncoder(spec, fps, crf), Probe(spec, every_groups=1)
    packets: list[Any] = []
    for frame in frames:
        step()
        probe.source(frame)
        packets += encoder.add(frame)
    for packet in [*packets, *encoder.end()]:
        step()
        probe.coded(packet, lambda: encoder.extradata)
    return probe.end()
