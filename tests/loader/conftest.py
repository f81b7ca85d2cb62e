"""Stores that the loader's tests read."""

from __future__ import annotations

import pytest
from loader_kit import filled

from clips import make_clip
from opendojo.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    clips = [make_clip(seed, instants=90) for seed in range(3)]
    clips += [make_clip(7, instants=88, cameras=("front",), rate_hz=25.0, with_log=False)]
    return filled(tmp_path_factory.mktemp("loader") / "s", clips)


@pytest.fixture(scope="session")
def other_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    clips = [make_clip(seed, instants=60, cameras=("left", "front")) for seed in (11, 12)]
    return filled(tmp_path_factory.mktemp("other") / "s", clips)
