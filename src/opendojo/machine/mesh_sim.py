"""The rules of `opendojo.machine.mesh` played event by event: the oracle of its fast formula.

Every transfer of a stretch into a core is an event of its own, with what it must wait for: its head
has come, one of the core's two buffers of its kind is free, the link and the SRAM's port are free,
and stretches are taken in order, both of a step before any of the next. A buffer is free again once
its stretch was multiplied and passed on. Nothing here is averaged, so uneven starts, queues at the
port and late credits show.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field

from opendojo.machine.mesh import Laid, Layer, Mesh, compute_s, holder, memory_s

__all__ = ["simulate_s"]

_BUFFERS = 2
_Place = tuple[int, int]
_Waiting = dict[int, tuple[int, float, float]]


@dataclass(slots=True)
class _Core:
    """A core's state, for inputs (0) and weights (1)."""

    port_free_s: float = 0.0
    busy: bool = False
    done: int = 0
    next: list[int] = field(default_factory=lambda: [0, 0])
    """The next stretch to be taken."""
    held: list[int] = field(default_factory=lambda: [0, 0])
    here: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    """Stretches that are all there."""
    waiting: tuple[_Waiting, _Waiting] = field(default_factory=lambda: ({}, {}))
    """Direction, time of the head and earliest end of stretches that are on their way."""
    owed: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    """What a held stretch still waits for: being multiplied, being passed on."""


def simulate_s(layer: Layer, mesh: Mesh, laid: Laid) -> float:
    """Seconds until the last core has multiplied its last stretch."""
    return _Play(layer, mesh, laid).run()


class _Play:
    def __init__(self, layer: Layer, mesh: Mesh, laid: Laid) -> None:
        self.layer, self.mesh, self.laid = layer, mesh, laid
        self.cores: dict[_Place, _Core] = defaultdict(_Core)
        self.links: dict[tuple[int, int, int, int], float] = defaultdict(float)
        self.events: list[tuple[float, int, str, tuple[int, int, int, int]]] = []
        self.count = 0
        self.compute_s = compute_s(mesh, laid)
        a = laid.block_m * laid.block_k * layer.element_bytes / layer.reuse
        b = laid.block_k * laid.block_n * layer.element_bytes
        self.bytes = (a, b)
        self.places = (laid.across, laid.down)
        self.streamed = (layer.inputs_from_memory, layer.weights_from_memory)

    def run(self) -> float:
        self._inject()
        now = 0.0
        while self.events:
            now, _, what, about = heapq.heappop(self.events)
            i, j, kind, step = about
            if what == "head":
                self._take(i, j, kind, now)
                continue
            if what == "passed":
                self._release(i, j, kind, step, now)
                continue
            core = self.cores[i, j]
            if what == "here":
                core.here[kind].add(step)
                self._multiply(i, j, now)
            else:
                core.busy, core.done = False, core.done + 1
                for one in (0, 1):
                    self._release(i, j, one, step, now)
                self._multiply(i, j, now)
        assert all(c.done == self.laid.steps for c in self.cores.values()), "the mesh stood still"
        return now

    def _at(self, time_s: float, what: str, i: int, j: int, kind: int, step: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (time_s, self.count, what, (i, j, kind, step)))

    def _inject(self) -> None:
        """Stretches start at their holders at once, or at the edge as memory gives them."""
        each_s = memory_s(self.layer, self.mesh, self.laid)
        for i in range(self.laid.down):
            for j in range(self.laid.across):
                for kind in (0, 1):
                    self._begin(i, j, kind, each_s)
                self._multiply(i, j, 0.0)

    def _begin(self, i: int, j: int, kind: int, each_s: float) -> None:
        place = j if kind == 0 else i
        for step in range(self.laid.steps):
            if self.streamed[kind]:
                if place == 0:
                    self._come(i, j, kind, step, 1, each_s * (step + 1), 0.0)
            elif holder(step, self.laid, self.places[kind]) == place:
                self.cores[i, j].here[kind].add(step)
                for way in (-1, 1):
                    self._onward(i, j, kind, step, way, 0.0, 0.0)

    def _come(
        self, i: int, j: int, kind: int, step: int, way: int, head_s: float, end_s: float
    ) -> None:
        self.cores[i, j].waiting[kind][step] = (way, head_s, end_s)
        self._at(head_s, "head", i, j, kind, step)

    def _onward(
        self, i: int, j: int, kind: int, step: int, way: int, start_s: float, end_s: float
    ) -> bool:
        """Let a stretch's head go to the next core, if there is one."""
        place = (j if kind == 0 else i) + way
        if not 0 <= place < self.places[kind]:
            return False
        length = self.mesh.die_cols if kind == 0 else self.mesh.die_rows
        crosses = place // length != (place - way) // length
        hop_s = self.mesh.crossing_s if crosses else self.mesh.hop_s
        where = (i, place) if kind == 0 else (place, j)
        self._come(*where, kind, step, way, start_s + hop_s, end_s + hop_s)
        return True

    def _take(self, i: int, j: int, kind: int, now: float) -> None:
        """Begin transfers of a kind into a core for as long as all that they wait for is there."""
        core, place = self.cores[i, j], j if kind == 0 else i
        while core.held[kind] < _BUFFERS:
            for one, where in ((0, j), (1, i)):
                while self._holds(core.next[one], one, where):
                    core.next[one] += 1
            step = core.next[kind]
            if step > core.next[1 - kind]:  # both of a step before any of the next
                return
            way, head_s, least_end_s = core.waiting[kind].get(step, (0, math.inf, 0.0))
            if head_s > now:
                return
            del core.waiting[kind][step]
            link = (i, j, kind, way)
            start_s = max(now, core.port_free_s, self.links[link])
            lasts_s = self.bytes[kind] / self._rate(place, kind, way)
            end_s = max(start_s + lasts_s, least_end_s)
            core.port_free_s = start_s + self.bytes[kind] / self.mesh.port_bytes_per_s
            self.links[link] = start_s + lasts_s
            core.held[kind] += 1
            core.next[kind] += 1
            core.owed[kind, step] = 1 + self._onward(i, j, kind, step, way, start_s, end_s)
            self._at(end_s, "here", i, j, kind, step)
            before = (i, j - way) if kind == 0 else (i - way, j)
            self._at(end_s, "passed", *before, kind, step)
            self._take(i, j, 1 - kind, now)

    def _holds(self, step: int, kind: int, place: int) -> bool:
        if self.streamed[kind] or step >= self.laid.steps:
            return False
        return holder(step, self.laid, self.places[kind]) == place

    def _rate(self, place: int, kind: int, way: int) -> float:
        """Of the link that leads into a core from one side; the memory's edge is a die's edge."""
        length = self.mesh.die_cols if kind == 0 else self.mesh.die_rows
        crosses = place // length != (place - way) // length
        return self.mesh.crossing_bytes_per_s if crosses else self.mesh.link_bytes_per_s

    def _release(self, i: int, j: int, kind: int, step: int, now: float) -> None:
        """One of what a held stretch waited for is over; its own stretches are held for good."""
        core = self.cores.get((i, j))
        if core is None or (kind, step) not in core.owed:
            return
        core.owed[kind, step] -= 1
        if core.owed[kind, step] == 0:
            del core.owed[kind, step]
            core.held[kind] -= 1
            self._take(i, j, kind, now)

    def _multiply(self, i: int, j: int, now: float) -> None:
        core = self.cores[i, j]
        step = core.done
        if not core.busy and step in core.here[0] and step in core.here[1]:
            core.busy = True
            self._at(now + self.compute_s, "done", i, j, 0, step)
