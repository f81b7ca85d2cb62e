import pytest
import torch

from opendojo.guard import finite


def test_a_clean_step_gives_loss_and_norm():
    gradients = [torch.tensor([3.0]), torch.tensor([[4.0, 0.0]])]
    finding = finite(torch.tensor(2.5), gradients)
    assert not finding.suspicious
    assert finding.loss == 2.5
    assert finding.norm == pytest.approx(5.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_value_anywhere_is_suspicious(value):
    shapes = [(7,), (3, 4), (2, 3, 3, 3)]
    for i, shape in enumerate(shapes):
        for where in range(torch.Size(shape).numel()):
            gradients = [torch.ones(s) for s in shapes]
            gradients[i].view(-1)[where] = value
            assert finite(torch.tensor(1.0), gradients).suspicious
    assert finite(torch.tensor(value), [torch.ones(3)]).suspicious


def test_a_flipped_exponent_bit_that_overflows_is_suspicious():
    gradient = torch.full((5,), 1.5)
    gradient.view(torch.int32)[2] ^= 1 << 30
    assert finite(torch.tensor(1.0), [gradient]).suspicious


def test_no_false_alarm_over_many_magnitudes():
    g = torch.Generator().manual_seed(0)
    for exponent in range(-30, 15):
        gradients = [torch.randn(50, generator=g) * 10.0**exponent for _ in range(3)]
        assert not finite(torch.tensor(10.0**exponent), gradients).suspicious
