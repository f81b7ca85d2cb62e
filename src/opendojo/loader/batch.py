"""What training reads: a batch of windows with their labels, as tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from opendojo.loader.ring import Rows

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows as tensors; b windows, t instants, c cameras, p path points.

    As the loader gives it, it is a view of the ring: valid until the next batch is asked for.
    `clone` keeps it.
    """

    yuv: Tensor
    """uint8 [b, t, c, height * width * 3 / 2]: luma, then the two chroma planes of half size,
    limited range; zero where a camera is absent. c is 0 where the loader reads other colours or
    none."""
    rgb_frames: Tensor
    """uint8 [b, t, c, 3, height, width] where the loader's colour is `rgb`; else c is 0."""
    height_px: int
    width_px: int
    camera_mask: Tensor
    """bool [b, c]: the camera is there."""
    lens: Tensor
    """float32 [b, c, 16]: each camera's geometry, `LENS_COLUMNS`; 0 where it is absent."""
    time_s: Tensor
    """float64 [b, t], from the window's first instant."""
    speed_mps: Tensor
    """float32 [b, t], 0 where unknown."""
    speed_mask: Tensor
    """bool [b, t]: the speed is known."""
    path_m: Tensor
    """float32 [b, t, p, 2]: x forward, y left of the ego's later places, in the axes of the vehicle
    at each instant; 0 where unknown."""
    path_mask: Tensor
    """bool [b, t, p]: the place is known and what led there was the driver's doing."""
    drawn: Tensor
    """bool [b]: the world drew it; else a camera saw it."""
    window_id: Tensor
    """int64 [b]: number of the window in its loader."""

    @classmethod
    def of_rows(cls, rows: Rows, height_px: int, width_px: int, *, rgb: bool = False) -> Batch:
        """Tensors over a slot's fields, nothing copied."""
        tensors = {name: torch.from_numpy(field) for name, field in rows.items()}
        frames = tensors.pop("frames")
        nothing = frames[:, :, :0]
        picture = (nothing if not rgb else frames).unflatten(-1, (height_px, -1, 3))
        if not rgb:
            picture = frames.new_zeros((*nothing.shape[:3], height_px, width_px, 3))
        return cls(
            yuv=nothing if rgb else frames,
            rgb_frames=picture.permute(0, 1, 2, 5, 3, 4),
            height_px=height_px,
            width_px=width_px,
            **tensors,
        )

    @property
    def y(self) -> Tensor:
        """Luma, uint8 [b, t, c, height, width], a view."""
        luma = self.yuv[..., : self.height_px * self.width_px]
        return luma.unflatten(-1, (self.height_px, self.width_px))

    @property
    def uv(self) -> Tensor:
        """Both chroma planes, uint8 [b, t, c, 2, height / 2, width / 2], a view."""
        chroma = self.yuv[..., self.height_px * self.width_px :]
        return chroma.unflatten(-1, (2, self.height_px // 2, self.width_px // 2))

    @property
    def u(self) -> Tensor:
        """First chroma plane, uint8 [b, t, c, height / 2, width / 2], a view."""
        return self.uv[..., 0, :, :]

    @property
    def v(self) -> Tensor:
        """Second chroma plane, uint8 [b, t, c, height / 2, width / 2], a view."""
        return self.uv[..., 1, :, :]

    @property
    def frames(self) -> Tensor:
        """What a network's stem takes, packed on the pixels' device: uint8 [b, t, c, 6, height / 2,
        width / 2] in the order of `clip.pack_planes`."""
        half = (self.height_px // 2, 2, self.width_px // 2, 2)
        luma = self.y.unflatten(-2, half[:2]).unflatten(-1, half[2:])  # [..., h, row, w, column]
        return torch.cat([luma.movedim((-3, -1), (-4, -3)).flatten(-4, -3), self.uv], -3)

    def rgb(self) -> Tensor:
        """Pictures for people, uint8 [b, t, c, 3, height, width] (BT.601)."""
        if self.rgb_frames.shape[2]:
            return self.rgb_frames
        y = (self.y.float() - 16.0) * (255.0 / 219.0)
        chroma = (self.uv.float() - 128.0) * (255.0 / 224.0)
        chroma = chroma.repeat_interleave(2, -2).repeat_interleave(2, -1)
        u, v = chroma[..., 0, :, :], chroma[..., 1, :, :]
        rgb = torch.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], -3)
        return rgb.round().clamp(0, 255).to(torch.uint8)

    @property
    def frame_count(self) -> int:
        """Pictures in the batch: those of absent cameras do not count."""
        pictures = max(self.yuv.shape[2], self.rgb_frames.shape[2])
        return int(self.camera_mask.sum()) * self.time_s.shape[1] if pictures else 0

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def with_yuv(self, yuv: Tensor) -> Batch:
        """The batch with other pictures, uint8 [b, t, c, frame_bytes]."""
        return dataclasses.replace(self, yuv=yuv)

    def clone(self) -> Batch:
        """A copy in memory of its own."""
        return self._each(Tensor.clone)

    def pin_memory(self) -> Batch:
        """A copy in pinned memory."""
        return self._each(Tensor.pin_memory)

    def rows(self, count: int) -> Batch:
        """The first `count` windows, a view."""
        return self._each(lambda tensor: tensor[:count])

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its field's name."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: value for name, value in named if isinstance(value, Tensor)}

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed = {name: change(tensor) for name, tensor in self.tensors().items()}
        return dataclasses.replace(self, **changed)

    def __repr__(self) -> str:
        pixels = self.rgb_frames if self.rgb_frames.shape[2] else self.yuv
        return f"Batch(pixels {list(pixels.shape)}, path {list(self.path_m.shape)})"
