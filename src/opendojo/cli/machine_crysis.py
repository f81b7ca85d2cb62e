"""`opendojo machine crysis`: can it run Crysis, at a billion frames a second."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from opendojo.cli.show import Common, parse, print_document

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crysis(Common):
    """Frame size, arithmetic, machines and watts of a rate of frames. Modelled, with ranges.

    The work of a pixel follows from a measured rate of frames of the game on one card.
    """

    width: int = 3840
    """Pixels across."""
    height: int = 2160
    """Pixels down."""
    fps: float = 1e9
    """Frames a second, all screens together."""
    game: str = "2007"
    """`2007` or `remastered`."""
    chips: tuple[str, ...] = ("GTX 1080 Ti", "RTX 4090", "H100", "B200", "D1", "dojo1", "dojo2")
    """Chips to count, by name or alias."""


def run(arguments: list[str]) -> int:
    """Print the answer."""
    from opendojo.machine.crysis import render

    chosen = parse(Crysis, "machine crysis", arguments, Crysis.__doc__ or "")
    answer = render(chosen.width, chosen.height, chosen.fps, game=chosen.game, chips=chosen.chips)
    if chosen.json:
        print_document({"kind": "modelled", **dataclasses.asdict(answer)})
        return 0
    print(
        f"{answer.game}, {answer.width_px} x {answer.height_px}, "
        f"{answer.frames_per_s:,.4g} frames/s"
    )
    print(f"  a frame      {answer.frame_bytes / 1e6:.1f} MB of RGB8, all of them "
          f"{answer.bytes_per_s:.3g} B/s")  # fmt: skip
    print(f"  arithmetic   {answer.flops_per_pixel:,.0f} FLOP a pixel, {answer.flops_per_s:.3g} "
          "FLOP/s of rated fp32")  # fmt: skip
    print(f"  game logic   {answer.game_logic_cores:,.3g} processor cores at 120 frames/s each")
    for one in answer.machines:
        print(f"  {one.chip:<26}{one.count:>12,.3g} ({one.low:.2g} to {one.high:.2g}), "
              f"{one.megawatts:,.3g} MW, up to {one.megawatts_high:,.3g}"
              + (f"; {one.note}" if one.note else ""))  # fmt: skip
    print(
        f"  our world    {answer.own_two_core_machines:,.3g} machines of two cores would draw "
        f"this project's plain pictures at that rate, {answer.own_flops_per_s:.3g} FLOP/s"
    )
    print(f"from {answer.source}")
    print(
        "Yes: as many games side by side. No: in one game, where light goes 30 cm in a nanosecond."
    )
    return 0
