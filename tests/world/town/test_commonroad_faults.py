"""A broken CommonRoad file names its fault."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import crossing_file as made
import numpy as np
import pytest

from opendojo.world.town.commonroad import read


def without(tag: str):
    return lambda text: text.split(f"<{tag}>", 1)[0] + text.split(f"</{tag}>", 1)[1]


def swap(old: str, new: str):
    return lambda text: text.replace(old, new, 1)


def sides_swapped(text: str) -> str:
    text = text.replace("leftBound", "other").replace("rightBound", "leftBound")
    return text.replace("other", "rightBound")


BROKEN = {
    "no XML": (lambda text: "lanelets, many of them", "no XML", "fetch it again"),
    "cut": (lambda text: text[: len(text) // 2], "cut off or damaged", "fetch it again"),
    "empty": (lambda text: "", "is empty", "fetch it again"),
    "root": (lambda text: text.replace("commonRoad ", "osm ").replace("/commonRoad>", "/osm>"),
             "<osm>", "give a CommonRoad file"),
    "format": (swap('commonRoadVersion="2020a"', 'commonRoadVersion="1999x"'), "1999x", "convert"),
    "no step": (swap('timeStepSize="0.1"', 'timeStepSize="0"'), "timeStepSize is '0'", "seconds"),
    "no lanelets": (lambda text: made.header() + "</commonRoad>", "no <lanelet>", "road network"),
    "no bound": (without("leftBound"), "lanelet 1 has no <leftBound>", "add it"),
    "points": (without("point"), "lanelet 1: 1 points on the left bound and 2", "same number"),
    "not a number": (swap("<x>0.0</x>", "<x>nan</x>"), "lanelet 1, leftBound: <x> is nan", "write"),
    "no number": (swap("<x>0.0</x>", "<x>east</x>"), "<x> is 'east'", "write a number"),
    "half a point": (swap("<x>0.0</x>", ""), "lanelet 1, leftBound has no <x>", "add it"),
    "neighbour": (swap('adjacentLeft ref="2"', 'adjacentLeft ref="12"'),
                  "lanelet 1 refers to lanelet 12", "take the reference out"),
    "successor": (swap("</lanelet>", '<successor ref="8"/></lanelet>'),
                  "lanelet 1 refers to lanelet 8", "take the reference out"),
    "far successor": (swap("</lanelet>", '<successor ref="2"/></lanelet>'),
                      "lanelet 1 ends 60.1 m from the start of its successor 2", "mend"),
    "sign": (swap("</lanelet>", '<trafficSignRef ref="5"/></lanelet>'),
             "lanelet 1 refers to trafficSign 5", "add it"),
    "id": (swap('lanelet id="2"', 'lanelet id="1"'), "lanelet 1 is there twice", "its own id"),
    "bare id": (swap('lanelet id="2"', 'lanelet id="two"'), "'two'", "whole number"),
    "sides": (sides_swapped, "lanelet 1: its left bound is not on the left", "swap the bounds"),
    "point-like": (lambda text: text.replace("<x>60.0</x>", "<x>0.0</x>"),
                   "lanelet 1 has no length", "take it out"),
    "huge": (swap("<x>60.0</x>", "<x>6e9</x>"), "out to lanelet 1", "cut it into parts"),
    "no cars": (lambda text: text.replace("urban</l", "sidewalk</l"), "for cars", "with roads"),
    "no shape": (without("shape"), "dynamicObstacle 77 has no <shape>", "add it"),
    "flat": (swap("<length>4.5<", "<length>-4.5<"), "rectangle of -4.5", "positive"),
    "no place": (without("position"), "dynamicObstacle 77, time 0 has no <position>", "add it"),
    "order": (swap("<time><exact>2<", "<time><exact>1<"), "dynamicObstacle 77: time 1", "in order"),
    "for ever": (swap("<time><exact>2<", "<time><exact>999999999<"), "dynamicObstacle 77", "cut"),
    "speed": (swap("</lanelet>", '<trafficSignRef ref="5"/></lanelet><trafficSign id="5">'
                   "<trafficSignElement><trafficSignID>274</trafficSignID><additionalValue>fast"
                   "</additionalValue></trafficSignElement></trafficSign>"),
              "trafficSign 5: a limit of fast", "give m/s"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_names_its_fault(tmp_path: Path, case: str):
    spoil, fault, remedy = BROKEN[case]
    whole = made.header() + made.straight(2) + made.CAR + "</commonRoad>"
    if case == "no cars":
        whole = whole.replace(made.CAR, "")
    path = made.written(tmp_path, spoil(whole), "spoilt.xml")
    with pytest.raises(ValueError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and fault in text and remedy in text, text


def test_every_cut_of_a_file_is_refused(tmp_path: Path):
    whole = made.crossing_xml(extra=made.CAR)
    assert read(made.written(tmp_path, whole)).tracks
    for share in np.linspace(0.02, 0.999, 40):
        path = made.written(tmp_path, whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match="fetch it again"):
            read(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.xml")


def test_a_scenario_is_a_function_of_its_file(tmp_path: Path):
    one, other = made.crossing(tmp_path), made.crossing(tmp_path)
    for a, b in zip(one.town.lanes, other.town.lanes, strict=True):
        for field in dataclasses.fields(a):
            assert np.array_equal(getattr(a, field.name), getattr(b, field.name))
