"""Kernels measured on a machine: read, written, interpolated, and a step of them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from opendojo.machine.chip_file import write_chip
from opendojo.machine.chips import Chip, find_chip
from opendojo.machine.figure import Figure
from opendojo.machine.here import step_here
from opendojo.machine.kernels import Kernel, Prices, family_of, sized
from opendojo.machine.place_here import place_here
from opendojo.machine.placement import place
from opendojo.machine.plan import Terms
from opendojo.machine.pods import find_pod
from opendojo.machine.shapes import named_shape, shape_of
from opendojo.machine.what_if import changed
from opendojo.machine.workload import Operator, Workload

RATE, MEMORY, LAUNCH = 5e10, 1e10, 2e-6


def figure(seconds: float) -> Figure:
    return Figure(value=seconds, unit="s", grade="measured", source="made", low=0.95 * seconds,
                  high=1.05 * seconds)  # fmt: skip


def product_s(m: int, n: int, k: int) -> float:
    """A machine of the test's own: a rate that narrow products do not reach, and memory."""
    narrow = min(1.0, (n / 64) ** 0.5) * min(1.0, (m / 16) ** 0.5)
    moved = 4 * (m * k + k * n + m * n)
    return LAUNCH + max(2 * m * n * k / (RATE * narrow), moved / MEMORY)


def products(count: int = 60, seed: int = 0) -> list[Kernel]:
    draw = random.Random(seed)
    found: list[Kernel] = []
    for _ in range(count):
        m, n, k = (round(2 ** draw.uniform(2, 11)) for _ in range(3))
        found.append(
            Kernel(op="mm", m=m, n=n, k=k, flops=2.0 * m * n * k,
                   bytes=4.0 * (m * k + k * n + m * n), seconds=figure(product_s(m, n, k)))
        )  # fmt: skip
    return found


def moves(op: str = "add") -> list[Kernel]:
    return [
        Kernel(op=op, bytes=b, seconds=figure(LAUNCH + b / MEMORY)) for b in (1e4, 1e5, 1e6, 1e7)
    ]


def machine(tmp_path: Path, kernels: list[Kernel], capacity: float = 8e9) -> Chip:
    path = tmp_path / "here.toml"
    figures = {
        "cores": 1, "clock_hz": 3e9, "link_bytes_per_s": 0.0, "nic_bytes_per_s": 0.0,
        "idle_w": 1.0, "tdp_w": 5.0, "rates_flops_per_s": {"fp32": RATE},
    }  # fmt: skip
    memory = [{"name": "DRAM", "capacity_bytes": capacity, "bandwidth_bytes_per_s": MEMORY}]
    told = {"name": "mine", "vendor": "me", "year": 2026, "pod": "this-machine",
            "source": "a test", "grade": "measured", **figures, "memory": memory}  # fmt: skip
    write_chip(path, told, kernels)
    return find_chip(str(path))


def linear(m: int, n: int, k: int, phase: str = "forward") -> Operator:
    return Operator(
        name="l", kind="matmul", phase=phase, m=m, n=n, k=k, format="fp32",  # type: ignore[arg-type]
        flops=2.0 * m * n * k, read_bytes=4.0 * m * k, written_bytes=4.0 * m * n,
        weight_bytes=4.0 * k * n, op="aten.addmm",
    )  # fmt: skip


def work(*operators: Operator, activations: float = 1e3) -> Workload:
    return Workload(
        name="w", operators=operators, parameters=1000, active_parameters=1000,
        activation_bytes=activations, largest_activation_bytes=activations,
    )  # fmt: skip


def test_unseen_products_are_foretold() -> None:
    """Against the test's own machine, on shapes that were not given: the surface, not the roof."""
    prices = Prices(products(), rates={"fp32": RATE}, bytes_per_s=MEMORY)
    errors, roof = [], []
    for kernel in products(80, seed=1):
        true_s = kernel.seconds.value
        errors.append(abs(math.log(prices.seconds(kernel, "matmul")[0] / true_s)))
        roof.append(abs(math.log(
            (LAUNCH + max(kernel.flops / RATE, kernel.bytes / MEMORY)) / true_s)))  # fmt: skip
    assert sorted(errors)[40] < 0.1
    assert sum(errors) < 0.6 * sum(roof)


def test_short_sides_are_told_from_long_ones() -> None:
    """Measured on short sides alone, long ones are foretold nearer to the rate than to those."""
    draw = random.Random(2)
    short: list[Kernel] = []
    for _ in range(60):
        m, n, k = (round(2 ** draw.uniform(2, 7)) for _ in range(3))
        flops = 2.0 * m * n * k
        short.append(Kernel(op="mm", m=m, n=n, k=k, flops=flops, seconds=figure(
            LAUNCH + flops / RATE * (1 + 16 / m) * (1 + 8 / n) * (1 + 4 / k))))  # fmt: skip
    asked = Kernel(op="mm", m=2048, n=2048, k=2048, flops=2.0 * 2048**3, seconds=figure(1.0))
    found = Prices(short, rates={}, bytes_per_s=MEMORY).seconds(asked, "matmul")[0]
    assert found == pytest.approx(asked.flops / RATE, rel=0.2)


def test_the_spread_is_that_of_shapes_left_out() -> None:
    smooth = Prices(products(), rates={}, bytes_per_s=MEMORY).seconds(products(1, 3)[0], "matmul")[
        1
    ]
    draw = random.Random(5)
    rough = [
        Kernel(op="mm", m=k.m, n=k.n, k=k.k, flops=k.flops, bytes=k.bytes,
               seconds=figure(k.seconds.value * math.exp(draw.gauss(0, 0.4))))
        for k in products()
    ]  # fmt: skip
    noisy = Prices(rough, rates={}, bytes_per_s=MEMORY).seconds(products(1, 3)[0], "matmul")[1]
    assert smooth < 0.2 < noisy < 0.8


def test_bytes_go_along_lines_and_on_past_the_last() -> None:
    prices = Prices(moves(), rates={}, bytes_per_s=MEMORY)

    def asked(size: float, op: str = "add") -> float:
        return prices.seconds(Kernel(op=op, bytes=size, seconds=figure(1.0)), "elementwise")[0]

    assert asked(1e6) == pytest.approx(LAUNCH + 1e6 / MEMORY)
    assert asked(4e7) == pytest.approx(4 * asked(1e7))
    assert asked(1.0) == pytest.approx(asked(1e4))
    assert asked(3e6, "sub") == asked(3e6)
    with pytest.raises(ValueError, match="calibrate anew"):
        prices.seconds(Kernel(op="conv", seconds=figure(1.0)), "conv")


def test_an_operator_grows_with_the_batch_where_it_says() -> None:
    forward = sized(linear(10, 20, 30), 8)
    assert (forward.m, forward.n, forward.k) == (80, 20, 30)
    assert forward.bytes == 8 * 4 * (300 + 200) + 4 * 600
    assert forward.flops == 8 * 12_000
    filters = Operator(name="c", kind="conv", phase="backward", m=27, n=16, k=100, grows="k",
                       format="fp32", flops=1.0, op="aten.convolution_backward")  # fmt: skip
    inputs = Operator(name="c", kind="conv", phase="backward", m=100, n=27, k=16, format="fp32",
                      flops=1.0, op="aten.convolution_backward", products=2)  # fmt: skip
    assert family_of(filters) == "conv weight"
    assert family_of(inputs) == "conv input grouped"
    for one in (filters, inputs):
        assert (sized(one, 2).m, sized(one, 2).n, sized(one, 2).k) == (200, 16, 27)


def test_a_chip_file_keeps_its_kernels(tmp_path: Path) -> None:
    kernels = [*products(5), *moves(), Kernel(op="conv", layout="channels_last", products=3,
                                              seconds=figure(0.1), flops=3.0)]  # fmt: skip
    chip = machine(tmp_path, kernels)
    assert len(chip.kernels) == len(kernels)
    for kept, given in zip(chip.kernels, kernels, strict=True):
        assert (kept.op, kept.layout, kept.m, kept.products) == (
            given.op, given.layout, given.m, given.products)  # fmt: skip
        assert kept.seconds.value == pytest.approx(given.seconds.value, rel=1e-5)
        assert kept.seconds.grade == "measured"
    text = (tmp_path / "here.toml").read_text()
    for old, new, said in (
        ('op = "mm"', 'opp = "mm"', "unknown key 'opp', did you mean 'op'"),
        ("seconds = {", "sceonds = {", "unknown key 'sceonds', did you mean 'seconds'"),
        ("value = 2.5", "value = -2.5", "must be above 0"),
    ):
        (tmp_path / "bad.toml").write_text(text.replace(old, new, 1))
        if old in text:
            with pytest.raises(ValueError, match=said):
                find_chip(str(tmp_path / "bad.toml"))


def test_a_step_is_the_sum_of_its_operators(tmp_path: Path) -> None:
    calls = [Kernel(op="launch", seconds=figure(1e-6)), Kernel(op="module", seconds=figure(1e-4)),
             Kernel(op="launch forward", seconds=figure(4e-6))]  # fmt: skip
    chip = machine(tmp_path, [*products(), *moves(), *calls])
    add = Operator(name="a", kind="elementwise", phase="forward", format="fp32", op="aten.add",
                   read_bytes=8e4, written_bytes=4e4)  # fmt: skip
    one = linear(64, 256, 256)
    found = step_here(work(one, add), chip, batch=4)
    assert found.parts["products"] == pytest.approx(product_s(256, 256, 256), rel=0.15)
    assert found.parts["traffic"] == pytest.approx(LAUNCH + 4.8e5 / MEMORY, rel=0.1)
    assert found.parts["launches"] == pytest.approx(2 * 3e-6, rel=1e-3)
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.low_s < found.seconds < found.high_s
    assert step_here(work(one, one, add), chip, batch=4).parts["products"] == pytest.approx(
        2 * found.parts["products"]
    )


def test_fresh_memory_costs_where_a_step_outgrows_what_is_kept(tmp_path: Path) -> None:
    chip = machine(
        tmp_path, [*products(), *moves(), Kernel(op="fresh byte", seconds=figure(1e-10))]
    )
    both = (linear(8, 64, 64), linear(8, 64, 64, "backward"))
    small = step_here(work(*both), chip, batch=4)
    middle = step_here(work(*both, activations=5e6), chip, batch=4)
    large = step_here(work(*both, activations=50e6), chip, batch=4)
    assert "fresh" not in small.parts
    # kept, and two of the largest between operators; twice the largest stays, 64 MiB at most
    assert middle.parts["fresh"] == pytest.approx(20e6 * 1e-10, rel=1e-3)
    assert large.parts["fresh"] == pytest.approx((600e6 - (64 << 20)) * 1e-10, rel=1e-3)
    forward = step_here(work(linear(8, 64, 64), activations=5e6), chip, batch=4)
    assert "fresh" not in forward.parts


def test_a_plan_here_is_its_step(tmp_path: Path) -> None:
    chip = machine(tmp_path, [*products(), *moves(), *moves("optimizer.adamw")])
    shape = shape_of(work(linear(64, 256, 256), linear(64, 256, 256, "backward")))
    pod = find_pod("here")
    plan = place(shape, pod, chips=1, batch=4, chip=chip)[0]
    step = step_here(shape.workload, chip, batch=4)  # type: ignore[arg-type]
    assert plan.step_s == pytest.approx(step.seconds)
    assert plan.low_s == pytest.approx(step.low_s)
    assert plan.high_s == pytest.approx(step.high_s)
    assert plan.layout["mb"] == 4
    slower = place(shape, pod, chips=1, batch=4, chip=changed(chip, {"rate": 0.5}))[0]
    assert slower.parts["products"] == pytest.approx(2 * plan.parts["products"], rel=0.05)


def test_what_a_machine_cannot_do_is_one_sentence(tmp_path: Path) -> None:
    chip = machine(tmp_path, [*products(), *moves()], capacity=1e9)
    shape = shape_of(work(linear(64, 256, 256), activations=1e8))
    pod, terms = find_pod("here"), Terms()
    with pytest.raises(ValueError, match="give --chips 1"):
        place_here(shape, pod, chip, chips=2, batch=4, terms=terms)
    with pytest.raises(ValueError, match="a shape by name"):
        place_here(named_shape("gpt-7b"), pod, chip, chips=1, batch=4, terms=terms)
    heavy = shape_of(work(linear(64, 256, 256), linear(64, 256, 256, "backward"), activations=1e8))
    with pytest.raises(ValueError, match="give --batch 3") as said:
        place_here(heavy, pod, chip, chips=1, batch=40, terms=terms)
    assert "\n" not in str(said.value)
    assert place_here(heavy, pod, chip, chips=1, batch=3, terms=terms)[0].memory_bytes <= 1e9
    with pytest.raises(ValueError, match="change rate, bandwidth or memory"):
        changed(chip, {"link": 2.0})
