"""The reference against a second definition: tables of values, searched number by number."""

import itertools
from fractions import Fraction

import pytest

from opendojo.formats import block, element, names, precision
from opendojo.numerics import decode_exact, encode_exact, quantise_exact

SMALL = [name for name in names() if element(name).bits <= 8]


def magnitudes(chosen):
    """All numbers from 0 up, by code."""
    return [Fraction(decode_exact(code, chosen)) for code in range(chosen.largest_code + 1)]


@pytest.mark.parametrize("name", SMALL)
def test_nearest_is_the_nearest_of_all_numbers_and_ties_go_to_the_even_code(name):
    chosen = element(name)
    table = magnitudes(chosen)
    assert table == sorted(table)
    for low, (one, two) in enumerate(itertools.pairwise(table)):
        middle = (one + two) / 2
        assert encode_exact(float(one), chosen) == low
        assert encode_exact(float(middle), chosen) == low + low % 2
        near = (two - one) / 1024
        assert encode_exact(float(middle - near), chosen) == low
        assert encode_exact(float(middle + near), chosen) == low + 1
        if chosen.signed:
            sign = 1 << (chosen.bits - 1)
            assert encode_exact(-float(middle + near), chosen) == sign | (low + 1)


@pytest.mark.parametrize("name", SMALL)
def test_a_draw_goes_up_as_often_as_the_fraction_says(name):
    chosen = element(name)
    for low, (one, two) in enumerate(zip(magnitudes(chosen), magnitudes(chosen)[1:], strict=False)):
        quarter = float(one + (two - one) / 4)
        assert encode_exact(quarter, chosen, (1 << 22) - 1) == low + 1
        assert encode_exact(quarter, chosen, 1 << 22) == low
        assert encode_exact(float(one), chosen, 0) == low


@pytest.mark.parametrize(
    ("name", "largest", "least_normal", "least"),
    [
        ("fp8_e4m3", 448.0, 2.0**-6, 2.0**-9),  # OFP8 1.0, table 1
        ("fp8_e5m2", 57344.0, 2.0**-14, 2.0**-16),
        ("fp6_e3m2", 28.0, 0.25, 0.0625),  # MX 1.0, tables 3 to 5
        ("fp6_e2m3", 7.5, 1.0, 0.125),
        ("fp4_e2m1", 6.0, 1.0, 0.5),
        ("fp16", 65504.0, 2.0**-14, 2.0**-24),
        ("cfloat8_1_4_3", 1.875 * 2.0**8, 2.0**-6, 2.0**-9),
        ("cfloat8_1_5_2", 1.75 * 2.0**16, 2.0**-14, 2.0**-16),
    ],
)
def test_ranges_are_those_that_are_printed(name, largest, least_normal, least):
    chosen = element(name)
    assert (chosen.largest, chosen.least_normal, chosen.least) == (largest, least_normal, least)
    assert decode_exact(chosen.largest_code, chosen) == Fraction(largest)
    assert decode_exact(1, chosen) == Fraction(least)


def test_all_biases_of_cfloat8_reach_the_exponents_of_the_paper():
    four = [element("cfloat8_1_4_3", bias=bias) for bias in range(64)]
    five = [element("cfloat8_1_5_2", bias=bias) for bias in range(64)]
    assert min(f.exponent_low for f in four) == -62 == min(f.exponent_low for f in five)
    assert max(f.exponent_high for f in four) == 15
    assert max(f.exponent_high for f in five) == 31
    assert four[0].largest == 1.875 * 2.0**15
    assert five[0].largest == 1.75 * 2.0**31


def test_the_printed_subnormals_leave_the_gap_of_the_paper():
    chosen = element("cfloat8_1_4_3_printed")
    assert decode_exact(7, chosen) == Fraction(7, 16) * Fraction(2) ** -6
    assert quantise_exact(0.7 * 2.0**-6, chosen) == 7 / 16 * 2.0**-6
    assert quantise_exact(0.75 * 2.0**-6, chosen) == 2.0**-6


def test_unknown_names_and_biases_say_what_there_is():
    with pytest.raises(ValueError, match="did you mean cfloat8_1_4_3"):
        element("cfloat8_1_4_4")
    with pytest.raises(ValueError, match="0 to 63"):
        element("cfloat8_1_4_3", bias=64)
    with pytest.raises(ValueError, match="fixed"):
        element("fp8_e4m3", bias=8)


def test_every_table_can_be_read():
    assert all(block(name).size in (16, 32) for name in names("block"))
    assert precision("fp8").gradients == element("fp8_e5m2")
    assert {precision(name).scaling for name in names("precision")} == {"none", "tensor", "block"}
    assert block("mxfp4").bits == 4.25
