"""Shifts, biases, blocks and what is lost, against plain arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from opendojo.formats import block, element, names
from opendojo.numerics import (
    BiasSearch,
    amax_of,
    bias_of,
    decode_blocks,
    decode_exact,
    encode_blocks,
    encode_exact,
    losses_of,
    quantise,
    quantise_blocks,
    quantise_exact,
    quantise_shifted,
    search_bias,
    share_biases,
    shift_of,
)

NARROW = [name for name in names() if not element(name).wide and element(name).bits < 32]


def normal(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("name", NARROW)
def test_the_shift_is_the_least_without_overflow(name):
    chosen = element(name)
    fixed = chosen.biases[0] == chosen.biases[1]
    edges = [chosen.largest * 2.0**k for k in (-9, -1, 0, 1, 5)]
    beside = [math.nextafter(float(np.float32(e)), math.inf) for e in edges]
    above = np.nextafter(np.array(edges, np.float32), np.float32(np.inf)).tolist()
    for amax in [*edges, *above, 1.0, 3.7e-3, 1e4]:
        shift = int(shift_of(torch.tensor(amax), chosen))
        amax = float(np.float32(amax))
        if fixed or chosen.bias - chosen.biases[1] < shift < chosen.bias - chosen.biases[0]:
            assert chosen.largest * 2.0 ** (shift - 1) < amax <= chosen.largest * 2.0**shift
    assert beside
    assert int(shift_of(torch.tensor(0.0), chosen)) == 0


@pytest.mark.parametrize("name", ["cfloat8_1_4_3", "cfloat8_1_5_2", "cfloat16_uhp"])
def test_a_shift_is_a_bias(name):
    chosen = element(name)
    for scale in (1e-12, 1e-3, 1.0, 50.0):
        x = normal(999, scale=scale).abs()
        shift = shift_of(amax_of(x), chosen)
        bias = bias_of(float(x.max()), chosen)
        assert bias == chosen.bias - int(shift)
        wanted = quantise(x, chosen.with_bias(bias))
        assert torch.equal(quantise_shifted(x, chosen, shift), wanted)
        assert wanted.max() <= chosen.with_bias(bias).largest
    with pytest.raises(ValueError, match="fixed"):
        bias_of(1.0, element("fp8_e4m3"))


def test_channels_have_shifts_of_their_own():
    chosen = element("cfloat8_1_4_3")
    x = normal(5, 7, 3, 3)
    x[2] *= 1e-4
    shift = shift_of(amax_of(x, 0), chosen)
    assert shift.shape == (5, 1, 1, 1)
    found = quantise_shifted(x, chosen, shift)
    for k in range(5):
        bias = bias_of(float(x[k].abs().max()), chosen)
        assert torch.equal(found[k], quantise(x[k], chosen.with_bias(bias)))


def exact_blocks(row, chosen):
    """MX and NVFP4 on one row of numbers, in rationals; float32 only where they are defined so."""
    f32 = element("fp32")
    finite = max((abs(v) for v in row), default=0.0)
    top = chosen.element.largest
    whole = quantise_exact(finite / (448.0 * top), f32) or 1.0
    out = []
    for begin in range(0, len(row), chosen.size):
        part = row[begin : begin + chosen.size]
        amax = max(abs(v) for v in part)
        if chosen.scale == "e8m0":
            exponent = math.frexp(amax)[1] - 1 if amax else -200
            scale = Fraction(2) ** max(-127, exponent - chosen.element.exponent_high)
        else:
            wanted = quantise_exact(amax / quantise_exact(whole * top, f32), f32)
            found = quantise_exact(wanted, element("fp8_e4m3"))
            scale = Fraction(quantise_exact(found * whole, f32))
        for v in part:
            over = float(Fraction(v) / scale) if scale else 0.0
            over = quantise_exact(over, f32) if chosen.scale == "e4m3" else over
            value = decode_exact(encode_exact(min(max(over, -top), top), chosen.element),
                                 chosen.element)  # fmt: skip
            out.append(quantise_exact(float(Fraction(value) * scale), f32))
    return out


@pytest.mark.parametrize("name", names("block"))
def test_blocks_are_what_rationals_say(name):
    chosen = block(name)
    for scale in (1.0, 1e-3, 1e20, 1e-30):
        x = normal(100, scale=scale, seed=3)
        x[chosen.size : 2 * chosen.size] = 0
        x[2 * chosen.size] *= 1000
        assert quantise_blocks(x, chosen).tolist() == exact_blocks(x.tolist(), chosen)


@pytest.mark.parametrize("name", names("block"))
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_codes_of_blocks_decode_to_what_remains(name, rounding):
    chosen = block(name)
    for shape, dim in (((4, 70), -1), ((3, 40, 5), 1), ((2, 33, 3, 3), 1), ((0, 64), -1)):
        x = normal(*shape)
        blocks = encode_blocks(x, chosen, dim=dim, rounding=rounding, seed=2)
        remains = quantise_blocks(x, chosen, dim=dim, rounding=rounding, seed=2)
        assert blocks.codes.dtype == blocks.scales.dtype == torch.uint8
        assert torch.equal(decode_blocks(blocks, chosen), remains)
        assert remains.shape == x.shape
    turned = quantise_blocks(normal(40, 6).T.contiguous(), chosen)
    assert torch.equal(quantise_blocks(normal(40, 6), chosen, dim=0), turned.T)


@pytest.mark.parametrize("name", names("block"))
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_block_with_no_number_is_none_as_a_whole_and_the_others_are_not_touched(name, bad):
    chosen = block(name)
    x = normal(3 * chosen.size)
    clean = quantise_blocks(x, chosen)
    x[chosen.size + 3] = bad
    found = quantise_blocks(x, chosen)
    middle = slice(chosen.size, 2 * chosen.size)
    assert found[middle].isnan().all()
    assert found[: chosen.size].isfinite().all()
    if chosen.scale == "e8m0":
        assert torch.equal(found[: chosen.size], clean[: chosen.size])


@pytest.mark.parametrize("name", names("block"))
def test_blocks_of_zeros_and_of_the_least_and_the_largest_floats(name):
    chosen = block(name)
    assert quantise_blocks(torch.zeros(64), chosen).tolist() == [0.0] * 64
    for value in (1e-45, 1e-38, 3e38):
        x = torch.full((64,), value)
        assert quantise_blocks(x, chosen).isfinite().all()
        if chosen.scale == "e8m0":
            assert quantise_blocks(x, chosen).tolist() == exact_blocks(x.tolist(), chosen)


def test_losses_are_counted():
    chosen = element("cfloat8_1_4_3")
    x = torch.tensor([0.0, 2.0**-11, 2.0**-8, 1.0, 1000.0])
    found = losses_of(x, quantise(x, chosen), chosen)
    assert (found.underflow, found.subnormal, found.overflow) == (0.25, 0.25, 0.25)
    assert found.error == pytest.approx((1000 - 480) / 1000, rel=1e-3)
    assert losses_of(torch.zeros(3), torch.zeros(3), chosen).error == 0


def test_the_search_finds_the_bias_of_least_error_and_beats_the_largest_magnitude():
    chosen = element("cfloat8_1_4_3")
    x = normal(20000, scale=1e-5)
    x[0] = 2e-2
    found = search_bias(x, chosen)
    errors = [
        float((quantise(x, chosen.with_bias(b)) - x).double().square().sum()) for b in range(64)
    ]
    assert errors[found.bias] == min(errors)
    x = normal(20000)
    x[:2000] *= 0.02
    assert search_bias(x, chosen).errors[search_bias(x, chosen).bias] <= min(
        search_bias(x, chosen).errors[b] for b in (bias_of(float(x.abs().max()), chosen), 7)
    )


def test_few_biases_are_shared_as_well_as_trying_all_would():
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = {f"t{k}": rng.random(8) for k in range(5)}
        searches = {
            n: BiasSearch(bias=int(r.argmin()), errors=tuple(r.tolist())) for n, r in rows.items()
        }
        every = min(sum(min(r[a], r[b]) for r in rows.values()) for a in range(8) for b in range(8))
        found = share_biases(searches, 2)
        assert len(set(found.values())) <= 2
        assert sum(rows[n][b] for n, b in found.items()) == pytest.approx(every)
        assert share_biases(searches, 8) == {n: s.bias for n, s in searches.items()}
    with pytest.raises(ValueError, match="at least 1"):
        share_biases({}, 0)
