"""The query language: what it finds, and how it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opendojo.flywheel.query import Query, unit_of

COLUMNS = {
    "night": np.array([True, True, False, False]),
    "merge": np.array([True, False, True, False]),
    "error_m": np.array([3.0, 5.0, 4.0, np.nan]),
    "speed_mps": np.array([10.0, 20.0, 15.0, 0.0]),
    "turn_radps": np.array([0.1, -0.3, 0.0, 0.5]),
    "novelty": np.array([0.1, 0.9, 0.5, 0.2]),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("night and merge and error_m > 2", [0]),
        ("night and merge and error > 2 m", [0]),
        ("night or merge", [0, 1, 2]),
        ("night and merge or not night", [0, 2, 3]),
        ("night and (merge or not night)", [0]),
        ("speed >= 54 km/h", [1, 2]),
        ("abs(turn) > 10 deg/s", [1, 3]),
        ("error - 2 * 1 m > 1.5 m", [1, 2]),
        ("error_m = 3", [0]),
        ("error_m != 3", [1, 2]),
        ("not error > 3", [0, 3]),
        ("max(novelty, 0.5) > 0.5", [1]),
        ("-speed < -12", [1, 2]),
        ("speed / 2 > 8 m/s", [1]),
    ],
)
def test_finds(text: str, rows: list[int]) -> None:
    assert np.flatnonzero(Query(text).of(COLUMNS)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("night and", "missing"),
        ("night night", "not expected"),
        ("nigth", "did you mean 'night'"),
        ("error > 2 s", "cannot join m and s"),
        ("error > speed", "cannot join m and mps"),
        ("error > 2 parsecs", "no unit"),
        ("error", "a number"),
        ("night and error", "compare"),
        ("night > 2", "tag"),
        ("1 < error < 3", "one comparison"),
        ("__import__('os')", "no meaning"),
        ("exec(night)", "no function"),
        ("(" * 60 + "night" + ")" * 60, "levels"),
        ("not " * 600 + "night", "letters"),
        ("night @ merge", "no meaning"),
        ("abs(error, error) > 1", "one number"),
    ],
)
def test_refuses_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        Query(text).of(COLUMNS)


def test_a_name_without_its_unit_must_be_clear() -> None:
    both = {"gap_m": np.ones(2), "gap_s": np.ones(2)}
    with pytest.raises(ValueError, match="gap_m or gap_s"):
        Query("gap > 0").of(both)


def test_units_of_names() -> None:
    assert [unit_of(n) for n in ("error_m", "jerk_mps3", "night", "red_light")] == [
        "m", "mps3", "", "",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abnighterorm ()<>=+-*/0123456789._,", max_size=40))
def test_any_text_gives_flags_or_a_reason(text: str) -> None:
    try:
        found = Query(text).of(COLUMNS)
    except ValueError as error:
        assert str(error)
    else:
        assert found.dtype == np.bool_
        assert found.shape == (4,)
