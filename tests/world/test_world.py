"""Worlds do not know their neighbours, and the expert gets through them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from opendojo.world import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    World,
    WorldConfig,
    front_only,
    front_three,
    tesla_eight,
)
from opendojo.world.bank import town_of
from opendojo.world.config import TOWNS

SMALL = WorldConfig(cameras=front_three(64, 32), worlds_per_town=8)
SEEDS = [*range(0, 40, 6)]
"""Of all kinds of towns."""


def pushed(world: World, steps: int) -> World:
    """Driven by hand, so that every world takes its own way."""
    for k in range(steps):
        steer = [0.02 * ((seed + k) % 5 - 2) for seed in world.seeds]
        accel = [0.5 * ((seed * 7 + k) % 3) for seed in world.seeds]
        world.step(torch.tensor([steer, accel]).T)
    return world


def test_a_world_is_the_same_alone_in_company_and_in_any_order() -> None:
    together = pushed(World(SEEDS, SMALL), 12)
    shuffled = pushed(World(SEEDS[::-1], SMALL), 12)
    pictures, expert = together.render(), together.expert()
    assert shuffled.digests() == together.digests()[::-1]
    assert torch.equal(shuffled.render().flip(0), pictures)
    assert torch.equal(shuffled.expert().flip(0), expert)
    for i, seed in enumerate(SEEDS[:3]):
        alone = pushed(World([seed], SMALL), 12)
        assert alone.digests() == together.digests()[i : i + 1]
        assert torch.equal(alone.render()[0], pictures[i])
        assert torch.equal(alone.expert()[0], expert[i])


@pytest.mark.slow
def test_three_hundred_steps_are_the_same_in_batches_of_1_7_and_64() -> None:
    config = dataclasses.replace(SMALL, preset="hard")
    seeds = [*range(64)]
    whole = pushed(World(seeds, config), 300).digests()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).tolist()
    mixed = pushed(World([seeds[i] for i in order], config), 300).digests()
    assert mixed == [whole[i] for i in order]
    for first in (0, 28, 63):
        some = seeds[first : first + 7]
        assert pushed(World(some, config), 300).digests() == whole[first : first + 7]
    for seed in (0, 13, 40):
        assert pushed(World([seed], config), 300).digests() == [whole[seed]]


def test_threads_change_no_bit() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = pushed(World(SEEDS, SMALL), 3)
        picture = one.render()
        torch.set_num_threads(2)
        two = pushed(World(SEEDS, SMALL), 3)
        assert torch.equal(picture, two.render()) and one.digests() == two.digests()
    finally:
        torch.set_num_threads(before)


def test_reset_begins_again_where_it_is_asked_to() -> None:
    world = World([5, 6], SMALL)
    first, picture = world.digests(), world.render()
    pushed(world, 5)
    moved = world.digests()
    world.reset(torch.tensor([False, True]))
    assert world.digests() == [moved[0], first[1]]
    world.reset()
    assert torch.equal(world.render(), picture) and world.digests() == first


@pytest.mark.slow
def test_the_expert_drives_held_out_routes_of_all_kinds() -> None:
    seeds = EVALUATION_SEEDS[:40:2]
    world = World(seeds, dataclasses.replace(SMALL, route_m=150.0, worlds_per_town=4))
    done = torch.zeros(len(seeds), dtype=torch.bool)
    failed = done.clone()
    for _ in range(700):
        world.step(world.expert())
        failed |= (world.off_road | world.collided) & ~done
        done |= world.progress_m >= world.route_m
        if done.all():
            break
    assert float((done & ~failed).float().mean()) >= 0.9


@pytest.mark.slow
def test_going_straight_leaves_bending_roads() -> None:
    config = dataclasses.replace(SMALL, towns=("country",), worlds_per_town=1)
    world = World([*range(6)], config)
    off = torch.zeros(6, dtype=torch.bool)
    for _ in range(150):
        world.step(torch.zeros(6, 2))
        off |= world.off_road
    assert off.all()


def test_shapes_types_and_floors_of_the_seam() -> None:
    world = World([1, 2], WorldConfig(route_m=120.0, towns=("country",)))
    frames = world.render()
    assert frames.shape == (2, 3, 96, 128) and frames.dtype == torch.uint8
    assert world.expert().shape == (2, 2) and world.expert().dtype == torch.float32
    assert world.speed_mps.shape == world.progress_m.shape == world.command.shape == (2,)
    assert (world.route_m == 120.0).all()
    assert world.progress_m.abs().max() == 0.0
    assert {world.off_road.dtype, world.off_lane.dtype, world.collided.dtype} == {torch.bool}
    assert not (world.off_road | world.off_lane | world.collided).any()
    labels = world.labels()
    assert labels.kind.shape == labels.depth_m.shape == (2, 3, 64, 128)


def test_held_out_towns_come_from_other_parameters() -> None:
    config = WorldConfig(worlds_per_town=1)
    assert not set(TRAINING_SEEDS) & set(EVALUATION_SEEDS[:10])
    for k, kind in enumerate(TOWNS):
        trained, judged = town_of(k, config), town_of(EVALUATION_SEEDS[k], config)
        assert trained.name.startswith(f"{kind}-") and judged.name.startswith(f"held-out-{kind}-")


@pytest.mark.parametrize("preset", ["clean", "hard", "adversarial"])
def test_every_preset_draws_an_eight_camera_rig_with_errors(preset: str) -> None:
    config = WorldConfig(
        cameras=tesla_eight(64, 32), preset=preset, rig_error=1.0, dead=(2,), latency_s=0.1
    )  # type: ignore[arg-type]
    world = pushed(World([0, 3], config), 2)
    frames = world.render()
    assert frames.shape == (2, 8, 48, 64)
    assert (frames[:, 2, :32] == 16).all() and frames[:, :2].float().std() > 5.0
    assert not torch.equal(frames[0], frames[1])


def test_what_cannot_be_is_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        World([])
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        World([1], SMALL).step(torch.zeros(2))
    with pytest.raises(ValueError, match="did you mean 'urban'"):
        WorldConfig(towns=("urbane",))
    with pytest.raises(ValueError, match="preset"):
        WorldConfig(preset="easy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dead cameras"):
        WorldConfig(cameras=front_only(), dead=(1,))
    with pytest.raises(ValueError, match="latency_s"):
        WorldConfig(latency_s=1.0)


def test_bird_eye_shows_the_ego_where_its_transform_says() -> None:
    world = World([3], dataclasses.replace(SMALL, towns=("country",)))
    view = world.bird_eye(0, 300, 200, metres_per_px=0.2)
    assert view.rgb.shape == (200, 300, 3)
    ego = world.state.ego
    middle = [float(v[0]) for v in ego.middle()]
    column, row = view.pixels([middle])[0]
    assert tuple(view.rgb[round(row), round(column)]) == (232, 119, 34)
    bare = world.bird_eye(0, 300, 200, metres_per_px=0.2, bare=True)
    # without it there is asphalt
    assert int(bare.rgb[round(row), round(column)].max()) < 110
