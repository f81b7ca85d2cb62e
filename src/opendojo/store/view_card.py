"""What a person wants to know of one clip: its tags, its log as a few points, stills over it.

Only the rows of the clip's index and the first picture of a few groups are read, so a look costs
milliseconds whatever the clip's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opendojo.store.layout import Episode, part_path, video_key
from opendojo.store.quality import FLAGS
from opendojo.store.store import Store

__all__ = ["FACETS", "Card", "Still", "episode_tags", "look", "unreadable"]

Floats = npt.NDArray[np.float64]

COLUMNS = 12
"""Stills over a clip."""
CHART_POINTS = 40
"""Points of the log that the page draws."""
FLAG_SHARE = 0.1
"""A clip carries a flag's tag where so large a share of its frames is flagged."""

LIGHT_LEVELS = (("night", 0.20), ("dusk", 0.34), ("day", np.inf))
"""Upper bounds of the mean luma, 0 black to 1 white."""
SPEED_BANDS_MPS = (("standing", 1.0), ("slow", 8.0), ("medium", 20.0), ("fast", np.inf))
LENGTH_BANDS_S = (("under-10s", 10.0), ("under-1min", 60.0), ("over-1min", np.inf))
TURN_RADPS = 0.06
"""Yaw rate from which a vehicle turns: a bend of 200 m at 12 m/s."""
TURN_STEER_RAD = 0.05
"""Angle of the front wheels from which it turns, where no heading is known."""
TURN_SHARE = 0.08
"""It turns in a clip where it does so for this share of it."""

FACETS: dict[str, dict[str, str]] = {
    "dataset": {},
    "origin": {"recorded": "a camera saw it", "drawn": "the world drew it"},
    "camera": {},
    "light": {
        "day": "mean luma of 0.34 or more",
        "dusk": "mean luma 0.20 to 0.34",
        "night": "mean luma below 0.20",
    },
    "speed": {
        "standing": "mean below 1 m/s",
        "slow": "mean 1 to 8 m/s",
        "medium": "mean 8 to 20 m/s",
        "fast": "mean of 20 m/s or more",
        "speed-unknown": "no speed in the log",
    },
    "turn": {
        "straight": "hardly any turn",
        "turns-left": "to the left for a while",
        "turns-right": "to the right for a while",
        "turns-both-ways": "left and right",
        "turn-unknown": "no heading and no steering in the log",
    },
    "length": {
        "under-10s": "shorter than 10 s",
        "under-1min": "10 to 60 s",
        "over-1min": "a minute or more",
    },
    "flag": {
        **dict.fromkeys(FLAGS, f"at least {FLAG_SHARE:.0%} of frames flagged"),
        "unflagged": "no flag on a tenth of the frames",
        "unreadable": "files of it are damaged: `opendojo store verify` names them",
    },
}
"""Every facet of the page with its values and what they mean; data sets and cameras are the
store's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """One instant of every camera."""

    time_s: float
    """From the clip's first frame."""
    frames: npt.NDArray[np.uint8]
    """uint8 [cameras, frame_bytes], planar YUV 4:2:0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One clip for people. Arrays of the log are float64 [CHART_POINTS or fewer], NaN: unknown."""

    episode: Episode
    source: str
    seconds: float
    """From its first frame to its last, and one frame more."""
    tags: tuple[str, ...]
    """`facet:value`, in the order of `FACETS`."""
    flag_shares: dict[str, float]
    """Share of the frames of all cameras that carry each flag."""
    luma: float
    """Mean of the stills, 0 black to 1 white."""
    speed_mps: Floats
    turn: Floats
    """Yaw rate in rad/s, or angle of the front wheels in rad where no heading is known."""
    turn_unit: str
    """`rad/s`, `rad`, or empty where nothing is known."""
    stills: tuple[Still, ...]
    videos: tuple[str, ...]
    """MP4 of each camera, as a path within the store."""
    video_span_s: tuple[float, float]
    """Where the clip lies in them."""


def look(store: Store, episode: Episode, fps: int) -> Card:
    """Read what a page shows of one clip. Raises `BadStore` where its files are damaged."""
    rows = store.rows(episode, 0, episode.instants)
    stills = _stills(store, episode, rows["time_s"])
    luma = _mean_luma(stills, store.spec.width_px * store.spec.height_px)
    shares = _flag_shares(rows, [camera.name for camera in episode.cameras])
    turn, turn_unit, turned = _turn(rows)
    speed = rows["speed_mps"]
    mean_mps = float(np.nanmean(speed)) if np.isfinite(speed).any() else np.nan
    flags = [name for name, share in shares.items() if share >= FLAG_SHARE] or ["unflagged"]
    tags = (
        *episode_tags(episode),
        f"light:{_band(luma, LIGHT_LEVELS)}",
        f"speed:{_band(mean_mps, SPEED_BANDS_MPS) or 'speed-unknown'}",
        f"turn:{turned}",
        *(f"flag:{name}" for name in flags),
    )
    return Card(
        **_known(episode, fps),
        source=store.source(episode),
        tags=_sorted(tags),
        flag_shares=shares,
        luma=luma,
        speed_mps=_thinned(speed),
        turn=_thinned(turn),
        turn_unit=turn_unit,
        stills=stills,
    )


def unreadable(store: Store, episode: Episode, fps: int) -> Card:
    """A clip of which only the catalogue's row is known, as one grey picture."""
    frames = np.full((len(episode.cameras), store.spec.frame_bytes), 128, np.uint8)
    nothing = np.full(1, np.nan)
    return Card(
        **_known(episode, fps),
        source=episode.clip_id,
        tags=_sorted((*episode_tags(episode), "flag:unreadable")),
        flag_shares={},
        luma=0.5,
        speed_mps=nothing,
        turn=nothing,
        turn_unit="",
        stills=(Still(time_s=0.0, frames=frames),),
    )


def _known(episode: Episode, fps: int) -> dict[str, Any]:
    """What a card says that needs no look into the clip's files."""
    return {
        "episode": episode,
        "seconds": episode.instants / episode.rate_hz,
        "videos": tuple(
            f"{episode.dataset}/{part_path(f'videos/{video_key(c.name)}', episode.part, '.mp4')}"
            for c in episode.cameras
        ),
        "video_span_s": (episode.row / fps, (episode.row + episode.instants) / fps),
    }


def _sorted(tags: Sequence[str]) -> tuple[str, ...]:
    order = list(FACETS)
    return tuple(sorted(tags, key=lambda tag: order.index(tag.partition(":")[0])))


def episode_tags(episode: Episode) -> tuple[str, ...]:
    """The tags that need no look into the clip's files."""
    return (
        f"dataset:{episode.dataset}",
        f"origin:{episode.origin}",
        *(f"camera:{camera.name}" for camera in episode.cameras),
        f"length:{_band(episode.instants / episode.rate_hz, LENGTH_BANDS_S)}",
    )


def _band(value: float, bands: tuple[tuple[str, float], ...]) -> str:
    return next((name for name, bound in bands if value < bound), "")


def _stills(store: Store, episode: Episode, time_s: Floats) -> tuple[Still, ...]:
    gop = store.spec.gop_frames
    aims = np.linspace(0, episode.instants - 1, min(COLUMNS, episode.instants)).round().astype(int)
    frames = np.empty((len(aims), len(episode.cameras), store.spec.frame_bytes), np.uint8)
    if episode.instants >= gop * COLUMNS:
        aims -= aims % gop  # the first of a group decodes alone
        for place, instant in enumerate(aims.tolist()):
            store.decode(episode, [instant], frames[place : place + 1])
    else:
        store.decode(episode, aims.tolist(), frames)
    pairs = zip(time_s[aims] - time_s[0], frames, strict=True)
    return tuple(Still(time_s=float(second), frames=frame) for second, frame in pairs)


def _mean_luma(stills: tuple[Still, ...], luma_bytes: int) -> float:
    level = float(np.mean([still.frames[:, :luma_bytes].mean() for still in stills]))
    return min(max((level - 16.0) / 219.0, 0.0), 1.0)


def _flag_shares(rows: npt.NDArray[Any], cameras: list[str]) -> dict[str, float]:
    flags = np.stack([rows[f"{name}.flags"] for name in cameras])
    return {name: float(np.mean((flags & bit) != 0)) for name, bit in FLAGS.items()}


def _turn(rows: npt.NDArray[Any]) -> tuple[Floats, str, str]:
    """The column that tells turning, its unit, and the tag."""
    yaw, steer = rows["yaw_rad"], rows["steer_rad"]
    if np.isfinite(yaw).sum() >= 3:
        known = np.isfinite(yaw)
        time_s = rows["time_s"][known]
        steps = np.maximum(np.diff(time_s), 1e-3)
        rate = np.append(np.diff(np.unwrap(yaw[known])) / steps, 0.0)
        rate[-1] = rate[-2]
        turn = np.full(len(yaw), np.nan)
        turn[known] = _smooth(rate, max(1, round(0.5 / float(np.median(steps)))))
        unit, bound = "rad/s", TURN_RADPS
    elif np.isfinite(steer).any():
        turn, unit, bound = steer, "rad", TURN_STEER_RAD
    else:
        return np.full(len(yaw), np.nan), "", "turn-unknown"
    seen = turn[np.isfinite(turn)]
    left, right = np.mean(seen > bound) >= TURN_SHARE, np.mean(seen < -bound) >= TURN_SHARE
    way = "both-ways" if left and right else "left" if left else "right"
    return turn, unit, f"turns-{way}" if left or right else "straight"


def _smooth(values: Floats, width: int) -> Floats:
    """Mean over `width` neighbours, fewer at the ends."""
    weights = np.ones(min(width, len(values)))
    count = np.convolve(np.ones(len(values)), weights, "same")
    return np.convolve(values, weights, "same") / count


def _thinned(column: Floats) -> Floats:
    places = np.linspace(0, len(column) - 1, min(CHART_POINTS, len(column))).round().astype(int)
    return column[places]
