"""The fast kernels against the reference, bit for bit."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from opendojo.formats import element, names
from opendojo.numerics import decode, decode_exact, encode, encode_exact, pack, quantise, unpack
from opendojo.numerics.draws import draws, draws_exact, key_of

SPECIAL = [math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38,
           3.4028235e38, -3.4028235e38, 1.0, -1.0]  # fmt: skip
SMALL = [name for name in names() if element(name).bits <= 8]
LONG = [name for name in names() if 16 <= element(name).bits <= 19]
MORE = [
    replace(element("fp8_e4m3"), overflow="nan"),
    replace(element("fp8_e5m2"), overflow="saturate"),
    replace(element("bf16"), overflow="saturate"),
    replace(element("fp16"), overflow="saturate"),
]
"""The other answers to overflow."""


def bits_of(values):
    return torch.tensor(np.array(values, np.float32)).view(torch.int32)


def same(found, wanted):
    """Equal bits, any NaN being any other of its sign."""
    found, wanted = found.view(torch.int32), wanted.view(torch.int32)
    nan = (found & 0x7FFFFFFF > 0x7F800000) & (wanted & 0x7FFFFFFF > 0x7F800000)
    nan &= (found < 0) == (wanted < 0)
    return bool(((found == wanted) | nan).all())


def hard(chosen, codes):
    """Numbers of the format, ties between neighbours, and the floats just beside both."""
    table = np.array([float(decode_exact(code, chosen)) for code in codes], np.float64)
    table = table[np.isfinite(table)]
    middle = [(a + b) / 2 for a, b in itertools.pairwise(table)]
    beyond = [chosen.largest * k for k in (1.01, 1.05, 1.2, 2.0, 1e6)]
    top = chosen.largest + 2.0 ** (chosen.exponent_high - chosen.mantissa_bits - 1)
    with np.errstate(over="ignore"):
        x = np.array([*table, *middle, top, *beyond], np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(0)), np.nextafter(x, np.float32(np.inf))])
    return np.concatenate([x, -x, np.array(SPECIAL, np.float32)])


def check(chosen, x, seed=None):
    """Codes and values equal the reference's."""
    draw = [None] * len(x) if seed is None else [draws_exact(k, seed) for k in range(len(x))]
    rounding = "nearest" if seed is None else "stochastic"
    wanted = [encode_exact(float(v), chosen, d) for v, d in zip(x, draw, strict=True)]
    tensor = torch.from_numpy(x)
    codes = encode(tensor, chosen, rounding=rounding, seed=seed or 0)
    assert codes.to(torch.int64).tolist() == wanted
    values = bits_of([float(decode_exact(code, chosen)) for code in wanted]).view(torch.float32)
    assert same(quantise(tensor, chosen, rounding=rounding, seed=seed or 0), values)
    assert same(decode(codes, chosen), values)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [None, 3])
def test_small_formats_on_every_code_tie_and_neighbour(name, seed):
    chosen = element(name)
    check(chosen, hard(chosen, range(chosen.largest_code + 1)), seed)


@pytest.mark.parametrize("name", [n for n in names() if element(n).biases == (0, 63)])
def test_all_64_biases(name):
    for bias in range(64):
        chosen = element(name, bias=bias)
        top = chosen.largest_code
        codes = range(top + 1) if chosen.bits <= 8 else [*range(20), *range(top - 20, top + 1)]
        if chosen.bits <= 8 and bias % 8:
            codes = [*range(18), *range(60, 70), *range(top - 4, top + 1)]
        check(chosen, hard(chosen, codes), None if bias % 2 else bias)


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("seed", [None, 5])
def test_long_formats_around_every_exponent(name, seed):
    chosen = element(name)
    step = 1 << chosen.mantissa_bits
    codes = {c + d for c in range(0, chosen.largest_code + 1, step) for d in (-2, -1, 0, 1, 2, 77)}
    check(chosen, hard(chosen, sorted(c for c in codes if 0 <= c <= chosen.largest_code)), seed)


@pytest.mark.parametrize("chosen", MORE, ids=lambda f: f"{f.name}-{f.overflow}")
@pytest.mark.parametrize("seed", [None, 7])
def test_the_other_answers_to_overflow(chosen, seed):
    top = chosen.largest_code
    check(chosen, hard(chosen, [*range(10), *range(top - 10, top + 1)]), seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bf16", "cfloat16_shp", "cfloat16_uhp", "fp16"])
def test_sixteen_bits_on_every_code_and_tie(name):
    chosen = element(name)
    check(chosen, hard(chosen, range(chosen.largest_code + 1)))


@pytest.mark.parametrize("name", [n for n in names() if n != "fp32"])
def test_every_code_decodes_as_the_reference_says(name):
    chosen = element(name)
    codes = torch.arange(0, 1 << chosen.bits, 1 if chosen.bits <= 16 else 97)
    wanted = [float(decode_exact(code, chosen)) for code in codes.tolist()]
    assert same(decode(codes, chosen), bits_of(wanted).view(torch.float32))


@pytest.mark.parametrize("name", names())
def test_empty_strided_and_narrow_tensors(name):
    chosen = element(name)
    assert quantise(torch.empty(3, 0), chosen).shape == (3, 0)
    assert encode(torch.empty(0), chosen).numel() == 0
    x = torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(1)) * 4
    whole = quantise(x, chosen)
    assert torch.equal(quantise(x.permute(2, 0, 3, 1), chosen), whole.permute(2, 0, 3, 1))
    assert torch.equal(quantise(x[:, ::2], chosen), whole[:, ::2])
    turned = quantise(x.to(memory_format=torch.channels_last), chosen)
    assert torch.equal(turned, whole)
    assert turned.is_contiguous(memory_format=torch.channels_last)
    for kind in (torch.bfloat16, torch.float16):
        assert torch.equal(quantise(x.to(kind), chosen), quantise(x.to(kind).float(), chosen))
    with pytest.raises(ValueError, match="float64"):
        quantise(x.double(), chosen)


@pytest.mark.parametrize("name", ["cfloat8_1_4_3", "fp8_e5m2", "bf16", "cfloat16_shp"])
def test_draws_depend_on_seed_and_place_alone(name):
    chosen = element(name)
    x = torch.randn(96, 2048, generator=torch.Generator().manual_seed(0))

    def drawn(x, **more):
        return quantise(x, chosen, rounding="stochastic", seed=9, **more)

    whole = drawn(x)
    assert torch.equal(drawn(x.view(-1)), whole.view(-1))
    assert torch.equal(drawn(x.view(4, 48, 8, 128)), whole.view(4, 48, 8, 128))
    assert torch.equal(drawn(x[40:], first=40 * 2048), whole[40:])
    four = x.view(4, 48, 8, 128).to(memory_format=torch.channels_last)
    assert torch.equal(drawn(four), whole.view(4, 48, 8, 128))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(drawn(x), whole)
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(quantise(x, chosen, rounding="stochastic", seed=10), whole)


def test_draws_are_the_reference_and_go_on_past_32_bits():
    for first in (0, 65533, 2**31 - 4, 2**32 - 8, 2**32, 2**40 + 5):
        found = draws(first, 8, key_of(4)).tolist()
        assert found == [draws_exact(first + k, 4) for k in range(8)]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_mean_of_draws_is_the_number(fraction):
    """Within four standard errors; the slow test has ten million."""
    chosen = element("cfloat8_1_4_3")
    mean_is(chosen, 1.0 + 0.125 * fraction, 1_000_000)


def mean_is(chosen, value, count):
    value = float(np.float32(value))
    x = torch.full((count,), value)
    for seed in range(3):
        q = quantise(x, chosen, rounding="stochastic", seed=seed).double()
        low, high = q.min().item(), q.max().item()
        share = (value - low) / (high - low)
        error = (high - low) * math.sqrt(share * (1 - share) / count)
        assert abs(q.mean().item() - value) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cfloat8_1_4_3", "cfloat8_1_5_2", "fp4_e2m1", "cfloat16_shp"])
def test_the_mean_of_ten_million_draws(name):
    chosen = element(name)
    for value in (1.0003, 1.3, -1.7, chosen.least * 0.3, chosen.least_normal * 0.77):
        mean_is(chosen, value, 10_000_000)


def test_neighbouring_seeds_and_places_share_nothing():
    """Correlation of draws within five standard errors, for seeds and for lags."""
    count = 1 << 18
    rows = [draws(0, count, key_of(seed)).double() for seed in range(6)]
    rows = [(row - row.mean()) / row.std() for row in rows]
    limit = 5 / math.sqrt(count)
    for k, row in enumerate(rows):
        for other in rows[k + 1 :]:
            assert abs((row * other).mean()) < limit
        for lag in (1, 2, 3, 64, 1024, 4096):
            assert abs((row * row.roll(lag)).mean()) < limit


@pytest.mark.parametrize("name", ["fp4_e2m1", "fp6_e3m2", "fp8_e4m3", "cfloat16_shp", "tf32"])
def test_packed_bytes_hold_every_code(name):
    chosen = element(name)
    x = torch.randn(1003, generator=torch.Generator().manual_seed(2))
    codes = encode(x, chosen)
    data = pack(codes, chosen)
    assert data.dtype == torch.uint8
    assert data.numel() == (1003 * chosen.bits + 7) // 8
    assert torch.equal(unpack(data, chosen, 1003).to(torch.int32), codes.to(torch.int32))
    with pytest.raises(ValueError, match="bytes"):
        unpack(data[:-1], chosen, 1003)


def test_packed_halves_lie_as_torch_has_them():
    chosen = element("fp4_e2m1")
    assert pack(encode(torch.tensor([0.5, -6.0]), chosen), chosen).tolist() == [0xF1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fp8_e4m3", torch.float8_e4m3fn),
        ("fp8_e5m2", torch.float8_e5m2),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_torch_casts_agree(name, kind):
    chosen = element(name)
    x = every_upper_half()
    # the sign of a NaN is left out: torch's cast to bfloat16 makes every NaN a negative one
    assert same(quantise(x, chosen).abs(), x.to(kind).float().abs())
    numbers = x[~x.isnan()]
    assert same(quantise(numbers, chosen), numbers.to(kind).float())
    codes = torch.arange(1 << chosen.bits)
    raw = codes.to(torch.uint8) if chosen.bits == 8 else codes.to(torch.int16)
    assert same(decode(codes, chosen), raw.view(kind).float())


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("fp8_e4m3", "float8_e4m3fn"),
        ("fp8_e5m2", "float8_e5m2"),
        ("fp6_e3m2", "float6_e3m2fn"),
        ("fp6_e2m3", "float6_e2m3fn"),
        ("fp4_e2m1", "float4_e2m1fn"),
        ("bf16", "bfloat16"),
    ],
)
def test_ml_dtypes_agrees(name, theirs):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    chosen = element(name)
    if name == "fp8_e4m3":
        chosen = replace(chosen, overflow="nan")
    x = every_upper_half()
    with np.errstate(invalid="ignore"):
        wanted = x.numpy().astype(getattr(ml_dtypes, theirs)).astype(np.float32)
    assert same(quantise(x, chosen), torch.from_numpy(wanted))


def every_upper_half():
    """Every upper half of a float32 with lower halves at, beside and between all ties."""
    upper = torch.arange(1 << 16, dtype=torch.int64) << 16
    lower = torch.tensor([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    bits = (upper[:, None] + lower).view(-1)
    return torch.where(bits >= 2**31, bits - 2**32, bits).to(torch.int32).view(torch.float32)
