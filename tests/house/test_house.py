"""The rules of the house that a program can check."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import opendojo

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(m.name for m in pkgutil.iter_modules(opendojo.__path__))
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_sorted_there_and_documented(room: str) -> None:
    module = importlib.import_module(f"opendojo.{room}")
    names = module.__all__
    plain = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == plain, "sort __all__: constants, classes, functions, each by name"
    assert all(hasattr(module, name) for name in names)
    assert module.__doc__
    assert "    " in module.__doc__, "a room's docstring ends with an example"


def test_every_room_is_on_a_floor() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = table["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {word.strip() for layer in layers for word in layer.split("|")}
    assert placed == set(ROOMS)


def test_files_and_functions_fit_a_sitting_and_a_screen() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 500, f"{path}: split it"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_recipes_build_and_have_keys_of_their_own() -> None:
    from opendojo.recipes import RECIPES

    keys = {name: make().key("data") for name, make in RECIPES.items()}
    assert len(set(keys.values())) == len(keys)
    assert list(RECIPES) == sorted(RECIPES)
    for make in RECIPES.values():
        assert make.__doc__
        assert make().resolved() == make().resolved()


def test_commands_are_there_and_help_needs_no_library() -> None:
    from opendojo.cli.main import COMMANDS

    for command in COMMANDS:
        assert (ROOT / f"src/opendojo/cli/{command}_command.py").exists(), command
    code = (
        "import sys; from opendojo.cli import main; main(['--help']); "
        "print({'torch', 'numpy', 'tyro', 'av', 'pyarrow'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"


def test_rooms_without_torch_do_not_import_it() -> None:
    code = (
        "import sys, opendojo.clip, opendojo.store, opendojo.ingest, opendojo.machine; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    names = {line.split(">")[0].split("[")[0] for line in wanted} - {"opendojo"}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names <= pinned
