"""`opendojo guard stress`: is a core or a device of this machine wrong now and then?

As Tesla's tool for Dojo did (Tom's Hardware, "Tesla details how it finds punishing defective
cores"): every core works through random payloads, results are folded into a digest at every
interval, so that an error in the middle is not washed out, and the digests of all cores are
compared. The payloads:

    products     matrix products of random shapes and formats, folded
    toggles      operands whose bits all change from one word to the next
    bursts       short bursts between rests, which make the supply voltage swing
    heat         the same product for long
    integers     multiply, add, shift, compare, sort
    memory       patterns written, left, read again
    golden       a whole training step of a small network, bit by bit

Each core does each payload twice, and all cores do the same ones: one that disagrees with the
majority, or with itself, is named. What it cannot see: a fault that all cores share (a design
error), one that needs data it did not draw (random tests reach under 80 % of stuck-at faults; He,
thesis), one that sleeps at today's temperature and age. A pass does not say that a device is sound.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from opendojo.guard.fingerprint import fingerprint

__all__ = ["BLINDNESS", "PAYLOADS", "StressReport", "judge", "stress", "work"]

BLINDNESS = (
    "cannot see faults that all cores share, that need other data, or that sleep at today's "
    "temperature; a pass does not say that the machine is sound"
)
_MASK = (1 << 64) - 1
_SIZES = (64, 128, 192, 256)


@dataclass
class StressReport:
    """What every unit said."""

    units: list[str]
    seconds: float
    payloads: int
    payload_bytes: int
    """Of random operands and results that each unit worked through, at least."""
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """Units named, with the payloads at which they were wrong."""
    undecided: list[str] = field(default_factory=list)
    """Payloads on which no majority agreed."""

    @property
    def ok(self) -> bool:
        """True where nothing disagreed."""
        return not self.wrong and not self.undecided

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.ok, "units": self.units, "seconds": self.seconds,
            "payloads": self.payloads, "payload_bytes": self.payload_bytes, "wrong": self.wrong,
            "undecided": self.undecided, "blindness": BLINDNESS,
        }  # fmt: skip


def _products(draw: torch.Generator, device: torch.device) -> int:
    value = 0
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        m, k, n = (_SIZES[int(torch.randint(0, 4, (1,), generator=draw))] for _ in range(3))
        a = torch.randn(m, k, generator=draw).to(device, dtype)
        b = torch.randn(k, n, generator=draw).to(device, dtype)
        for _ in range(4):
            c = a @ b
            value = _fold(value, c)
            a = (c @ b.mT) * (1.0 / (k * n) ** 0.5)
            value = _fold(value, a)
    return value


def _toggles(draw: torch.Generator, device: torch.device) -> int:
    words = torch.randint(0, 2**31 - 1, (256, 128), generator=draw, dtype=torch.int32)
    pairs = torch.stack([words, ~words], 1).reshape(512, 128) & 0x3FFFFFFF | 0x20000000
    a = pairs.view(torch.float32).to(device)
    return _fold(_fold(0, a.mT @ a), a * a.flip(0))


def _bursts(draw: torch.Generator, device: torch.device) -> int:
    a, value = torch.randn(128, 128, generator=draw).to(device), 0
    for _ in range(6):
        value = _fold(value, a @ a)
        time.sleep(0.002)
    return value


def _heat(draw: torch.Generator, device: torch.device) -> int:
    a = torch.randn(256, 256, generator=draw).to(device)
    b, value = a, 0
    for _ in range(24):
        b = torch.tanh(a @ b)
        value = _fold(value, b)
    return value


def _integers(draw: torch.Generator, device: torch.device) -> int:
    x = torch.randint(-(2**62), 2**62, (1 << 14,), generator=draw).to(device)
    value = 0
    for shift in (7, 13, 31):
        x = x * 0x5851F42D4C957F2D + (x >> shift)
        value = _fold(value, x)
    return _fold(value, x.sort().values)


def _memory(draw: torch.Generator, device: torch.device) -> int:
    x = torch.randint(-(2**62), 2**62, (1 << 17,), generator=draw).to(device)
    value = _fold(0, x)
    time.sleep(0.005)
    return _fold(_fold(value, x), ~x)


def _golden(draw: torch.Generator, device: torch.device) -> int:
    def values(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).to(device)

    filters, matrix = nn.Parameter(values(8, 3, 3, 3)), nn.Parameter(values(8 * 64, 10))
    x, value = values(8, 3, 16, 16), 0
    optimizer = torch.optim.AdamW([filters, matrix], 1e-3)
    for _ in range(2):
        hidden = F.gelu(F.conv2d(x, filters, stride=2, padding=1))
        loss = F.log_softmax(hidden.flatten(1) @ matrix, -1)[:, 0].mean().neg()
        loss.backward()
        for parameter in (filters, matrix):
            assert parameter.grad is not None
            value = _fold(value, parameter.grad)
        optimizer.step()
        optimizer.zero_grad()
        value = _fold(value, matrix.detach())
    return value


PAYLOADS: dict[str, Callable[[torch.Generator, torch.device], int]] = {
    "products": _products,
    "toggles": _toggles,
    "bursts": _bursts,
    "heat": _heat,
    "integers": _integers,
    "memory": _memory,
    "golden": _golden,
}


def _fold(value: int, tensor: torch.Tensor) -> int:
    return (value * 0x100000001B3 + fingerprint(tensor)) & _MASK


def work(
    seeds: range,
    device: str = "cpu",
    share: float = 1.0,
    harm: Callable[[str, int], bool] | None = None,
) -> dict[str, list[int]]:
    """Every payload of every seed twice: digests by `name/seed`. `harm` is for tests."""
    told: dict[str, list[int]] = {}
    for seed in seeds:
        for name, payload in PAYLOADS.items():
            began_s = time.perf_counter()
            digests = []
            for time_number in range(2):
                draw = torch.Generator().manual_seed(seed)
                digest = payload(draw, torch.device(device))
                if harm is not None and harm(name, time_number):
                    digest ^= 1
                digests.append(digest)
            told[f"{name}/{seed}"] = digests
            if share < 1.0:
                time.sleep((time.perf_counter() - began_s) * (1 / share - 1))
    return told


def judge(told: dict[str, dict[str, list[int]]], seconds: float) -> StressReport:
    """Hold the digests of all units against each other."""
    units = list(told)
    keys = list(dict.fromkeys(key for digests in told.values() for key in digests))
    report = StressReport(
        units=units, seconds=seconds, payloads=len(keys), payload_bytes=len(keys) * 2 * 500_000
    )
    for key in keys:
        votes = Counter(digest for unit in units for digest in told[unit].get(key, []))
        digest, count = votes.most_common(1)[0]
        if len(votes) > 1 and count * 2 <= sum(votes.values()):
            report.undecided.append(key)
            continue
        for unit in units:
            if any(one != digest for one in told[unit].get(key, [])):
                report.wrong.setdefault(unit, []).append(key)
    return report


def stress(
    *, seconds: float = 60.0, share: float = 1.0, seed: int = 0, cores: list[int] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> StressReport:  # fmt: skip
    """Test every core the process may use, each in a process pinned to it, for about `seconds`.

    `share` below 1 leaves the rest of each core's time to others. Accelerators are tested as one
    unit each, beside the cores.
    """
    began_s = time.monotonic()
    cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
    units = [(f"core {core}", core, "cpu") for core in cores]
    units += [(f"cuda:{n}", cores[0], f"cuda:{n}") for n in range(torch.cuda.device_count())]
    told: dict[str, dict[str, list[int]]] = {name: {} for name, _, _ in units}
    batch, first = 1, seed
    while True:
        round_s = time.monotonic()
        running = [_started(core, device, first, batch, share) for _, core, device in units]
        for (name, _, _), process in zip(units, running, strict=True):
            out, _err = process.communicate()
            if process.returncode:
                told[name][f"died/{first}"] = [process.returncode]
            else:
                told[name] |= json.loads(out.splitlines()[-1])
        first += batch
        spent_s = time.monotonic() - began_s
        if on_progress is not None:
            on_progress(spent_s)
        if spent_s >= seconds:
            break
        took_s = time.monotonic() - round_s
        batch = max(1, int(batch * min(4.0, (seconds - spent_s) / max(took_s, 0.1))))
    spent_s = time.monotonic() - began_s
    cores_told = {name: digests for name, digests in told.items() if name.startswith("core")}
    report = judge(_living(cores_told), spent_s)
    for name, digests in told.items():
        if not name.startswith("core"):  # its sums round otherwise: compared with itself alone
            alone = judge(_living({name: digests}), spent_s)
            report.units.append(name)
            report.wrong |= alone.wrong
            report.undecided += [f"{name} {key}" for key in alone.undecided]
        if died := [key for key in digests if key.startswith("died/")]:
            report.wrong.setdefault(name, []).extend(died)
    return report


def _living(told: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, list[int]]]:
    """The digests without those of processes that died."""
    return {
        name: {key: value for key, value in digests.items() if not key.startswith("died/")}
        for name, digests in told.items()
    }


def _started(core: int, device: str, first: int, count: int, share: float) -> subprocess.Popen[str]:
    code = (
        f"import os,json;os.sched_setaffinity(0,[{core}]);import torch;torch.set_num_threads(1);"
        "from opendojo.guard.stress import work;"
        f"print(json.dumps(work(range({first},{first + count}),{device!r},{share})))"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
