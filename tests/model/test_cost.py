from pathlib import Path

import pytest
import torch

from opendojo.model import (
    SIZES,
    DrivingNet,
    Motion,
    NetConfig,
    cost,
    flops_per_frame,
    networks_table,
    parameters,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/networks.md"


def conv(channels_in, channels_out, side, height, width, bias):
    weights = channels_in * channels_out * side * side
    return weights + bias * channels_out, 2 * weights * height * width


def linear(inputs, outputs, times=1):
    return (inputs + 1) * outputs, 2 * inputs * outputs * times


def test_nanos_encoder_agrees_with_a_count_by_hand():
    """Three cameras of 128x64: maps of 16x32, 8x16 and 4x8 cells."""
    parts = [
        conv(6, 16, 3, 16, 32, True),
        conv(16, 24, 3, 8, 16, False),
        conv(24, 24, 3, 8, 16, True),
        conv(16, 24, 2, 8, 16, False),
        conv(24, 64, 3, 4, 8, False),
        conv(64, 64, 3, 4, 8, True),
        conv(24, 64, 2, 4, 8, False),
    ]
    norms = 2 * 24 + 2 * 64
    assert cost(NetConfig()).encoder_parameters == sum(p for p, _ in parts) + norms
    with torch.device("meta"):
        trunk = DrivingNet(NetConfig()).eyes.trunk
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            trunk(torch.zeros(1, 6, 32, 64))
    assert counter.get_total_flops() == sum(f for _, f in parts)


def test_the_rest_of_nano_agrees_with_a_count_by_hand():
    config = NetConfig()
    token, hidden, q, k = 64, config.widths.hidden, config.tokens, 3 * 32
    places = config.places
    heads, instants = 4, 8
    value, out = linear(64, token, k), linear(token, token, places)
    attention = (0, 2 * places * k * token)
    per_window = linear(token, token, places)[1] + linear(11, token, k)[1]
    per_window += 2 * places * k * token
    per_instant = [
        value, out, attention, linear(token, 16, q), linear(6 * 16, token, q), linear(12, token),
        (0, 2 * 6 * 8 * 16 * q), linear(token, 16, q), linear(16 * q, hidden), linear(hidden, 2),
        linear(2, hidden), (4 * hidden, 2 * 4 * hidden), linear(hidden, hidden),
        linear(hidden, 32), linear(hidden, 32), (592 * 32, 2 * 592 * 32),
        linear(64, 4, k), linear(102, 4 * token),
    ]  # fmt: skip
    encoder = (
        cost(config).flops_per_frame * 3 - sum(f for _, f in per_instant) - per_window / instants
    )
    assert encoder / 3 == pytest.approx(7.10e6, rel=0.01)
    assert heads * 16 == token


def test_sizes_are_what_they_promise():
    counts = [parameters(NetConfig(size=size)) for size in SIZES]
    for count, promised in zip(counts, (0.4e6, 3e6, 25e6, 150e6, 1e9), strict=True):
        assert 0.75 * promised < count < 1.25 * promised
    assert 7e6 < flops_per_frame(NetConfig()) < 9e6
    assert 20e6 < flops_per_frame(NetConfig(size="tiny")) < 31e6
    assert parameters(NetConfig(blind=True)) < 0.15e6


def test_what_is_counted_on_meta_is_what_runs():
    config = NetConfig(cameras=("front",))
    network = DrivingNet(config)
    assert sum(p.numel() for p in network.parameters()) == parameters(config)
    frames = torch.zeros(1, 8, 1, 6, 32, 64, dtype=torch.uint8)
    there, motion = torch.ones(1, 1, dtype=torch.bool), Motion.of(torch.zeros(1, 8))
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        network(frames, there, torch.zeros(1, 1, 16), motion, forecast_until=0)
    assert counter.get_total_flops() / 8 == pytest.approx(flops_per_frame(config))


@pytest.mark.parametrize("size", ["small", "base", "large"])
@pytest.mark.parametrize("encoder", ["resnet", "regnet"])
def test_large_sizes_run_on_the_meta_device(size, encoder):
    with torch.device("meta"):
        network = DrivingNet(NetConfig(size=size, encoder=encoder, width_px=256, height_px=128))
        frames = torch.zeros(2, 8, 8, 6, 64, 128, dtype=torch.uint8)
        there, lens = torch.ones(2, 8, dtype=torch.bool), torch.zeros(2, 8, 16)
        output = network(frames, there, lens, Motion.of(torch.zeros(2, 8)), ground=True)
    assert output.path_m.shape == (2, 8, 16, 2)
    assert output.ground.agents.shape == (2, 8, 8, 32, 32)


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_the_page_tells_of_small_sizes_what_is_counted(size):
    found, lines = cost(NetConfig(size=size)), PAGE.read_text().splitlines()
    row = next(line for line in lines if line.startswith(f"| {size} | resnet |"))
    assert f"| {found.parameters / 1e6:,.2f} |" in row
    assert f"| {found.flops_per_frame / 1e6:,.1f} |" in row
    assert f"| {found.activation_bytes_per_frame / 2**20:,.2f} |" in row


@pytest.mark.slow
def test_the_whole_page_is_what_is_counted():
    assert networks_table() in PAGE.read_text(), (
        "docs/networks.md is not what is counted now: write the new table into it with "
        "python -c \"from opendojo.model import networks_table; print(networks_table(), end='')\""
    )
