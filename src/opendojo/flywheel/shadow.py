"""Shadow: the present network looks over the driver's shoulder, and what it would do is compared.

It goes through whole stores at the loader's speed. From the last instant of each window the network
plans; beside the plan stands what really happened (hindsight), what it would plan with one camera
dark, what other networks would, and what the log says of braking. Pictures become an embedding.

    findings = run_shadow(network, [Store.open("frames")])
    findings.columns["error_m"]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.clip import Track
from opendojo.flywheel.findings import Findings
from opendojo.flywheel.signals import log_series, time_to_collision, worst_within
from opendojo.guard import digest
from opendojo.loader import Batch, Loader, LoaderConfig, WindowSpec
from opendojo.model import MEMORY_STEPS, DrivingNet, Motion, motion_of
from opendojo.store import Episode, Store

__all__ = ["ShadowConfig", "loader_of", "network_digest", "run_shadow"]

Floats = npt.NDArray[np.float64]
TracksOf = Callable[[Store, Episode], Sequence[Track]]
"""The other road users of a clip, where somebody knows them; none otherwise."""

_SEEN_AHEAD_S = 1.0
"""Logs are looked at up to so long after a window's last instant."""
_KNOWN_LEAST = 0.5
"""Share of a path's points that must be known for an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowConfig:
    """How stores are looked through."""

    batch: int = 32
    """Windows at once."""
    workers: int | None = None
    """Processes that decode; None takes one per core."""
    stride_groups: int = 1
    """Groups of pictures from one window to the next."""
    drop_every: int = 2
    """Of each so many neighbouring windows one is also planned with a camera dark at the last
    instant, each another one; 1 all, 0 none. All of them would cost a sixth of the time."""
    dims: int = 64
    """Numbers of the embedding; a network's own tokens are projected to so many where wider."""
    device: str = "cpu"
    """Where the network runs."""


def loader_of(network: DrivingNet, stores: Sequence[Store], config: ShadowConfig) -> Loader:
    """The loader that a shadow run reads: every window once, of what the network takes."""
    net = network.config
    window = WindowSpec(
        frames=MEMORY_STEPS, path_points=net.path_points, path_horizon_s=net.path_horizon_s
    )
    return Loader(
        stores,
        LoaderConfig(
            batch=config.batch,
            cameras=net.cameras,
            window=window,
            split="all",
            colour="none" if net.blind else "yuv",
            workers=config.workers,
            stride_groups=config.stride_groups,
            keep_bytes=0,
        ),
    )


def network_digest(network: DrivingNet) -> str:
    """Name of a network's weights."""
    return digest(dict(sorted(network.state_dict().items())))


@torch.inference_mode()
def run_shadow(
    network: DrivingNet,
    stores: Sequence[Store],
    config: ShadowConfig | None = None,
    *,
    ensemble: Sequence[DrivingNet] = (),
    tracks_of: TracksOf | None = None,
    on_progress: Callable[[int, int, float], None] = lambda *_: None,
) -> Findings:
    """Run a network over every window of some stores; what it does changes nothing.

    Columns: `error_m` (mean distance of plan and hindsight over the path's points), `error_end_m`
    (at its end), `error_share` (of the way driven), `disagreement_m` (to the plan with a camera
    dark, or the largest among `ensemble`), `speed_mps`, `luma` (0 to 1), `aside_m` and
    `heading_rad` (where the driver went), `decel_mps2`, `jerk_mps3`, `turn_radps`, `lateral_mps2`,
    `ttc_s` from logs. `on_progress` hears windows done, windows in all, frames a second.

    Raises `ValueError` where the stores hold no window that fits the network.
    """
    config = config or ShadowConfig()
    network = network.to(config.device).eval()
    others = [other.to(config.device).eval() for other in ensemble]
    loader = loader_of(network, stores, config)
    total = len(loader.table)
    columns: dict[str, Floats] = {}
    embedding = np.zeros((total, min(config.dims, network.config.widths.token)), np.float16)
    look = _Look(network, others, config)
    began_s, done, frames = time.perf_counter(), 0, 0
    batches = loader.batches(0)
    try:
        for batch in batches:
            ids = batch.window_id.numpy()
            told, embedding[ids] = look.at(batch)
            for name, values in told.items():
                columns.setdefault(name, np.full(total, np.nan))[ids] = values
            done, frames = done + len(ids), frames + batch.frame_count
            on_progress(done, total, frames / (time.perf_counter() - began_s))
    finally:
        batches.close()
        loader.close()
    places = _places(loader, stores, tracks_of)
    return _ordered(places, columns, embedding, network, loader)


class _Look:
    """Plans of a batch, compared."""

    def __init__(
        self, network: DrivingNet, others: Sequence[DrivingNet], config: ShadowConfig
    ) -> None:
        self._network, self._others, self._config = network, others, config
        width = network.config.widths.token
        draw = torch.Generator().manual_seed(7)
        mixed = torch.randn(width, config.dims, generator=draw) / config.dims**0.5
        self._mix = None if width <= config.dims else mixed.to(config.device)

    def at(self, batch: Batch) -> tuple[dict[str, Floats], npt.NDArray[np.float16]]:
        """Columns [b] and embeddings [b, d] of a batch's windows."""
        network, device = self._network, self._config.device
        told = _happened(batch)
        if not network.config.blind:
            told["luma"] = (batch.y[:, -1, 0].float().mean((1, 2)).numpy() - 16.0) / 219.0
        batch = batch.to(device)
        motion, frames = motion_of(batch), batch.frames
        scene = _scenes(network, frames, batch, motion)
        memory = network.recall(scene, motion)[:, -1:]
        plan_m = network.plan(memory, motion.last()).path_m[:, 0].float()
        told |= _errors(plan_m, batch)
        apart = self._in_the_dark(batch, frames, scene, motion, plan_m)
        for other in self._others:
            scene_of_other = _scenes(other, frames, batch, motion)
            seen = other.recall(scene_of_other, motion)[:, -1:]
            theirs = _apart(plan_m, other.plan(seen, motion.last()).path_m[:, 0].float())
            apart = torch.fmax(apart, theirs)
        told["disagreement_m"] = apart.cpu().double().numpy()
        token = memory[:, 0].float().mean(1)
        if self._mix is not None:
            token = token @ self._mix
        token = token / token.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return told, token.cpu().numpy().astype(np.float16)

    def _in_the_dark(
        self, batch: Batch, frames: Tensor, scene: Tensor, motion: Motion, plan_m: Tensor
    ) -> Tensor:
        """Distance [b] of the plan to that with one camera dark; not a number where not asked.

        Which camera follows from the window's number. Only the last instant is looked at again:
        that costs an eighth of the window, less the camera that is not there.
        """
        network, every = self._network, self._config.drop_every
        apart = torch.full_like(plan_m[:, 0, 0], torch.nan)
        cameras = batch.camera_mask.shape[1]
        if network.config.blind or not every or cameras < 2:
            return apart
        some = torch.nonzero(batch.window_id % every == 0)[:, 0]
        if not len(some):
            return apart
        turn = torch.div(batch.window_id[some], every, rounding_mode="floor") % cameras
        mask = batch.camera_mask[some]
        left = mask & ~torch.nn.functional.one_hot(turn, cameras).bool()
        left = torch.where(left.any(1, keepdim=True), left, mask)
        last = network.encode(frames[some, -1], left, batch.lens[some])
        dim = torch.cat([scene[some, :-1], last[:, None]], 1)
        mine = motion.each(lambda tensor: tensor[some])
        memory = network.recall(dim, mine)[:, -1:]
        dark_m = network.plan(memory, mine.last()).path_m[:, 0].float()
        apart[some] = _apart(plan_m[some], dark_m)
        return apart


def _scenes(network: DrivingNet, frames: Tensor, batch: Batch, motion: Motion) -> Tensor:
    """Scene tokens [b, t, q, d] of all instants."""
    b, t = motion.speed_mps.shape
    if network.config.blind:
        flat = network.encode(motion.speed_mps.flatten(), batch.camera_mask, batch.lens)
    else:
        flat = network.encode(frames.flatten(0, 1), batch.camera_mask, batch.lens)
    return flat.unflatten(0, (b, t))


def _apart(one_m: Tensor, other_m: Tensor) -> Tensor:
    """Mean distance [b] of two plans [b, p, 2]."""
    return (one_m - other_m).norm(dim=-1).mean(-1)


def _errors(plan_m: Tensor, batch: Batch) -> dict[str, Floats]:
    """Distances of plans [b, p, 2] from what happened."""
    path_m, known = batch.path_m[:, -1], batch.path_mask[:, -1]
    gap = (plan_m - path_m).norm(dim=-1)
    count = known.sum(1)
    mean = (gap * known).sum(1) / count.clamp(min=1)
    enough = count >= _KNOWN_LEAST * known.shape[1]
    way = torch.where(known, path_m.norm(dim=-1), 0.0).amax(1)
    nothing = torch.full_like(mean, torch.nan)
    told = {
        "error_m": torch.where(enough, mean, nothing),
        "error_end_m": torch.where(known[:, -1], gap[:, -1], nothing),
        "error_share": torch.where(enough, mean / way.clamp(min=5.0), nothing),
    }
    return {name: values.cpu().double().numpy() for name, values in told.items()}


def _happened(batch: Batch) -> dict[str, Floats]:
    """What the driver did from the last instant on."""
    path, known = batch.path_m[:, -1].double(), batch.path_mask[:, -1]
    whole = known.all(1)
    step = path[:, -1] - path[:, -2] if path.shape[1] > 1 else path[:, -1]
    moving = step.norm(dim=-1) > 0.2
    nothing = torch.full_like(path[:, 0, 0], torch.nan)
    heading = torch.atan2(step[:, 1], step[:, 0])
    speed = batch.speed_mps[:, -1].double()
    return {
        "speed_mps": torch.where(batch.speed_mask[:, -1], speed, nothing).numpy(),
        "aside_m": torch.where(whole, path[:, -1, 1], nothing).numpy(),
        "heading_rad": torch.where(whole & moving, heading, nothing).numpy(),
    }


def _places(
    loader: Loader, stores: Sequence[Store], tracks_of: TracksOf | None
) -> tuple[npt.NDArray[Any], list[str], Floats, dict[str, Floats]]:
    """Where each window lies, ids of the clips by their place, times, and columns from the logs."""
    table, spec = loader.table, loader.config.window
    orders = table.orders(np.arange(len(table), dtype=np.int64))
    bounds = np.concatenate([[0], table.episodes.ends])
    place = bounds[orders["store"]] + orders["episode"]
    ids = [store.episodes[k].clip_id for store in stores for k in range(len(store.episodes))]
    time_s = np.full(len(table), np.nan)
    columns = {name: np.full(len(table), np.nan) for name in _FROM_LOGS}
    for clip in np.unique(place).tolist():
        mine = np.flatnonzero(place == clip)
        number, episode = table.episodes[clip]
        log = stores[number].log(episode)
        first = orders["first"][mine]
        last = first + spec.span(episode.rate_hz) - 1
        time_s[mine] = log.time_s[last]
        series = log_series(log, log.time_s)
        if tracks_of is not None:
            told = time_to_collision(log, tracks_of(stores[number], episode), log.time_s)
            series["ttc_s"] = told
        from_s, until_s = log.time_s[first], time_s[mine] + _SEEN_AHEAD_S
        for name in _FROM_LOGS:
            if name == "turn_radps":
                columns[name][mine] = series[name][last]
            elif name in series:
                sign = -1.0 if name == "ttc_s" else 1.0
                worst = worst_within(sign * series[name], log.time_s, from_s, until_s)
                columns[name][mine] = sign * worst
    return orders, ids, time_s, {**columns, "clip": place.astype(np.float64)}


_FROM_LOGS = ("decel_mps2", "jerk_mps3", "lateral_mps2", "ttc_s", "turn_radps")


def _ordered(
    places: tuple[npt.NDArray[Any], list[str], Floats, dict[str, Floats]],
    columns: dict[str, Floats],
    embedding: npt.NDArray[np.float16],
    network: DrivingNet,
    loader: Loader,
) -> Findings:
    """Findings in the order of clips and times, whatever the order in which they were seen."""
    orders, ids, time_s, logged = places
    place = logged.pop("clip").astype(np.int64)
    return Findings(
        clip_id=tuple(ids),
        clip=place,
        first=orders["first"].astype(np.int64),
        time_s=time_s,
        columns={**columns, **logged},
        embedding=embedding,
        network=network_digest(network),
        data=loader.fingerprint,
        window=asdict(replace(loader.config.window)),
    )
