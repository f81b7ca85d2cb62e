from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from opendojo.world.draw.look import Look, draw_looks
from opendojo.world.draw.sensor import Faults, Sensor, compressed

N, C, H, W = 6, 3, 32, 64
CPU = torch.device("cpu")


def look_with(n: int = N, **dials: float) -> Look:
    plain = {"dirt": 0.0, "rain": 0.0, "blocks": 0.0, **dials}
    look = draw_looks(range(n), "clean", CPU)
    return dataclasses.replace(look, **{k: torch.full((n,), v) for k, v in plain.items()})


def sensor_of(look: Look, faults: Faults, seeds: range | list[int] = range(N)) -> Sensor:
    return Sensor(look, seeds, cameras=C, width_px=W, height_px=H, faults=faults)


def pictures(seed: int = 0, n: int = N) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(20, 230, (n, C, H * 3 // 2, W), generator=draw, dtype=torch.uint8)


def steps(value: int, n: int = N) -> torch.Tensor:
    return torch.full((n,), value)


def test_clean_pictures_pass_untouched() -> None:
    frames = pictures()
    assert sensor_of(look_with(), Faults.clean()).apply(frames, None, steps(5)) is frames


def test_dead_cameras_are_black_and_the_others_as_they_were() -> None:
    frames = pictures()
    out = sensor_of(look_with(), Faults(dead=(1,))).apply(frames, None, steps(3))
    assert bool((out[:, 1, :H] == 16).all() & (out[:, 1, H:] == 128).all())
    assert torch.equal(out[:, [0, 2]], frames[:, [0, 2]])


def test_frozen_cameras_repeat_what_they_gave() -> None:
    sensor = sensor_of(look_with(), Faults(frozen=1.0))
    first = sensor.apply(pictures(0), None, steps(0))
    assert torch.equal(first, pictures(0)), "there is nothing to repeat at the start"
    second = sensor.apply(pictures(1), first, steps(1))
    assert torch.equal(second, first)
    restarted = sensor.apply(pictures(2), second, torch.tensor([2, 2, 0, 2, 2, 2]))
    assert torch.equal(restarted[2], pictures(2)[2]) and torch.equal(restarted[3], first[3])


def test_faults_come_as_often_as_documented_and_last_a_spell() -> None:
    seeds = list(range(200))
    faults = Faults(dropped=0.1, black=0.5, lost=0.05, frozen=0.2, spell_steps=10)
    sensor = sensor_of(look_with(200), faults, seeds)
    both = [sensor.faulty(steps(t, 200)) for t in range(30)]
    black, stuck = (torch.stack(masks).float() for masks in zip(*both, strict=True))
    assert float(black.mean()) == pytest.approx(1 - (1 - 0.05) * (1 - 0.05), abs=0.03)
    assert float(stuck.mean()) == pytest.approx(1 - (1 - 0.2) * (1 - 0.05), abs=0.03)
    lone = sensor_of(look_with(200), Faults(frozen=0.2, spell_steps=10), seeds)
    spells = torch.stack([lone.faulty(steps(t, 200))[1] for t in range(30)]).view(3, 10, 200, C)
    assert bool((spells == spells[:, :1]).all()) and not bool((spells[0] == spells[1]).all())


def test_a_worlds_faults_do_not_depend_on_its_company() -> None:
    look = draw_looks(range(N), "hard", CPU)
    strong = {"dirt": torch.full((N,), 0.5), "rain": torch.full((N,), 0.8)}
    look = dataclasses.replace(look, blocks=torch.full((N,), 0.6), **strong)
    faults = Faults(dirty=0.5, dropped=0.3, lost=0.1, frozen=0.1)
    every = sensor_of(look, faults).apply(pictures(0), pictures(1), steps(7))
    alone = sensor_of(look.rows(4, 5), faults, [4])
    one = alone.apply(pictures(0)[4:5], pictures(1)[4:5], steps(7, 1))
    assert torch.equal(one[0], every[4])


def test_dirt_stays_in_place_and_falls_on_its_share_of_cameras() -> None:
    sensor = sensor_of(look_with(200, dirt=0.8), Faults(dirty=0.3), list(range(200)))
    frames = torch.full((200, C, H * 3 // 2, W), 200, dtype=torch.uint8)
    one, two = (sensor.apply(frames, None, steps(t, 200)) for t in (1, 9))
    assert torch.equal(one, two)
    marked = (one != frames).flatten(2).any(2).float()
    assert float(marked.mean()) == pytest.approx(0.3, abs=0.06)
    share = (one[:, :, :H] != 200).float().mean((2, 3))[marked > 0]
    assert 0.1 < float(share.mean()) < 1.0


def test_rain_falls_elsewhere_each_step_and_only_brightens_dark_pictures() -> None:
    sensor = sensor_of(look_with(rain=1.0), Faults.clean())
    frames = torch.full((N, C, H * 3 // 2, W), 60, dtype=torch.uint8)
    one, two = (sensor.apply(frames, None, steps(t)) for t in (1, 2))
    assert not torch.equal(one, two) and not torch.equal(one[:, 0], one[:, 1])
    wet = (one[:, :, :H] > 64).float().mean()
    assert 0.01 < float(wet) < 0.3 and bool((one[:, :, :H] >= 60).all())
    assert torch.equal(one[:, :, H:], frames[:, :, H:]), "streaks have no colour"


def test_compression_is_a_cosine_transform_rounded_to_the_tables_steps() -> None:
    draw = np.random.Generator(np.random.Philox(key=3))
    plane = torch.tensor(draw.uniform(30, 220, (1, 16, 24)).round(), dtype=torch.float32)
    out = compressed(plane, torch.tensor([0.5]))
    # one coefficient by hand: block (1, 2), the mean: 8 times it, rounded to the step 16
    mean = float(plane[0, 8:, 16:].double().mean()) - 128
    assert float(out[0, 8:, 16:].double().mean()) - 128 == pytest.approx(
        round(8 * mean / 16) * 16 / 8, abs=1e-3
    )
    error = (out - plane).abs().mean()
    worse = (compressed(plane, torch.tensor([1.0])) - plane).abs().mean()
    little = (compressed(plane, torch.tensor([0.02])) - plane).abs().mean()
    assert little < 1 < 4 < error < worse
    assert torch.equal(compressed(plane, torch.tensor([0.0])), plane)


def test_flat_pictures_survive_compression_of_sides_that_eight_does_not_divide() -> None:
    plane = torch.full((2, 12, 20), 128.0)
    assert torch.allclose(compressed(plane, torch.ones(2)), plane, atol=1e-3)


@pytest.mark.parametrize("bad", [{"dirty": 1.5}, {"dropped": -0.1}, {"spell_steps": 0}])
def test_faults_refuse_what_is_no_share(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Faults(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="only 3"):
        sensor_of(look_with(), Faults(dead=(3,)))
