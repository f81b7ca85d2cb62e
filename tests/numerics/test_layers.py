"""Quantised layers against products written out."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from opendojo.formats import names, precision
from opendojo.numerics import convert, remains_of, reseed
from opendojo.numerics.draws import key_of, keys_from
from opendojo.numerics.layers import HISTORY


def made(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
        )


def batch(seed=1):
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", names("precision"))
def test_all_three_products_of_a_linear_layer_see_quantised_numbers(name):
    told = precision(name)
    layer = nn.Linear(40, 32)
    plain_weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    assert convert(layer, told) == 1
    reseed(layer, 5)
    x = torch.randn(6, 40, requires_grad=True)
    dy = torch.randn(6, 32)
    y = layer(x)
    y.backward(dy)
    xq = remains_of(x, told.activations, scaling=told.scaling)
    wq = remains_of(plain_weight, told.weights, scaling=told.scaling)
    key = keys_from(torch.tensor(key_of(5), dtype=torch.int32), 0)
    stochastic = told.gradient_rounding == "stochastic"
    dq = remains_of(
        dy,
        told.gradients,
        scaling=told.scaling,
        rounding=told.gradient_rounding,
        key=key if stochastic else None,
    )
    assert torch.equal(y, F.linear(xq, wq) + bias)
    assert torch.allclose(x.grad, dq @ wq, atol=1e-6)
    assert torch.allclose(layer.weight.grad, dq.T @ xq, atol=1e-5)
    assert torch.equal(layer.weight, plain_weight)
    assert torch.allclose(layer.bias.grad, dy.sum(0), atol=1e-5)
    assert not torch.equal(xq, x)


@pytest.mark.parametrize("name", ["cfloat8", "mxfp8"])
def test_a_convolution_is_that_of_quantised_numbers(name):
    told = precision(name)
    conv = nn.Conv2d(32, 8, 3, padding=1, stride=2)
    weight = conv.weight.detach().clone()
    convert(conv, told)
    x = torch.randn(2, 32, 9, 9)
    xq = remains_of(x, told.activations, scaling=told.scaling, dim=1)
    wq = remains_of(weight, told.weights, scaling=told.scaling, dim=1)
    wanted = F.conv2d(xq, wq, None, stride=2, padding=1) + conv.bias.view(-1, 1, 1)
    assert torch.equal(conv(x), wanted)


def test_names_stay_and_a_plain_network_takes_the_weights():
    network = made()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    assert convert(network, precision("fp8")) == 2
    assert list(network.state_dict()) == list(before)
    plain = made(seed=3)
    plain.load_state_dict(network.state_dict())
    twin = copy.deepcopy(network)
    reseed(twin, 9)
    assert torch.equal(twin[0].numerics_key, twin[3].numerics_key)
    assert not torch.equal(twin.numerics_key, network.numerics_key)


def gradients(network, seed):
    network.zero_grad()
    reseed(network, seed)
    network(batch()).square().sum().backward()
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def test_the_seed_decides_the_rounding_of_gradients():
    network = made()
    convert(network, precision("cfloat8"))
    one = gradients(network, 1)
    assert torch.equal(gradients(network, 1), one)
    assert not torch.equal(gradients(network, 2), one)


def test_stochastic_gradients_are_right_in_the_mean():
    """Around what float32 gradients of the same quantised forward pass are."""
    layer = nn.Linear(16, 8, bias=False)
    convert(layer, precision("cfloat8"))
    x, dy = torch.randn(4, 16), torch.randn(4, 8) * torch.logspace(-6, 0, 8)
    total = torch.zeros(8, 16, dtype=torch.float64)
    for seed in range(400):
        layer.weight.grad = None
        reseed(layer, seed)
        layer(x).backward(dy)
        total += layer.weight.grad
    told = precision("cfloat8")
    exact = dy.T.double() @ remains_of(x, told.activations).double()
    error = (total / 400 - exact).norm(dim=1) / exact.norm(dim=1)
    nearest = remains_of(dy, told.gradients).T.double() @ remains_of(x, told.activations).double()
    assert (error[3:] < 0.03).all()
    assert ((nearest - exact).norm(dim=1) / exact.norm(dim=1))[3:].max() > 2 * error[3:].max()


def test_history_scales_by_what_came_before():
    told = precision("fp8").scaled("history")
    layer = nn.Linear(8, 4, bias=False)
    convert(layer, told)
    small, large = torch.rand(3, 8), 1000 * torch.rand(3, 8)
    small[0, 0], large[0, 0] = 1.0, 1000.0
    inputs = [small, large, small]
    known = [1.0, 1.0, 1000.0]  # its own, then the largest of those before
    weight = layer.weight.detach()
    wq = remains_of(weight, told.weights)
    for x, amax in zip(inputs, known, strict=True):
        xq = remains_of(x, told.activations, amax=torch.tensor(amax))
        assert torch.equal(layer(x), F.linear(xq, wq))
    assert layer.numerics_amax[1, -3:].tolist() == [1.0, 1000.0, 1.0]
    layer(small).backward(torch.full((3, 4), 3.0))
    assert layer.numerics_amax[2, -1] == 3.0
    before = layer.numerics_amax.clone()
    layer.eval()(large)
    assert torch.equal(layer.numerics_amax, before), "looking on does not count"
    for _ in range(HISTORY):
        layer.train()(small)
    assert layer.numerics_amax[1].max() == 1.0, "old steps are forgotten"


def test_each_channel_of_a_weight_has_a_scale_of_its_own():
    told = precision("cfloat8").scaled("channel")
    layer = nn.Conv2d(3, 4, 1, bias=False)
    with torch.no_grad():
        layer.weight *= torch.tensor([1e-6, 1e-3, 1.0, 1e3]).view(4, 1, 1, 1)
    convert(layer, told)
    x = torch.randn(2, 3, 5, 5)
    xq = remains_of(x, told.activations)
    rows = [remains_of(row, told.weights) for row in layer.weight.detach()]
    assert torch.equal(layer(x), F.conv2d(xq, torch.stack(rows)))
    assert (layer(x).abs().amax((0, 2, 3)) > 0).all(), "small channels do not vanish"


def test_sums_in_bfloat16_take_only_what_bfloat16_has():
    layer = nn.Linear(8, 8)
    with pytest.raises(ValueError, match="fp32"):
        convert(layer, precision("cfloat16"), sums="bf16")
    convert(layer, precision("cfloat8"), sums="bf16")
    x = torch.randn(3, 8)
    told = precision("cfloat8")
    xq, wq = remains_of(x, told.activations), remains_of(layer.weight, told.weights)
    assert torch.equal(xq.bfloat16().float(), xq)
    wanted = F.linear(xq.bfloat16(), wq.bfloat16()).float() + layer.bias
    assert torch.equal(layer(x), wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # Dynamo
@pytest.mark.parametrize("name", ["cfloat8", "mxfp8", "nvfp4"])
def test_a_compiled_network_gives_the_same_gradients(name):
    network = made()
    convert(network, precision(name))
    wanted = gradients(network, 4)
    network.compile()
    found = gradients(network, 4)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)
