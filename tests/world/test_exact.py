"""The room's own elementary functions against the library's, in float64."""

from __future__ import annotations

import math

import torch

from opendojo.world.exact import hashed, sin_cos, wrapped


def test_sine_and_cosine_are_right_to_float32():
    angle = torch.linspace(-60.0, 60.0, 200_001)
    sine, cosine = sin_cos(angle)
    assert (sine.double() - torch.sin(angle.double())).abs().max() < 3e-7
    assert (cosine.double() - torch.cos(angle.double())).abs().max() < 3e-7


def test_wrapped_angles_point_the_same_way_and_lie_within_a_half_turn():
    angle = torch.linspace(-20.0, 20.0, 4001)
    short = wrapped(angle)
    assert (short.abs() <= math.pi + 1e-6).all()
    turns = (angle - short).double() / (2 * math.pi)
    assert (turns - turns.round()).abs().max() < 1e-6


def test_hash_spreads_and_every_key_counts():
    keys = torch.arange(20_000)
    values = hashed(keys, torch.tensor(3))
    assert len(values.unique()) > 19_990
    assert ((values >= 0) & (values < 2**32)).all()
    # every bit is set about half of the time
    share = torch.stack([((values >> bit) & 1).float().mean() for bit in range(32)])
    assert (share - 0.5).abs().max() < 0.02
    assert (hashed(keys, torch.tensor(4)) != values).float().mean() > 0.99
