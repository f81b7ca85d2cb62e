"""Towns of streets: a plan of nodes and edges becomes streets, junctions and roundabouts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from opendojo.world.town.block_curves import route
from opendojo.world.town.block_draft import Draft
from opendojo.world.town.block_junction import Junction, lay_junction, plan_junction
from opendojo.world.town.block_ring import Ring, lay_ring, plan_ring
from opendojo.world.town.block_streets import Arm, Street, lay_street
from opendojo.world.town.spec import Range, TownSpec

__all__ = ["Edge", "Plan", "draw", "grid_plan", "lay_network", "wheel_plan"]

_CLEAR_M = 30.0  # straight at least this far from a junction's middle
_NARROW_RAD = math.radians(58.0)  # no two arms are nearer
_BEND_ROOM_M = 10.0  # from there to a corner that is rounded off
_BEND_M = (60.0, 150.0)  # radius of bends between junctions


@dataclass(slots=True, kw_only=True)
class Edge:
    """A street's piece between two nodes."""

    nodes: tuple[int, int]
    ways: int = 1
    via: list[tuple[float, float]] = field(default_factory=list)
    """Points passed on the way from the first node to the second."""
    radius_m: float = 0.0
    """Of its bends; 0 to have them drawn."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """Nodes at x, y [n, 2] and edges. A node with two edges is a mere bend."""

    places: np.ndarray
    edges: list[Edge]
    rings: dict[int, float] = field(default_factory=dict)
    """Radius of the roundabout at a node."""
    bends: dict[int, float] = field(default_factory=dict)
    """Radius of the road at a node that is a mere bend."""

    def at(self, node: int) -> list[int]:
        """The edges of a node."""
        return [i for i, edge in enumerate(self.edges) if node in edge.nodes]

    def place(self, node: int) -> tuple[float, float]:
        """Where a node lies."""
        return float(self.places[node, 0]), float(self.places[node, 1])


def draw(rng: np.random.Generator, span: Range) -> float:
    """A uniform draw from a range."""
    return float(rng.uniform(*span))


def grid_plan(rng: np.random.Generator, spec: TownSpec) -> Plan:
    """A grid of junctions, jittered; some inner streets are missing; one ring if it is mixed."""
    sides = [int(rng.integers(spec.nodes[0], spec.nodes[1] + 1)) for _ in range(2)]
    columns, rows = max(sides), min(sides)
    xs = np.concatenate([[0.0], np.cumsum(rng.uniform(*spec.block_m, columns - 1))])
    ys = np.concatenate([[0.0], np.cumsum(rng.uniform(*spec.block_m, rows - 1))])
    places = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    lean = draw(rng, spec.skew_rad)
    places += rng.uniform(-0.35, 0.35, places.shape) * math.tan(lean) * spec.block_m[0]
    inner = [r * columns + c for r in range(1, rows - 1) for c in range(1, columns - 1)]
    rings: dict[int, float] = {}
    if spec.kind == "mixed":
        rings[int(rng.choice(inner))] = draw(rng, spec.ring_m)
    wide = _avenues(rng, spec, columns, rows, set(rings))
    edges = []
    for r in range(rows):
        for c in range(columns):
            node = r * columns + c
            if c + 1 < columns:
                edges.append(Edge(nodes=(node, node + 1), ways=2 if ("row", r) in wide else 1))
            if r + 1 < rows:
                ways = 2 if ("column", c) in wide else 1
                edges.append(Edge(nodes=(node, node + columns), ways=ways))
    plan = Plan(places=places, edges=edges, rings=rings)
    _thin_out(rng, plan, set(inner))
    for edge in plan.edges:
        _bow(rng, plan, edge, lean)
    for node in range(len(places)):
        plan.bends[node] = draw(rng, spec.radius_m)
    return plan


def _avenues(
    rng: np.random.Generator, spec: TownSpec, columns: int, rows: int, rings: set[int]
) -> set[tuple[str, int]]:
    """Inner rows and columns with two lanes a way, clear of roundabouts."""
    wide: set[tuple[str, int]] = set()
    for name, count in (("row", rows), ("column", columns)):
        free = [
            line
            for line in range(1, count - 1)
            if all((n // columns if name == "row" else n % columns) != line for n in rings)
        ]
        number = min(int(rng.integers(spec.avenues[0], spec.avenues[1] + 1)), len(free))
        wide |= {(name, int(line)) for line in rng.permutation(free)[:number]}
    return wide


def _thin_out(rng: np.random.Generator, plan: Plan, inner: set[int]) -> None:
    """Take away narrow edges between X crossings, so that T crossings are left."""
    for i in rng.permutation(len(plan.edges)):
        edge = plan.edges[i]
        full = all(len(plan.at(n)) == 4 and n not in plan.rings for n in edge.nodes)
        if full and edge.ways == 1 and rng.random() < 0.3:
            edge.nodes = (-1, -1)
    for i in rng.permutation(len(plan.edges)):
        edge = plan.edges[i]
        crossing = [n for n in edge.nodes if n in inner and len(plan.at(n)) == 4]
        other = [n for n in edge.nodes if n not in inner and n >= 0]
        spare = all(n not in plan.rings for n in edge.nodes)
        if crossing and other and spare and edge.ways == 1 and rng.random() < 0.12:
            edge.nodes = (-1, -1)
    plan.edges = [edge for edge in plan.edges if edge.nodes[0] >= 0]


def _bow(rng: np.random.Generator, plan: Plan, edge: Edge, lean_rad: float) -> None:
    """Let an edge bulge to a side, or to both, where its ends are junctions and there is room."""
    shape = int(rng.integers(3))
    lean = float(rng.uniform(0.4, 1.0)) * lean_rad * (1.0 if rng.random() < 0.5 else -1.0)
    if edge.ways > 1 or any(len(plan.at(n)) < 3 for n in edge.nodes):
        return
    start, end = plan.places[list(edge.nodes)]
    length = float(np.hypot(*(end - start)))
    ahead = (end - start) / length
    side = np.array([-ahead[1], ahead[0]])
    near, far = (_clear(plan, node) + _BEND_ROOM_M for node in edge.nodes)
    if shape == 0 or length < near + far:
        return
    if shape == 1 or length < near + far + 2.4 * _BEND_ROOM_M:
        at = (near + length - far) / 2.0
        bulges = [(at, min(at, length - at) * math.tan(lean))]
    else:
        tilt = math.tan(lean / 2.0)
        bulges = [(near, near * tilt), (length - far, -far * tilt)]
    points = [start + along * ahead + across * side for along, across in bulges]
    edge.via = [(float(p[0]), float(p[1])) for p in points]


def wheel_plan(rng: np.random.Generator, spec: TownSpec) -> Plan:
    """A roundabout whose arms lead to a road all round it."""
    arms = int(rng.integers(spec.arms[0], spec.arms[1] + 1))
    reach = draw(rng, spec.reach_m) * (0.85 if arms == 3 else 1.0)
    lean = min(0.25, 0.6 / arms)
    angles = np.arange(arms) * (2.0 * math.pi / arms) + rng.uniform(-lean, lean, arms)
    angles += rng.uniform(0.0, 2.0 * math.pi)
    places = [(0.0, 0.0)]
    places += [(reach * math.cos(a), reach * math.sin(a)) for a in angles]
    plan = Plan(places=np.array(places), edges=[], rings={0: draw(rng, spec.ring_m)})
    for i in range(arms):
        plan.edges.append(Edge(nodes=(0, i + 1)))
        after = float(angles[(i + 1) % arms] - angles[i]) % (2.0 * math.pi)
        # the road runs square to the arms, its tangents meet half way
        middle, far = float(angles[i]) + after / 2.0, reach / math.cos(after / 2.0)
        corner = (far * math.cos(middle), far * math.sin(middle))
        radius = draw(rng, spec.radius_m)
        plan.edges.append(Edge(nodes=(i + 1, (i + 1) % arms + 1), via=[corner], radius_m=radius))
    return plan


def lay_network(draft: Draft, plan: Plan, spec: TownSpec, rng: np.random.Generator) -> None:
    """Everything on the ground and on the road."""
    streets, nodes = _streets(plan, spec, rng)
    for node, arms in nodes.items():
        _check(arms, ring=node in plan.rings)
    junctions: list[Junction] = []
    rings: list[Ring] = []
    for node, arms in nodes.items():
        if node in plan.rings:
            rings.append(plan_ring(arms, *plan.place(node), plan.rings[node]))
            continue
        share = spec.signals * (1.0 if len(arms) == 4 else 0.5)
        if any(arm.street.ways > 1 for arm in arms):
            share = max(share, 0.8 if len(arms) == 4 else 0.4)
        lit = bool(rng.random() < share)
        turn_m = draw(rng, spec.turn_m)
        junctions.append(plan_junction(arms, rng, turn_m=turn_m, lit=lit, walks=spec.walks))
    for street in streets:
        lay_street(draft, street)
    for junction in junctions:
        lay_junction(draft, junction)
    for ring in rings:
        lay_ring(draft, ring)
    draft.starts = [
        lane
        for street in streets
        for lane in (*street.ahead, *street.back)
        if draft.tracks[lane].curve.length_m >= 25.0
    ]


def _streets(
    plan: Plan, spec: TownSpec, rng: np.random.Generator
) -> tuple[list[Street], dict[int, list[Arm]]]:
    """Chains of edges through mere bends, and the arms at each other node."""
    lane_m, sidewalk_m = draw(rng, spec.lane_m), draw(rng, spec.sidewalk_m)
    limit_mps, yellow = draw(rng, spec.limit_mps), bool(rng.random() < spec.yellow)
    nodes: dict[int, list[Arm]] = {
        node: [] for node in range(len(plan.places)) if len(plan.at(node)) > 2
    }
    streets = []
    spent: set[int] = set()
    for node in nodes:
        for first in plan.at(node):
            if first in spent:
                continue
            points, radii, far, ways = _chain(plan, node, first, spent, rng)
            clear = np.array([_clear(plan, node), _clear(plan, far)])
            street = Street(
                curve=route(points, radii, clear),
                ways=ways,
                lane_m=lane_m,
                limit_mps=limit_mps * (1.2 if ways > 1 else float(rng.uniform(0.85, 1.0))),
                sidewalk_m=sidewalk_m,
                yellow=yellow,
                edge_lines=sidewalk_m == 0.0,
                gutter_m=0.35 if sidewalk_m else 0.6,
            )
            for arm, end in zip(street.arms, (node, far), strict=True):
                arm.node = end
                nodes[end].append(arm)
            streets.append(street)
    return streets, nodes


def _clear(plan: Plan, node: int) -> float:
    return plan.rings[node] + 18.0 if node in plan.rings else _CLEAR_M


def _chain(
    plan: Plan, node: int, first: int, spent: set[int], rng: np.random.Generator
) -> tuple[list[tuple[float, float]], list[float], int, int]:
    """Points, radii at the inner ones, the far node and the lanes a way of a street."""
    points, radii = [plan.place(node)], []
    edge_index, ways = first, 1
    while True:
        spent.add(edge_index)
        edge = plan.edges[edge_index]
        ahead = edge.nodes[0] == node
        via = edge.via if ahead else edge.via[::-1]
        points += via
        radii += [edge.radius_m or draw(rng, _BEND_M) for _ in via]
        ways = max(ways, edge.ways)
        node = edge.nodes[1] if ahead else edge.nodes[0]
        points.append(plan.place(node))
        onward = [i for i in plan.at(node) if i != edge_index]
        if len(onward) != 1:
            return points, radii, node, ways
        radii.append(plan.bends[node])
        edge_index = onward[0]


def _check(arms: list[Arm], *, ring: bool) -> None:
    """Refuse junctions whose arms are too near to each other; the plan is then drawn anew."""
    yaws = sorted(arm.yaw_rad % (2.0 * math.pi) for arm in arms)
    gaps = [(yaws[(i + 1) % len(yaws)] - yaw) % (2.0 * math.pi) for i, yaw in enumerate(yaws)]
    if min(gaps) < _NARROW_RAD or (len(arms) == 3 and not ring and abs(max(gaps) - math.pi) > 0.6):
        raise ValueError("arms too near to each other")
