from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from opendojo.world.draw import look as look_module
from opendojo.world.draw.look import (
    HELD_OUT_WEATHER,
    HILL_BINS,
    TRAINING_WEATHER,
    Look,
    Weather,
    box_paints,
    draw_looks,
    rgb_from_yuv,
    yuv_from_rgb,
)
from opendojo.world.draw.scene import Kind

CPU = torch.device("cpu")
COLOURS = (
    "grass", "verge", "asphalt", "sidewalk", "white", "yellow", "stripe", "horizon", "zenith",
    "hills", "building_tone",
)  # fmt: skip


@pytest.fixture(scope="module")
def looks() -> dict[str, Look]:
    presets = ("clean", "hard", "adversarial", "held_out")
    return {preset: draw_looks(range(100), preset, CPU) for preset in presets}


def test_a_look_is_a_function_of_seed_and_preset_alone(looks: dict[str, Look]) -> None:
    one = draw_looks([61], "hard", CPU)
    for name in Look.__slots__:
        assert torch.equal(getattr(one, name)[0], getattr(looks["hard"], name)[61]), name
    assert not torch.equal(looks["hard"].grass[61], looks["hard"].grass[62])


def test_every_preset_draws_its_own_weather(looks: dict[str, Look]) -> None:
    seen = {preset: set(look.weather.tolist()) for preset, look in looks.items()}
    assert seen["clean"] == {Weather.CLEAR, Weather.CLOUDY, Weather.OVERCAST}
    assert seen["hard"] == set(TRAINING_WEATHER)
    assert seen["adversarial"] == seen["held_out"] == set(HELD_OUT_WEATHER)


def test_fog_dusk_and_storm_are_never_in_training_looks(looks: dict[str, Look]) -> None:
    fog = looks["held_out"].weather == Weather.FOG
    dusk = looks["held_out"].weather == Weather.DUSK
    storm = looks["held_out"].weather == Weather.STORM
    for preset in ("clean", "hard"):
        look = looks[preset]
        assert look.haze_m.min() > 3 * looks["held_out"].haze_m[fog].max()
        assert bool(((look.night == 0) | (look.night > 0.8)).all())
        assert not ((look.rain > 0) & (look.night > 0)).any()
    assert bool(
        ((looks["held_out"].night[dusk] > 0.2) & (looks["held_out"].night[dusk] < 0.7)).all()
    )
    assert bool(
        (looks["held_out"].rain[storm] > 0).all() & (looks["held_out"].night[storm] > 0.8).all()
    )


def test_clean_cameras_are_clean_and_held_out_weather_is_seen_by_clean_ones(
    looks: dict[str, Look],
) -> None:
    for preset in ("clean", "held_out"):
        assert looks[preset].dirt.max() == 0 and looks[preset].blocks.max() == 0
        assert looks[preset].wear.max() <= 0.25
    assert looks["hard"].dirt.max() > 0.3 and looks["hard"].blocks.max() > 0.3


def test_colours_are_in_range_and_in_a_sensible_order(looks: dict[str, Look]) -> None:
    for preset, look in looks.items():
        for name in COLOURS:
            colour = getattr(look, name)
            assert colour[:, 0].min() >= 16 and colour[:, 0].max() <= 235, (preset, name)
            assert colour[:, 1:].min() >= 16 and colour[:, 1:].max() <= 240, (preset, name)
        assert bool((look.white[:, 0] > look.sidewalk[:, 0]).all())
        assert bool((look.sidewalk[:, 0] > look.asphalt[:, 0]).all())
        assert bool((look.yellow[:, 1] < look.white[:, 1]).all()), "yellow lacks blue"
        assert look.hill_line.shape == (100, HILL_BINS) and look.hill_line.min() >= 0
    clear = looks["clean"].weather == Weather.CLEAR
    assert bool((looks["clean"].zenith[clear, 1] > 135).all()), "a clear sky is blue"
    dusk = looks["held_out"].weather == Weather.DUSK
    assert bool((looks["held_out"].horizon[dusk, 2] > 140).all()), "at dusk the horizon is red"


def test_rain_darkens_asphalt_and_night_everything(looks: dict[str, Look]) -> None:
    hard = looks["hard"]

    def mean(name: str, weather: Weather) -> float:
        return float(getattr(hard, name)[hard.weather == weather, 0].mean()) - 16.0

    rain = look_module._sky(look_module._stream(1), Weather.RAIN)
    dry = look_module._colours(look_module._stream(2), dataclasses.replace(rain, wet=0.0))
    wet = look_module._colours(look_module._stream(2), rain)
    assert wet["asphalt"].sum() < 0.75 * dry["asphalt"].sum()
    assert wet["grass"].sum() < dry["grass"].sum() and (wet["zenith"] == dry["zenith"]).all()
    for name in COLOURS:
        if name != "building_tone":
            assert mean(name, Weather.NIGHT) < 0.6 * mean(name, Weather.CLEAR), name
    assert float(hard.lamp[hard.weather == Weather.NIGHT].min()) == 1.0


def test_the_sun_is_a_direction_with_a_strength(looks: dict[str, Look]) -> None:
    clean = looks["clean"]
    strength = clean.sun.norm(dim=1)
    overcast = clean.weather == Weather.OVERCAST
    assert strength[overcast].max() < 0.06 < 0.3 < strength[clean.weather == Weather.CLEAR].min()
    assert (clean.ambient + strength).max() < 1.15


def test_paints_are_functions_of_seed_slot_and_kind_and_take_the_light(
    looks: dict[str, Look],
) -> None:
    seeds = torch.arange(100)
    kinds = torch.tensor([Kind.CAR, Kind.CAR, Kind.TREE, Kind.BUILDING, Kind.PEDESTRIAN])
    kinds = kinds.expand(100, 5)
    look = looks["hard"]
    paint = box_paints(seeds, kinds, look)
    assert paint.shape == (100, 5, 3) and paint.dtype == torch.float32
    assert torch.equal(box_paints(seeds[7:8], kinds[7:8], look.rows(7, 8))[0], paint[7])
    assert len(paint[:, 0].unique(dim=0)) > 70 and not torch.equal(paint[:, 0], paint[:, 1])
    night = look.weather == Weather.NIGHT
    day = box_paints(seeds, kinds)
    assert bool((paint[night][..., 0] < day[night][..., 0]).all())
    assert bool((day[:, 2, 1] < 128).all() & (day[:, 2, 2] < 128).all()), "trees are green"
    assert paint[..., 0].min() >= 16 and paint[..., 0].max() <= 235


def test_yuv_and_rgb_undo_each_other() -> None:
    rgb = np.array([[[0.2, 0.4, 0.6], [0.2, 0.4, 0.6]]] * 2)
    y, u, v = np.moveaxis(np.round(yuv_from_rgb(rgb)), -1, 0).astype(np.uint8)
    back = rgb_from_yuv(y, u[:1, :1], v[:1, :1])
    np.testing.assert_allclose(back, rgb * 255, atol=2)
    np.testing.assert_allclose(yuv_from_rgb([1.0, 1.0, 1.0]), [235, 128, 128])


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="clean, hard"):
        draw_looks([1], "sunny", CPU)  # type: ignore[arg-type]
