"""Checksums: right products hold, a wrong element does not, in every format and shape."""

import pytest
import torch

from opendojo.guard.convolutions import (
    convolution_check,
    input_gradient_check,
    weight_gradient_check,
)
from opendojo.guard.products import batch_check, matrix_check

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = ((512, 256, 128), (64, 512, 300), (7, 5, 3), (1, 64, 9), (256, 300, 256))
WRONG = {torch.float32: 0.1, torch.bfloat16: 1.0, torch.float16: 0.5}
"""Errors in deviations of the result that must be seen at these sizes."""


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bound", ["statistical", "rigorous"])
def test_right_products_hold_and_wrong_ones_do_not(dtype, size, bound):
    m, k, n = size
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    bias = torch.randn(n).to(dtype)
    out = torch.addmm(bias, a, b, beta=0.5, alpha=2.0)
    assert matrix_check(out, a, b, bias, alpha=2.0, beta=0.5, bound=bound) <= 1
    batch = torch.bmm(a.expand(2, m, k), b.expand(2, k, n))
    assert batch_check(batch, a.expand(2, m, k), b.expand(2, k, n), bound=bound) <= 1
    if bound == "statistical":
        out[m // 2, n // 3] += WRONG[dtype] * out.float().abs().mean()
        assert not matrix_check(out, a, b, bias, alpha=2.0, beta=0.5) <= 1
        batch[1, m // 2, n // 3] += WRONG[dtype] * batch.float().abs().mean()
        assert not batch_check(batch, a.expand(2, m, k), b.expand(2, k, n)) <= 1


@pytest.mark.parametrize("broken", [1e30, float("nan"), float("inf")])
def test_an_error_that_overflows_the_bound_itself_is_seen(broken):
    a, b = torch.randn(64, 32), torch.randn(32, 48)
    for dtype in (torch.float32, torch.bfloat16):
        out = a.to(dtype) @ b.to(dtype)
        out[3, 4] = broken
        assert not matrix_check(out, a.to(dtype), b.to(dtype)) <= 1


def test_swapped_rows_of_an_operand_and_repeated_tiles_are_seen():
    a, b = torch.randn(64, 32), torch.randn(32, 48)
    out = a @ b
    swapped = out[:, torch.tensor([1, 0, *range(2, 48)])]
    assert not matrix_check(swapped, a, b) <= 1  # a plain sum along a row is the same
    repeated = out.clone()
    repeated[:8, :8] = repeated[8:16, 8:16]
    assert not matrix_check(repeated, a, b) <= 1


def test_uneven_operands_raise_no_alarm():
    a, b = torch.randn(256, 128), torch.randn(128, 192)
    a[5] *= 1e4
    b[:, 7] *= 1e5
    a[:, 9] = 0
    assert matrix_check(a @ b, a, b) <= 1
    low_rank = torch.randn(128, 1) @ torch.randn(1, 192)
    assert matrix_check(a @ low_rank, a, low_rank) <= 1
    zeros = torch.zeros(256, 128)
    assert matrix_check(zeros @ b, zeros, b) <= 1


@pytest.fixture(params=["oneDNN", "native"])
def kernels(request):
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(request.param == "oneDNN")  # native: short sums between steps
    yield
    torch._C._set_mkldnn_enabled(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [3, 70])
@pytest.mark.usefixtures("kernels")
def test_convolutions_forward_and_backward(dtype, groups, transposed, count):
    x = torch.randn(count, 16, 9, 9).relu().to(dtype).to(memory_format=torch.channels_last)
    shape = (16, 24 // groups, 3, 3) if transposed else (24, 16 // groups, 3, 3)
    weight, bias = torch.randn(shape).to(dtype), torch.randn(24).to(dtype)
    rest = ([2, 2], [1, 1], [1, 1], transposed, [0, 0], groups)
    out = torch.ops.aten.convolution(x, weight, bias, *rest)
    assert convolution_check(out, x, weight, bias, rest, "statistical") <= 1
    gradient = torch.randn(out.shape).to(dtype)
    grads = torch.ops.aten.convolution_backward(
        gradient, x, weight, [24], *rest, [True, True, True]
    )
    assert input_gradient_check(grads[0], gradient, x, weight, rest, "statistical") <= 1
    assert weight_gradient_check(grads[1], gradient, x, weight, rest, "statistical") <= 1
    out[1, 4, 2, 2] += 3 * out.float().std()
    grads[0][1, 4, 2, 2] += 3 * grads[0].float().std()
    grads[1][3, 1, 2, 2] += 3 * grads[1].float().std()
    assert not convolution_check(out, x, weight, bias, rest, "statistical") <= 1
    assert not input_gradient_check(grads[0], gradient, x, weight, rest, "statistical") <= 1
    assert not weight_gradient_check(grads[1], gradient, x, weight, rest, "statistical") <= 1


def test_numbers_whose_squares_vanish_raise_no_alarm():
    a, b = torch.randn(16, 50, 16) * 1e-24, torch.randn(16, 16, 16)
    assert batch_check(a @ b, a, b) <= 1
    assert matrix_check(a[0] @ b[0], a[0], b[0]) <= 1
    x, weight = torch.randn(4, 3, 8, 8) * 1e-25, torch.randn(5, 3, 3, 3)
    rest = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    out = torch.ops.aten.convolution(x, weight, None, *rest)
    assert convolution_check(out, x, weight, None, rest, "statistical") <= 1
    grads = torch.ops.aten.convolution_backward(out, x, weight, None, *rest, [True, True, False])
    assert input_gradient_check(grads[0], out, x, weight, rest, "statistical") <= 1
    assert weight_gradient_check(grads[1], out, x, weight, rest, "statistical") <= 1
