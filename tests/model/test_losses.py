import math

import pytest
import torch

from opendojo.model.losses import forecast_loss, path_loss

TIMES_S = torch.arange(1, 17) * 0.25


def test_one_metre_at_one_second_counts_like_four_at_four():
    target, mask = torch.zeros(1, 1, 16, 2), torch.zeros(1, 1, 16, dtype=torch.bool)
    near, far = mask.clone(), mask.clone()
    near[0, 0, 3], far[0, 0, 15] = True, True
    one = path_loss(torch.full_like(target, 1.0), target, near, TIMES_S)
    four = path_loss(torch.full_like(target, 4.0), target, far, TIMES_S)
    assert one.item() == pytest.approx(four.item())
    assert one.item() == pytest.approx(2 * (1.0 - 0.05))


def test_the_forecast_loss_is_about_the_mean_absolute_error():
    forecast, target = torch.full((2, 3, 4, 5), 0.5), torch.full((2, 3, 4, 5), 0.3)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    expected = math.hypot(0.2, 1e-3) - 1e-3
    assert forecast_loss(forecast, target, mask).item() == pytest.approx(expected, rel=1e-4)


def test_what_is_masked_has_no_influence_even_if_not_a_number():
    g = torch.Generator().manual_seed(0)
    path = torch.randn(2, 3, 16, 2, generator=g, requires_grad=True)
    target = torch.randn(2, 3, 16, 2, generator=g)
    mask = torch.rand(2, 3, 16, generator=g) > 0.5
    clean = path_loss(path, target, mask, TIMES_S)
    dirty = torch.where(mask[..., None], target, float("nan"))
    loss = path_loss(path, dirty, mask, TIMES_S)
    assert torch.equal(loss, clean)
    (gradient,) = torch.autograd.grad(loss, path)
    assert gradient.isfinite().all() and not gradient[~mask].any() and gradient[mask].all()


def test_absent_labels_give_exactly_zero_and_zero_gradients():
    path = torch.randn(2, 3, 16, 2, requires_grad=True)
    picture = torch.rand(2, 3, 4, 5, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    unknown = torch.full((2, 3, 16, 2), float("nan"))
    one = path_loss(path, unknown, nothing[..., None].expand(2, 3, 16), TIMES_S)
    two = forecast_loss(picture, torch.rand(2, 3, 4, 5), nothing)
    assert one.item() == 0.0 and two.item() == 0.0
    (one + two).backward()
    assert torch.equal(path.grad, torch.zeros_like(path))
    assert torch.equal(picture.grad, torch.zeros_like(picture))


def test_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    path = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    target, mask = torch.randn(1, 2, 3, 2, dtype=torch.float64), torch.rand(1, 2, 3) > 0.3
    times_s = torch.tensor([0.5, 1.0, 2.0])
    assert torch.autograd.gradcheck(lambda p: path_loss(p, target, mask, times_s), path)
    picture = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    seen = torch.rand(1, 2, 3, 4, dtype=torch.float64)
    there = torch.tensor([[True, False]])
    assert torch.autograd.gradcheck(lambda p: forecast_loss(p, seen, there), picture)


def test_too_far_ahead_may_count_more_than_too_far_behind_and_aside_never_does():
    target, mask = torch.zeros(1, 1, 16, 2), torch.ones(1, 1, 16, dtype=torch.bool)
    ahead, behind, aside = (torch.tensor(gap).expand(1, 1, 16, 2) for gap in
                            ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]))  # fmt: skip
    plain = path_loss(ahead, target, mask, TIMES_S)
    assert path_loss(behind, target, mask, TIMES_S) == plain
    assert path_loss(ahead, target, mask, TIMES_S, 3.0) == pytest.approx(3 * plain)
    assert path_loss(behind, target, mask, TIMES_S, 3.0) == plain
    assert path_loss(aside, target, mask, TIMES_S, 3.0) == plain


def test_an_error_to_the_side_may_count_more():
    target, mask = torch.zeros(1, 1, 16, 2), torch.ones(1, 1, 16, dtype=torch.bool)
    along, aside = (torch.tensor(gap).expand(1, 1, 16, 2) for gap in ([0.3, 0.0], [0.0, -0.3]))
    plain = path_loss(aside, target, mask, TIMES_S)
    assert path_loss(aside, target, mask, TIMES_S, aside=2.0) == pytest.approx(2 * plain)
    both = path_loss(along + aside, target, mask, TIMES_S, aside=2.0)
    assert both == pytest.approx(path_loss(along, target, mask, TIMES_S) + 2 * plain)
