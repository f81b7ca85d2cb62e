"""What goes wrong between a lens and a network: dirt, rain, compression, lost and stuck pictures.

Faults are laid over finished pictures. What is wrong with a camera at a step is a function of the
world's seed, the camera's place in the rig, and the step alone.

    sensor = Sensor(looks, seeds, cameras=8, width_px=128, height_px=64, faults=Faults.hard())
    seen = sensor.apply(frames, before, scene.step)      # `before`: what the last call gave

How strong dirt, rain and blocks are, the look says; which cameras they strike, and how often
pictures are lost or stuck, `Faults` does:

| preset      | dirty lens | lost (2 s) | dropped (frame) | black | frozen (2 s) |
|-------------|------------|------------|-----------------|-------|--------------|
| clean       | 0          | 0          | 0               | -     | 0            |
| hard        | 0.3        | 0.002      | 0.005           | 0.5   | 0.005        |
| adversarial | 0.6        | 0.02       | 0.03            | 0.5   | 0.03         |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from opendojo.world.draw.look import Look
from opendojo.world.exact import hashed

__all__ = ["Faults", "Sensor", "compressed"]

_DIRTY, _LOST, _DROPPED, _BLACK, _FROZEN, _STREAKS = range(0x5E50, 0x5E56)
_BLOTCHES = 14
_PATTERNS = 64
_AT_ONCE = 8
"""Pictures that are compressed at a time, so that a core's cache holds them."""

# Annex K of ITU-T T.81 (JPEG), tables K.1 and K.2: quantisation of luma and chroma at quality 50
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99), (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99), (99, 99, 99, 99, 99, 99, 99, 99),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often things go wrong; shares between 0 and 1."""

    dirty: float = 0.0
    """Share of cameras with a dirty lens, in worlds whose look has dirt."""
    dropped: float = 0.0
    """Chance that a camera's picture is missing, each step."""
    black: float = 0.5
    """Share of missing pictures that arrive black; in place of the others the last is repeated."""
    lost: float = 0.0
    """Chance that a camera is black for a whole spell."""
    frozen: float = 0.0
    """Chance that a camera's picture is stuck for a whole spell."""
    spell_steps: int = 20
    """Length of a spell: steps [0, spell), [spell, 2 spell), ... of a world."""
    dead: tuple[int, ...] = ()
    """Cameras that are always black, for tests of robustness."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("dirty", "dropped", "black", "lost", "frozen"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share between 0 and 1")
        if self.spell_steps < 1:
            raise ValueError(f"spell_steps is {self.spell_steps}: give at least 1")

    @classmethod
    def clean(cls) -> Faults:
        """None."""
        return cls()

    @classmethod
    def hard(cls) -> Faults:
        """What a car meets now and then."""
        return cls(dirty=0.3, dropped=0.005, lost=0.002, frozen=0.005)

    @classmethod
    def adversarial(cls) -> Faults:
        """A rig in a bad state."""
        return cls(dirty=0.6, dropped=0.03, lost=0.02, frozen=0.03)


class Sensor:
    """Lays faults over the pictures of n worlds with c cameras each."""

    def __init__(
        self,
        look: Look,
        seeds: Sequence[int],
        *,
        cameras: int,
        width_px: int,
        height_px: int,
        faults: Faults,
    ) -> None:
        """Prepare what does not change: the dirt on the lenses, the streaks' pattern."""
        if width_px % 2 or height_px % 4:
            raise ValueError(f"pictures of {width_px}x{height_px}: give width 2 i, height 4 i")
        if any(not 0 <= camera < cameras for camera in faults.dead):
            raise ValueError(f"dead cameras {faults.dead}: there are only {cameras}")
        device = look.rain.device
        self._faults, self._size = faults, (height_px, width_px)
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=device)[:, None]
        self._cameras = torch.arange(cameras, device=device)
        dead = torch.zeros(cameras, dtype=torch.bool)
        dead[list(faults.dead)] = True
        self._dead = dead.to(device)
        dirty = self._chance(_DIRTY, torch.zeros_like(self._seeds)) < faults.dirty
        self._dirty = (look.dirt[:, None] * dirty).flatten().nonzero().flatten()
        self._keep, self._add = self._soil(look, cameras)
        every = torch.arange(len(seeds) * cameras, device=device).view(-1, cameras)
        wet, blocky = look.rain > 0, look.blocks > 0
        self._wet, self._blocky = every[wet].flatten(), every[blocky].flatten()
        self._rain = (0.6 * look.rain).repeat_interleave(cameras)[self._wet]
        self._bright = look.horizon[:, 0].repeat_interleave(cameras)[self._wet]
        self._blocks = look.blocks.repeat_interleave(cameras)[self._blocky]
        self._streaks = torch.tensor(_streaks(height_px, width_px), device=device)

    def _soil(self, look: Look, cameras: int) -> tuple[Tensor, Tensor]:
        """What share of their light dirty lenses let through, and what they add: planar pictures
        [p, 3 h w / 2] of the pictures `_dirty`."""
        height, width = self._size
        world, camera = self._dirty // cameras, self._dirty % cameras
        veil = look.dirt[world, None, None] * _blotches(
            self._seeds[world], camera[:, None], height, width
        )
        half = veil[:, ::2, ::2].flatten(1)
        veil = torch.cat([veil.flatten(1), half, half], 1)
        sizes = torch.tensor([height * width, *[height * width // 4] * 2], device=veil.device)
        dust = look.verge[world].repeat_interleave(sizes, dim=1)
        return 1.0 - veil, dust * veil

    def apply(self, frames: Tensor, before: Tensor | None, step: Tensor) -> Tensor:
        """The pictures as they arrive.

        Args:
            frames: uint8 [n, c, 3 h / 2, w], planar I420.
            before: What arrived at the step before; None at the start.
            step: int64 [n], steps since each world's start. At step 0 nothing is repeated.
        """
        out = frames
        if len(self._dirty) or len(self._wet) or len(self._blocky):
            out = self._soiled(frames, step)
        faults = self._faults
        if not (faults.dropped or faults.lost or faults.frozen or faults.dead):
            return out
        black, stuck = self.faulty(step)
        out = out.clone() if out is frames else out
        if before is not None:
            again = stuck & (step > 0)[:, None]
            out[again] = before[again]
        empty = torch.full_like(out[0, 0], 128)
        empty[: self._size[0]] = 16
        out[black] = empty
        return out

    def faulty(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Which cameras give black, and which their last picture again: bool [n, c] each."""
        faults, now = self._faults, step[:, None]
        spell = now // faults.spell_steps
        dropped = self._chance(_DROPPED, now) < faults.dropped
        is_black = self._chance(_BLACK, now) < faults.black
        lost = self._chance(_LOST, spell) < faults.lost
        frozen = self._chance(_FROZEN, spell) < faults.frozen
        return lost | self._dead | (dropped & is_black), frozen | (dropped & ~is_black)

    def _chance(self, name: int, at: Tensor) -> Tensor:
        """A number in [0, 1) of each camera, [n, c], float32."""
        seeds, draw = self._seeds, torch.full_like(self._seeds, name)
        key = hashed(seeds & 0xFFFFFFFF, seeds >> 32, draw, self._cameras, at)
        return (key >> 8).to(torch.float32) * (1.0 / 2**24)

    def _soiled(self, frames: Tensor, step: Tensor) -> Tensor:
        """The pictures with dirt, streaks and blocks; only those that are struck are worked on."""
        height, width = self._size
        size, quarter = height * width, height * width // 4
        out = frames.reshape(-1, 6 * quarter).clone()
        if len(self._dirty):
            some = out[self._dirty].to(torch.float32).mul_(self._keep).add_(self._add)
            out[self._dirty] = some.add_(0.5).to(torch.uint8)
        if len(self._wet):
            some = out[self._wet, :size].to(torch.float32)
            fall = self._falling(step).mul_(self._rain[:, None])
            some += (self._bright[:, None] - some) * fall
            out[self._wet, :size] = some.add_(0.5).to(torch.uint8)
        if len(self._blocky):
            out[self._blocky] = self._squeezed(out[self._blocky])
        return out.view(frames.shape)

    def _squeezed(self, some: Tensor) -> Tensor:
        """Pictures [p, 3 h w / 2] of `_blocky` after compression, in place."""
        height, width = self._size
        size, quarter = height * width, height * width // 4
        ends = (0, size, size + quarter, 6 * quarter)
        step_of = _AT_ONCE if some.device.type == "cpu" else len(some)
        for first in range(0, len(some), step_of):
            few, strength = (t[first : first + step_of] for t in (some, self._blocks))
            for p in range(3):
                share = 1 if p == 0 else 2
                plane = few[:, ends[p] : ends[p + 1]].to(torch.float32)
                plane = plane.view(-1, height // share, width // share)
                plane = compressed(plane, strength, chroma=p > 0).add_(0.5)
                plane = plane.clamp_(16.0, 240.0 if p else 235.0).flatten(1)
                few[:, ends[p] : ends[p + 1]] = plane.to(torch.uint8)
        return some

    def _falling(self, step: Tensor) -> Tensor:
        """How much each pixel of the pictures `_wet` shows of a streak of rain, [p, h w]."""
        seeds, now = self._seeds, step[:, None]
        name = torch.full_like(seeds, _STREAKS)
        key = hashed(seeds & 0xFFFFFFFF, seeds >> 32, name, self._cameras, now).flatten()
        return self._streaks.index_select(0, key[self._wet] % _PATTERNS)


def _blotches(seeds: Tensor, cameras: Tensor, height: int, width: int) -> Tensor:
    """Smooth spots on p lenses, 0..1, float32 [p, h, w]: sums of bumps (1 - q)^2, q < 1.

    Seeds and cameras are int64 [p, 1].
    """
    device = seeds.device
    y = torch.arange(height, device=device, dtype=torch.float32)[:, None] / height
    x = torch.arange(width, device=device, dtype=torch.float32) / height
    total = torch.zeros((len(seeds), height, width), device=device)
    name = torch.full_like(seeds, _DIRTY)
    for spot in range(_BLOTCHES):
        draws = [
            hashed(seeds & 0xFFFFFFFF, seeds >> 32, name, cameras, torch.full_like(seeds, k))
            for k in range(4 * spot + 1, 4 * spot + 5)
        ]
        at_x, at_y, size, strength = (
            (draw.to(torch.float32) * (1.0 / 2**32))[..., None] for draw in draws
        )
        across, down = x - at_x * (width / height), y - at_y
        radius = 0.06 + 0.3 * size * size
        q = (across * across + down * down) / (radius * radius)
        bump = (1.0 - q).clamp_(min=0.0)
        total += bump * bump * (0.3 + 0.7 * strength)
    return total.clamp_(max=1.0)


def _streaks(height: int, width: int) -> np.ndarray:
    """Patterns of streaks, float32 [_PATTERNS, h w], 0..1."""
    rng = np.random.Generator(np.random.Philox(key=5))
    patterns = np.zeros((_PATTERNS, height, width), np.float32)
    for pattern in patterns:
        for _ in range(width // 6):
            column, row = rng.uniform(0, width), rng.uniform(-0.2, 1.0) * height
            length, lean = rng.uniform(0.1, 0.35) * height, rng.uniform(-0.08, 0.08)
            for y in range(max(0, math.floor(row)), min(height, math.ceil(row + length))):
                at = int(column + lean * (y - row)) % width
                pattern[y, at] = max(pattern[y, at], rng.uniform(0.35, 1.0))
    return patterns.reshape(_PATTERNS, height * width)


def compressed(planes: Tensor, strength: Tensor, *, chroma: bool = False) -> Tensor:
    """Planes after JPEG's loss: 8x8 blocks, cosine transform, coefficients rounded to steps.

    Args:
        planes: float32 [p, h, w], levels 0..255.
        strength: [p]: 0 none, 0.5 about quality 50, 1 about quality 15.
        chroma: Which of the standard's tables of steps to use.
    """
    p, height, width = planes.shape
    padded = torch.nn.functional.pad(planes[None], (0, -width % 8, 0, -height % 8), "replicate")[0]
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.view(p, rows, 8, columns, 8).transpose(2, 3).reshape(p, rows * columns, 64)
    basis = _cosines().to(planes.device)
    table = torch.tensor(_CHROMA_STEPS if chroma else _LUMA_STEPS, dtype=torch.float64)
    scale = strength.to(torch.float64)
    scale = torch.where(scale < 0.5, 2.0 * scale, 1.0 + (scale - 0.5) * 4.6)[:, None, None]
    steps = (table.flatten().to(planes.device) * scale).clamp(min=1.0)
    # float64, cut to 1/1024, so that the order of a library's sums does not show
    values = blocks.to(torch.float64).sub_(128.0) @ basis.T
    values = values.mul_(1024.0).round_().div_(1024.0).div_(steps).round_().mul_(steps)
    back = (values @ basis).mul_(1024.0).round_().div_(1024.0).add_(128.0).to(torch.float32)
    back = back.view(p, rows, columns, 8, 8).transpose(2, 3).reshape(p, 8 * rows, 8 * columns)
    return torch.where(strength[:, None, None] > 0, back[:, :height, :width], planes)


@cache
def _cosines() -> Tensor:
    """The cosine transform (DCT-II) of a flattened 8x8 block, orthonormal, float64 [64, 64]."""
    k, i = np.arange(8)[:, None], np.arange(8)
    basis = np.cos((2 * i + 1) * k * (math.pi / 16)) * 0.5
    basis[0] /= math.sqrt(2.0)
    return torch.from_numpy(np.kron(basis, basis))
