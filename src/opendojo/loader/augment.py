"""Changes to a batch that training wants, made on the device where the batch is.

What happens to a window depends on (seed, epoch, window number) alone, not on the batch it comes
in. Geometry stays true: crop and flip move the lens, the mount and the path with the picture, so a
point of the world stays on its pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opendojo.loader.batch import Batch
from opendojo.loader.lens import LENS_COLUMNS

__all__ = ["AugmentConfig", "augmented", "is_flipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """What is changed, and how much. All zero changes nothing."""

    crop_width_px: int = 0
    """Width of the part that is cut out at an even offset, the same for all instants and cameras
    of a window; even. 0 cuts nothing."""
    crop_height_px: int = 0
    """Height of that part; even. 0 cuts nothing."""
    flip: float = 0.0
    """Share of windows that are mirrored: left becomes right in pictures, path and mounts, and the
    left cameras change places with the right ones."""
    luma_gain: float = 0.0
    """Contrast is scaled by 1 - this to 1 + this."""
    luma_offset: float = 0.0
    """Brightness moves by up to so many levels of 255 either way."""
    saturation: float = 0.0
    """Colour is scaled by 1 - this to 1 + this."""
    hue_deg: float = 0.0
    """Colour is turned by up to so much either way."""
    drop: float = 0.0
    """Share of pictures that come out black, each camera and instant by itself. `camera_mask`
    stays: it speaks of whole windows, and a network on the road is not told either."""
    freeze: float = 0.0
    """Share of pictures that repeat the instant before, as a stuck camera does; never the first."""

    def __post_init__(self) -> None:
        if self.crop_width_px % 2 or self.crop_height_px % 2:
            raise ValueError("crop_width_px and crop_height_px must be even")
        if min(self.crop_width_px, self.crop_height_px) < 0:
            raise ValueError("crop_width_px and crop_height_px must not be below 0")
        for name in ("flip", "luma_gain", "saturation", "drop", "freeze"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be 0 to 1, not {getattr(self, name)}")
        if self.luma_offset < 0 or self.hue_deg < 0:
            raise ValueError("luma_offset and hue_deg must not be below 0")


def augmented(
    batch: Batch, config: AugmentConfig, *, seed: int, epoch: int, cameras: Sequence[str]
) -> Batch:
    """A changed copy of a YUV batch; `cameras` are its slots' names, `LoaderConfig.cameras`.

    Left and right cameras are told by these words in their names; in a mirrored window one without
    its counterpart is blacked and masked. Raises `ValueError` where a crop is larger than the
    frames, or the batch is RGB.
    """
    if batch.rgb_frames.shape[2]:
        raise ValueError("only YUV batches are augmented: set the loader's colour to yuv")
    if config.crop_width_px > batch.width_px or config.crop_height_px > batch.height_px:
        raise ValueError(f"the crop is larger than the {batch.width_px}x{batch.height_px} frames")
    if config == AugmentConfig():
        return batch
    _, instants, slots = batch.yuv.shape[:3]
    chance = _uniform(batch.window_id, 7 + 2 * instants * slots, seed, epoch)
    if config.crop_width_px or config.crop_height_px:
        batch = _cropped(batch, config, chance[:, 0], chance[:, 1])
    if config.flip:
        chosen = is_flipped(batch.window_id, config, seed=seed, epoch=epoch)
        batch = _flipped(batch, chosen, cameras)
    if config.luma_gain or config.luma_offset or config.saturation or config.hue_deg:
        batch = _jittered(batch, config, chance[:, 3:7] * 2.0 - 1.0)
    each = chance[:, 7:].unflatten(1, (2, instants, slots))
    if config.freeze:
        batch = _frozen(batch, each[:, 0] < config.freeze)
    if config.drop:
        batch = _dropped(batch, each[:, 1] < config.drop)
    return batch


def is_flipped(window_id: Tensor, config: AugmentConfig, *, seed: int, epoch: int) -> Tensor:
    """Which windows `augmented` mirrors, bool [b], for who has more labels to mirror with them."""
    return _uniform(window_id, 3, seed, epoch)[:, 2] < config.flip


def _uniform(window_id: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """Numbers of 0 to 1 for each window, float64 [b, count], from its number and the key alone.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) in int64, whose products wrap alike everywhere.
    """
    key = _mixed(_mixed(torch.tensor(seed % 2**62)) + epoch)
    stream = _mixed(window_id + key.to(window_id.device))
    steps = torch.arange(1, count + 1, device=window_id.device) * -0x61C8864680B583EB
    return _shifted(_mixed(stream[:, None] + steps), 11).double() / 2.0**53


def _mixed(value: Tensor) -> Tensor:
    value = (value ^ _shifted(value, 30)) * -0x40A7B892E31B1A47
    value = (value ^ _shifted(value, 27)) * -0x6B2FB644ECCEEE15
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A shift to the right that brings in zeros, as of unsigned numbers."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _cropped(batch: Batch, config: AugmentConfig, across: Tensor, down: Tensor) -> Batch:
    width = config.crop_width_px or batch.width_px
    height = config.crop_height_px or batch.height_px
    left = _offsets(across, batch.width_px - width)
    top = _offsets(down, batch.height_px - height)
    luma = _window_of(batch.y, left, top, width, height)
    chroma = _window_of(batch.uv, left // 2, top // 2, width // 2, height // 2)
    lens = batch.lens.clone()
    lens[..., LENS_COLUMNS.index("cx_px")] -= left[:, None]
    lens[..., LENS_COLUMNS.index("cy_px")] -= top[:, None]
    lens *= batch.camera_mask[..., None]
    yuv = torch.cat([luma.flatten(3), chroma.flatten(3)], -1)
    return replace(batch, yuv=yuv, lens=lens, width_px=width, height_px=height)


def _offsets(chance: Tensor, room_px: int) -> Tensor:
    """Even offsets of 0 to `room_px`, int64 [b]."""
    return (chance * (room_px // 2 + 1)).long() * 2


def _window_of(planes: Tensor, left: Tensor, top: Tensor, width: int, height: int) -> Tensor:
    """A part of each window's planes, [b, ..., h, w], at an offset of its own."""
    rows = top[:, None] + torch.arange(height, device=top.device)
    columns = left[:, None] + torch.arange(width, device=left.device)
    between = [1] * (planes.ndim - 3)
    rows = rows.view(-1, *between, height, 1).expand(*planes.shape[:-2], height, planes.shape[-1])
    columns = columns.view(-1, *between, 1, width).expand(*planes.shape[:-2], height, width)
    return planes.gather(-2, rows).gather(-1, columns)


def _flipped(batch: Batch, chosen: Tensor, cameras: Sequence[str]) -> Batch:
    partner, alone = _partners(cameras)
    places = torch.tensor(partner, device=chosen.device)
    there = ~torch.tensor(alone, device=chosen.device)
    mask = batch.camera_mask[:, places] & there
    mirrored = torch.cat([batch.y.flip(-1).flatten(3), batch.uv.flip(-1).flatten(3)], -1)
    mirrored = mirrored[:, :, places] * there[:, None]
    lens = batch.lens[:, places].clone()
    center = LENS_COLUMNS.index("cx_px")
    lens[..., center] = batch.width_px - 1 - lens[..., center]
    for name in ("y_m", "roll_rad", "yaw_rad"):
        lens[..., LENS_COLUMNS.index(name)] *= -1
    lens *= mask[..., None]
    path = batch.path_m * batch.path_m.new_tensor([1.0, -1.0])
    return replace(
        batch,
        yuv=torch.where(chosen[:, None, None, None], mirrored, batch.yuv),
        camera_mask=torch.where(chosen[:, None], mask, batch.camera_mask),
        lens=torch.where(chosen[:, None, None], lens, batch.lens),
        path_m=torch.where(chosen[:, None, None, None], path, batch.path_m),
    )


def _partners(cameras: Sequence[str]) -> tuple[list[int], list[bool]]:
    """For each slot the one that takes its place in the mirror, and whether it has none."""
    names = list(cameras)
    partner, alone = [], []
    for slot, name in enumerate(names):
        other = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
        alone.append(other not in names)
        partner.append(slot if other not in names else names.index(other))
    return partner, alone


def _jittered(batch: Batch, config: AugmentConfig, swing: Tensor) -> Batch:
    gain, offset, colour, turn = (swing[:, k].float().view(-1, 1, 1, 1) for k in range(4))
    luma = batch.y.flatten(3).float()
    luma = (luma - 16.0) * (1.0 + gain * config.luma_gain) + 16.0 + offset * config.luma_offset
    angle = turn * math.radians(config.hue_deg)
    scale = 1.0 + colour * config.saturation
    u, v = (plane.flatten(3).float() - 128.0 for plane in (batch.u, batch.v))
    new_u = scale * (angle.cos() * u - angle.sin() * v) + 128.0
    new_v = scale * (angle.sin() * u + angle.cos() * v) + 128.0
    yuv = torch.cat([luma, new_u, new_v], -1).round().clamp(0, 255).to(torch.uint8)
    return replace(batch, yuv=yuv * batch.camera_mask[:, None, :, None])


def _frozen(batch: Batch, stuck: Tensor) -> Batch:
    """Repeat the last instant that is not stuck; `stuck` is bool [b, t, c]."""
    instants = torch.arange(stuck.shape[1], device=stuck.device)[None, :, None]
    source = torch.where(stuck, 0, instants).cummax(1).values
    return replace(batch, yuv=batch.yuv.gather(1, source[..., None].expand_as(batch.yuv)))


def _dropped(batch: Batch, gone: Tensor) -> Batch:
    black = torch.full_like(batch.yuv[:1, :1, :1], 128)
    black[..., : batch.height_px * batch.width_px] = 16
    gone = gone & batch.camera_mask[:, None]
    return replace(batch, yuv=torch.where(gone[..., None], black, batch.yuv))
