"""A made-up CommonRoad crossing, and short roads, with answers worked out by hand."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import crossing_file as made
import numpy as np
import pytest
import torch

from opendojo.world.town.commonroad import Scenario, read, replay
from opendojo.world.town.signals import shown
from opendojo.world.town.towns import Towns


def test_a_crossing_with_lights(tmp_path: Path):
    scenario = made.crossing(tmp_path)
    town, lane_of = scenario.town, scenario.lanes
    assert not town.left_hand and len(town.lanes) == 20 and 700 not in lane_of
    assert scenario.offset_m == made.AWAY
    kinds = {key: town.lanes[i].kind for key, i in lane_of.items()}
    assert all((kind == "junction") == (key >= 400) for key, kind in kinds.items())
    limits = {key: round(town.lanes[lane_of[key]].limit_mps * 3.6, 1) for key in (100, 200, 500)}
    assert limits == {100: 50.0, 200: 100.0, 500: 29.7}  # urban, country, by a sign of 8.25 m/s
    for k in range(4):
        lane = town.lanes[lane_of[100 + k]]
        assert lane.signal >= 0 and lane.length_m - 1.0 < lane.stop_m < lane.length_m
        assert lane.left == lane.right == -1
        x, y, yaw = town.signals[lane.signal].heads[0]
        ex, ey, eyaw = made.end_of(lane)
        assert math.hypot(x - ex, y - ey) < 3.5 and made.turned(yaw - eyaw - math.pi) < 0.01
    bars = [area for area in town.areas if area.kind == "stop"]
    assert len(bars) == 4
    (walk,) = town.walks
    assert walk.length_m == pytest.approx(10.0) and walk.width_m == pytest.approx(3.0)
    for run in (*town.lanes, walk):  # also in the 32 bits that towns are kept in
        assert len(run.x_m) == math.floor(np.float32(run.length_m)) + 2
    crossed = {entry.lane: entry for entry in walk.conflicts}
    assert set(crossed) == {lane_of[100], lane_of[200]}
    assert walk.signal == town.lanes[lane_of[100]].signal
    entry = crossed[lane_of[200]]
    assert entry.other_from_m < 2.1 < 4.9 < entry.other_to_m < 6.5
    assert all(np.ptp(line.x_m) + np.ptp(line.y_m) > 6.0 for line in town.lines)


def test_lights_show_what_the_file_says(tmp_path: Path):
    scenario = made.crossing(tmp_path, extra=made.car(1, [(*made.AWAY, 0.0, 0.0)] * 301))
    play = replay(scenario, worlds=2)
    lanes = [scenario.town.lanes[scenario.lanes[100 + k]] for k in range(4)]
    for step in range(0, 300, 7):
        lit = play.signals(torch.tensor([step, step]))
        for k, lane in enumerate(lanes):
            at = (step - (200 if k % 2 == 0 else 75)) % 250
            expected = 2 if at < 90 else 1 if at < 120 else 0
            assert lit[0, lane.signal] == lit[1, lane.signal] == expected
    # by the town's own clock the same, but for a shift: arms in turn, never both
    period = 25.0
    for signal in scenario.town.signals:
        assert signal.period_s == pytest.approx(period) and signal.yellow_s == pytest.approx(3.0)
        assert signal.green_to_s - signal.green_from_s == pytest.approx(9.0)
        assert signal.green_from_s >= 0.0 and signal.green_to_s + 3.0 <= period + 1e-9
    for time in np.arange(0.05, period, 0.1):
        one, other = (shown(scenario.town.signals[lanes[k].signal], float(time)) for k in (0, 1))
        assert not (one and other)


def test_lights_without_cycles_take_turns(tmp_path: Path):
    text = made.crossing_xml()
    first, rest = text.split("<trafficLight id", 1)
    bare = [
        part.split("<cycle>")[0] + part.split("</cycle>")[1]
        for part in rest.split("<trafficLight id")
    ]
    scenario = read(made.written(tmp_path, first + "".join(f"<trafficLight id{b}" for b in bare)))
    lit = [
        scenario.town.signals[scenario.town.lanes[scenario.lanes[100 + k]].signal] for k in range(4)
    ]
    for time in np.arange(0.0, lit[0].period_s, 0.5):
        now = [shown(signal, float(time)) for signal in lit]
        assert now[0] == now[2] and now[1] == now[3] and not (now[0] and now[1])


def waits(scenario: Scenario, one: int, other: int) -> bool:
    lane = scenario.town.lanes[scenario.lanes[one]]
    (entry,) = (c for c in lane.conflicts if c.lane == scenario.lanes[other])
    return entry.yields


def test_who_goes_first(tmp_path: Path):
    plain = made.crossing(tmp_path, lights=False)
    # arm 1 is on the right of who comes from arm 0, and so on round: one of four cannot wait
    pairs = [(500 + k, 500 + (k + 1) % 4) for k in range(4)]
    assert sorted(waits(plain, *pair) for pair in pairs) == [False, True, True, True]
    assert all(waits(plain, *pair) != waits(plain, *pair[::-1]) for pair in pairs)
    assert waits(plain, 503, 600) and not waits(plain, 600, 503)
    assert waits(plain, 402, 500) and not waits(plain, 500, 402)  # left turns, oncoming
    assert waits(plain, 402, 600) and not waits(plain, 600, 402)
    assert not waits(plain, 500, 400) and not waits(plain, 400, 500)  # both part from one
    for sign, first in (("205", False), ("206", False), ("306", True), ("301", True)):
        signed = made.crossing(tmp_path, lights=False, signs=sign)
        for k in (0, 2):
            for other in (501, 503):
                assert waits(signed, 500 + k, other) is not first
        lane = signed.town.lanes[signed.lanes[100]]
        assert math.isfinite(lane.stop_m) is not first
    assert math.isinf(plain.town.lanes[plain.lanes[100]].stop_m)


def mirrored(text: str) -> str:
    """The crossing for the other hand: y turned round, left and right exchanged."""
    root = ElementTree.fromstring(text)
    for y in root.iter("y"):
        y.text = repr(-float(y.text or ""))
    swaps = {"leftBound": "rightBound", "adjacentLeft": "adjacentRight"}
    swaps |= {b: a for a, b in swaps.items()}
    for node in root.iter():
        node.tag = swaps.get(node.tag, node.tag)
    return ElementTree.tostring(root, encoding="unicode")


def test_left_hand_maps_are_known_by_their_lanes(tmp_path: Path):
    for country in ("DEU", "GBR"):
        text = mirrored(made.crossing_xml(country=country))
        assert read(made.written(tmp_path, text)).town.left_hand
        assert not made.crossing(tmp_path, country=country).town.left_hand


def test_neighbours_and_their_lines(tmp_path: Path):
    scenario = made.map_of(tmp_path, made.straight(3))
    town, low = scenario.town, scenario.offset_m[1]
    assert [lane.left for lane in town.lanes] == [1, 2, -1]
    assert [lane.right for lane in town.lanes] == [-1, 0, 1]
    looks = sorted((round(float(line.y_m[0]) + low, 1), line.gap_m > 0.0) for line in town.lines)
    assert looks == [(0.1, False), (3.5, True), (7.0, True), (10.4, False)]
    road = made.straight(2, "highway", ("broad_dashed", "solid_dashed"))
    given = made.map_of(tmp_path, road).town
    looks = sorted((round(float(i.y_m[0]) + 3.0, 1), i.width_m, i.gap_m) for i in given.lines)
    assert looks == [
        (0.0, 0.15, 12.0), (0.2, 0.15, 0.0), (3.5, 0.25, 12.0), (6.9, 0.25, 12.0),
    ]  # fmt: skip
    assert not made.map_of(tmp_path, made.straight(2, marks=("no_marking", "curb"))).town.lines
    for kind, limit in (("urban", 50), ("country", 100), ("highway", 130), ("unknown", 50)):
        assert made.map_of(tmp_path, made.straight(1, kind)).town.lanes[
            0
        ].limit_mps == pytest.approx(limit / 3.6)


def test_lanes_for_others_are_road_but_no_lanes(tmp_path: Path):
    inner = made.straight(2).replace("<laneletType>urban", "<laneletType>bicycleLane", 1)
    scenario = made.map_of(tmp_path, inner)
    assert scenario.lanes == {2: 0} and scenario.town.lanes[0].right == -1
    towns = Towns([scenario.town])
    x0, y0 = scenario.offset_m
    at = torch.tensor([[30.0 - x0]]), torch.tensor([[1.75 - y0]])
    assert towns.edge_m(torch.tensor([0]), *at) > 1.0
    assert towns.lane_at(torch.tensor([0]), *at) == -1


def test_a_replay_is_the_recording(tmp_path: Path):
    """Steps of 0.2 s, a car from step 2 on whose middle is 1.2 m ahead of its origin."""
    poses = [(5.0 + 2.0 * k, 1.75, 0.0, 10.0) for k in range(6)]
    shifted = made.car(40, poses, first=2).replace(
        "<width>1.8</width>", "<width>1.8</width><originXShift>-1.2</originXShift>"
    )
    parked = made.state("initialState", 0, 30.0, 1.0, math.pi / 2.0, 0.0)
    parked = parked.replace("<velocity><exact>0.0</exact></velocity>", "")
    disc = "<shape><circle><radius>0.9</radius></circle></shape>"
    inner = (
        made.straight(2) + shifted
        + f'<staticObstacle id="41"><type>parkedVehicle</type>{disc}{parked}</staticObstacle>'
        + f'<staticObstacle id="42"><type>pillar</type>{disc}{parked}</staticObstacle>'
    )  # fmt: skip
    text = made.header() + inner + "</commonRoad>"
    text = text.replace('timeStepSize="0.1"', 'timeStepSize="0.2"')
    scenario = read(made.written(tmp_path, text))
    assert [track.id for track in scenario.tracks] == [41, 40]  # things that stand come first
    assert [(i.kind, i.top_m) for i in scenario.town.statics] == [("pole", 4.0)]
    play = replay(scenario, worlds=3)
    agents = play.tracks
    assert agents.x_m.shape == (3, 15, 2) and play.instants == 15
    assert agents.mask[0, :, 1].tolist() == [False] * 4 + [True] * 11
    assert agents.mask[:, :, 0].all() and (agents.speed_mps[:, :, 0] == 0.0).all()
    x = agents.x_m[1, 4:, 1] + scenario.offset_m[0]
    assert torch.allclose(x, 6.2 + torch.arange(11.0), atol=1e-4)
    assert (agents.lane[0, 4:, 1] == scenario.lanes[1]).all()
    assert torch.allclose(agents.s_m[0, 4:, 1], x, atol=0.01)
    assert (agents.d_m[0, 4:, 1].abs() < 0.01).all()
    assert (agents.length_m[0, 0, 1], agents.width_m[0, 0, 1]) == (4.5, pytest.approx(1.8))
    state = play.start(made.neighbour(3))
    state = play.step(state, made.neighbour(3), torch.full((3,), 3, dtype=torch.int64), 0.1)
    assert state.agents.mask.all()
    last = play.step(state, made.neighbour(3), torch.full((3,), 14, dtype=torch.int64), 0.1)
    assert not last.agents.mask.any()
    bare = replay(made.map_of(tmp_path, made.straight(1)), worlds=2).tracks
    assert bare.mask.shape == (2, 1, 1) and not bare.mask.any()


def test_missing_motion_comes_from_the_way(tmp_path: Path):
    angle = math.radians(30.0)
    poses = [(3.0 + k * math.cos(angle), 1.0 + k * math.sin(angle), 9.0, 9.0) for k in range(8)]
    text = made.car(5, poses)
    for tag in ("orientation", "velocity"):
        text = text.replace(f"<{tag}><exact>9.0</exact></{tag}>", "")
    (track,) = made.map_of(tmp_path, made.straight(1) + text).tracks
    assert np.allclose(track.yaw_rad, angle) and np.allclose(track.speed_mps, 10.0)
    assert np.allclose(track.accel_mps2, 0.0, atol=1e-6)


def test_a_task_has_its_start_and_aims(tmp_path: Path):
    goal = (
        "<goalState><position><rectangle><length>4</length><width>2</width>"
        "<orientation>0.0</orientation><center><x>50</x><y>5.25</y></center></rectangle></position>"
        "<time><intervalStart>20</intervalStart><intervalEnd>40</intervalEnd></time></goalState>"
        '<goalState><position><lanelet ref="2"/></position>'
        "<time><exact>30</exact></time></goalState>"
    )
    start = made.state("initialState", 0, 10.0, 1.5, 0.05, 7.0)
    problem = f'<planningProblem id="3">{start}{goal}</planningProblem>'
    scenario = made.map_of(tmp_path, made.straight(2) + problem)
    (task,) = scenario.tasks
    assert (task.lane, task.speed_mps) == (0, 7.0)
    assert task.s_m == pytest.approx(10.0) and task.d_m == pytest.approx(-0.25)
    box, lane = task.aims
    assert (box.from_s, box.to_s, lane.lanes) == (pytest.approx(2.0), pytest.approx(4.0), (1,))
    assert sorted(box.x_m + scenario.offset_m[0]) == pytest.approx([48.0, 48.0, 52.0, 52.0])


def test_the_older_format(tmp_path: Path):
    inner = made.straight(1).replace("</lanelet>", "<speedLimit>22.5</speedLimit></lanelet>")
    body = made.car(9, [(5.0, 1.75, 0.0, 5.0), (5.5, 1.75, 0.0, 5.0)])
    body = body.replace("dynamicObstacle", "obstacle").replace(
        "<type>", "<role>dynamic</role><type>"
    )
    scenario = made.map_of(tmp_path, inner + body, "2018b")
    assert scenario.town.lanes[0].limit_mps == 22.5
    assert [len(track.steps) for track in scenario.tracks] == [2]
