"""The driving network as a trainer sees it: a batch in, named losses out.

    trainee = DrivingTrainee(NetConfig(size="tiny"), LossConfig())
    shown = trainee.prepare(batch, draw)       # random choices of the step
    losses = trainee(shown)                    # weighted; their sum is minimised

It takes the loader's batches, or any batch with the same fields and, where there are, `command`
(int64 [b, t]), `instants` (which of the frames in a row it shows; all, where it does not say) and
`truth` (`truth.Truth`) beside them. Heads whose labels a batch does not have are not run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from opendojo.model.heads import Ground
from opendojo.model.losses import (
    agents_loss,
    forecast_loss,
    grid_loss,
    imitation_loss,
    motion_loss,
    path_loss,
    score_loss,
)
from opendojo.model.motion import Motion
from opendojo.model.network import DrivingNet, Look
from opendojo.model.planner import gaps
from opendojo.model.sizes import NetConfig
from opendojo.model.truth import Truth
from opendojo.model.users import Users, users_loss, users_truth

__all__ = ["DrivingTrainee", "LossConfig", "Shown", "Windows", "motion_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What each loss counts, and what training hides."""

    path: float = 5.0
    """The regressed path. At a fifth of this it learns nothing of bends for the first 600 steps."""
    ahead: float = 1.5
    """How much worse it is for the path to be too far ahead than too far behind."""
    aside: float = 1.0
    """How much more an error of the path to the side counts than one along the way: a lane leaves
    the car half a metre, the road ahead several."""
    imitation: float = 0.1
    """The distribution over candidates."""
    scores: float = 1.0
    """Sub-scores of judged candidates."""
    occupancy: float = 8.0
    """Occupied cells."""
    road: float = 0.5
    """Cells of road, lane lines and crossings."""
    agents: float = 0.4
    """Other road users on the grid."""
    users: float = 4.0
    """Other road users in the pictures."""
    forecast: float = 10.0
    """The picture to come, in shares of full brightness."""
    motion: float = 0.1
    """Own speed and turn rate, as seen."""
    imitate_every: int = 2
    """Of a window's instants, each so manieth is imitated, its last one always: neighbours hardly
    differ, and rolling candidates takes time."""
    speed_drop: float = 0.1
    """Share of windows whose speed is hidden, so that the network must also see."""

    def __post_init__(self) -> None:
        if not 0 <= self.speed_drop < 1:
            raise ValueError(f"speed_drop {self.speed_drop}: must be from 0 to below 1")
        if self.imitate_every < 1:
            raise ValueError(f"imitate_every {self.imitate_every}: must be at least 1")
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} {value}: must not be below 0")


class Windows(Protocol):
    """What a batch must have: as the loader's `Batch`, and maybe `command` and `truth`."""

    @property
    def frames(self) -> Tensor:
        """uint8 [b, t, c, 6, h/2, w/2]."""
        ...

    @property
    def camera_mask(self) -> Tensor:
        """bool [b, c]."""
        ...

    @property
    def lens(self) -> Tensor:
        """float32 [b, c, 16]."""
        ...

    @property
    def time_s(self) -> Tensor:
        """float64 [b, t]."""
        ...

    @property
    def speed_mps(self) -> Tensor:
        """float32 [b, t]."""
        ...

    @property
    def speed_mask(self) -> Tensor:
        """bool [b, t]."""
        ...

    @property
    def path_m(self) -> Tensor:
        """float32 [b, t, p, 2]."""
        ...

    @property
    def path_mask(self) -> Tensor:
        """bool [b, t, p]."""
        ...

    @property
    def window_id(self) -> Tensor:
        """int64 [b]."""
        ...

    @property
    def frame_count(self) -> int:
        """Pictures in the batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A batch with the random choices of a step."""

    batch: Any
    """The `Windows`; where a process of the loader owns them, valid as long as they are."""
    speed_shown: Tensor
    """bool [b, 1]: False for the windows whose speed this step hides throughout."""

    @property
    def frame_count(self) -> int:
        """Pictures in the batch."""
        return self.batch.frame_count

    @property
    def window_id(self) -> Tensor:
        """int64 [b]."""
        return self.batch.window_id

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Shown:
        """The same on another device."""
        moved = (x.to(device, non_blocking=non_blocking) for x in (self.batch, self.speed_shown))
        return Shown(**dict(zip(("batch", "speed_shown"), moved, strict=True)))


def motion_of(batch: Any, speed_shown: Tensor | None = None) -> Motion:
    """What a batch tells of its motion; its command where it has one."""
    mask = batch.speed_mask if speed_shown is None else batch.speed_mask & speed_shown
    command = getattr(batch, "command", None)
    return Motion.of(batch.speed_mps, mask, time_s=batch.time_s, command=command)


class DrivingTrainee(nn.Module):
    """`DrivingNet` with its losses."""

    def __init__(self, net_config: NetConfig, loss_config: LossConfig | None = None) -> None:
        super().__init__()
        self.network = DrivingNet(net_config)
        self.loss_config = loss_config or LossConfig()

    @classmethod
    def around(cls, network: DrivingNet, loss_config: LossConfig | None = None) -> DrivingTrainee:
        """A trainee of a network that is there; its weights are shared."""
        trainee = cls.__new__(cls)
        nn.Module.__init__(trainee)
        trainee.network, trainee.loss_config = network, loss_config or LossConfig()
        return trainee

    def prepare(self, batch: Windows, draw: torch.Generator) -> Shown:
        """The step's random choices: whose speed is hidden."""
        chance = torch.rand(len(batch.speed_mps), 1, generator=draw, device=draw.device)
        shown = chance >= self.loss_config.speed_drop
        return Shown(batch=batch, speed_shown=shown.to(batch.speed_mps.device))

    def forward(self, batch: Windows | Shown) -> dict[str, Tensor]:
        """Weighted losses of a batch as it came, or as `prepare` gave it.

        Keys are the losses of `LossConfig` whose labels the batch has; `path`, `imitation`,
        `motion` and, of a network that sees, `forecast` are always there.
        """
        shown = batch.speed_shown if isinstance(batch, Shown) else None
        windows: Any = batch.batch if isinstance(batch, Shown) else batch
        truth: Truth = getattr(windows, "truth", None) or Truth()
        network = self.network
        motion = motion_of(windows, shown)
        frames = windows.frames  # packed anew at each call
        memory, look = network.remember(frames, windows.camera_mask, windows.lens, motion)
        seen, moves = network.ego(memory)
        ground = self._ground(memory, truth)
        terms = self._plan(seen, moves, motion, windows, truth, ground)
        terms |= self._ground_losses(ground, truth) | _users_losses(look, truth)
        if network.forecast_head is not None:
            terms["forecast"] = self._forecast(seen, frames, windows)
        return {name: getattr(self.loss_config, name) * term for name, term in terms.items()}

    def _plan(
        self,
        seen: Tensor,
        moves: Tensor,
        motion: Motion,
        windows: Any,
        truth: Truth,
        ground: Ground | None,
    ) -> dict[str, Tensor]:
        head = self.network.plan_head
        path_m, known = windows.path_m, windows.path_mask
        if truth.path_m is not None and truth.path_mask is not None:
            path_m, known = truth.path_m, truth.path_mask
        hidden, speed_mps = head.think(seen, moves, motion)
        regressed_m = head.regress(hidden, speed_mps)
        every = self.loss_config.imitate_every
        some = slice((regressed_m.shape[1] - 1) % every, None, every)
        candidates = head.vocabulary(speed_mps[:, some].detach())
        whole = torch.ones_like(known[:, some])
        gap = gaps(candidates, regressed_m[:, some].detach(), head.times_s, whole)
        imitation = head.imitate(hidden[:, some], gap)
        apart = gaps(
            candidates,
            torch.where(known[..., None], path_m, 0.0)[:, some],
            head.times_s,
            known[:, some],
        )
        losses = {
            "path": path_loss(
                regressed_m,
                path_m,
                known,
                head.times_s,
                self.loss_config.ahead,
                self.loss_config.aside,
            ),
            "imitation": imitation_loss(imitation, apart, known[:, some].all(-1)),
            "motion": motion_loss(
                moves, windows.speed_mps, windows.speed_mask, path_m, known, float(head.times_s[0])
            ),
        }
        if truth.judged is not None and truth.terms is not None and truth.terms_mask is not None:
            judged = head.vocabulary.some(speed_mps.detach(), truth.judged)
            field = None if ground is None else ground.field
            scores = head.judge(hidden, judged, field, truth.judged)
            losses["scores"] = score_loss(scores, truth.terms, truth.terms_mask)
        return losses

    def _ground(self, memory: Tensor, truth: Truth) -> Ground | None:
        """The bird's-eye grid, where a label asks for it."""
        labels = (truth.occupancy, truth.road, truth.agents, truth.judged)
        if self.network.ground_head is None or all(label is None for label in labels):
            return None
        return self.network.ground_head(memory)

    def _ground_losses(self, ground: Ground | None, truth: Truth) -> dict[str, Tensor]:
        if ground is None:
            return {}
        losses: dict[str, Tensor] = {}
        if truth.occupancy is not None and truth.occupancy_mask is not None:
            losses["occupancy"] = grid_loss(ground.occupancy, truth.occupancy, truth.occupancy_mask)
        if truth.road is not None and truth.road_mask is not None:
            losses["road"] = grid_loss(ground.road, truth.road, truth.road_mask)
        if truth.agents is not None and truth.agents_mask is not None:
            assert truth.agents_known is not None, "agents need agents_known"
            losses["agents"] = agents_loss(
                ground.agents, truth.agents, truth.agents_mask, truth.agents_known,
                self.network.config,
            )  # fmt: skip
        return losses

    def _forecast(self, seen: Tensor, frames: Tensor, windows: Any) -> Tensor:
        """Of instants whose later picture is in the window too."""
        instants = getattr(windows, "instants", ()) or tuple(range(frames.shape[1]))
        ahead = self.network.config.forecast_steps
        pairs = [(i, instants.index(at + ahead)) for i, at in enumerate(instants)
                 if at + ahead in instants]  # fmt: skip
        if not pairs:
            return seen.new_zeros(())
        now, then = (list(row) for row in zip(*pairs, strict=True))
        luma = self.network.small_luma(frames[:, :, 0])
        forecast = self.network.forecast(seen[:, now], luma[:, now])
        there = windows.camera_mask[:, :1].expand(-1, len(now))
        return forecast_loss(forecast, luma[:, then], there)


def _users_losses(look: Look, truth: Truth) -> dict[str, Tensor]:
    """Of windows whose other road users are known, with image tokens to show them."""
    if truth.agents is None or look.users is None or look.cells is None:
        return {}
    assert truth.agents_mask is not None and truth.agents_known is not None
    shape = truth.agents.shape[:2]
    with torch.no_grad():
        wanted = users_truth(look.cells, truth.agents.float(), truth.agents_mask)
    names = ("there", "log_range", "right", "left")
    told = Users(**{name: getattr(look.users, name).unflatten(0, shape) for name in names})
    return {"users": users_loss(told, wanted, truth.agents_known)}
