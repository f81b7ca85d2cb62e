"""A file's traffic lights as signals.

A `Signal` is green once in a period that begins at time 0. Where a file's offsets would let green
run over the period's seam, the lights of an intersection are moved in time together; `shown_at`
tells what they showed in truth, for replays.
"""

from __future__ import annotations

import math

import numpy as np

from opendojo.world.town.commonroad_lanes import Network
from opendojo.world.town.commonroad_signs import Light
from opendojo.world.town.graph import Signal
from opendojo.world.town.signals import Head, cycle, shown

__all__ = ["Lamp", "lay_lights", "shown_at"]

_GREEN_S = 15.0
_ASIDE_M = 0.7
_COLOURS = {"green": 2, "yellow": 1, "inactive": 2}
"""A light that is off lets pass; all other colours are red."""
_DIRECTIONS = ("all", "straight", "leftStraight", "straightRight")
_LINE_UP_RAD = math.radians(45.0)

Lamp = tuple[Signal, Light]
Green = tuple[float, float, float, float]
"""Period, first moment of a green, how long it lasts and the yellow after it; seconds."""


def lay_lights(network: Network) -> list[Lamp]:
    """Signals, and for which lanes: sets `signal` of the tracks that lead up to lights."""
    wanted: dict[int, int] = {}
    for lane in range(len(network.tracks)):
        light = _light(network, lane)
        if light is None:
            continue
        inside = lane in network.turns and network.before[lane]
        for other in network.before[lane] if inside else [lane]:
            if not inside or _light(network, other) is None:
                wanted[other] = light.id
    lamps: list[Lamp] = []
    for group in _groups(network, wanted):
        here = {lane: light for lane, light in wanted.items() if light in group}
        for light, signal in _signals(network, here).items():
            for lane in (lane for lane, other in here.items() if other == light):
                network.tracks[lane].signal = len(lamps)
            lamps.append((signal, network.document.lights[light]))
    return lamps


def _light(network: Network, lane: int) -> Light | None:
    """The light of a lane; of several that for going straight on."""
    every = [network.document.lights[ref] for ref in network.lanelets[lane].lights]
    lit = [one for one in every if one.active and not _off(one)]
    main = [one for one in lit if one.direction in _DIRECTIONS]
    return (main or lit or [None])[0]


def _off(light: Light) -> bool:
    return bool(light.cycle) and all(colour == "inactive" for colour, _ in light.cycle)


def _groups(network: Network, wanted: dict[int, int]) -> list[list[int]]:
    """Lights of one intersection each."""
    place: dict[int, tuple[int, int]] = {}
    for lane, light in wanted.items():
        groups = [network.turns[k].group for k in network.tracks[lane].next if k in network.turns]
        known = [group for group in groups if group >= 0]
        place.setdefault(light, (0, known[0]) if known else (1, light))
    keys = sorted(set(place.values()))
    return [[light for light, own in place.items() if own == key] for key in keys]


def _signals(network: Network, lanes: dict[int, int]) -> dict[int, Signal]:
    """The signals of one intersection, by light; `lanes` has the light of each lane."""
    lights = {light: network.document.lights[light] for light in sorted(set(lanes.values()))}
    heads = {
        light: tuple(_head(network, lane, lights[light]) for lane in _first(lanes, light))
        for light in lights
    }
    step = network.document.step_s
    timed = {light: _green(one, step) for light, one in lights.items() if one.cycle}
    timed = {light: green for light, green in timed.items() if green is not None}
    shift = _shift(list(timed.values()))
    signals = {light: _placed(green, shift, heads[light]) for light, green in timed.items()}
    rest = [light for light in lights if light not in timed]
    phases: list[list[int]] = []
    for light in rest:
        for phase in phases:
            apart = _yaw(network, lanes, light) - _yaw(network, lanes, phase[0])
            if abs(math.sin(apart)) < math.sin(_LINE_UP_RAD):
                phase.append(light)
                break
        else:
            phases.append([light])
    turns = cycle([_GREEN_S] * len(phases), [()] * len(phases)) if phases else []
    for phase, turn in zip(phases, turns, strict=True):
        for light in phase:
            signals[light] = Signal(
                period_s=turn.period_s,
                green_from_s=turn.green_from_s,
                green_to_s=turn.green_to_s,
                yellow_s=turn.yellow_s,
                heads=heads[light],
            )
    return signals


def _first(lanes: dict[int, int], light: int) -> list[int]:
    """One lane for each light is enough to place it: the first."""
    return [lane for lane, other in lanes.items() if other == light][:1]


def _yaw(network: Network, lanes: dict[int, int], light: int) -> float:
    return float(network.tracks[_first(lanes, light)[0]].curve.yaw_rad[-1])


def _head(network: Network, lane: int, light: Light) -> Head:
    """Where the light stands, looking at those who come."""
    yaw = float(network.tracks[lane].curve.yaw_rad[-1])
    if light.place is not None:
        x, y = network.local(np.array([light.place]))[0]
        return float(x), float(y), yaw + math.pi
    one = network.lanelets[lane]
    x, y = network.local((one.left if network.left_hand else one.right)[-1:])[0]
    aside = _ASIDE_M if network.left_hand else -_ASIDE_M
    return float(x) - aside * math.sin(yaw), float(y) + aside * math.cos(yaw), yaw + math.pi


def _green(light: Light, step_s: float) -> Green | None:
    """The longest green of a cycle; None if it has none."""
    colours = np.concatenate([np.full(n, _COLOURS.get(c, 0)) for c, n in light.cycle])
    many = len(colours)
    if not (colours == 2).any():
        return None
    twice = np.concatenate([colours, colours])
    runs = np.flatnonzero(np.diff(np.concatenate([[0], twice == 2, [0]])))
    begins, ends = runs[::2], runs[1::2]
    best = int(np.argmax(ends - begins))
    begin, long = int(begins[best]), min(int(ends[best] - begins[best]), many)
    after = twice[(begin + long) % many :]
    yellow = 0 if long == many else int(np.argmax(after != 1))
    start = (begin + light.offset) % many
    return many * step_s, start * step_s, long * step_s, yellow * step_s


def _shift(greens: list[Green]) -> float:
    """The time by which to move lights so that the least green is lost at the seam."""

    def lost(shift: float) -> float:
        return sum(
            green[2] - (stop - start) for green in greens for start, stop in [_fit(green, shift)]
        )

    choices = [0.0, *(period - start for period, start, _, _ in greens)]
    return min(choices, key=lambda shift: (round(lost(shift), 6), shift))


def _fit(green: Green, shift_s: float) -> tuple[float, float]:
    """From when to when it is green; what would run across the seam is cut to its longer part."""
    period, start, long, yellow = green
    start = (start + shift_s) % period
    if start + long + yellow <= period + 1e-9:
        return start, min(start + long, period - yellow)
    before, after = period - yellow - start, start + long - period
    return (start, period - yellow) if before >= after else (0.0, after)


def _placed(green: Green, shift_s: float, heads: tuple[Head, ...]) -> Signal:
    start, stop = _fit(green, shift_s)
    return Signal(
        period_s=green[0], green_from_s=start, green_to_s=stop, yellow_s=green[3], heads=heads
    )


def shown_at(lamp: Lamp, time_s: float, step_s: float) -> int:
    """0 red, 1 yellow, 2 green at a time of the recording."""
    signal, light = lamp
    if not any(colour == "green" for colour, _ in light.cycle):
        return shown(signal, time_s)
    period = sum(steps for _, steps in light.cycle)
    at = (math.floor(time_s / step_s + 1e-6) - light.offset) % period
    for colour, steps in light.cycle:
        if at < steps:
            return _COLOURS.get(colour, 0)
        at -= steps
    raise AssertionError
