"""The driving network: cameras, lenses and own motion in; a plan, and what is around, out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.heads import ForecastHead, Ground, GroundHead
from opendojo.model.motion import Motion
from opendojo.model.planner import Ego, Plan, PlanHead, gaps
from opendojo.model.queue import BlindMemory, Queue
from opendojo.model.rays import StandIn, cell_rays
from opendojo.model.scene import Attending, Mixing, Scene
from opendojo.model.sizes import NetConfig
from opendojo.model.trunk import make_trunk
from opendojo.model.users import Cells, Users, UsersHead

__all__ = ["DrivingNet", "Eyes", "Look", "Output"]

_MIDDLE, _SPREAD = 128.0, 64.0
"""Take limited-range uint8 (16 to 240) to about -1.75 .. 1.75; chroma's zero is 128."""
_TOLD = 0.2
"""What layers that take told numbers start at, beside those that take what is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the network says at every time step of a batch."""

    path_m: Tensor
    """float32 [b, t, p, 2]: where the car should be at the path's times, x forward, y left."""
    forecast: Tensor | None
    """float32 [b, t, hf, wf] in 0..1: luma of the first camera `forecast_steps` frames ahead; None
    of a blind network, and where no step was asked for."""
    plan: Plan | None = None
    """Candidates, their logits, the best one; [b, t, ...]. None where somebody else planned."""
    moves: Tensor | None = None
    """float32 [b, t, 2]: own speed over 10 m/s and turn rate in rad/s, by the look of it."""
    ground: Ground | None = None
    """The bird's-eye grid [b, t, ...]; None of a blind network, and where it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What single instants show."""

    scene: Tensor
    """float [n, q, d]: scene tokens."""
    users: Users | None = None
    """Other road users by image token [n, k]; None of a blind network."""
    cells: Cells | None = None
    """Where the tokens of the w rigs look."""


class Eyes(nn.Module):
    """Pictures of every camera to scene tokens."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.size_px, self.cells = (config.width_px, config.height_px), config.cells
        self.trunk = make_trunk(config)
        self.level = nn.GroupNorm(1, self.trunk.channels)
        self.stand_in = StandIn()
        self.scene = Scene(config, self.trunk.channels)
        self.users = UsersHead(config, self.trunk.channels)

    def forward(self, frames: Tensor, camera_mask: Tensor, lens: Tensor) -> Look:
        """As `DrivingNet.look`."""
        rays = cell_rays(self.stand_in(lens, *self.size_px), self.cells, *self.size_px)
        sight = self.scene.sight(rays, camera_mask)
        masks = camera_mask.repeat_interleave(len(frames) // len(camera_mask), 0)
        planes, there = frames.flatten(0, 1), masks.flatten()
        # on a processor absent cameras cost nothing; elsewhere a fixed shape is worth more
        fixed = torch.compiler.is_compiling() or there.device.type != "cpu"
        if fixed or bool(there.all()):
            tokens = self._tokens(planes)
        else:
            present = there.nonzero().squeeze(1)
            some = self._tokens(planes[present])
            tokens = some.new_zeros(len(there), *some.shape[1:]).index_copy(0, present, some)
        tokens = tokens.reshape(len(frames), -1, tokens.shape[-1])
        cells = Cells.of(rays, self.cells)
        seen = masks.repeat_interleave(tokens.shape[1] // masks.shape[1], 1)
        users, beside = self.users(tokens, seen, cells.repeated(len(frames) // len(lens)))
        scene = torch.cat([self.scene(tokens, sight), beside], 1)
        return Look(scene=scene, users=users, cells=cells)

    def _tokens(self, planes: Tensor) -> Tensor:
        """uint8 [k, 6, h/2, w/2] to image tokens [k, cells, channels], of unit variance."""
        x = planes.contiguous(memory_format=torch.channels_last).float()
        x = self.trunk(x.sub_(_MIDDLE).mul_(1.0 / _SPREAD).to(self.level.weight.dtype))
        if x.shape[-2:] != self.cells:
            x = F.adaptive_avg_pool2d(x, self.cells)
        return self.level(x).flatten(2).transpose(1, 2)


class DrivingNet(nn.Module):
    """Encoder, bird's-eye scene, feature queue, plan; beside them grid and forecast.

    Training, evaluation and driving call the same parts: encode, recall, plan.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.eyes = None if config.blind else Eyes(config)
        self.queue = BlindMemory(config) if config.blind else Queue(config)
        self.ego = Ego(config)
        self.plan_head = PlanHead(config)
        self.ground_head = None if config.blind else GroundHead(config)
        self.forecast_head = None if config.blind else ForecastHead(config)
        _start(self)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(self, frames: Tensor, camera_mask: Tensor, lens: Tensor) -> Tensor:
        """Scene tokens of single instants, without memory.

        frames: uint8 [n, c, 6, h/2, w/2]; camera_mask: bool [w, c]; lens: float32 [w, c, 16], the
        loader's rows. n is a multiple of w, most often n itself: each rig serves so many instants
        in a row. Returns [n, q, d]; what stands in the frames of absent cameras has no influence.
        A blind network looks at nothing and gives zeros.
        """
        return self.look(frames, camera_mask, lens).scene

    def look(self, frames: Tensor, camera_mask: Tensor, lens: Tensor) -> Look:
        """As `encode`, with what image tokens say of other road users."""
        if self.eyes is None:
            place = self.plan_head.last.weight
            return Look(scene=place.new_zeros(len(frames), 1, self.config.widths.token))
        return self.eyes(frames, camera_mask, lens)

    def recall(self, scene: Tensor, motion: Motion) -> Tensor:
        """Memory [b, t, q, d] of each step, from scenes [b, t, q, d] of itself and earlier ones.

        At most seven steps back, chosen by time and by distance (see `queue`).
        """
        if isinstance(self.queue, BlindMemory):
            return self.queue(motion)
        return self.queue(scene, motion)

    def plan(self, memory: Tensor, motion: Motion) -> Plan:
        """What to do, from memory [b, t, q, d] and the motion of the same steps."""
        seen, moves = self.ego(memory)
        return self._plan(memory, motion, seen, moves, None)

    def _plan(
        self, memory: Tensor, motion: Motion, seen: Tensor, moves: Tensor, ground: Ground | None
    ) -> Plan:
        head = self.plan_head
        hidden, speed_mps = head.think(seen, moves, motion)
        regressed_m = head.regress(hidden, speed_mps)
        candidates = head.vocabulary(speed_mps.detach())
        known = torch.ones_like(regressed_m[..., 0], dtype=torch.bool)
        gap = gaps(candidates, regressed_m.detach(), head.times_s, known)
        scores = None
        if head.judges:
            if ground is None and self.ground_head is not None:
                ground = self.ground_head(memory)
            scores = head.judge(hidden, candidates, ground and ground.field)
        imitation = head.imitate(hidden, gap)
        return head.choose(regressed_m, candidates, gap, imitation, scores)

    def forecast(self, seen: Tensor, luma: Tensor) -> Tensor:
        """Picture of the first camera `forecast_steps` ahead.

        seen: [b, t, hidden], from `ego`; luma: [b, t, hf, wf] in 0..1, from `small_luma`. Returns
        the like.
        """
        assert self.forecast_head is not None, "a blind network makes no forecast"
        return self.forecast_head(seen, luma)

    def small_luma(self, frames: Tensor) -> Tensor:
        """Area mean of the luma: uint8 [..., 6, h/2, w/2] to float32 [..., hf, wf] in 0..1."""
        luma = frames[..., :4, :, :].float().mean(-3)
        small = self.config.forecast_height_px, self.config.forecast_width_px
        factor = luma.shape[-2] // small[0], luma.shape[-1] // small[1]
        pooled = F.avg_pool2d(luma.reshape(-1, 1, *luma.shape[-2:]), factor)
        return pooled.view(*luma.shape[:-2], *small) / 255.0

    def remember(
        self, frames: Tensor, camera_mask: Tensor, lens: Tensor, motion: Motion
    ) -> tuple[Tensor, Look]:
        """Memory [b, t, q, d] of a batch of windows, `look` and `recall` of its steps; the look.

        frames: uint8 [b, t, c, 6, h/2, w/2]; camera_mask: bool [b, c]; lens: float32 [b, c, 16].
        """
        b, t = motion.speed_mps.shape
        if self.eyes is None:
            look = self.look(motion.speed_mps.flatten(), camera_mask, lens)
            return self.recall(look.scene, motion), look
        look = self.look(frames.flatten(0, 1), camera_mask, lens)
        return self.recall(look.scene.unflatten(0, (b, t)), motion), look

    def forward(
        self,
        frames: Tensor,
        camera_mask: Tensor,
        lens: Tensor,
        motion: Motion,
        *,
        forecast_until: int | None = None,
        ground: bool = False,
    ) -> Output:
        """Plan and forecast of every step of a batch of windows, as `remember` takes them.

        `forecast_until` limits the forecast to the first so many steps; `ground` asks for the
        bird's-eye grid.
        """
        memory, _ = self.remember(frames, camera_mask, lens, motion)
        seen, moves = self.ego(memory)
        around = self.ground_head(memory) if ground and self.ground_head is not None else None
        picture = None
        if self.forecast_head is not None and forecast_until != 0:
            luma = self.small_luma(frames[:, :forecast_until, 0])
            picture = self.forecast(seen[:, :forecast_until], luma)
        plan = self._plan(memory, motion, seen, moves, around)
        return Output(path_m=plan.path_m, forecast=picture, plan=plan, moves=moves, ground=around)


def _start(network: DrivingNet) -> None:
    """Start every layer so that it passes its input's variance on, but the last ones at zero.

    He et al., ICCV 2015. PyTorch's own start shrinks a signal to a third per layer with its ReLU:
    what tells two pictures apart came out of eight layers at 5% of the biases, and 250 steps
    learnt nothing from it. What adds to a sum of many is scaled down by their number (Zhang et
    al., "Fixup", ICLR 2019, in spirit).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module, share in _summands(network):
            module.weight.mul_(share)
        for module in _lasts(network):
            nn.init.zeros_(module.weight)


def _summands(network: DrivingNet) -> Iterator[tuple[nn.Conv2d | nn.Linear, float]]:
    """Layers whose output is added to a sum, and how much smaller they start.

    Speed and ways come as few large numbers that every window shares: at full strength they drown
    what tells windows apart.
    """
    yield network.plan_head.speed, _TOLD
    if isinstance(network.queue, Queue):
        yield network.queue.moved, _TOLD
    blocks = [m for m in network.modules() if hasattr(m, "skip") and hasattr(m, "second")]
    for block in blocks:
        second = block.second
        assert isinstance(second, nn.Conv2d)
        yield second, min(1.0, (2.0 / len(blocks)) ** 0.5)
    layers = network.config.widths.layers
    for module in network.modules():
        if isinstance(module, Attending):
            yield module.query, 0.3
            yield module.out, layers**-0.5
        elif isinstance(module, Mixing):
            yield module.all, 0.5
            yield module.out, 0.5 * layers**-0.5
            yield module.narrow, 0.5 * layers**-0.5


def _lasts(network: DrivingNet) -> Iterator[nn.Conv2d | nn.Linear]:
    yield network.ego.last
    if network.eyes is not None:
        yield network.eyes.users.ask
    yield network.plan_head.last
    yield network.plan_head.liking
    yield network.plan_head.worth
    if network.ground_head is not None:
        yield network.ground_head.last
        yield network.ground_head.field
    if network.forecast_head is not None:
        yield network.forecast_head.last
