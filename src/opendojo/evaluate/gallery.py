"""Pictures for the report: a drive from above, what a network saw, planned and expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opendojo.clip import Camera
from opendojo.evaluate.above import route_picture
from opendojo.evaluate.picture import NETWORK, TRUTH, Picture, draw_path, enlarge, to_rgb
from opendojo.evaluate.record import Recording
from opendojo.loader import Batch, Loader
from opendojo.model import DrivingNet, Output, motion_of

__all__ = ["bird_eye_picture", "forecast_pictures", "sample_pictures"]

_SCALE = 4


@dataclass(frozen=True, slots=True)
class _Window:
    """One window of a batch and the network's answer to it."""

    batch: Batch
    output: Output
    row: int

    @property
    def drawn(self) -> bool:
        return bool(self.batch.drawn[self.row])

    @property
    def origin(self) -> str:
        return "drawn" if self.drawn else "recorded"

    @property
    def known(self) -> Tensor:
        """Which points of the path at the last frame are known, bool [p]."""
        return self.batch.path_mask[self.row, -1]


def bird_eye_picture(recording: Recording) -> Picture:
    """A recorded drive from above, with how it ended and what it scored."""
    route = recording.route
    caption = (
        f"Road {route.seed}: {recording.ending} after {route.seconds:.1f} s and "
        f"{100 * route.completion:.0f} % of {recording.trace.route_m[0]:.0f} m, "
        f"score {route.score:.0f} of 100. Orange: the {recording.driver}'s vehicle and the way it "
        "drove; green: other vehicles, purple: cyclists and people on foot, all at the end."
    )
    return Picture(rgb=route_picture(recording), caption=caption)


def sample_pictures(network: DrivingNet, loader: Loader, count: int = 6) -> list[Picture]:
    """Front frames with the planned and the driven path, drawn and recorded ones in turn.

    The first windows of epoch 0 whose whole driven path is known and at least 5 m long; none is
    chosen for its looks. Recorded windows whose lens was guessed say so.
    """
    chosen: dict[bool, list[_Window]] = {True: [], False: []}
    for window in _windows(network, loader):
        path_m = window.batch.path_m[window.row, -1]
        seen = bool(window.batch.camera_mask[window.row, 0])
        if seen and bool(window.known.all()) and float(path_m[-1].norm()) >= 5.0:
            chosen[window.drawn].append(window)
        if all(len(windows) >= count for windows in chosen.values()):
            break
    recorded = chosen[False][: max(count // 2, count - len(chosen[True]))]
    return [_sample(w, loader) for w in [*chosen[True][: count - len(recorded)], *recorded]]


def forecast_pictures(network: DrivingNet, loader: Loader) -> list[Picture]:
    """Last frame, forecast and truth for the window in which most changes.

    Most: by the mean difference of last frame and truth, among the drawn of the first 64 windows,
    or among all of them where none is drawn; elsewhere the three look alike whatever the network
    does.
    """
    steps = network.config.forecast_steps
    best, best_rank = None, (False, -1.0)
    for number, window in enumerate(_windows(network, loader)):
        if number == 64 or window.output.forecast is None:
            break
        now = window.batch.yuv.shape[1] - 1 - steps
        luma = network.small_luma(window.batch.frames[window.row, [now, now + steps], 0])
        change = float((luma[1] - luma[0]).abs().mean())
        if (rank := (window.drawn, change)) > best_rank:
            answer = window.output.forecast[window.row, now].float().cpu()
            best, best_rank = (luma[0], answer, luma[1], window.origin), rank
    if best is None:
        return []
    now_luma, answer, truth, origin = best
    error = 255.0 * float((answer - truth).abs().mean())
    copy = 255.0 * float((now_luma - truth).abs().mean())
    ahead = f"{steps / 10:.1f} s"
    return [
        Picture(rgb=_grey(now_luma), caption=f"last frame seen ({origin}); {copy:.1f} levels off"),
        Picture(rgb=_grey(answer), caption=f"forecast {ahead} ahead; {error:.1f} levels off"),
        Picture(rgb=_grey(truth), caption=f"what the camera saw {ahead} later"),
    ]


@torch.inference_mode()
def _windows(network: DrivingNet, loader: Loader) -> Iterator[_Window]:
    network.eval()
    device = next(network.parameters()).device
    for view in loader.batches(0):
        batch = view.clone()  # windows are kept beyond the next batch
        seen = (tensor.to(device) for tensor in (batch.frames, batch.camera_mask, batch.lens))
        output = network(*seen, motion_of(batch).to(device))
        for row in range(len(batch.drawn)):
            yield _Window(batch, output, row)


def _sample(window: _Window, loader: Loader) -> Picture:
    batch, row = window.batch, window.row
    camera = _front(loader, int(batch.window_id[row]))
    driven_m = batch.path_m[row, -1].numpy()
    planned_m = window.output.path_m[row, -1].float().cpu().numpy()
    rgb = enlarge(to_rgb(batch.frames[row, -1, 0].numpy()), _SCALE)
    rgb = draw_path(rgb, camera, driven_m, TRUTH, scale=_SCALE, half_width_m=0.9, dashed=True)
    rgb = draw_path(rgb, camera, planned_m, NETWORK, scale=_SCALE)
    error_m = float(np.linalg.norm(planned_m - driven_m, axis=1).mean())
    guess = "" if camera.calibrated else "; camera not calibrated, so the paths' place is a guess"
    caption = (
        f"{window.origin}, {float(batch.speed_mps[row, -1]):.1f} m/s; "
        f"mean error over the path {error_m:.1f} m{guess}"
    )
    return Picture(rgb=rgb, caption=caption)


def _front(loader: Loader, window_id: int) -> Camera:
    """The first camera of the rig, as the clip that holds this window has it."""
    place, _ = loader.table.find(window_id)
    _, episode = loader.table.episodes[place]
    slot = loader.config.cameras[0]
    return next(camera for camera in episode.cameras if camera.name == slot)


def _grey(luma: Tensor) -> np.ndarray:
    """A small picture in 0..1 as grey, each pixel a square one can see."""
    levels = (luma * 255.0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return np.repeat(np.repeat(levels, 10, 0), 10, 1)
