"""Made-up CommonRoad files: a crossing of two roads with lights, signs and a crosswalk; a road.

Arm k of the crossing points to k * 90 degrees. Lanelet 100 + k comes in on it and 200 + k goes out;
inside, 400 + k, 500 + k and 600 + k lead from it to the left, straight on and to the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from opendojo.world.town.commonroad import Scenario, read
from opendojo.world.town.graph import Lane
from opendojo.world.traffic.agents import Neighbour

W = 3.5  # lane width
MOUTH, FAR = 12.0, 80.0
AWAY = (4_000_000.0, -2_000_000.0)  # as a map in some national grid


def arm(k: int, ahead: float, left: float) -> tuple[float, float]:
    """A point of arm k, seen from the middle of the crossing outwards."""
    a = k * math.pi / 2.0
    x, y = ahead * math.cos(a) - left * math.sin(a), ahead * math.sin(a) + left * math.cos(a)
    return x + AWAY[0], y + AWAY[1]


def bound(tag: str, points: Sequence[tuple[float, float]], marking: str = "") -> str:
    listed = "".join(f"<point><x>{x!r}</x><y>{y!r}</y></point>" for x, y in points)
    drawn = f"<lineMarking>{marking}</lineMarking>" if marking else ""
    return f"<{tag}>{listed}{drawn}</{tag}>"


def lanelet(key: int, left, right, *rest: str, marks: tuple[str, str] = ("", "")) -> str:
    sides = bound("leftBound", left, marks[0]) + bound("rightBound", right, marks[1])
    return f'<lanelet id="{key}">{sides}{"".join(rest)}</lanelet>'


def refs(tag: str, *keys: int, more: str = "") -> str:
    return "".join(f'<{tag} ref="{key}"{more}/>' for key in keys)


def turn(k: int, j: int, inner: float, outer: float) -> tuple[list, list]:
    """Bounds of a way from arm k to arm j: cubics between the two mouths."""
    bounds = []
    for into, out in ((0.0, 0.0), (W, -W)):
        a, b = arm(k, MOUTH, into), arm(j, MOUTH, out)
        pull = inner if into == 0.0 else outer
        c, d = arm(k, MOUTH - pull, into), arm(j, MOUTH - pull, out)
        weights = [
            ((1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3)
            for u in (i / 12.0 for i in range(13))
        ]
        bounds.append(
            [
                tuple(sum(w * p[i] for w, p in zip(ws, (a, c, d, b), strict=True)) for i in (0, 1))
                for ws in weights
            ]
        )
    return bounds[0], bounds[1]


def crossing_xml(*, lights: bool = True, signs: str = "", country: str = "DEU", extra="") -> str:
    """The file's text. `signs`: numbers of traffic signs before arms 0 and 2, with a comma."""
    parts = []
    for k in range(4):
        own = refs("trafficLightRef", 900 + k) if lights else ""
        if signs and k % 2 == 0:
            own += refs("trafficSignRef", 950)
        ahead = [100 + k, 200 + k]
        j = [(k + d) % 4 for d in (1, 2, 3)]
        inside = [600 + k, 500 + k, 400 + k]  # by arm: 1 on is to the right of who comes in
        stop = "<stopLine><lineMarking>solid</lineMarking></stopLine>" if lights else ""
        near, far = arm(k, MOUTH, 0.0), arm(k, FAR, 0.0)
        rim = [arm(k, MOUTH, W), arm(k, FAR, W)]
        # who comes in keeps right: seen outwards that is on the left
        parts.append(
            lanelet(
                ahead[0],
                [far, near],
                rim[::-1],
                refs("successor", *inside),
                refs("adjacentLeft", ahead[1], more=' drivingDir="opposite"'),
                stop,
                "<laneletType>urban</laneletType>",
                own,
                marks=("dashed", "solid"),
            )
        )
        inner_rim = [arm(k, MOUTH, -W), arm(k, FAR, -W)]
        into = [600 + (k + 3) % 4, 500 + (k + 2) % 4, 400 + (k + 1) % 4]
        parts.append(
            lanelet(
                ahead[1],
                [near, far],
                inner_rim,
                refs("predecessor", *into),
                refs("adjacentLeft", ahead[0], more=' drivingDir="opposite"'),
                "<laneletType>country</laneletType>",
            )
        )
        pulls = ((9.0, 6.0), (8.0, 8.0), (6.0, 9.0))
        for key, end, pull in zip(inside, j, pulls, strict=True):
            left, right = turn(k, end, *pull)
            parts.append(
                lanelet(
                    key,
                    left,
                    right,
                    refs("predecessor", 100 + k),
                    refs("successor", 200 + end),
                    refs("trafficSignRef", 951) if key == 500 else "",
                )
            )
    walk = [arm(0, 14.0, -5.0), arm(0, 14.0, 5.0)], [arm(0, 17.0, -5.0), arm(0, 17.0, 5.0)]
    parts.append(lanelet(700, *walk, "<laneletType>crosswalk</laneletType>"))
    post = '<trafficSign id="{}">{}</trafficSign>'
    element = (
        "<trafficSignElement><trafficSignID>{}</trafficSignID>"
        "<additionalValue>{}</additionalValue></trafficSignElement>"
    )
    if signs:
        parts.append(post.format(950, element.format(signs, "")))
    parts.append(post.format(951, element.format(274, 8.25)))
    for k in range(4) if lights else ():
        order = ("green", 90), ("yellow", 30), ("red", 130)
        cycle = "".join(
            f"<cycleElement><duration>{n}</duration><color>{c}</color></cycleElement>"
            for c, n in order
        )
        offset = 200 if k % 2 == 0 else 75
        x, y = arm(k, MOUTH, W + 1.0)
        place = f"<position><point><x>{x}</x><y>{y}</y></point></position>" if k == 0 else ""
        parts.append(
            f'<trafficLight id="{900 + k}"><cycle>{cycle}<timeOffset>{offset}</timeOffset></cycle>'
            f"{place}<direction>all</direction><active>true</active></trafficLight>"
        )
    ways = "".join(
        f'<incoming id="{800 + k}">{refs("incomingLanelet", 100 + k)}'
        f"{refs('successorsRight', 600 + k)}{refs('successorsStraight', 500 + k)}"
        f"{refs('successorsLeft', 400 + k)}</incoming>"
        for k in range(4)
    )
    parts.append(f'<intersection id="899">{ways}</intersection>')
    parts.append(extra)
    return header(country) + "".join(parts) + "</commonRoad>"


def header(country: str = "DEU", version: str = "2020a") -> str:
    return (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<commonRoad timeStepSize="0.1" commonRoadVersion="{version}" author="a" affiliation="b" '
        f'source="c" benchmarkID="{country}_Made-1_1_T-1" date="2020-01-01" tags="urban">'
        "<location><geoNameId>-999</geoNameId><gpsLatitude>999</gpsLatitude>"
        "<gpsLongitude>999</gpsLongitude></location><scenarioTags><urban/></scenarioTags>"
    )


def state(tag: str, step: int, x: float, y: float, yaw: float, speed: float) -> str:
    parts = (("orientation", yaw), ("time", step), ("velocity", speed))
    exact = "".join(f"<{name}><exact>{v}</exact></{name}>" for name, v in parts)
    place = f"<position><point><x>{x!r}</x><y>{y!r}</y></point></position>"
    return f"<{tag}>{place}{exact}</{tag}>"


def car(key: int, poses: Sequence[tuple[float, float, float, float]], first: int = 0) -> str:
    """A car at x, y, yaw, speed, a time step apart."""
    shape = "<shape><rectangle><length>4.5</length><width>1.8</width></rectangle></shape>"
    path = "".join(state("state", first + 1 + i, *pose) for i, pose in enumerate(poses[1:]))
    begin = state("initialState", first, *poses[0])
    return (
        f'<dynamicObstacle id="{key}"><type>car</type>{shape}{begin}'
        f"<trajectory>{path}</trajectory></dynamicObstacle>"
    )


def written(folder: Path, text: str, name: str = "made.xml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def crossing(folder: Path, *, extra: str = "", **rest) -> Scenario:
    return read(written(folder, crossing_xml(extra=extra, **rest)))


def straight(count: int, types: str = "urban", marks: tuple[str, str] = ("", "")) -> str:
    """Lanelets 1, 2, ... side by side from right to left, all one way, 60 m long."""
    parts = []
    for k in range(count):
        y = 3.5 * k
        beside = refs("adjacentRight", k, more=' drivingDir="same"') if k else ""
        if k + 1 < count:
            beside += refs("adjacentLeft", k + 2, more=' drivingDir="same"')
        parts.append(
            lanelet(
                k + 1,
                [(0.0, y + 3.5), (60.0, y + 3.5)],
                [(0.0, y), (60.0, y)],
                beside,
                f"<laneletType>{types}</laneletType>",
                marks=marks,
            )
        )
    return "".join(parts)


def map_of(folder: Path, inner: str, version: str = "2020a") -> Scenario:
    text = header(version=version) + inner + "</commonRoad>"
    return read(written(folder, text))


def neighbour(n: int) -> Neighbour:
    """An ego somewhere."""
    zero = torch.zeros(n)
    return Neighbour(
        x_m=zero, y_m=zero, yaw_rad=zero, speed_mps=zero, length_m=4.5, width_m=1.9,
        lane=torch.zeros(n, dtype=torch.int64), s_m=zero, d_m=zero,
    )  # fmt: skip


CAR = car(77, [(10.0, 1.75, 0.0, 5.0), (10.5, 1.75, 0.0, 5.0), (11.0, 1.75, 0.0, 5.0)])


def end_of(lane: Lane) -> tuple[float, float, float]:
    k = math.floor(lane.length_m)
    u = lane.length_m - k
    ends = (v[k] + u * (v[k + 1] - v[k]) for v in (lane.x_m, lane.y_m, lane.yaw_rad))
    x, y, yaw = (float(v) for v in ends)
    return x, y, yaw


def turned(angle: float) -> float:
    return abs((angle + math.pi) % (2.0 * math.pi) - math.pi)
