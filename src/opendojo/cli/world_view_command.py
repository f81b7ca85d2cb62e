"""`opendojo world view`: everything one world shows, as one PNG."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Literal

import tyro

from opendojo.cli.show import Progress, parse, print_document
from opendojo.cli.world_options import WorldOptions, world_config

__all__ = ["run_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewArguments(WorldOptions):
    """Draw one world as a PNG: the pictures of all cameras with their names, and the view from
    above with the vehicle in orange. An expert drives for some steps first.
    """

    out: Path = Path("world.png")
    """The picture's file."""
    seed: int = 1_000_000
    """Which world: from 1,000,000 on those kept for judging, below those to train on."""
    steps: int = 30
    """Tenths of a second that the expert drives before the picture is taken."""
    labels: Annotated[
        tuple[Literal["class", "depth", "instance", "flow"], ...], tyro.conf.UseAppendAction
    ] = ()
    """Show the truth about every pixel as well; give it again for more kinds."""
    size: str = "256x128"
    """Width and height in pixels of each picture of the rigs front, three and eight."""


def run_view(arguments: list[str]) -> int:
    """Run the command."""
    chosen = parse(ViewArguments, "world view", arguments, cleandoc(ViewArguments.__doc__ or ""))
    if chosen.steps < 0:
        raise ValueError("--steps must not be below zero")
    if chosen.out.suffix.lower() != ".png":
        raise ValueError(f"--out {chosen.out}: give it the ending .png")
    import torch
    from PIL import Image

    from opendojo.world import World
    from opendojo.world.mosaic import label_rows, mosaic, rgb_of, title_of

    torch.set_num_threads(1)  # one world is too small to share out
    progress = Progress()
    progress("building the town", 0, 1)
    world = World([chosen.seed], world_config(chosen, route_m=max(250.0, 2.0 * chosen.steps)))
    for step in range(chosen.steps):
        progress("driving", step, chosen.steps, "steps")
        world.render()  # a frozen camera shows what it saw before
        world.step(world.expert())
    rows = [("picture", rgb_of(world.render()[0]))]
    if chosen.labels:
        now = world.state
        world.step(world.expert())
        after, world.state = world.scene, now
        rows += label_rows(world, 0, list(dict.fromkeys(chosen.labels)), after)
    picture = mosaic(world, 0, rows)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(chosen.out, "PNG", optimize=True)
    progress.close()
    title = title_of(world, 0)
    if chosen.json:
        height, width = picture.shape[:2]
        cameras = [camera.name for camera in world.config.cameras]
        print_document(
            {"path": str(chosen.out), "title": title, "width_px": width, "height_px": height,
             "cameras": cameras, "labels": list(chosen.labels), "digest": world.digests()[0]}
        )  # fmt: skip
    else:
        print(f"{chosen.out}: {title}")
    return 0
