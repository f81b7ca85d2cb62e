"""The world's guide: what it shows really runs, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from opendojo.evaluate import FLOORS, SWEEPS
from opendojo.evaluate.windows import TERMS
from opendojo.world import TOWNS
from opendojo.world.config import Preset

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "world.md").read_text("utf-8")


@pytest.mark.slow
def test_every_block_runs() -> None:
    pytest.importorskip("gymnasium", reason="the extra `gym` is not installed")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for block in blocks:
        exec(compile(block, "world.md", "exec"), names)
    assert len(blocks) == 3
    assert names["frames"].shape == (4, 8, 96, 128)
    assert names["flow_px"].shape == (4, 8, 2, 64, 128)
    assert names["reward"].shape == (2,)


def test_every_name_is_told() -> None:
    wanted = [*TOWNS, *get_args(Preset), *FLOORS, *TERMS]
    assert [name for name in wanted if f"`{name}`" not in PAGE] == []
    assert "|".join(SWEEPS) in PAGE
