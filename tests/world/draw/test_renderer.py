"""Pictures: what a driver reads in them, and that they do not depend on the company."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from draw_scenes import flat_atlas, random_scene, scene_of
from torch import Tensor

from opendojo.clip import Camera, Pose
from opendojo.world.draw.look import Look, Weather, draw_looks
from opendojo.world.draw.noise import Noise, noise_rows
from opendojo.world.draw.paint_raster import HALF_LINE, pack
from opendojo.world.draw.renderer import Renderer, rows_of
from opendojo.world.draw.scene import Kind, Scene
from opendojo.world.rig import perturbed, tesla_eight
from opendojo.world.town.atlas import Atlas, Ground
from opendojo.world.town.bake import bake_all
from opendojo.world.town.build import TRAINING_SPECS, build

CPU = torch.device("cpu")
FRONT = Camera.with_fov("front", 64, 32, 60.0, mount=Pose(z_m=1.4))
LINE_M = 2.0
"""Of `road`: a line along x at this y."""


@pytest.fixture(scope="module")
def towns() -> tuple[list, Atlas]:
    built = [build(1, TRAINING_SPECS[name]) for name in ("urban", "country")]
    return built, bake_all(built, CPU)


def road(yellow: bool = False, wide: bool = False) -> Atlas:
    """16 m square of road with one line along x, at y = 2 m."""
    atlas = flat_atlas()
    rows = torch.arange(64, dtype=torch.float32)[:, None].expand(64, 64) * 0.25 - 8.0
    low, high = ((r - LINE_M) * 128 + 128 for r in (rows, rows + 0.25))
    low, high = (v.round().clamp(0, 255).to(torch.int64) for v in (low, high))
    entry = low | low << 8 | high << 16 | high << 24
    code = Ground.ROAD + Ground.YELLOW * yellow + Ground.WIDE * wide
    return dataclasses.replace(
        atlas,
        lines=(entry - ((entry >> 31) << 32)).to(torch.int32)[None],
        edge=torch.full((1, 32, 32), -1, dtype=torch.int32),
        ground=torch.full((1, 64, 64), code, dtype=torch.uint8),
    )


def day(n: int = 1) -> Look:
    """Clear looks without the dials that blur a comparison."""
    look = draw_looks(range(n), "clean", CPU)
    zero = torch.zeros(n)
    plain = {"wear": zero, "rough": zero, "noise": zero, "gain": zero + 1, "haze_m": zero + 1e4}
    return dataclasses.replace(look, **plain)


def planes(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y [n, c, h, w], Cb and Cr [n, c, h / 2, w / 2] of I420 frames."""
    n, c, rows, width = frames.shape
    height = rows * 2 // 3
    flat = frames.to(torch.int64).flatten(2)
    half = n, c, height // 2, width // 2
    quarter = height * width // 4
    cb, cr = flat[..., 4 * quarter : 5 * quarter], flat[..., 5 * quarter :]
    return flat[..., : 4 * quarter].view(n, c, height, width), cb.view(half), cr.view(half)


def drawn(scene: Scene, atlas: Atlas, look: Look) -> tuple[Tensor, Tensor, Tensor]:
    """The planes of camera `FRONT` of the first world."""
    frames = Renderer((FRONT,), atlas, look, range(len(scene.x_m)), CPU, noise=0.0).render(scene)
    y, cb, cr = planes(frames)
    return y[0, 0], cb[0, 0], cr[0, 0]


def pixel(x_m: float, y_m: float, z_m: float = 0.0) -> tuple[int, int]:
    """Row and column of `FRONT` that show a point."""
    row = FRONT.cy_px - FRONT.fy_px * (z_m - 1.4) / x_m
    return round(row), round(FRONT.cx_px - FRONT.fx_px * y_m / x_m)


def car(x_m: float, yaw_rad: float = 0.0, lamp: int = 0, **more: object) -> dict:
    size = {"length_m": 4.4, "width_m": 1.9, "top_m": 1.5, "paint": (180.0, 128.0, 128.0)}
    return {"kind": Kind.CAR, "x_m": x_m, "yaw_rad": yaw_rad, "lamp": lamp, **size, **more}


def test_pictures_do_not_depend_on_the_batch(towns: tuple[list, Atlas]) -> None:
    n = 5
    scene, look = random_scene(range(n), towns[0]), draw_looks(range(n), "hard", CPU)
    rig = tesla_eight(64, 32)
    whole = Renderer(rig, towns[1], look, range(n), CPU).render(scene)
    assert whole.shape == (n, 8, 48, 64)
    for i in range(n):
        alone = Renderer(rig, towns[1], look.rows(i, i + 1), [i], CPU)
        assert torch.equal(alone.render(rows_of(scene, i, i + 1)), whole[i : i + 1])


def test_pictures_do_not_depend_on_threads(towns: tuple[list, Atlas]) -> None:
    n = 5
    scene, look = random_scene(range(n), towns[0]), draw_looks(range(n), "hard", CPU)
    before = torch.get_num_threads()
    pictures = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            renderer = Renderer(tesla_eight(64, 32), towns[1], look, range(n), CPU)
            pictures.append(renderer.render(scene))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*pictures)


def test_each_world_may_have_its_own_rig(towns: tuple[list, Atlas]) -> None:
    seeds = range(3)
    scene, look = random_scene(seeds, towns[0]), draw_looks(seeds, "clean", CPU)
    rigs = perturbed(tesla_eight(64, 32), seeds)
    whole = Renderer(rigs, towns[1], look, seeds, CPU).render(scene)
    for i in seeds:
        alone = Renderer(rigs[i], towns[1], look.rows(i, i + 1), [i], CPU)
        assert torch.equal(alone.render(rows_of(scene, i, i + 1)), whole[i : i + 1])
    with pytest.raises(ValueError, match="3 rigs for 2 worlds"):
        Renderer(rigs, towns[1], look, range(2), CPU)


def test_a_line_is_where_it_is_painted() -> None:
    look = day()
    y, cb, _ = drawn(scene_of([[]]), road(), look)
    row, column = pixel(6.0, LINE_M)
    asphalt, white = float(look.asphalt[0, 0]), float(look.white[0, 0])
    assert int(y[row, column - 1 : column + 2].max()) > asphalt + 0.5 * (white - asphalt)
    for side in (-8, 8):
        assert abs(int(y[row, column + side]) - asphalt) <= 1
    yellow = drawn(scene_of([[]]), road(yellow=True), look)[1]
    assert int(yellow[row // 2, column // 2]) < int(cb[row // 2, column // 2]) - 10


def test_paint_covers_the_share_of_a_picture_that_its_area_says() -> None:
    """However far away, the line's light is there: sums over rows follow its width in pixels."""
    look = day()
    contrast = float(look.white[0, 0] - look.asphalt[0, 0])
    for wide, width_m in ((False, 0.15), (True, 0.25)):
        y = drawn(scene_of([[]]), road(wide=wide), look)[0]
        for row in (24, 27):
            range_m = 1.4 * FRONT.fy_px / (row - FRONT.cy_px)
            _, column = pixel(range_m, LINE_M)
            near = y[row, column - 5 : column + 6].to(torch.float32) - look.asphalt[0, 0]
            expected = width_m * FRONT.fx_px / range_m
            assert float(near.sum()) / contrast == pytest.approx(expected, rel=0.15)


def test_packed_distances_equal_the_atlas(towns: tuple[list, Atlas]) -> None:
    atlas = towns[1]
    raster = pack(atlas)
    rows, columns = atlas.sizes[0]
    entry = atlas.lines[0, :rows, :columns].flatten()
    corners = torch.stack([((entry >> s) & 255).to(torch.float32) - 128 for s in (0, 8, 16, 24)])
    held = (corners.amax(0) - corners.amin(0) <= 64) & (corners.amax(0) < 127)
    fine = raster.cells[: rows * columns, 0]
    value = (((fine << 16) >> 24) + (((fine << 8) >> 24) + (fine >> 24)) / 8.0).to(torch.float32)
    wide = (atlas.ground[0, :rows, :columns].flatten() & Ground.WIDE) > 0
    value = torch.where(wide, value / 0.6, value)
    near = held & (corners.mean(0).abs() < 40)
    assert int(near.sum()) > 1000
    wrong = (value - corners.mean(0)).abs()[near] / 128
    assert float(wrong.max()) < 0.02
    assert float(wrong.mean()) < 0.004
    assert bool((value[~held].abs() > 2 * HALF_LINE).all())


def test_the_rear_of_a_car_shows_red_lamps_brighter_while_it_brakes() -> None:
    look = day()
    lamp = pixel(10.0 - 2.2, 0.8, 0.75)
    at = lamp[0] // 2, lamp[1] // 2
    rolling, braking, coming = (
        drawn(scene_of([[box]]), road(), look) for box in (car(10.0), car(10.0, lamp=1),
                                                           car(10.0, math.pi))
    )  # fmt: skip
    assert int(rolling[2][at]) > 150 and int(braking[2][at]) > int(rolling[2][at]) + 15
    assert int(braking[0][lamp]) > int(rolling[0][lamp]) + 20
    assert abs(int(coming[2][at]) - 128) < 8 and int(coming[0][lamp]) > 200


@pytest.mark.parametrize(("lamp", "z_m"), [(0, 2.85), (1, 2.5), (2, 2.15)])
def test_a_signal_shows_its_light_on_its_front_alone(lamp: int, z_m: float) -> None:
    head = {
        "kind": Kind.SIGNAL, "x_m": 8.0, "length_m": 0.4, "width_m": 0.4, "base_m": 2.0,
        "top_m": 3.0, "paint": (30.0, 128.0, 128.0), "lamp": lamp,
    }  # fmt: skip
    row, column = pixel(7.8, 0.0, z_m)
    front, back = (
        drawn(scene_of([[{**head, "yaw_rad": yaw}]]), road(), day()) for yaw in (math.pi, 0.0)
    )
    at = row // 2, column // 2
    cb, cr = int(front[1][at]) - 128, int(front[2][at]) - 128
    assert int(front[0][row, column]) > 90 > int(back[0][row, column])
    assert (cr > 40, cr < -40, cb < -50) == [(True, False, False), (False, False, True),
                                            (False, True, False)][lamp]  # fmt: skip
    assert abs(int(back[2][at]) - 128) < 10


def test_the_nearer_of_two_boxes_hides_the_other() -> None:
    near = car(8.0, paint=(60.0, 128.0, 128.0))
    far = {**car(20.0, paint=(220.0, 128.0, 128.0)), "width_m": 8.0, "kind": Kind.TRUCK}
    for boxes in ([near, far], [far, near]):
        y = drawn(scene_of([boxes]), road(), day())[0]
        assert int(y[pixel(5.8, 0.0, 0.5)]) < 90
        assert int(y[pixel(17.8, 3.0, 0.9)]) > 150


def test_headlamps_light_the_road_by_night() -> None:
    look = draw_looks(range(300), "hard", CPU)
    night = look.rows(*(lambda i: (i, i + 1))(int((look.weather == Weather.NIGHT).nonzero()[0, 0])))
    dark = dataclasses.replace(night, lamp=torch.zeros(1))
    on, off = (drawn(scene_of([[]]), road(), which)[0].to(torch.float32) for which in (night, dark))
    ahead = pixel(7.0, 0.0)
    assert float(on[ahead]) > float(off[ahead]) + 15
    assert torch.equal(on[:14], off[:14])


def test_haze_takes_contrast() -> None:
    look = day()
    thick = dataclasses.replace(look, haze_m=torch.tensor([60.0]))
    black = car(40.0, paint=(16.0, 128.0, 128.0), top_m=3.0, width_m=4.0)
    at = pixel(37.8, 0.0, 2.2)
    clear, hazy = (
        float(drawn(scene_of([[black]]), road(), which)[0][at]) for which in (look, thick)
    )
    veil = float(look.horizon[0, 0])
    assert (veil - hazy) / (veil - clear) == pytest.approx(math.exp(-3 * 37.8 / 60), abs=0.06)


def test_noise_is_new_each_step_and_as_strong_as_asked() -> None:
    look = dataclasses.replace(day(), noise=torch.tensor([3.0]))
    scene = scene_of([[]])
    later = dataclasses.replace(scene, step=scene.step + 1)
    renderer = Renderer((FRONT,), road(), look, [7], CPU)
    clean = planes(Renderer((FRONT,), road(), look, [7], CPU, noise=0.0).render(scene))
    one, again, two = (planes(renderer.render(s)) for s in (scene, scene, later))
    assert torch.equal(one[0], again[0]) and not torch.equal(one[0], two[0])
    assert torch.equal(one[1], clean[1])
    change = (one[0] - clean[0]).to(torch.float32)
    assert 2.6 < float(change.std()) < 3.4
    assert abs(float(change.mean())) < 0.3


def test_noise_rows_come_in_order() -> None:
    noise = Noise(8, 4, CPU)
    starts = noise.starts(torch.tensor([1, 2]), torch.tensor([0, 0]), torch.arange(3))
    assert len(starts.unique()) > 3
    got = noise_rows(noise.table, starts, 8)
    assert torch.equal(got[1, 2], noise.table[starts[1, 2] : starts[1, 2] + 8])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_pictures_equal_eager_ones(towns: tuple[list, Atlas]) -> None:
    """At most one level apart, and in at most one pixel in a thousand."""
    n = 2
    scene, look = random_scene(range(n), towns[0]), draw_looks(range(n), "hard", CPU)
    rig = (FRONT, dataclasses.replace(FRONT, name="rolled", mount=Pose(z_m=1.4, roll_rad=0.04)))
    eager, compiled = (
        Renderer(rig, towns[1], look, range(n), CPU, compiled=which).render(scene).to(torch.int16)
        for which in (False, True)
    )
    apart = (eager - compiled).abs()
    assert float((apart > 0).double().mean()) < 1e-3
    assert float((apart > 1).double().mean()) < 1e-4
