"""The README's commands run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

SHORTER = {
    "opendojo world drives": ["--seconds", "4"],
    "opendojo train demo": ["--train.steps", "2", "--loader.batch", "4"],
    "opendojo train town": [
        *("--train.steps", "2", "--live.rounds", "1", "--live.round-steps", "2"),
        *("--live.worlds", "2", "--live.steps", "8", "--live.batch", "2"),
    ],
    "opendojo evaluate --run": ["--roads", "1", "--json"],
    "opendojo drive r": ["--limit-s", "2"],
}
"""What the test adds to a command, told by its first words, so that it takes seconds."""


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_are_two_commands_and_the_door_knows_them() -> None:
    found = commands()
    assert found[:2] == ["./dojo demo", "./dojo test"]
    door = (ROOT / "dojo").read_text()
    assert "test)" in door
    for line in found:
        assert line.startswith(("./dojo ", "opendojo ")), line


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.slow
def test_commands_run_one_after_another(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = [line for line in commands() if line.startswith("opendojo ")]
    printed = {}
    for line in lines:
        key = next((start for start in SHORTER if line.startswith(f"{start} ")), line)
        words = line.split() + SHORTER.get(key, [])
        run = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert run.returncode == 0, f"{line}\n{run.stderr}"
        printed[key] = run.stdout
    assert printed.keys() >= SHORTER.keys(), "a command that is made shorter here is gone"
    drivers = json.loads(printed["opendojo evaluate --run"])["drivers"]
    assert {"network", "stop", "expert"} <= drivers.keys()
    for made in ("frames", "r", "t", "drive.mp4", "w.png"):
        assert (tmp_path / made).exists()
