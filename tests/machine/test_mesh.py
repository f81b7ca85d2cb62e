"""The fast formula of the mesh against hand counts and against its event-driven simulation."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from opendojo.machine.mesh import Laid, Layer, Mesh, conv_layer, lay, layer_parts_s, mesh_of
from opendojo.machine.mesh_sim import simulate_s


def random_layer(draw: random.Random, big: int) -> Layer:
    """Products and convolutions of usual sizes; some read inputs or weights from memory."""

    def size(low: float, high: float) -> int:
        return round(2 ** draw.uniform(low, high))

    if draw.random() < 0.5:
        return Layer(
            m=size(6, 13 + big), n=size(5, 12 + big), k=size(5, 12),
            inputs_from_memory=draw.random() < 0.2, weights_from_memory=draw.random() < 0.5,
        )  # fmt: skip
    return conv_layer(
        batch=size(0, 5 + big), channels_in=size(3, 9), channels_out=size(4, 9 + big),
        height_out=size(2, 6), width_out=size(2, 6), kernel=draw.choice([1, 3, 3, 5]),
        stride=draw.choice([1, 1, 2]), weights_from_memory=draw.random() < 0.5,
    )  # fmt: skip


def errors(chip: str, count: int, seed: int) -> np.ndarray:
    draw, mesh, found = random.Random(seed), mesh_of(chip), []
    for _ in range(count):
        layer = random_layer(draw, 0 if chip == "D1" else 3)
        laid = lay(layer, mesh)
        found.append(layer_parts_s(layer, mesh, laid)["total"] / simulate_s(layer, mesh, laid) - 1)
    off = np.abs(found)
    print(f"{chip}: {count} layers, median {np.median(off):.4f}, P90 {np.quantile(off, 0.9):.4f}, "
          f"most {off.max():.4f}, signed {np.mean(found):+.4f}")  # fmt: skip
    return off


@pytest.mark.parametrize(("chip", "count"), [("D1", 10), ("D1 tile", 3)])
def test_formula_agrees_with_the_simulation(chip, count):
    assert np.median(errors(chip, count, 1)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["D1", "D1 tile"])
def test_formula_agrees_on_two_hundred_layers(chip):
    off = errors(chip, 100, 2)
    assert np.median(off) < 0.05
    assert np.quantile(off, 0.9) < 0.2


def test_one_core_by_hand():
    """Eight passes of 64 clocks of start and 2 x 3 x 5 of the engine each, at 2 GHz."""
    mesh = replace(mesh_of("D1"), rows=1, cols=1)
    layer = Layer(m=16, n=24, k=160)
    laid = Laid(down=1, across=1, block_m=16, block_n=24, block_k=20, steps=8, rounds=1)
    by_hand_s = 8 * (64 + 30) / 2e9
    assert simulate_s(layer, mesh, laid) == pytest.approx(by_hand_s)
    assert layer_parts_s(layer, mesh, laid)["total"] == pytest.approx(by_hand_s)


def test_two_cores_by_hand():
    """The second core takes one stretch of inputs over the link, then multiplies; one step."""
    mesh = replace(mesh_of("D1"), rows=1, cols=2)
    layer = Layer(m=64, n=16, k=100)
    laid = Laid(down=1, across=2, block_m=64, block_n=8, block_k=100, steps=1, rounds=1)
    by_hand_s = 0.5e-9 + 64 * 100 * 2 / 128e9 + (64 + 8 * 1 * 25) / 2e9
    assert simulate_s(layer, mesh, laid) == pytest.approx(by_hand_s)
    assert layer_parts_s(layer, mesh, laid)["total"] == pytest.approx(by_hand_s)


@pytest.mark.slow
def test_weights_from_memory_come_at_the_memorys_rate():
    mesh = mesh_of("D1")
    layer = Layer(m=144, n=4096, k=4096, weights_from_memory=True)
    laid = lay(layer, mesh)
    least_s = 4096 * 4096 * 2 / mesh.memory_bytes_per_s
    assert least_s <= simulate_s(layer, mesh, laid) <= 1.3 * least_s


def test_layouts_fit_and_cover():
    draw = random.Random(5)
    for chip in ("D1", "D1 tile"):
        mesh = mesh_of(chip)
        for _ in range(20):
            layer = random_layer(draw, 2)
            laid = lay(layer, mesh)
            assert laid.down <= mesh.rows and laid.across <= mesh.cols
            per_round = laid.steps // laid.rounds
            assert per_round * laid.block_k >= layer.k
            made = laid.rounds * laid.down * laid.block_m * laid.across * laid.block_n
            assert made >= layer.m * layer.n
            held = laid.block_m * laid.block_n * 4
            held += 4 * (laid.block_m * laid.block_k / layer.reuse + laid.block_k * laid.block_n)
            assert held <= 1.25e6
            rate = layer.flops / layer_parts_s(layer, mesh, laid)["total"]
            assert rate <= 512 * 2e9 * mesh.rows * mesh.cols


def test_a_large_product_comes_near_the_peak_and_more_sram_never_harms():
    mesh = mesh_of("D1")
    layer = Layer(m=36 * 256, n=38 * 256, k=4096)

    def share(of: Mesh) -> float:
        total = layer_parts_s(layer, of, lay(layer, of))["total"]
        return layer.flops / total / (512 * 2e9 * of.rows * of.cols)

    assert 0.75 < share(mesh) < 1
    double = share(replace(mesh, sram_bytes=2 * mesh.sram_bytes))
    half = share(replace(mesh, sram_bytes=mesh.sram_bytes / 2))
    assert half <= share(mesh) <= double


def test_what_cannot_be():
    with pytest.raises(ValueError, match="only the meshes"):
        mesh_of("H100")
    with pytest.raises(ValueError, match="at least 1"):
        Layer(m=0, n=1, k=1)
    with pytest.raises(ValueError, match="no block of the layer fits"):
        lay(Layer(m=8, n=8, k=8), replace(mesh_of("D1"), sram_bytes=64))
    least = Layer(m=1, n=1, k=1)
    assert math.isfinite(simulate_s(least, mesh_of("D1"), lay(least, mesh_of("D1"))))
