"""CommonRoad files at hand as towns with recorded traffic, and against the reference reader."""

from __future__ import annotations

import json
import math
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path
from typing import Any

import crossing_file as made
import numpy as np
import pytest
import torch

from opendojo.world.draw.look import box_paints, draw_looks
from opendojo.world.draw.renderer import Renderer
from opendojo.world.draw.scene import Boxes, Kind, Scene
from opendojo.world.rig import front_three
from opendojo.world.route import Routes
from opendojo.world.town.commonroad import Scenario, read, replay
from opendojo.world.town.commonroad_file import parse
from opendojo.world.town.commonroad_lights import shown_at
from opendojo.world.town.towns import Towns

SCENARIOS = (
    "ARG_Carcarana-4_4_T-1", "BEL_Putte-1_1_T-1", "DEU_Ibbenbueren-10_2_T-1",
    "DEU_Meckenheim-1_4_T-1", "DEU_Moelln-4_4_T-1", "ESP_Toledo-7_5_T-1",
    "HRV_Pula-10_1_T-1", "ITA_CarpiCentro-9_6_T-1",
)  # fmt: skip
MAPS = "BRA_SantaRita-1", "GRL_Nuuk-6", "PAK_Karachi-2"
FEW = "DEU_Meckenheim-1_4_T-1", "ITA_CarpiCentro-9_6_T-1", "PAK_Karachi-2"
"""For what takes long: two lanes a way, odd bends, a bare map; all of them among the slow tests."""
BAKED = [
    pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in SCENARIOS + MAPS
]


def file_of(shared_data: Path, name: str) -> Path:
    folder = shared_data / "maps" / "commonroad_factory" / "tests" / "resources"
    path = next(iter(folder.glob(f"cr_*/{name}*.xml")), None)
    if path is None:
        pytest.skip(f"{name} is not under {folder}")
    return path


@cache
def scenario_of(path: Path) -> Scenario:
    return read(path)


@cache
def towns_of(path: Path) -> Towns:
    return Towns([scenario_of(path).town])


@pytest.mark.parametrize("name", SCENARIOS + MAPS)
def test_lanes_are_the_files_lanelets_and_join(shared_data: Path, name: str):
    path = file_of(shared_data, name)
    scenario = scenario_of(path)
    lanes, x0, y0 = scenario.town.lanes, *scenario.offset_m
    nodes = ElementTree.parse(path).getroot().findall("lanelet")
    assert len(scenario.lanes) == len(lanes) == len(nodes)
    for node in nodes:
        lane = lanes[scenario.lanes[int(node.get("id", ""))]]
        after = {scenario.lanes[int(one.get("ref", ""))] for one in node.findall("successor")}
        assert set(lane.next) == after
        sides = [
            np.array(
                [[float(p.findtext(c, "")) for c in "xy"] for p in node.findall(f"{side}/point")]
            )
            for side in ("leftBound", "rightBound")
        ]
        middle = (sides[0] + sides[1]) / 2.0 - (x0, y0)
        stations = np.stack([lane.x_m, lane.y_m], 1)
        far = np.hypot(*(middle[:, None] - stations).transpose(2, 0, 1)).min(1)
        assert far.max() < 0.75  # stations are 1 m apart
        wide = np.hypot(*(sides[0] - sides[1]).T)
        assert wide.min() - 0.01 <= lane.width_m <= wide.max() + 0.01
        x, y, yaw = made.end_of(lane)
        for other in (lanes[k] for k in lane.next):
            assert math.hypot(other.x_m[0] - x, other.y_m[0] - y) < 0.01
            assert made.turned(float(other.yaw_rad[0]) - yaw) < math.radians(0.5)
    assert np.abs(np.concatenate([lane.x_m for lane in lanes])).max() < 500.0


@pytest.mark.parametrize("name", SCENARIOS + MAPS)
def test_nobody_waits_in_a_circle(shared_data: Path, name: str):
    lanes = scenario_of(file_of(shared_data, name)).town.lanes
    order: dict[int, set[int]] = {}
    meetings = 0
    for i, lane in enumerate(lanes):
        for entry in lane.conflicts:
            (back,) = (c for c in lanes[entry.lane].conflicts if c.lane == i)
            assert (back.from_m, back.to_m) == (entry.other_from_m, entry.other_to_m)
            fork = any(i in b.next and entry.lane in b.next for b in lanes)
            assert entry.yields + back.yields == int(not fork)
            meetings += not fork
            if entry.yields:
                assert lane.stop_m <= entry.from_m
                order.setdefault(i, set()).add(entry.lane)
    assert meetings
    while order:
        free = [i for i, first in order.items() if not first & order.keys()]
        assert free
        for i in free:
            del order[i]


@pytest.mark.parametrize("name", SCENARIOS)
def test_recorded_traffic_is_on_its_lanes(shared_data: Path, name: str):
    path = file_of(shared_data, name)
    scenario = scenario_of(path)
    agents = replay(scenario).tracks
    assert agents.mask.any(1).all() and (agents.kind[agents.mask] >= int(Kind.CAR)).all()
    on = (agents.lane >= 0)[agents.mask].float().mean()
    assert on > 0.9
    moved = agents.lane[:, 1:] != agents.lane[:, :-1]
    both = agents.mask[:, 1:] & (agents.lane[:, 1:] >= 0) & (agents.lane[:, :-1] >= 0)
    lanes = scenario.town.lanes
    for before, after in zip(
        agents.lane[:, :-1][moved & both].tolist(), agents.lane[:, 1:][moved & both].tolist(),
        strict=True,
    ):  # fmt: skip
        one = lanes[before]
        assert after in (
            *one.next,
            *(k for n in one.next for k in lanes[n].next),
            one.left,
            one.right,
        )
    task = scenario.tasks[0]
    assert task.lane >= 0 and abs(task.d_m) < 0.5 * lanes[task.lane].width_m


@pytest.mark.parametrize("name", BAKED)
def test_towns_bake_and_lead_somewhere(shared_data: Path, name: str):
    path = file_of(shared_data, name)
    scenario, towns = scenario_of(path), towns_of(path)
    n, town = 16, torch.zeros(16, dtype=torch.int64)
    routes = Routes.draw(towns, town, torch.arange(n), 60)
    assert (routes.goal_m >= 59.0).all()
    s = torch.arange(1.0, 61.0).expand(n, -1)
    x, y = routes.at(routes.x_m, s), routes.at(routes.y_m, s)
    assert (towns.edge_m(town, x, y) > 0.5).all()
    assert (towns.lane_at(town, x, y) >= 0).all()
    if scenario.tracks:
        agents = replay(scenario).tracks
        here = agents.x_m.flatten(1), agents.y_m.flatten(1)
        on = towns.edge_m(town[:1], *here) > 0.0
        assert on[agents.mask.flatten(1)].float().mean() > 0.97


def test_what_was_recorded_is_seen(shared_data: Path):
    """A camera in a lane behind a recorded car sees road below and the car ahead."""
    path = file_of(shared_data, "DEU_Meckenheim-1_4_T-1")
    scenario, towns = scenario_of(path), towns_of(path)
    agents = replay(scenario).start(made.neighbour(1)).agents
    slot = next(i for i, track in enumerate(scenario.tracks) if track.kind == Kind.CAR)
    x, y, yaw = (float(v[0, slot]) for v in (agents.x_m, agents.y_m, agents.yaw_rad))
    town, seeds = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    look = draw_looks([0], "clean", torch.device("cpu"))
    columns = ("mask", "kind", "x_m", "y_m", "yaw_rad", "length_m", "width_m")
    boxes = Boxes(
        **{name: getattr(agents, name) for name in columns},
        base_m=torch.zeros_like(agents.x_m),
        top_m=agents.height_m,
        paint=box_paints(seeds, agents.kind, look),
        lamp=torch.zeros_like(agents.kind),
    )
    back = torch.tensor([yaw])
    scene = Scene(
        x_m=torch.tensor([x - 14.0 * math.cos(yaw)]),
        y_m=torch.tensor([y - 14.0 * math.sin(yaw)]),
        yaw_rad=back, town=town, boxes=boxes, step=town,
    )  # fmt: skip
    renderer = Renderer(front_three(), towns.atlas, look, [0], torch.device("cpu"))
    labels = renderer.labels(scene)
    kind, who = labels.kind[0, 0], labels.instance[0, 0]
    assert (kind[-1] == int(Kind.ROAD)).float().mean() > 0.4
    assert (who == slot).sum() > 20
    shows = renderer.render(scene)[0, 0, :64]
    assert (
        shows[kind == int(Kind.SKY)].float().mean() > shows[kind == int(Kind.ROAD)].float().mean()
    )


# --- the reference reader, in an environment of its own

ORACLE = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from commonroad.common.file_reader import CommonRoadFileReader
from commonroad.scenario.traffic_sign import SupportedTrafficSignCountry as Countries
from commonroad.scenario.traffic_sign_interpreter import TrafficSignInterpreter

scenario, problems = CommonRoadFileReader(sys.argv[1]).open()
network = scenario.lanelet_network
country = scenario.scenario_id.country_id
known = [c for c in Countries if c.value == country]
signs = TrafficSignInterpreter(known[0] if known else Countries.ZAMUNDA, network)

def states(one):
    path = getattr(one.prediction, "trajectory", None)
    return [
        [s.time_step, *s.position.tolist(), float(s.orientation), float(s.velocity)]
        for s in [one.initial_state, *(path.state_list if path else [])]
    ]

def limit(one):
    found = signs.speed_limit(frozenset([one.lanelet_id]))
    return found if country in ("DEU", "ZAM") or not known else None

print(json.dumps({
    "dt": scenario.dt,
    "lanelets": {
        one.lanelet_id: [
            one.left_vertices.tolist(), one.right_vertices.tolist(), sorted(one.successor),
            sorted(one.predecessor), one.adj_left, one.adj_left_same_direction, one.adj_right,
            one.adj_right_same_direction, limit(one),
        ]
        for one in network.lanelets
    },
    "obstacles": {
        one.obstacle_id: [
            one.obstacle_type.value, one.obstacle_shape.length, one.obstacle_shape.width,
            states(one),
        ]
        for one in scenario.dynamic_obstacles
    },
    "problems": {
        key: [*one.initial_state.position.tolist(), float(one.initial_state.orientation),
              float(one.initial_state.velocity)]
        for key, one in problems.planning_problem_dict.items()
    },
    "lights": {
        one.traffic_light_id: [one.get_state_at_time_step(t).value for t in range(600)]
        for one in network.traffic_lights
    },
}))
"""


def oracle(path: Path) -> dict[str, Any]:
    python = os.environ.get("OPENDOJO_COMMONROAD_PYTHON")
    if not python:
        pytest.skip("OPENDOJO_COMMONROAD_PYTHON names no python that has commonroad-io")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", ORACLE, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(path: Path) -> None:
    theirs, mine, scenario = oracle(path), parse(path), read(path)
    assert mine.step_s == theirs["dt"]
    assert sorted(mine.lanelets) == sorted(int(key) for key in theirs["lanelets"])
    for key, (left, right, after, before, *beside, limit) in theirs["lanelets"].items():
        one = mine.lanelets[int(key)]
        assert np.array_equal(one.left, left) and np.array_equal(one.right, right)
        assert (sorted(one.successors), sorted(one.predecessors)) == (after, before)
        assert [
            *(one.left_neighbour or (None, None)),
            *(one.right_neighbour or (None, None)),
        ] == beside
        if limit is not None:
            lane = scenario.town.lanes[scenario.lanes[int(key)]]
            assert lane.limit_mps == pytest.approx(limit)
    assert {i.id for i in mine.obstacles if not i.static} == {int(k) for k in theirs["obstacles"]}
    for one in (i for i in mine.obstacles if not i.static):
        kind, length, width, states = theirs["obstacles"][str(one.id)]
        assert (one.kind, one.length_m, one.width_m) == (
            kind,
            pytest.approx(length),
            pytest.approx(width),
        )
        table = np.column_stack([one.steps, one.x_m, one.y_m, one.yaw_rad, one.speed_mps])
        assert np.array_equal(table, np.array(states))
    starts = {i.id: [i.x_m, i.y_m, i.yaw_rad, i.speed_mps] for i in mine.problems}
    assert starts == {int(key): value for key, value in theirs["problems"].items()}
    places = {light.id: k for k, (_, light) in enumerate(scenario.lamps)}
    for key, colours in theirs["lights"].items():
        lamp = scenario.lamps[places[int(key)]]
        shows = [("red", "yellow", "green")[shown_at(lamp, t * 0.1, 0.1)] for t in range(600)]
        assert shows == colours


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS + MAPS)
def test_the_reference_reader_agrees(shared_data: Path, name: str):
    compare(file_of(shared_data, name))


@pytest.mark.slow
def test_the_reference_reader_agrees_about_lights(tmp_path: Path):
    compare(made.written(tmp_path, made.crossing_xml(extra=made.CAR)))
