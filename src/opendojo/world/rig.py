"""Rigs as data: which cameras a vehicle carries, shipped ones, from a file, and slightly wrong.

    rig = tesla_eight()                     # 8 cameras of 128x64
    rigs = perturbed(rig, range(64))        # one rig a world, each a little off
    rig = read_rig(Path("mine.toml"))

A file lists cameras, and may give what they share:

    width_px = 128
    height_px = 64

    [[camera]]
    name = "front"
    fov_deg = 70                            # or fx_px, fy_px and if wanted cx_px, cy_px
    x_m = 1.6
    z_m = 1.4
    pitch_deg = 2                           # also y_m, yaw_deg, roll_deg; 0 where left out

    [[camera]]
    name = "rear"
    lens = "kannala-brandt"                 # else "pinhole"
    distortion = [-0.01, 0.002]
    fov_deg = 130
    x_m = -0.9
    z_m = 0.9
    yaw_deg = 180
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from opendojo.clip import Camera, Pose
from opendojo.world.exact import hashed

__all__ = [
    "check_rig",
    "fisheye",
    "front_only",
    "front_three",
    "perturbed",
    "read_rig",
    "tesla_eight",
]

_DISTORTION = (-0.012, 0.0015, 0.0, 0.0)
"""Of the shipped fisheye lenses: nearly equidistant, as such lenses are built."""
_MOUNT = ("x_m", "y_m", "z_m", "roll_deg", "pitch_deg", "yaw_deg")
_FOCAL = ("fx_px", "fy_px", "cx_px", "cy_px")
_SHARED = ("width_px", "height_px")
_KEYS = ("name", "fov_deg", "lens", "distortion", *_SHARED, *_FOCAL, *_MOUNT)
_NAME = 0x1216


def fisheye(
    name: str,
    width_px: int,
    height_px: int,
    fov_deg: float,
    *,
    distortion: tuple[float, ...] = _DISTORTION,
    mount: Pose | None = None,
) -> Camera:
    """A Kannala-Brandt camera whose picture spans `fov_deg` between its left and right rims."""
    angle = math.radians(fov_deg) / 2.0
    bent = angle + sum(k * angle ** (2 * i + 3) for i, k in enumerate(distortion))
    focal = width_px / (2.0 * bent)
    return Camera(
        name=name,
        width_px=width_px,
        height_px=height_px,
        fx_px=focal,
        fy_px=focal,
        cx_px=(width_px - 1) / 2.0,
        cy_px=(height_px - 1) / 2.0,
        lens="kannala-brandt",
        distortion=distortion,
        mount=mount or Pose(),
    )


def tesla_eight(width_px: int = 128, height_px: int = 64) -> tuple[Camera, ...]:
    """Eight cameras that see all around.

    Tesla-like, not Tesla's: the number, the places and the rough fields of view are those that the
    maker has published for its cars; lenses, sizes and exact mounts are guesses.
    """
    size = width_px, height_px

    def mount(x: float, y: float, z: float, yaw_deg: float, pitch_deg: float = 0.0) -> Pose:
        yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        return Pose(x_m=x, y_m=y, z_m=z, yaw_rad=yaw, pitch_rad=pitch)

    def plain(name: str, fov_deg: float, at: Pose) -> Camera:
        return Camera.with_fov(name, *size, fov_deg, mount=at)

    return (
        plain("front_narrow", 35.0, mount(1.75, 0.03, 1.4, 0.0)),
        plain("front_main", 50.0, mount(1.75, 0.0, 1.4, 0.0)),
        fisheye("front_wide", *size, 120.0, mount=mount(1.75, -0.03, 1.4, 0.0)),
        plain("left_pillar", 90.0, mount(1.15, 0.85, 1.2, 60.0)),
        plain("right_pillar", 90.0, mount(1.15, -0.85, 1.2, -60.0)),
        plain("left_fender", 75.0, mount(2.3, 0.95, 0.95, 145.0)),
        plain("right_fender", 75.0, mount(2.3, -0.95, 0.95, -145.0)),
        fisheye("rear", *size, 130.0, mount=mount(-0.9, 0.0, 0.95, 180.0, 8.0)),
    )


def front_three(width_px: int = 128, height_px: int = 64) -> tuple[Camera, ...]:
    """Front, left and right cameras that together see some 200 degrees; level."""

    def camera(name: str, fov_deg: float, x_m: float, y_m: float, yaw_deg: float) -> Camera:
        mount = Pose(x_m=x_m, y_m=y_m, z_m=1.4, yaw_rad=math.radians(yaw_deg))
        return Camera.with_fov(name, width_px, height_px, fov_deg, mount=mount)

    return (
        camera("front", 70.0, 1.6, 0.0, 0.0),
        camera("left", 80.0, 1.4, 0.5, 55.0),
        camera("right", 80.0, 1.4, -0.5, -55.0),
    )


def front_only(width_px: int = 128, height_px: int = 64) -> tuple[Camera, ...]:
    """The front camera of `front_three` alone."""
    return front_three(width_px, height_px)[:1]


def check_rig(cameras: Sequence[Camera], source: str = "rig") -> tuple[Camera, ...]:
    """The cameras, if the world can draw them; else `ValueError` says what to mend."""
    if not cameras:
        raise ValueError(f"{source}: no camera; give at least one")
    first = cameras[0]
    names = [camera.name for camera in cameras]
    for camera in cameras:
        where = f"{source}: camera {camera.name!r}"
        if names.count(camera.name) > 1:
            raise ValueError(f"{where} is there twice; give each its own name")
        if camera.width_px % 2 or camera.height_px % 4:
            size = f"{camera.width_px}x{camera.height_px}"
            raise ValueError(f"{where}: {size} pixels; make the width even, the height fourfold")
        if (camera.width_px, camera.height_px) != (first.width_px, first.height_px):
            raise ValueError(f"{where}: give all cameras one picture size")
        if not (camera.fx_px > 0.0 and camera.fy_px > 0.0):
            raise ValueError(f"{where}: focal lengths must be above zero")
        if camera.mount.z_m <= 0.0:
            raise ValueError(f"{where}: z_m is {camera.mount.z_m}; mount it above the ground")
    return tuple(cameras)


def read_rig(path: Path) -> tuple[Camera, ...]:
    """The cameras of a TOML file, see the top of this module; `ValueError` names the fault."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no TOML: {error}") from error
    shared = {key: value for key, value in table.items() if key != "camera"}
    _known(shared, _SHARED, f"{path}")
    entries = table.get("camera", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: list cameras as [[camera]]")
    cameras = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: camera {number}: give it a name")
        cameras.append(_camera({**shared, **entry}, f"{path}: camera {name!r}"))
    return check_rig(cameras, str(path))


def _known(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            raise ValueError(f"{where}: {key!r} is not known; use {', '.join(keys)}")


def _number(table: Mapping[str, Any], key: str, where: str, default: float = 0.0) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {key} is {value!r}; give a number")
    return float(value)


def _camera(entry: Mapping[str, Any], where: str) -> Camera:
    """One camera from its table."""
    _known(entry, _KEYS, where)
    size = [entry.get(key) for key in _SHARED]
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"{where}: give width_px and height_px as whole numbers above zero")
    lens = entry.get("lens", "pinhole")
    if lens not in ("pinhole", "kannala-brandt"):
        raise ValueError(f"{where}: lens is {lens!r}; use 'pinhole' or 'kannala-brandt'")
    bends = entry.get("distortion", [])
    if not isinstance(bends, list) or len(bends) > 4 or (bends and lens == "pinhole"):
        raise ValueError(f"{where}: distortion is a list of k1 to k4 of a kannala-brandt lens")
    bends = tuple(_number({"distortion": k}, "distortion", where) for k in bends)
    place = {key.replace("_deg", "_rad"): _number(entry, key, where) for key in _MOUNT}
    mount = Pose(**{k: math.radians(v) if k.endswith("_rad") else v for k, v in place.items()})
    name, (width, height) = entry["name"], (int(side) for side in size if side)
    if "fov_deg" in entry:
        if any(key in entry for key in _FOCAL):
            raise ValueError(f"{where}: give fov_deg or fx_px and fy_px, not both")
        fov = _number(entry, "fov_deg", where)
        most = 180.0 if lens == "pinhole" else 360.0
        if not 0.0 < fov < most:
            raise ValueError(f"{where}: fov_deg is {fov}; give it between 0 and {most:.0f}")
        if lens == "pinhole":
            return Camera.with_fov(name, width, height, fov, mount=mount)
        return fisheye(name, width, height, fov, distortion=bends, mount=mount)
    if "fx_px" not in entry:
        raise ValueError(f"{where}: give fov_deg, or fx_px and fy_px")
    fx = _number(entry, "fx_px", where)
    return Camera(
        name=name,
        width_px=width,
        height_px=height,
        fx_px=fx,
        fy_px=_number(entry, "fy_px", where, fx),
        cx_px=_number(entry, "cx_px", where, (width - 1) / 2.0),
        cy_px=_number(entry, "cy_px", where, (height - 1) / 2.0),
        lens=lens,
        distortion=bends,
        mount=mount,
    )


def perturbed(
    cameras: Sequence[Camera],
    seeds: Sequence[int],
    *,
    angle_deg: float = 2.0,
    shift_m: float = 0.05,
    focal: float = 0.02,
) -> tuple[tuple[Camera, ...], ...]:
    """One rig a world: the same cameras, mounted and focused a little wrong.

    Each error is uniform between plus and minus the given size and a function of the world's seed
    and the camera's place in the rig alone.

    Args:
        cameras: The rig as it should be.
        seeds: Of the worlds.
        angle_deg: Largest error of yaw, pitch and roll.
        shift_m: Largest error of the mount along each axis.
        focal: Largest error of the focal length, as a share.
    """
    seed = torch.tensor([[[value & (2**63 - 1)]] for value in seeds], dtype=torch.int64)
    count = torch.arange(len(cameras))[:, None]
    key = hashed(
        seed & 0xFFFFFFFF, seed >> 32, torch.full_like(seed, _NAME), count, torch.arange(7)
    )
    draws = (key.to(torch.float64) + 0.5) / 2.0**31 - 1.0
    turn = math.radians(angle_deg)

    def off(camera: Camera, draw: list[float]) -> Camera:
        scale, mount = 1.0 + focal * draw[6], camera.mount
        return dataclasses.replace(
            camera,
            fx_px=camera.fx_px * scale,
            fy_px=camera.fy_px * scale,
            mount=Pose(
                x_m=mount.x_m + shift_m * draw[0],
                y_m=mount.y_m + shift_m * draw[1],
                z_m=mount.z_m + shift_m * draw[2],
                roll_rad=mount.roll_rad + turn * draw[3],
                pitch_rad=mount.pitch_rad + turn * draw[4],
                yaw_rad=mount.yaw_rad + turn * draw[5],
            ),
        )

    return tuple(
        tuple(off(camera, draw) for camera, draw in zip(cameras, row, strict=True))
        for row in draws.tolist()
    )
