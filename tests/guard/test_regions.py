"""Compiled regions: every product is looked at once, no bit changes, a wrong one is found."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from opendojo import guard
from opendojo.guard.faults import Fault
from opendojo.guard.inject import Injector


class Net(nn.Module):
    """Convolutions with and without bias, normalisation, linear layers, a batched product."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.wide, self.last = nn.Linear(16, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.second(self.first(x).relu())).mean((2, 3))
        z = self.wide(y).relu().view(-1, 2, 32)
        mixed = (z @ z.transpose(1, 2)).softmax(-1) @ z
        return self.last(mixed).square().mean()


def go(*, compiled: bool, watched: bool = True, harm: Injector | None = None):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    watch = guard.Watch(model, optimizer, guard.FULL) if watched else None
    regions = guard.seen_regions() if watched else contextlib.nullcontext()
    with regions, harm or contextlib.nullcontext():
        if compiled:
            model.compile()
        for number in range(3):
            torch.manual_seed(number)
            x = torch.randn(4, 3, 16, 16)
            if harm is not None:
                harm.armed = number == 1
                harm.begin()
            if watch is None:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            else:
                watch.step(lambda x=x: model(x))
    return [p.detach().clone() for p in model.parameters()], watch


def same(one, two) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
def test_each_product_is_checked_once_and_no_bit_changes():
    plain, _ = go(compiled=True, watched=False)
    found, watch = go(compiled=True)
    assert same(plain, found)
    _, eager = go(compiled=False)
    told, eagerly = watch.ledger.document(), eager.ledger.document()
    assert told["suspicions"] == 0 and told["unknown_operators"] == {}
    assert told["guarded_share_of_flops"] == told["checked_share_of_flops"] == 1.0
    assert watch.ledger.flops == pytest.approx(eager.ledger.flops, rel=0.02)
    assert told["checks"] <= eagerly["checks"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
@pytest.mark.parametrize("place", [0.1, 0.4, 0.7, 0.95])
def test_a_wrong_product_is_found_and_undone(place):
    plain, _ = go(compiled=True, watched=False)
    fault = Fault(seed=5, site="product", model="scale", duration="transient", place=place)
    for watched in (False, True):
        harm = Injector(fault)
        harm.counts = {"product": 10}
        found, watch = go(compiled=True, watched=watched, harm=harm)
        assert harm.done == 1
        assert same(plain, found) == watched
    assert watch.ledger.document()["verdicts"] == {"transient": 1}
