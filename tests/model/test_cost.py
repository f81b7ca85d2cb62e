import pytest

from opendojo.model import NetConfig, flops_per_frame, parameters


def conv(channels_in, channels_out, side, height, width, bias):
    weights = channels_in * channels_out * side * side
    return weights + bias * channels_out, 2 * weights * height * width


def linear(inputs, outputs):
    return (inputs + 1) * outputs, 2 * inputs * outputs


def gru(inputs, hidden):
    return 3 * hidden * (inputs + hidden + 2), 2 * 3 * hidden * (inputs + hidden)


def test_parameters_and_flops_agree_with_a_count_by_hand():
    """nano on three cameras of 128x64: maps of 16x32, 8x16 and 4x8 cells."""
    per_camera = [
        conv(6, 16, 3, 16, 32, True),
        conv(16, 32, 3, 8, 16, False),
        conv(32, 32, 3, 8, 16, True),
        conv(16, 32, 2, 8, 16, False),
        conv(32, 96, 3, 4, 8, False),
        conv(96, 96, 3, 4, 8, True),
        conv(32, 96, 2, 4, 8, False),
        conv(96, 8, 1, 4, 8, True),
    ]
    per_step = [
        linear(3 * (8 * 32 + 1), 128),
        gru(128, 128),
        linear(258, 128),
        linear(128, 33),
        conv(6, 24, 4, 8, 16, True),
        linear(258, 24),
        conv(24, 24, 3, 8, 16, True),
        conv(24, 24, 3, 8, 16, True),
        conv(24, 2, 3, 8, 16, True),
    ]
    norms_and_slots = 2 * 32 + 2 * 96 + 2 * 8 + 3 * 32
    weights = sum(p for p, _ in per_camera + per_step) + norms_and_slots
    flops = sum(f for _, f in per_camera) + sum(f for _, f in per_step) / 3
    assert parameters(NetConfig()) == weights
    assert flops_per_frame(NetConfig()) == pytest.approx(flops, rel=1e-3)


def test_sizes_are_what_they_promise():
    assert 0.3e6 < parameters(NetConfig()) < 0.5e6
    assert 1.8e6 < parameters(NetConfig(size="tiny")) < 2.3e6
    assert parameters(NetConfig(blind=True)) < 0.1e6
