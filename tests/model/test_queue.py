import pytest
import torch
from net_inputs import SMALL, awake

from opendojo.model import MEMORY_STEPS, Motion
from opendojo.model.queue import AGES_S, WAYS_M, entries


def chosen(motion):
    """Which instant fills each slot, int [b, t, slots]; -1 for none."""
    weights, _ = entries(motion)
    assert ((weights.sum(-1) == 0) | (weights.sum(-1) == 1)).all()
    return torch.where(weights.any(-1), weights.argmax(-1), -1)


def test_entries_are_the_newest_of_their_age_or_way():
    steady = chosen(Motion.of(torch.full((1, 8), 10.0)))[0]
    assert steady[7].tolist() == [6, 4, 0, 6, 4, 2]
    assert steady[1].tolist() == [0, -1, -1, 0, -1, -1]
    assert steady[0].tolist() == [-1] * 6


def test_a_car_that_stands_remembers_by_time_alone():
    speed = torch.zeros(1, 8)
    speed[0, :3] = 20.0
    stands = chosen(Motion.of(speed))[0]
    assert stands[7].tolist() == [6, 4, 0, 2, 1, 0]
    assert chosen(Motion.of(0 * speed))[0, 7].tolist() == [6, 4, 0, -1, -1, -1]


def test_no_way_is_known_across_an_unknown_speed():
    speed, known = torch.full((1, 8), 10.0), torch.ones(1, 8, dtype=torch.bool)
    known[0, 5] = False
    speed[0, 5] = float("nan")
    slots = chosen(Motion.of(speed, known))[0]
    assert slots[7].tolist() == [6, 4, 0, 6, -1, -1] and slots[4, 4] == 1
    _, beside = entries(Motion.of(speed, known))
    assert beside.isfinite().all()


def test_what_is_told_beside_is_age_or_way_never_both():
    _, slow = entries(Motion.of(torch.full((1, 8), 10.0)))
    time_s = torch.arange(8).double()[None] * 0.2
    _, fast = entries(Motion.of(torch.full((1, 8), 10.0), time_s=time_s))
    count = len(AGES_S)
    assert slow[0, 7, :count, 1].tolist() == pytest.approx([0.1, 0.3, 0.7])
    assert fast[0, 7, :count, 1].tolist() == pytest.approx([0.2, 0.4, 0.8])
    assert slow[0, 7, count:, 1].tolist() == pytest.approx([0.1, 0.3, 0.5])
    assert len(WAYS_M) == slow.shape[2] - count


@pytest.mark.parametrize("blind", [False, True])
def test_the_memory_is_causal_and_eight_steps_long(blind):
    torch.manual_seed(0)
    network = awake(type(SMALL)(width_px=64, height_px=32, blind=blind))
    config = network.config
    scene = torch.randn(2, 20, config.tokens, config.widths.token)
    motion = Motion.of(torch.rand(2, 20) * 15)
    whole = network.recall(scene, motion)
    assert whole.shape == scene.shape
    for k in range(20):
        window = slice(max(0, k - MEMORY_STEPS + 1), k + 1)
        part = motion.each(lambda tensor, window=window: tensor[:, window])
        alone = network.recall(scene[:, window], part)
        torch.testing.assert_close(whole[:, k], alone[:, -1])
    if not blind:
        moved = scene.clone()
        moved[:, 4] += 1
        assert not torch.equal(network.recall(moved, motion)[:, 11], whole[:, 11])
        assert torch.equal(network.recall(moved, motion)[:, 12:], whole[:, 12:])
