import pytest
import torch

from opendojo.model import DrivingNet, NetConfig

SMALL = NetConfig(width_px=64, height_px=32, forecast_width_px=16, forecast_height_px=8)


def inputs(b=2, t=8, c=3, height=32, width=64, seed=0):
    g = torch.Generator().manual_seed(seed)
    frames = torch.randint(
        0, 256, (b, t, c, 6, height // 2, width // 2), dtype=torch.uint8, generator=g
    )
    there = torch.ones(b, c, dtype=torch.bool)
    return frames, there, torch.rand(b, t, generator=g) * 10, torch.ones(b, t, dtype=torch.bool)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def awake(config=SMALL):
    """A network whose zeroed last layers say something, as after some training."""
    network = DrivingNet(config)
    with torch.no_grad():
        network.path_head.last.weight.normal_(std=0.1)
        if network.forecast_head is not None:
            network.forecast_head.last.weight.normal_(std=0.1)
    return network


@pytest.mark.parametrize("blind", [False, True])
def test_a_new_network_drives_straight_on_at_its_speed_and_copies_the_last_picture(blind):
    config = NetConfig(blind=blind)
    frames, there, speed, known = inputs(height=64, width=128)
    network = DrivingNet(config)
    output = network(frames, there, speed, known)
    times_s = torch.tensor(config.path_times_s)
    assert output.path_m.shape == (2, 8, 16, 2)
    torch.testing.assert_close(output.path_m[..., 0], speed[..., None] * times_s)
    assert not output.path_m[..., 1].any()
    if blind:
        assert output.forecast is None
    else:
        torch.testing.assert_close(output.forecast, network.small_luma(frames[:, :, 0]))


def test_the_small_luma_is_the_area_mean_of_the_luma():
    planes = inputs(1, 1, 1)[0][0, 0, 0]
    luma = torch.zeros(32, 64)
    for i in range(4):
        luma[i // 2 :: 2, i % 2 :: 2] = planes[i].float()
    expected = luma.view(8, 4, 16, 4).mean((1, 3)) / 255
    torch.testing.assert_close(DrivingNet(SMALL).small_luma(planes), expected)


def test_pixels_of_absent_cameras_have_no_influence():
    network = awake()
    frames, there, speed, known = inputs()
    there[0, 1] = False
    there[1, :] = False
    changed = frames.clone()
    changed[0, :, 1] = 255
    changed[1] = 0
    one = network(frames, there, speed, known).path_m
    assert torch.equal(one, network(changed, there, speed, known).path_m)
    changed[0, :, 2] = 255
    assert not torch.equal(one[0], network(changed, there, speed, known).path_m[0])


def test_the_slots_of_the_rig_are_told_apart():
    network = awake()
    frames, there, speed, known = inputs()
    swapped = frames[:, :, [0, 2, 1]]
    before = network(frames, there, speed, known).path_m
    assert not torch.equal(before, network(swapped, there, speed, known).path_m)


def test_an_empty_rig_of_cameras_still_trains_without_nan():
    network = awake()
    frames, there, speed, known = inputs()
    output = network(frames, torch.zeros_like(there), speed, known)
    output.path_m.sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_left_and_right_change_the_features():
    """A global average would not see it."""
    network = awake()
    frames = torch.full((1, 1, 6, 16, 32), 60, dtype=torch.uint8)
    frames[..., :8] = 200
    there = torch.ones(1, 1, dtype=torch.bool).expand(1, 3)
    frames = frames.expand(1, 3, 6, 16, 32)
    left, right = network.encode(frames, there), network.encode(frames.flip(-1), there)
    assert (left - right).norm() > 0.05 * left.norm()


def test_the_memory_is_causal_and_eight_steps_long():
    network = awake()
    features, speed = torch.randn(2, 20, network.config.features), torch.rand(2, 20)
    known = torch.ones(2, 20, dtype=torch.bool)
    whole = network.recall(features, speed, known)
    assert whole.shape == (2, 20, network.config.memory)
    for k in range(20):
        window = slice(max(0, k - 7), k + 1)
        alone = network.recall(features[:, window], speed[:, window], known[:, window])
        torch.testing.assert_close(whole[:, k], alone[:, -1])


def test_the_forecast_is_causal_and_stays_within_the_picture():
    network = awake()
    memory, luma = torch.randn(2, 8, network.config.memory), torch.rand(2, 8, 8, 16)
    whole = network.forecast(memory, luma)
    assert whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(network.forecast(memory[:, :3], luma[:, :3]), whole[:, :3])


def test_a_forecast_for_some_steps_only_equals_that_of_all():
    network = awake()
    batch = inputs()
    some, every = network(*batch, forecast_until=3), network(*batch)
    torch.testing.assert_close(some.forecast, every.forecast[:, :3])
    assert network(*batch, forecast_until=0).forecast is None


def test_an_unknown_speed_is_guessed_and_its_value_not_looked_at():
    network = awake()
    frames, there, speed, known = inputs()
    hidden = torch.zeros_like(known)
    one = network(frames, there, speed, hidden).path_m
    assert torch.equal(one, network(frames, there, speed + 5, hidden).path_m)
    assert torch.equal(one, network(frames, there, speed * float("nan"), hidden).path_m)
    assert one[..., 0].mean() > 1


def test_a_blind_network_looks_at_no_pixel():
    network = awake(NetConfig(width_px=64, height_px=32, blind=True))
    frames, there, speed, known = inputs()
    one = network(frames, there, speed, known).path_m
    assert torch.equal(one, network(255 - frames, there, speed, known).path_m)
    assert torch.equal(one, network(frames[:, :, :0], there[:, :0], speed, known).path_m)
    assert network.encode(frames[:, 0], there).shape == (2, 0)


def test_training_and_evaluation_mode_agree_to_the_bit():
    network = awake()
    batch = inputs()
    assert torch.equal(network.train()(*batch).path_m, network.eval()(*batch).path_m)


def test_every_parameter_is_reached():
    network = awake()
    frames, there, speed, known = inputs()
    known[0] = False
    output = network(frames, there, speed, known)
    (output.path_m.square().sum() + output.forecast.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", ["nano", "tiny"])
@pytest.mark.parametrize("sides", [(32, 32), (256, 128), (192, 96)])
def test_other_picture_sizes_work(size, sides):
    width, height = sides
    config = NetConfig(
        size=size,
        width_px=width,
        height_px=height,
        cameras=("front",),
        forecast_width_px=width // 4,
        forecast_height_px=height // 4,
    )
    frames = torch.zeros(1, 2, 1, 6, height // 2, width // 2, dtype=torch.uint8)
    speed = torch.ones(1, 2)
    output = DrivingNet(config)(frames, torch.ones(1, 1) > 0, speed, speed > 0)
    assert output.path_m.shape == (1, 2, 16, 2)
    assert output.forecast.shape == (1, 2, height // 4, width // 4)


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_what_tells_pictures_apart_reaches_the_path_head_at_full_strength(size):
    """Signals that fade on the way are not learnt from: see `network._start`."""
    torch.manual_seed(0)
    network = DrivingNet(NetConfig(size=size))
    frames, there, speed, known = inputs(b=16, t=1, height=64, width=128)
    luma = torch.rand(16, 1, 1, 1, 4, 8).mul(160).add(40).byte()
    frames = luma.repeat_interleave(8, -1).repeat_interleave(8, -2).expand(frames.shape)
    memory = network.recall(network.encode(frames[:, 0], there)[:, None], 0 * speed + 9, known)
    hidden = network.path_head.hidden(memory)
    assert hidden.std(0).mean() > 0.1
