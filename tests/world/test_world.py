"""Worlds do not know their neighbours, and the expert gets through them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from opendojo.world import EVALUATION_SEEDS, TRAINING_SEEDS, World, WorldConfig


def numbers(world: World) -> dict[str, torch.Tensor]:
    parts = {"ego": world.state.ego, "cars": world.state.cars}
    values = {
        f"{name}.{f.name}": getattr(part, f.name)
        for name, part in parts.items()
        for f in dataclasses.fields(part)
    }
    return values | {"progress": world.progress_m, "expert": world.expert()}


def drive(seeds: list[int], steps: int = 16) -> World:
    world = World(seeds)
    # pushed about, so that every world takes its own way
    for k in range(steps):
        push = [[0.03 * ((seed + k) % 5 - 2), 0.5 * ((seed * 7 + k) % 3 - 1)] for seed in seeds]
        world.step(world.expert() + torch.tensor(push))
    return world


def test_a_world_is_the_same_alone_in_company_and_in_any_order():
    seeds = [11, 12, 13, 14, 15, 16, 17]
    together, shuffled = drive(seeds), drive(seeds[::-1])
    pictures, reversed_pictures = together.render(), shuffled.render()
    for i, seed in enumerate(seeds):
        alone = drive([seed])
        assert torch.equal(alone.render()[0], pictures[i])
        assert torch.equal(reversed_pictures[len(seeds) - 1 - i], pictures[i])
        for name, value in numbers(alone).items():
            assert torch.equal(value[0], numbers(together)[name][i]), (seed, name)
            other = numbers(shuffled)[name][len(seeds) - 1 - i]
            assert torch.equal(value[0], other), (seed, name)


def test_threads_change_no_bit():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = drive([*range(12)], 4)
        picture = one.render()
        torch.set_num_threads(2)
        two = drive([*range(12)], 4)
        assert torch.equal(picture, two.render())
        for name, value in numbers(one).items():
            assert torch.equal(value, numbers(two)[name]), name
    finally:
        torch.set_num_threads(before)


def test_reset_begins_again():
    world = drive([5, 6], 0)
    first, picture = numbers(world), world.render()
    for _ in range(5):
        world.step(world.expert())
    assert not torch.equal(world.render(), picture)
    world.reset()
    assert torch.equal(world.render(), picture)
    assert all(torch.equal(value, numbers(world)[name]) for name, value in first.items())


def test_the_expert_drives_thirty_held_out_routes():
    world = World(EVALUATION_SEEDS[:30])
    done = torch.zeros(30, dtype=torch.bool)
    failed, left_lane = done.clone(), done.clone()
    for _ in range(600):
        world.step(world.expert())
        failed |= (world.off_road | world.collided) & ~done
        left_lane |= world.off_lane & ~done
        done |= world.progress_m >= world.route_m
        if done.all():
            break
    assert (done & ~failed).float().mean() >= 0.95
    assert not left_lane.any()


def test_going_straight_leaves_every_road():
    world = World(EVALUATION_SEEDS[:30], WorldConfig(other_cars=0))
    off = torch.zeros(30, dtype=torch.bool)
    for _ in range(250):
        world.step(torch.zeros(30, 2))
        off |= world.off_road
    assert off.all()


def test_shapes_types_and_floors_of_the_seam():
    config = WorldConfig(other_cars=0, route_m=120.0)
    world = World([1, 2], config)
    frames = world.render()
    assert frames.shape == (2, 3, 6, 32, 64) and frames.dtype == torch.uint8
    assert world.expert().shape == (2, 2) and world.expert().dtype == torch.float32
    assert world.speed_mps.shape == world.progress_m.shape == (2,)
    assert (world.route_m == 120.0).all()
    assert world.progress_m.abs().max() < 0.1
    assert {world.off_road.dtype, world.off_lane.dtype, world.collided.dtype} == {torch.bool}
    assert not set(TRAINING_SEEDS) & set(EVALUATION_SEEDS[:10])


def test_what_cannot_be_is_refused_with_a_reason():
    with pytest.raises(ValueError, match="at least one seed"):
        World([])
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        World([1, 2]).step(torch.zeros(2))
    tilted = dataclasses.replace(WorldConfig().cameras[0].mount, pitch_rad=0.1)
    camera = dataclasses.replace(WorldConfig().cameras[0], mount=tilted)
    with pytest.raises(ValueError, match="level pinhole"):
        WorldConfig(cameras=(camera,))


def test_bird_eye_shows_the_ego_where_its_transform_says():
    world = World([3])
    view = world.bird_eye(0, 300, 200, metres_per_px=0.2)
    assert view.rgb.shape == (200, 300, 3)
    ego = world.state.ego
    column, row = view.pixels([[float(ego.x_m[0]) + 1.35, float(ego.y_m[0])]])[0]
    assert tuple(view.rgb[round(row), round(column)]) == (232, 119, 34)
    # ten metres to the left there is grass
    column, row = view.pixels([[float(ego.x_m[0]), float(ego.y_m[0]) + 10.0]])[0]
    red, green, blue = (int(v) for v in view.rgb[round(row), round(column)])
    assert green > red and green > blue
