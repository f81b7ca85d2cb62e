import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from fake_road import FakeRoad

from opendojo.guard import Finding, digest
from opendojo.model import DrivingTrainee, LossConfig, NetConfig, motion_of
from opendojo.train import (
    OptimConfig,
    Progress,
    SuspectStep,
    TrainConfig,
    make_optimizer,
    step,
)
from opendojo.train.step import suspicion

NET = NetConfig(
    cameras=("front", "left"),
    width_px=64,
    height_px=32,
    forecast_width_px=16,
    forecast_height_px=8,
)
CONFIG = TrainConfig(steps=200, optim=OptimConfig(warmup_steps=5))


def fresh(config=CONFIG, net=NET):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = config.loss
        trainee = DrivingTrainee(net, weights)
    return trainee, make_optimizer(trainee, config.optim)


def draw(number=0, **more):
    return FakeRoad(**more).draw(np.random.default_rng(number))


def state_of(network, optimizer):
    return digest([network.state_dict(), optimizer.state_dict()])


def test_a_step_run_again_gives_the_same_bits_whatever_the_global_random_state():
    network, optimizer = fresh()
    for k in range(3):
        step(network, optimizer, draw(k), Progress(step=k), CONFIG)
    twin = copy.deepcopy(network)
    twin_optimizer = make_optimizer(twin, CONFIG.optim)
    twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    torch.manual_seed(1)
    one = step(network, optimizer, draw(3), Progress(step=3), CONFIG)
    torch.manual_seed(2)
    two = step(twin, twin_optimizer, draw(3), Progress(step=3), CONFIG)
    assert one == two
    assert state_of(network, optimizer) == state_of(twin, twin_optimizer)


def test_the_step_number_and_the_seed_choose_whose_speed_is_hidden():
    """Half of the speeds hidden: another step or seed then computes another loss."""
    losses = set()
    for seed, number in ((0, 1), (0, 2), (1, 1)):
        config = dataclasses.replace(CONFIG, seed=seed, loss=LossConfig(speed_drop=0.5))
        network, optimizer = fresh(config)
        batch = draw(batch=16)
        losses.add(step(network, optimizer, batch, Progress(step=number), config).losses["path"])
    assert len(losses) == 3


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_names_its_windows(part):
    network, optimizer = fresh()
    step(network, optimizer, draw(0), Progress(), CONFIG)
    batch = draw(1)
    if part == "loss":
        batch.path_m[2, 3, 4, 0] = math.inf
    else:
        network.network.ego.flat.weight.register_hook(lambda grad: grad * math.nan)
    before = state_of(network, optimizer)
    with pytest.raises(SuspectStep, match="step 1") as caught:
        step(network, optimizer, batch, Progress(step=1), CONFIG)
    assert caught.value.window_ids == batch.window_id.tolist()
    assert state_of(network, optimizer) == before


def test_labels_that_are_nowhere_leave_the_weights_without_nan():
    network, optimizer = fresh()
    batch = draw()
    batch.path_mask[:] = False
    batch.camera_mask[:] = False
    batch.speed_mask[:] = False
    result = step(network, optimizer, batch, Progress(), CONFIG)
    assert set(result.losses) == {"total", "path", "imitation", "motion", "forecast"}
    assert not any(result.losses.values())
    assert result.grad_norm == 0.0 and result.frames == 0
    assert all(p.isfinite().all() for p in network.parameters())


def test_the_blind_network_trains_without_pixels():
    network, optimizer = fresh(net=dataclasses.replace(NET, blind=True))
    batch = draw()
    bare = dataclasses.replace(batch, yuv=batch.yuv[:, :, :0], camera_mask=batch.camera_mask[:, :0])
    result = step(network, optimizer, bare, Progress(), CONFIG)
    assert result.losses["path"] > 0 and "forecast" not in result.losses


def test_frames_count_only_cameras_that_are_there():
    result = step(*fresh(), draw(batch=4, cameras=2), Progress(), CONFIG)
    assert result.frames == 4 * 8 * 1


def test_the_gradient_is_clipped_to_its_norm():
    """Plain descent moves the weights by rate times clipped norm, whatever the loss's scale."""
    config = TrainConfig(steps=2, optim=OptimConfig(lr=0.1, warmup_steps=0, clip_norm=1e-3))
    network, _ = fresh(config)
    before = [p.detach().clone() for p in network.parameters()]
    descent = torch.optim.SGD(network.parameters(), lr=1.0)
    result = step(network, descent, draw(), Progress(), config)
    pairs = zip(network.parameters(), before, strict=True)
    moved = math.hypot(*(float((p.detach() - q).norm()) for p, q in pairs))
    assert result.grad_norm > 1e-2
    assert moved == pytest.approx(0.1 * 1e-3, rel=0.02)


def test_only_matrices_decay():
    network, optimizer = fresh()
    decaying, others = optimizer.param_groups
    assert decaying["weight_decay"] > 0 and others["weight_decay"] == 0
    assert all(p.dim() > 1 for p in decaying["params"])
    count = len(decaying["params"]) + len(others["params"])
    assert count == len(list(network.parameters()))


def test_the_schedule_warms_up_then_falls_to_nothing():
    optim = OptimConfig(lr=1.0, warmup_steps=9)
    rates = [optim.lr_at(k, 100) for k in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 9
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-3


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"keep": 1}, "keep"),
        ({"threads": 0}, "threads"),
    ],
)
def test_a_bad_value_is_refused_by_name(bad, word):
    with pytest.raises(ValueError, match=word):
        TrainConfig(**bad)


@pytest.mark.parametrize("bad", [{"lr": 0.0}, {"clip_norm": 0.0}, {"betas": (0.9, 1.0)}])
def test_a_bad_optimizer_value_is_refused_by_name(bad):
    with pytest.raises(ValueError, match=f"optim.{next(iter(bad))}"):
        OptimConfig(**bad)


def test_it_fits_one_batch():
    config = TrainConfig(
        steps=30, optim=OptimConfig(lr=3e-3, warmup_steps=5), loss=LossConfig(speed_drop=0.0)
    )
    network, optimizer = fresh(config)
    batch = draw()
    losses = [
        step(network, optimizer, batch, Progress(step=k), config).losses["path"]
        for k in range(config.steps)
    ]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_it_learns_to_read_the_bend_off_the_picture():
    """A hundred steps leave under two thirds of the sideways error of driving straight on."""
    config = TrainConfig(steps=100, optim=OptimConfig(lr=3e-3, warmup_steps=10))
    network, optimizer = fresh(config)
    for k in range(config.steps):
        step(network, optimizer, draw(k, batch=16), Progress(step=k), config)
    batch = draw(10_000, batch=64)
    with torch.no_grad():
        output = network.network(batch.frames, batch.camera_mask, batch.lens, motion_of(batch))
    error = (output.path_m - batch.path_m)[:, -1, :, 1].abs().mean()
    straight_on = batch.path_m[:, -1, :, 1].abs().mean()
    assert error < 0.66 * straight_on


def finding(loss, norm=1.0):
    return Finding(loss=loss, norm=norm)


STEADY = tuple(1.0 + 0.1 * math.sin(k) for k in range(64))


def test_a_spike_stops_the_run_and_ordinary_noise_does_not():
    assert suspicion(finding(1.3), STEADY, CONFIG) is None
    assert "spike" in suspicion(finding(30.0), STEADY, CONFIG)
    off = dataclasses.replace(CONFIG, spike=None)
    assert suspicion(finding(30.0), STEADY, off) is None
    bold = dataclasses.replace(CONFIG, spike=1.0)
    assert "spike" in suspicion(finding(1.3), STEADY, bold)
    assert suspicion(finding(math.nan), (), off) == "not finite"
    assert suspicion(finding(1.0, math.inf), STEADY, CONFIG) == "not finite"


def test_a_spike_needs_something_to_be_held_against():
    assert suspicion(finding(30.0), STEADY[:31], CONFIG) is None
    assert suspicion(finding(30.0), STEADY[:32], CONFIG) is not None


def test_losses_that_vanish_or_were_as_high_before_are_no_spike():
    assert suspicion(finding(1e-12), (1e-13,) * 64, CONFIG) is None
    assert suspicion(finding(30.0), (*STEADY[:-1], 31.0), CONFIG) is None


def test_heavy_tails_raise_no_false_alarm():
    """Losses of a driving network are lognormal about a falling mean; 20 runs of 2,000 steps."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(20):
        scale = np.exp(-np.arange(2000) / 800) + 0.05
        losses = scale * np.exp(0.4 * random.standard_normal(2000))
        for k in range(64, 2000):
            recent = tuple(losses[k - 64 : k].tolist())
            alarms += suspicion(finding(float(losses[k])), recent, CONFIG) is not None
    assert alarms == 0


def test_a_spike_changes_no_weight():
    network, optimizer = fresh()
    before = state_of(network, optimizer)
    state = Progress(step=70, recent=(1e-6,) * 64)
    with pytest.raises(SuspectStep, match="spike"):
        step(network, optimizer, draw(), state, CONFIG)
    assert state_of(network, optimizer) == before


def test_the_average_follows_the_weights_and_begins_as_they_are():
    config = TrainConfig(steps=9, optim=OptimConfig(warmup_steps=0, ema_decay=0.5))
    network, optimizer = fresh(config)
    weight = network.network.ego.flat.weight
    averages = []
    for k in range(3):
        step(network, optimizer, draw(k), Progress(step=k), config)
        averages.append((weight.detach().clone(), optimizer.state[weight]["ema"].clone()))
    assert torch.equal(*averages[0])
    expected = 0.5 * averages[0][0] + 0.5 * averages[1][0]
    assert torch.allclose(averages[1][1], expected, rtol=1e-5, atol=1e-7)


def test_a_constant_rate_stays():
    optim = OptimConfig(lr=1.0, warmup_steps=1, schedule="constant")
    assert [optim.lr_at(k, 4) for k in range(4)] == [0.5, 1.0, 1.0, 1.0]
