import dataclasses

import pytest
import torch
from net_inputs import SMALL, awake, inputs, lens_of

from opendojo.model import DrivingNet, Motion, NetConfig


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("blind", [False, True])
def test_a_new_network_drives_straight_on_at_its_speed_and_copies_the_last_picture(blind):
    config = NetConfig(blind=blind)
    frames, there, lens, motion = inputs(height=64, width=128)
    network = DrivingNet(config)
    output = network(frames, there, lens, motion)
    times_s = torch.tensor(config.path_times_s)
    assert output.path_m.shape == (2, 8, 16, 2)
    torch.testing.assert_close(output.path_m[..., 0], motion.speed_mps[..., None] * times_s)
    assert not output.path_m[..., 1].any()
    assert not output.plan.best.any() and output.plan.scores is None
    if blind:
        assert output.forecast is None and output.ground is None
    else:
        torch.testing.assert_close(output.forecast, network.small_luma(frames[:, :, 0]))


def test_the_small_luma_is_the_area_mean_of_the_luma():
    planes = inputs(1, 1, 1)[0][0, 0, 0]
    luma = torch.zeros(32, 64)
    for i in range(4):
        luma[i // 2 :: 2, i % 2 :: 2] = planes[i].float()
    expected = luma.view(8, 4, 16, 4).mean((1, 3)) / 255
    torch.testing.assert_close(DrivingNet(SMALL).small_luma(planes), expected)


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_pixels_of_absent_cameras_have_no_influence(size):
    network = awake(dataclasses.replace(SMALL, size=size))
    frames, there, lens, motion = inputs()
    there[0, 1] = False
    there[1, :] = False
    changed = frames.clone()
    changed[0, :, 1] = 255
    changed[1] = 0
    lens[0, 1] = 0
    one = network(frames, there, lens, motion).path_m
    assert torch.equal(one, network(changed, there, lens, motion).path_m)
    changed[0, :, 2] = 255
    assert not torch.equal(one[0], network(changed, there, lens, motion).path_m[0])


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_an_absent_camera_equals_one_that_was_never_there(size):
    network = awake(dataclasses.replace(SMALL, size=size))
    frames, there, lens, motion = inputs()
    there[:, 1] = False
    one = network(frames, there, lens, motion).path_m
    some = [0, 2]
    two = network(frames[:, :, some], there[:, some], lens[:, some], motion).path_m
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_a_network_takes_another_rig_in_any_order(size):
    """Built for three cameras, it reads eight; their order is of no account, their mounts are."""
    network = awake(dataclasses.replace(SMALL, size=size))
    frames, there, lens, motion = inputs(c=8)
    one = network(frames, there, lens, motion).path_m
    order = [0, 7, 2, 5, 4, 3, 6, 1]  # the first stays: the forecast is of it
    two = network(frames[:, :, order], there, lens[:, order], motion).path_m
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    swapped = network(frames[:, :, order], there, lens, motion).path_m
    assert (swapped - one).abs().max() > 1e-2


def test_a_rig_turned_about_changes_what_is_where():
    """The same picture of a camera to the left and to the right reaches other places."""
    network = awake()
    frames, there, lens, _ = inputs(b=1, t=1, c=3)
    left = network.encode(frames[:, 0, 1:2], there[:, 1:2], lens[:, 1:2])
    right = network.encode(frames[:, 0, 1:2], there[:, 2:3], lens[:, 2:3])
    places = network.eyes.scene.places
    differs = (left - right).abs().mean(-1)[0, : len(places)]
    aside = (places[:, 1].abs() > 4) & (places[:, 0] > 2)
    behind = places[:, 0] < -5
    assert differs[aside].mean() > 10 * differs[behind].mean()


def test_an_uncalibrated_camera_is_seen_by_a_learnt_stand_in():
    network = awake()
    frames, there, lens, motion = inputs(c=1)
    told = lens.clone()
    lens[..., -1] = 0
    one = network(frames, there, lens, motion).path_m
    assert torch.equal(one, network(frames, there, torch.zeros_like(lens), motion).path_m)
    assert not torch.equal(one, network(frames, there, told, motion).path_m)
    one.square().sum().backward()
    assert network.eyes.stand_in.guess.grad.abs().min() > 0


def test_an_empty_rig_of_cameras_still_trains_without_nan():
    network = awake()
    frames, there, lens, motion = inputs()
    output = network(frames, torch.zeros_like(there), 0 * lens, motion)
    output.path_m.sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_left_and_right_change_the_features():
    """A global average would not see it."""
    network = awake()
    frames = torch.full((1, 1, 6, 16, 32), 60, dtype=torch.uint8)
    frames[..., :8] = 200
    there, lens = torch.ones(1, 1, dtype=torch.bool), lens_of(1, 1)
    left, right = network.encode(frames, there, lens), network.encode(frames.flip(-1), there, lens)
    assert (left - right).norm() > 0.05 * left.norm()


def test_one_rig_may_serve_several_instants_in_a_row():
    network = awake()
    frames, there, lens, _ = inputs()
    flat = frames.flatten(0, 1)
    one = network.encode(flat, there, lens)
    each = network.encode(flat, there.repeat_interleave(8, 0), lens.repeat_interleave(8, 0))
    torch.testing.assert_close(one, each)


def test_the_forecast_is_causal_and_stays_within_the_picture():
    network = awake()
    seen, luma = torch.randn(2, 8, network.config.widths.hidden), torch.rand(2, 8, 8, 16)
    whole = network.forecast(seen, luma)
    assert whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(network.forecast(seen[:, :3], luma[:, :3]), whole[:, :3])


def test_a_forecast_for_some_steps_only_equals_that_of_all():
    network = awake()
    batch = inputs()
    some, every = network(*batch, forecast_until=3), network(*batch)
    torch.testing.assert_close(some.forecast, every.forecast[:, :3])
    assert network(*batch, forecast_until=0).forecast is None


def test_an_unknown_speed_is_guessed_and_its_value_not_looked_at():
    network = awake()
    frames, there, lens, motion = inputs()
    paths = [
        network(frames, there, lens, Motion.of(speed, torch.zeros(2, 8) > 0)).path_m
        for speed in (motion.speed_mps, motion.speed_mps + 5, motion.speed_mps * float("nan"))
    ]
    assert torch.equal(paths[0], paths[1]) and torch.equal(paths[0], paths[2])
    assert paths[0][..., 0].mean() > 1


def test_a_command_counts_and_one_never_trained_does_not():
    frames, there, lens, motion = inputs()
    left = dataclasses.replace(motion, command=motion.command + 2)
    network = awake()
    assert not torch.equal(
        network(frames, there, lens, left).path_m, network(frames, there, lens, motion).path_m
    )
    with torch.no_grad():
        network.plan_head.command.zero_()
    assert torch.equal(
        network(frames, there, lens, left).path_m, network(frames, there, lens, motion).path_m
    )


def test_a_blind_network_looks_at_no_pixel_and_at_eight_speeds():
    network = awake(NetConfig(width_px=64, height_px=32, blind=True))
    frames, there, lens, motion = inputs()
    one = network(frames, there, lens, motion).path_m
    assert torch.equal(one, network(255 - frames, there, lens, motion).path_m)
    bare = network(frames[:, :, :0], there[:, :0], lens[:, :0], motion).path_m
    assert torch.equal(one, bare)
    earlier = dataclasses.replace(motion, speed_mps=motion.speed_mps.clone())
    earlier.speed_mps[:, 0] += 3
    assert not torch.equal(one[:, -1], network(frames, there, lens, earlier).path_m[:, -1])


def test_training_and_evaluation_mode_agree_to_the_bit():
    network = awake()
    batch = inputs()
    assert torch.equal(network.train()(*batch).path_m, network.eval()(*batch).path_m)


@pytest.mark.parametrize("size", ["nano", "tiny"])
@pytest.mark.parametrize("encoder", ["resnet", "regnet"])
@pytest.mark.parametrize("sides", [(32, 32), (256, 128), (192, 96)])
def test_other_picture_sizes_work(size, encoder, sides):
    width, height = sides
    config = NetConfig(
        size=size,
        encoder=encoder,
        width_px=width,
        height_px=height,
        cameras=("front",),
        forecast_width_px=width // 4,
        forecast_height_px=height // 4,
    )
    frames, there, lens, motion = inputs(1, 2, 1, height, width)
    output = DrivingNet(config)(frames, there, lens, motion, ground=True)
    assert output.path_m.shape == (1, 2, 16, 2)
    assert output.forecast.shape == (1, 2, height // 4, width // 4)
    assert output.ground.road.shape == (1, 2, 3, 32, 32)


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_what_tells_pictures_apart_reaches_the_plan_at_full_strength(size):
    """Signals that fade on the way are not learnt from: see `network._start`."""
    torch.manual_seed(0)
    network = DrivingNet(NetConfig(size=size))
    frames, there, lens, motion = inputs(b=16, t=1, height=64, width=128)
    luma = torch.rand(16, 1, 1, 1, 4, 8).mul(160).add(40).byte()
    frames = luma.repeat_interleave(8, -1).repeat_interleave(8, -2).expand(frames.shape)
    same = Motion.of(0 * motion.speed_mps + 9)
    seen, moves = network.ego(network.remember(frames, there, lens, same)[0])
    hidden, _ = network.plan_head.think(seen, moves, same)
    assert hidden.std(0).mean() > 0.1


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_weights_of_half_precision_plan_about_the_same(size):
    """Geometry, times and candidates stay in single precision."""
    network = awake(dataclasses.replace(SMALL, size=size))
    batch = inputs()
    whole = network(*batch, ground=True).path_m
    for parameter in network.parameters():
        parameter.data = parameter.data.bfloat16()
    half = network(*batch, ground=True)
    assert half.path_m.dtype == torch.float32
    assert (half.path_m - whole).abs().mean() < 0.1 * whole.abs().mean()
    with torch.autocast("cpu", torch.bfloat16):
        cast = awake(dataclasses.replace(SMALL, size=size))(*batch).path_m
    assert cast.isfinite().all()


def test_timm_backbones_run_where_timm_loads():
    pytest.importorskip("timm")
    network = awake(dataclasses.replace(SMALL, encoder="timm:resnet10t")).eval()
    assert network(*inputs()).path_m.shape == (2, 8, 16, 2)


@pytest.mark.parametrize("blind", [False, True])
def test_no_weight_is_a_scalar_which_fsdp_could_not_shard(blind: bool):
    network = DrivingNet(NetConfig(blind=blind))
    assert not [name for name, weight in network.named_parameters() if weight.dim() == 0]
