import pytest

from opendojo.model import NetConfig


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"size": "huge"}, "nano"),
        ({"cameras": ()}, "cameras"),
        ({"cameras": ("front", "front")}, "once"),
        ({"width_px": 100}, "multiple of 16"),
        ({"height_px": 16}, "32"),
        ({"forecast_width_px": 24}, "divisor of 64"),
        ({"path_points": 0}, "path_points"),
        ({"forecast_steps": 0}, "forecast_steps"),
    ],
)
def test_a_bad_value_is_refused_by_name(bad, word):
    with pytest.raises(ValueError, match=word):
        NetConfig(**bad)


def test_path_times_are_even_and_end_at_the_horizon():
    times_s = NetConfig().path_times_s
    assert times_s[:3] == (0.25, 0.5, 0.75) and times_s[-1] == 4.0 and len(times_s) == 16


def test_the_cells_keep_rows_and_columns():
    assert NetConfig().cells == (4, 8)
    assert NetConfig(width_px=512, height_px=256).cells == (4, 8)
    assert NetConfig(width_px=64, height_px=32).cells == (2, 4)
