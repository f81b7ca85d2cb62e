"""Recorded maps from the command line: seen, driven and judged; what is broken says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opendojo.cli import main
from world.town import crossing_file as made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    maps = tmp_path / "maps"
    maps.mkdir()
    made.written(maps, made.crossing_xml(extra=made.CAR), "crossing.xml")
    road = made.header() + made.straight(2) + made.CAR + "</commonRoad>"
    made.written(maps, road, "road.xml")
    return maps


def test_a_map_is_viewed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "view.png"
    words = ["world", "view", "--map", str(folder / "road.xml"), "--out", str(out), "--json"]
    assert main([*words, "--steps", "2", "--rig", "front", "--size", "64x32"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "Made" in document["title"] and out.read_bytes().startswith(b"\x89PNG")


def test_a_map_is_driven_and_filmed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drive.mp4"
    words = ["drive", "--map", str(folder / "road.xml"), "--out", str(out), "--limit-s", "0.5"]
    assert main([*words, "--rig", "front", "--size", "64x32", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["driver"] == "expert" and document["route"]["completion"] > 0.0
    assert out.stat().st_size > 1000


def test_drivers_are_judged_on_all_maps_of_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--map", str(folder), "--driver", "expert", "--only", "--json"]
    assert main([*words, "--sets", "2", "--limit-s", "0.5"]) == 0
    recorded = json.loads(capsys.readouterr().out)
    assert list(recorded["drivers"]) == ["expert"] and recorded["published"] is None
    assert recorded["seed_sets"] == [[0, 1], [2, 3]] and len(set(recorded["scenes"])) == 4
    one = ["--map", str(folder / "crossing.xml"), "--map", str(folder / "road.xml")]
    assert main(["evaluate", *one, *words[3:], "--sets", "2", "--limit-s", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out) == recorded
    assert main([*words, "--sets", "2", "--limit-s", "0.5", "--traffic", "drawn"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] != recorded["fingerprint"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<commonRoad", "fetch it again"),
        ("\x00\x01 no text at all", "fetch it again"),
        ("<osm version='0.6'/>", "osm"),
        ("<commonRoad commonRoadVersion='2020a' timeStepSize='0.1'/>", "lanelet"),
        (made.header() + made.straight(1).replace("60.0", "far") + "</commonRoad>", "far"),
    ],
)
@pytest.mark.parametrize("command", [["world", "view"], ["drive"], ["evaluate"]])
def test_a_broken_map_names_its_fault_and_is_bad_data(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    text: str,
    words: str,
) -> None:
    path = tmp_path / "broken.xml"
    path.write_text(text)
    assert main([*command, "--map", str(path)]) == 3
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("opendojo: ") and "broken.xml" in err and words in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", [["world", "view"], ["drive"], ["evaluate"]])
def test_a_map_that_is_not_there_is_a_matter_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    for path in (tmp_path / "none.xml", tmp_path):
        assert main([*command, "--map", str(path)]) == 2
        assert str(path) in capsys.readouterr().err
