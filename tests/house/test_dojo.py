"""The front door says in one sentence why it cannot open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name in ("dojo", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def call(house: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    return subprocess.run(
        [str(house / "dojo"), *words],
        env={**clean, "PYTHON": sys.executable, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def sentence(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 4, run.stderr
    return run.stderr.splitlines()[-1]


@pytest.mark.slow
def test_no_network(house: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    said = sentence(call(house, "doctor", **nowhere))
    assert "the package registry could not be reached" in said
    assert str(house / ".venv/install.log") in said
    assert not (house / ".venv/installed").exists()


def test_no_venv_module(house: Path, tmp_path: Path) -> None:
    python = tmp_path / "python-without-venv"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *venv*) exit 1 ;; esac\nexec ' + sys.executable + ' "$@"\n'
    )
    python.chmod(0o755)
    said = sentence(call(house, "doctor", PYTHON=str(python)))
    assert "venv module is missing" in said
    assert "apt install python3-venv" in said


def test_no_python(house: Path) -> None:
    said = sentence(call(house, "doctor", PYTHON="python-of-another-age"))
    assert "no Python 3.11" in said


@pytest.mark.slow
def test_no_space(house: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    try:
        for name in ("dojo", "pyproject.toml", "constraints.txt"):
            shutil.copy(house / name, small / name)
        assert "is there space" in sentence(call(small, "doctor"))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_installed_once_then_straight_on(house: Path) -> None:
    """With the stamp of these very files there, nothing is installed; with another, it would be."""
    bin_folder = house / ".venv/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "opendojo").write_text('#!/bin/sh\necho "handed on: $*"\n')
    (bin_folder / "opendojo").chmod(0o755)
    both = (house / "pyproject.toml").read_bytes() + (house / "constraints.txt").read_bytes()
    told = subprocess.run(["cksum"], input=both, capture_output=True, check=True)
    (house / ".venv/installed").write_text(told.stdout.decode().strip() + " run\n")
    run = call(house, "train", "base", "--json")
    assert run.returncode == 0
    assert run.stdout == "handed on: train base --json\n"
    with (house / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    assert call(house, "train", PIP_CONFIG_FILE=os.devnull, **nowhere).returncode == 4
