"""Small towns made by hand: a straight road, a bend, a T crossing."""

from __future__ import annotations

import math

import numpy as np

from opendojo.world.town.graph import (
    Area,
    Conflict,
    Lane,
    Line,
    Signal,
    Static,
    Town,
    Walk,
    stations,
)


def lane(x, y, **rest):
    xs, ys, yaw, curvature, length = stations(np.asarray(x, float), np.asarray(y, float))
    rest.setdefault("width_m", 3.5)
    rest.setdefault("limit_mps", 13.9)
    return Lane(x_m=xs, y_m=ys, yaw_rad=yaw, curvature=curvature, length_m=length, **rest)


def line(x, y, **rest):
    return Line(x_m=np.asarray(x, float), y_m=np.asarray(y, float), **rest)


def area(kind, x, y):
    return Area(kind=kind, x_m=np.asarray(x, float), y_m=np.asarray(y, float))


def box(kind, low_x, low_y, high_x, high_y):
    return area(kind, [low_x, high_x, high_x, low_x], [low_y, low_y, high_y, high_y])


def straight(length=200.0, yaw=0.0):
    """Two lanes each its own way, on the right, along a line turned by yaw."""
    c, s = math.cos(yaw), math.sin(yaw)

    def at(along, left):
        along, left = np.broadcast_arrays(np.asarray(along, float), np.asarray(left, float))
        return along * c - left * s, along * s + left * c

    t = np.linspace(0.0, length, int(length) + 1)
    ends = np.array([0.0, length])
    corners = at([0.0, length, length, 0.0], [-4.0, -4.0, 4.0, 4.0])
    return Town(
        name="straight",
        left_hand=False,
        lanes=(lane(*at(t, -1.75)), lane(*at(t[::-1], 1.75))),
        lines=(
            line(*at(ends, 0.0), dash_m=3.0, gap_m=6.0),
            line(*at(ends, 3.6)),
            line(*at(ends, -3.6), width_m=0.25, yellow=True),
        ),
        areas=(area("road", *corners),),
    )


def arc(radius=30.0, turn=math.pi / 2):
    """A left bend of two lanes, its middle's arc round (0, radius), from (0, 0)."""
    a = np.linspace(0.0, turn, 4 * int(radius * turn) + 1)

    def at(left, a=a):
        return (radius - left) * np.sin(a), radius - (radius - left) * np.cos(a)

    inner, outer = at(4.0), at(-4.0)
    corners = [np.concatenate([o, i[::-1]]) for o, i in zip(outer, inner, strict=True)]
    return Town(
        name="arc",
        left_hand=False,
        lanes=(lane(*at(-1.75)), lane(*at(1.75, a[::-1]))),
        lines=(
            line(*at(0.15), yellow=True),
            line(*at(-0.15), yellow=True),
            line(*at(3.6)),
            line(*at(-3.6)),
        ),
        areas=(area("road", *corners),),
    )


def crossing():
    """A T: a street along x, another from the south; a light, a walk; every lane leads on but four.

    Lanes: 0 comes from the west, 1 from the east, 2 from the south; 3 leaves to the east, 4 to the
    west, 5 to the south; 6 west-east, 7 west-south (right), 8 east-west, 9 east-south (left),
    10 south-east (right), 11 south-west (left).
    """
    far, near = 100.0, 10.0

    def turn(x0, y0, x1, y1, cx, cy):
        u = np.linspace(0.0, 1.0, 200)
        return (1 - u) ** 2 * x0 + 2 * u * (1 - u) * cx + u * u * x1, (1 - u) ** 2 * y0 + 2 * u * (
            1 - u
        ) * cy + u * u * y1

    w = 1.75
    clash = Conflict(lane=8, from_m=5.0, to_m=9.0, other_from_m=12.0, other_to_m=17.0, yields=True)
    lanes = (
        lane([-far, -near], [-w, -w], next=(6, 7), signal=0, stop_m=far - near - 1.0),
        lane([far, near], [w, w], next=(8, 9), signal=0, stop_m=far - near - 1.0),
        lane([w, w], [-far, -near], next=(10, 11), stop_m=far - near - 1.0),
        lane([near, far], [-w, -w]),
        lane([-near, -far], [w, w]),
        lane([-w, -w], [-near, -far]),
        lane([-near, near], [-w, -w], next=(3,), kind="junction"),
        lane(*turn(-near, -w, -w, -near, -w, -w), next=(5,), kind="junction"),
        lane([near, -near], [w, w], next=(4,), kind="junction"),
        lane(*turn(near, w, -w, -near, -w, w), next=(5,), kind="junction"),
        lane(*turn(w, -near, near, -w, w, -w), next=(3,), kind="junction"),
        lane(*turn(w, -near, -near, w, w, w), next=(4,), kind="junction", conflicts=(clash,)),
    )
    walk_x, walk_y, walk_yaw, _, walk_length = stations(
        np.array([-14.0, -14.0]), np.array([-5.0, 5.0])
    )
    return Town(
        name="crossing",
        left_hand=False,
        lanes=lanes,
        lines=(
            line([-far, -near], [0, 0], yellow=True),
            line([near, far], [0, 0], dash_m=3.0, gap_m=3.0),
            line([0, 0], [-far, -near], dash_m=3.0, gap_m=3.0),
            line([-far, far], [3.6, 3.6]),
        ),
        areas=(
            box("sidewalk", -far, 4.0, far, 7.0),
            box("road", -far, -4.0, -near, 4.0),
            box("road", near, -4.0, far, 4.0),
            box("road", -4.0, -far, 4.0, -near),
            area(
                "road",
                [-near, -4.0, 4.0, near, near, -near],
                [-4.0, -near, -near, -4.0, 4.0, 4.0],
            ),
            box("crossing", -16.0, -4.0, -12.0, 4.0),
            box("stop", -11.4, -3.5, -11.0, 0.0),
            box("island", 40.0, -0.6, 50.0, 0.6),
        ),
        signals=(
            Signal(
                period_s=30.0,
                green_from_s=5.0,
                green_to_s=15.0,
                heads=((-11.0, -5.0, math.pi), (11.0, 1.75, 0.0)),
            ),
        ),
        walks=(Walk(x_m=walk_x, y_m=walk_y, yaw_rad=walk_yaw, length_m=walk_length, width_m=4.0),),
        statics=(
            Static(
                kind="building",
                x_m=20.0,
                y_m=15.0,
                yaw_rad=0.1,
                length_m=12.0,
                width_m=8.0,
                base_m=0.0,
                top_m=6.0,
            ),
            Static(
                kind="tree",
                x_m=-30.0,
                y_m=9.0,
                yaw_rad=0.0,
                length_m=3.0,
                width_m=3.0,
                base_m=2.0,
                top_m=6.0,
            ),
        ),
        starts=(0, 2),
    )
