"""Quality by target: the largest quality number whose pictures are still good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opendojo.clip import BadClip, Clip, Frame
from opendojo.store.codec import CODECS
from opendojo.store.encode import ClipEncoder
from opendojo.store.layout import StoreSpec
from opendojo.store.psnr import Probe

__all__ = ["choose_quality"]

_TRIAL_GROUPS = 4
"""Groups of a clip on which qualities are tried."""


def choose_quality(clip: Clip, spec: StoreSpec, fps: int) -> tuple[int, ...]:
    """For each camera the largest quality number whose sampled groups reach `spec.psnr_db`.

    Reads the clip once; the best number where none reaches it, and the spec's where the clip
    cannot be sampled.
    """
    groups = _sample(clip, spec)
    if not groups:
        return (spec.quality,) * len(clip.cameras)
    cameras = range(len(clip.cameras))
    return tuple(
        _reach([step[c] for group in groups for step in group], spec, fps) for c in cameras
    )


def _sample(clip: Clip, spec: StoreSpec) -> list[list[tuple[Frame, ...]]]:
    """Up to a few groups spread evenly over a clip of unknown length, in its order."""
    kept: list[list[tuple[Frame, ...]]] = []
    stride = 1
    try:
        for place, step in enumerate(clip.frames(spec.width_px, spec.height_px)):
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


def _reach(frames: Sequence[Frame], spec: StoreSpec, fps: int) -> int:
    codec = CODECS[spec.codec]
    target = spec.psnr_db
    assert target is not None
    good, bad = codec.best, codec.worst + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _trial(frames, spec, fps, middle) >= target:
            good = middle
        else:
            bad = middle
    return good


def _trial(frames: Sequence[Frame], spec: StoreSpec, fps: int, crf: int) -> float:
    encoder, probe = ClipEncoder(spec, fps, crf), Probe(spec, every_groups=1)
    packets: list[Any] = []
    for frame in frames:
        probe.source(frame)
        packets += encoder.add(frame)
    for packet in [*packets, *encoder.end()]:
        probe.coded(packet, lambda: encoder.extradata)
    return probe.end()
