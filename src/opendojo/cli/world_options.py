"""Options of every command that makes a world: towns, preset, rig, agents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from opendojo.cli.show import Common

if TYPE_CHECKING:
    from opendojo.clip import Camera
    from opendojo.world import WorldConfig

__all__ = ["WorldOptions", "map_files", "world_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions(Common):
    """What kind of world."""

    towns: Annotated[
        tuple[Literal["country", "urban", "roundabout", "highway", "mixed"], ...],
        tyro.conf.UseAppendAction,
    ] = ()
    """Kind of town; give it again for more kinds, taken in turn. All kinds by default."""
    map: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A CommonRoad file to drive on in place of towns, among its recorded road users; a folder
    means all its *.xml; give it again for more files, taken in turn."""
    traffic: Literal["recorded", "drawn"] = "recorded"
    """With --map: the road users of the file, or traffic as in towns."""
    preset: Literal["clean", "hard", "adversarial"] = "clean"
    """Traffic, weather and camera faults together. With clean all keep the rules in dry daylight;
    hard adds rule breakers, rain, night, noise and faults; adversarial is for judging alone."""
    rig: str = "three"
    """Cameras: front, three, eight, or a TOML file that lists your own."""
    size: str = "128x64"
    """Width and height in pixels of each picture of the rigs front, three and eight."""
    agents: int = 16
    """Most other road users around the vehicle."""


def world_config(chosen: WorldOptions, *, route_m: float = 250.0) -> WorldConfig:
    """The configuration that the options ask for; `ValueError` says what to mend."""
    from opendojo.world import TOWNS, WorldConfig

    return WorldConfig(
        cameras=_cameras(chosen),
        towns=chosen.towns or TOWNS,
        maps=map_files(chosen.map),
        traffic=chosen.traffic,
        preset=chosen.preset,
        agents=chosen.agents,
        route_m=route_m,
    )


def map_files(paths: tuple[Path, ...]) -> tuple[str, ...]:
    """The files that --map names, folders opened; `ValueError` where there is none."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.xml")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            raise ValueError(f"--map {path}: there is no such file, or no .xml in that folder")
        files += found
    return tuple(str(file) for file in files)


def _cameras(chosen: WorldOptions) -> tuple[Camera, ...]:
    from opendojo.world import front_only, front_three, read_rig, tesla_eight

    shipped = {"front": front_only, "three": front_three, "eight": tesla_eight}
    if chosen.rig in shipped:
        return shipped[chosen.rig](*_pixels(chosen.size))
    path = Path(chosen.rig)
    if path.suffix != ".toml" and not path.exists():
        raise ValueError(f"--rig {chosen.rig}: give front, three, eight or a TOML file")
    return read_rig(path)


def _pixels(size: str) -> tuple[int, int]:
    width, cross, height = size.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--size {size}: give width and height as in 128x64")
    if not (8 <= int(width) <= 4096 and 8 <= int(height) <= 4096):
        raise ValueError(f"--size {size}: give sides from 8 to 4096 pixels")
    return int(width), int(height)
