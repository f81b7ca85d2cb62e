"""A layer on a mesh of small cores, from first principles: Tesla's D1 and its tile.

    mesh = mesh_of("D1")
    layer = Layer(m=4096, n=1024, k=1024)
    laid = lay(layer, mesh)
    layer_parts_s(layer, mesh, laid)["total"]

The layer is a product [m, k] by [k, n], a convolution as an implicit one. Every core makes one
block of the output, row i and column j of a grid; blocks of inputs go along the rows of the mesh
and blocks of weights along its columns, a stretch of k at a time, while the stretch before is
multiplied [SUMMA, van de Geijn 1997]. A core passes on what it takes while it takes it. Stretches
begin at the core that holds them, or come from the memory at the edge: inputs from the west,
weights from the north. Outputs stay in the SRAM for the next layer.
`opendojo.machine.mesh_sim` plays the same rules event by event; all figures are modelled.

What is known of a D1 [Hot Chips 34]: 354 cores of 18 x 20 places, 1.25 MB and 8 x 8 x 4
multiply-adds a clock each, 64 B a clock to each neighbour and into the SRAM; 100 ns and 2.016 TB/s
each way over a die's edge. Which six places of a die are dark is not: a rectangle of 18 x 19 is
used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from opendojo.machine.chips import find_chip

__all__ = ["Laid", "Layer", "Mesh", "compute_s", "conv_layer", "holder", "lay", "layer_parts_s",
           "memory_s", "mesh_of"]  # fmt: skip

_UNIT = (8, 8, 4)
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_SUM_BYTES = 4
_BOUNDS = ("multiply", "port", "rows", "columns", "memory", "handover")
_DIE = (18, 19)
_EDGE_BYTES_PER_S = 144 * 112e9 / 8
_CROSSING_S = 100e-9
_PACKET_BYTES = 64
_BEGIN_CLOCKS = 64
"""To wait for a semaphore and start the engine on a stretch: assumed, nothing was published."""
_BUFFERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Cores that work, as a rectangle over one or more dies, and what joins them."""

    rows: int
    cols: int
    die_rows: int
    """Rows of one die: links between dies are other links."""
    die_cols: int
    clock_hz: float
    sram_bytes: float
    """Of one core."""
    link_bytes_per_s: float
    """To a neighbour on the die, each way."""
    crossing_bytes_per_s: float
    """To a neighbour on the next die, each way."""
    crossing_s: float
    port_bytes_per_s: float
    """Into a core's SRAM from the mesh, all sides together."""
    memory_bytes_per_s: float
    """Of the memory at the edges."""

    def crossings(self, places: int, *, along_row: bool) -> int:
        """Edges of dies between the first and the last of so many places."""
        return max(0, places - 1) // (self.die_cols if along_row else self.die_rows)

    def wire_bytes_per_s(self, places: int, *, along_row: bool) -> float:
        """The slowest link between so many places."""
        crossed = self.crossings(places, along_row=along_row) > 0
        return (
            min(self.link_bytes_per_s, self.crossing_bytes_per_s)
            if crossed
            else self.link_bytes_per_s
        )

    @property
    def hop_s(self) -> float:
        """From core to core on a die: one clock."""
        return 1 / self.clock_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A product [m, k] by [k, n]."""

    m: int
    n: int
    k: int
    reuse: float = 1.0
    """How often the implicit product of a convolution reads one element of its input."""
    element_bytes: int = 2
    inputs_from_memory: bool = False
    weights_from_memory: bool = False

    def __post_init__(self) -> None:
        if min(self.m, self.n, self.k) < 1 or self.reuse < 1:
            raise ValueError(f"a layer of {self.m} x {self.n} x {self.k}, reuse {self.reuse:g}: "
                             "each must be at least 1")  # fmt: skip

    @property
    def flops(self) -> float:
        """A multiply-add is two."""
        return 2.0 * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """How a layer lies on a mesh."""

    down: int
    """Rows of the mesh in use: parts of m."""
    across: int
    """Columns in use: parts of n."""
    block_m: int
    """Rows of the output that a core makes at once."""
    block_n: int
    block_k: int
    """Length of a stretch."""
    steps: int
    """Stretches, over all rounds."""
    rounds: int
    """Blocks that each core makes one after another: more than 1 where one block is too much."""


def mesh_of(chip: str) -> Mesh:
    """The mesh of a D1 or of its tile, from the chip's table.

    Raises `ValueError` for any other chip: no other mesh is described closely enough.
    """
    found = find_chip(chip)
    dies = {"Tesla D1": 1, "Tesla D1 training tile": 5}.get(found.name)
    if dies is None or found.sram_bytes_per_core is None:
        raise ValueError(f"{found.name}: only the meshes of Tesla D1 and of its tile are known")
    clock_hz = found.clock_hz.value
    rows, cols = _DIE
    return Mesh(
        rows=rows * dies,
        cols=cols * dies,
        die_rows=rows,
        die_cols=cols,
        clock_hz=clock_hz,
        sram_bytes=found.sram_bytes_per_core.value,
        link_bytes_per_s=_PACKET_BYTES * clock_hz,
        crossing_bytes_per_s=_EDGE_BYTES_PER_S / max(rows, cols),
        crossing_s=_CROSSING_S,
        port_bytes_per_s=_PACKET_BYTES * clock_hz,
        memory_bytes_per_s=found.memories[0].bandwidth_bytes_per_s.value,
    )


def conv_layer(
    *, batch: int, channels_in: int, channels_out: int, height_out: int, width_out: int,
    kernel: int, stride: int = 1, weights_from_memory: bool = False,
) -> Layer:  # fmt: skip
    """A convolution as an implicit product: inputs go over the mesh once, not once a tap."""
    return Layer(
        m=batch * height_out * width_out,
        n=channels_out,
        k=channels_in * kernel * kernel,
        reuse=max(1.0, kernel * kernel / stride**2),
        weights_from_memory=weights_from_memory,
    )


def holder(step: int, laid: Laid, places: int) -> int:
    """Place in its row or column of the core that holds a stretch, where it is held in SRAM."""
    per_round = laid.steps // laid.rounds
    return (step % per_round) * places // per_round


def lay(layer: Layer, mesh: Mesh) -> Laid:
    """The fastest way found to lay a layer over a mesh.

    Raises `ValueError` where not even the smallest blocks fit a core.
    """
    best = min(
        _ways(layer, mesh), key=lambda w: layer_parts_s(layer, mesh, w)["total"], default=None
    )
    if best is None:
        raise ValueError(
            f"no block of the layer fits a core of {mesh.sram_bytes:g} B: at least "
            f"{_block_bytes(layer, *_UNIT):g} B are needed"
        )
    return best


def _ways(layer: Layer, mesh: Mesh) -> Iterator[Laid]:
    """Ways that fit: whole mesh or what the layer fills, blocks cut into rounds, stretches."""
    for m_rounds in (1, 2, 4, 8, 16, 32, 64, 128):
        for n_rounds in (1, 2, 4, 8, 16, 32):
            block_m = _blocks(layer.m, mesh.rows * m_rounds, _UNIT[0])
            block_n = _blocks(layer.n, mesh.cols * n_rounds, _UNIT[1])
            down = min(mesh.rows, math.ceil(layer.m / block_m))
            across = min(mesh.cols, math.ceil(layer.n / block_n))
            rounds = math.ceil(layer.m / (block_m * down)) * math.ceil(layer.n / (block_n * across))
            if rounds > 1 and (m_rounds * n_rounds > 4 * rounds):
                continue
            for steps in _STEPS:
                block_k = _blocks(layer.k, steps, _UNIT[2])
                if _block_bytes(layer, block_m, block_n, block_k) <= mesh.sram_bytes:
                    yield Laid(
                        down=down, across=across, block_m=block_m, block_n=block_n,
                        block_k=block_k, steps=math.ceil(layer.k / block_k) * rounds,
                        rounds=rounds,
                    )  # fmt: skip


def _blocks(size: int, parts: int, unit: int) -> int:
    """Length of one of so many parts, in whole units of the matrix engine."""
    return math.ceil(size / parts / unit) * unit


def _block_bytes(layer: Layer, m: int, n: int, k: int) -> float:
    """SRAM of one core: sums in fp32, and two stretches of each input, one in use, one coming."""
    return m * n * _SUM_BYTES + 2 * layer.element_bytes * (m * k / layer.reuse + k * n)


def layer_parts_s(layer: Layer, mesh: Mesh, laid: Laid) -> dict[str, float]:
    """Seconds of a layer, `total`, and of each thing that could bind a step, by the fast formula.

    After the first stretch has come to the farthest core, each step takes what the slowest of
    multiplying, wires, the SRAM's port and memory takes; then the last one is multiplied.
    """
    a = laid.block_m * laid.block_k * layer.element_bytes / layer.reuse
    b = laid.block_k * laid.block_n * layer.element_bytes
    first_a = a / mesh.wire_bytes_per_s(laid.across, along_row=True)
    first_b = b / mesh.wire_bytes_per_s(laid.down, along_row=False)
    parts = {
        "multiply": compute_s(mesh, laid),
        "port": _taken(a / mesh.port_bytes_per_s, laid.across, layer.inputs_from_memory)
        + _taken(b / mesh.port_bytes_per_s, laid.down, layer.weights_from_memory),
        "rows": _taken(first_a, laid.across, layer.inputs_from_memory),
        "columns": _taken(first_b, laid.down, layer.weights_from_memory),
        "memory": memory_s(layer, mesh, laid),
        "handover": max(
            _handover_s(mesh, laid.across, first_a, True),
            _handover_s(mesh, laid.down, first_b, False),
        ),
    }
    come = max(parts["rows"], parts["columns"], parts["port"]) + parts["memory"]
    away = max(_away_s(mesh, laid.across, True), _away_s(mesh, laid.down, False))
    parts["begin"] = come + away
    slowest = max(parts[name] for name in _BOUNDS)
    parts["total"] = parts["begin"] + (laid.steps - 1) * slowest + parts["multiply"]
    return parts


def compute_s(mesh: Mesh, laid: Laid) -> float:
    """Multiplying one stretch on one core: its start, and whole passes of the 8 x 8 x 4 engine."""
    m, n, k = laid.block_m // _UNIT[0], laid.block_n // _UNIT[1], laid.block_k // _UNIT[2]
    return (m * n * k + _BEGIN_CLOCKS) / mesh.clock_hz


def memory_s(layer: Layer, mesh: Mesh, laid: Laid) -> float:
    """Reading one stretch of all blocks from the memory at the edge."""
    size = 0.0
    if layer.inputs_from_memory:
        size += laid.down * laid.block_m * laid.block_k * layer.element_bytes / layer.reuse
    if layer.weights_from_memory:
        size += laid.across * laid.block_n * laid.block_k * layer.element_bytes
    return size / mesh.memory_bytes_per_s


def _taken(seconds: float, places: int, from_memory: bool) -> float:
    """What stands alone in its row and holds its inputs takes nothing from others."""
    return seconds if places > 1 or from_memory else 0.0


def _handover_s(mesh: Mesh, places: int, lasts_s: float, along_row: bool) -> float:
    """A core at a die's edge keeps a stretch until the next die has it, and has room for two."""
    crossed = mesh.crossings(places, along_row=along_row) > 0
    return (mesh.crossing_s + lasts_s) / _BUFFERS if crossed else 0.0


def _away_s(mesh: Mesh, places: int, along_row: bool) -> float:
    crossed = mesh.crossings(places, along_row=along_row)
    return (places - 1 - crossed) * mesh.hop_s + crossed * mesh.crossing_s
