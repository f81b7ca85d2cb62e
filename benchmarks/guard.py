"""The guard: what its checks cost, what share of a step they cover, what injected faults they find.

    ./dojo python benchmarks/guard.py --save             all of it, hours for 30,000 faults
    ./dojo python benchmarks/guard.py --smoke            tiny, no bar judged
    ./dojo python benchmarks/guard.py --only overhead

That guarded weights are the unguarded ones, bit by bit, is checked before the clock. Turns with and
without the guard alternate; ratios are of neighbouring turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.document import Section, document, save
from opendojo import guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    smoke: bool
    repeats: int
    trials: int
    clean_steps: int


class Block(nn.Module):
    """A GPT block with torch's fused attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(self.one(x)).view(b, t, 3, d // 64, 64).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.two(x))))


class Residual(nn.Module):
    """A ResNet block with batch normalisation."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.one, self.two = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.two(self.second(F.relu(self.one(self.first(x))))) + self.skip(x))


Work = tuple[nn.Module, Callable[[nn.Module], Tensor]]


def mlp(smoke: bool) -> Work:
    """Products of 1,024 and nothing smaller."""
    side = 64 if smoke else 1024
    x = torch.randn(side, side)
    layers = [nn.Linear(side, side) for _ in range(4)]
    model = nn.Sequential(
        layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU(), layers[3]
    )
    return model, lambda m: m(x).square().mean()


def gpt(smoke: bool) -> Work:
    width, length = (128, 32) if smoke else (768, 256)
    tokens = torch.randint(0, 512, (2, length))
    model = nn.Sequential(
        nn.Embedding(512, width), Block(width), Block(width), nn.Linear(width, 512)
    )
    return model, lambda m: F.cross_entropy(m(tokens).flatten(0, 1), tokens.flatten())


def resnet(smoke: bool) -> Work:
    side = 16 if smoke else 64
    x, labels = torch.randn(8, 3, side, side), torch.randint(0, 10, (8,))
    model = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), Residual(64, 64, 1), Residual(64, 128, 2),
        Residual(128, 256, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return model.to(memory_format=torch.channels_last), lambda m: F.cross_entropy(m(x), labels)


def driving(smoke: bool) -> Work:
    """The driving network, `small`, on made-up windows."""
    from opendojo.model import DrivingNet, Motion, NetConfig

    size = "nano" if smoke else "small"
    config = NetConfig(size=size, cameras=("front",), width_px=128, height_px=64,
                       forecast_width_px=32, forecast_height_px=16)  # fmt: skip
    b, t = 2, 4
    frames = torch.randint(0, 255, (b, t, 1, 6, 32, 64), dtype=torch.uint8)
    lens = torch.zeros(b, 1, 16)
    motion = Motion.of(torch.rand(b, t) * 10)

    def loss(model: nn.Module) -> Tensor:
        out = model(frames, torch.ones(b, 1, dtype=torch.bool), lens, motion, ground=True)
        return out.path_m.square().mean() + out.ground.field.square().mean()

    return DrivingNet(config), loss


WORKS: dict[str, Callable[[bool], Work]] = {
    "products": mlp, "gpt": gpt, "resnet": resnet, "driving": driving,
}  # fmt: skip


class Turn:
    """A training that can be stepped, watched or not."""

    def __init__(self, name: str, smoke: bool, rates: guard.Rates | None) -> None:
        torch.manual_seed(0)
        self.model, self.loss = WORKS[name](smoke)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=True)
        self.watch = guard.Watch(self.model, self.optimizer, rates) if rates else None

    def step(self) -> float:
        began_s = time.perf_counter()
        if self.watch is not None:
            self.watch.step(lambda: self.loss(self.model))
        else:
            self.optimizer.zero_grad()
            self.loss(self.model).backward()
            self.optimizer.step()
        return time.perf_counter() - began_s


def overhead(bench: Bench) -> Section:
    section = Section("overhead", "what checking costs, eager", not bench.smoke)
    section.say(
        f"{torch.get_num_threads()} threads; means over 8 neighbouring steps each, so that every "
        "sampled operator has its turn; `full` also does 1 in 8 of other operators and updates "
        "twice and hashes state after 1 step in 8"
    )
    for name in ("products", "driving"):
        ways = {"plain": None, "full": guard.FULL, "sampled": guard.SAMPLED}
        turns = {way: Turn(name, bench.smoke, rates) for way, rates in ways.items()}
        for _ in range(2):
            for turn in turns.values():
                turn.step()
        bits = {way: guard.digest(turn.model.state_dict()) for way, turn in turns.items()}
        assert len(set(bits.values())) == 1, "guarded weights differ from unguarded ones"
        spent: dict[str, list[float]] = {way: [] for way in turns}
        for _ in range(bench.repeats):
            rounds: dict[str, list[float]] = {way: [] for way in turns}
            for _step in range(2 if bench.smoke else 8):
                for way, turn in turns.items():
                    rounds[way].append(turn.step())
            for way in turns:
                spent[way].append(statistics.fmean(rounds[way]))
        for way, limit in (("full", 6.0), ("sampled", 2.0)):
            pairs = zip(spent[way], spent["plain"], strict=True)
            figure = section.add(
                f"{name}_{way}", f"{name}, {way}", [100 * (a / b - 1) for a, b in pairs], "%"
            )
            section.bar(f"{name}_{way}", figure.median, limit, "%", at_most=True)
    return section


def share(bench: Bench) -> Section:
    section = Section("share", "guarded share of FLOPs", not bench.smoke)
    for name in ("driving", "gpt", "resnet"):
        turn = Turn(name, bench.smoke, guard.FULL)
        turn.step()
        assert turn.watch is not None
        value = 100 * turn.watch.ledger.guarded_share
        section.add(name, name, [value], "%")
        section.bar(name, value, 99.0, "%")
    return section


def clean(bench: Bench) -> Section:
    from opendojo.guard.campaign import clean_steps

    section = Section("clean", "suspicions and verdicts where nothing is wrong", not bench.smoke)
    told = clean_steps(bench.clean_steps)
    section.say(f"{told['steps']} steps; 0 in n steps bounds the rate by 3/n, not by 0")
    section.add("worst", "largest difference over its bound", [told["worst"]], "")
    section.bar("verdicts", told["verdicts"], 0, "verdicts", at_most=True)
    section.bar("suspicions", told["suspicions"] / told["steps"], 1e-4, "a step", at_most=True)
    return section


def campaign(bench: Bench) -> Section:
    from opendojo.guard.campaign import run_campaign

    section = Section("campaign", "injected faults", not bench.smoke and bench.trials >= 30000)
    section.say("injected by software below the guard, not real bad chips; all checks, no sampling")
    first = 10_000_000
    table = run_campaign(range(first, first + bench.trials)).table()
    found = table["harmful_detected"]
    section.add("found", "harmful faults found", [100 * (found["share"] or 0)], "%")
    section.bar("pooled", 100 * (found["share"] or 0), 99.9, "%")
    for name, row in table["strata"].items():
        section.add(name.replace(" ", "_"), f"{name}, of {row['of']}", [100 * row["share"]], "%")
    worst = min((row["share"] for row in table["strata"].values()), default=0.0)
    section.bar("worst_stratum", 100 * worst, 99.0, "%")
    for name, row in table["peers"].items():
        key = "".join(c if c.isalnum() else "_" for c in name)
        section.add(f"peer_{key}", f"{name}", [100 * row["share"]], "%")
    section.bar("recovered", 100 * (table["recovered_bit_equal"]["share"] or 0), 100.0, "%")
    for trial in table["missed"]:
        section.say(f"missed: seed {trial['seed']}, {trial['network']} {trial['dtype']}, "
                    f"{trial['site']}, {trial['model']}")  # fmt: skip
    return section


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "overhead": overhead, "share": share, "clean": clean, "campaign": campaign,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; 1 where a bar was missed."""
    chosen = _parse(arguments)
    names = chosen.only.split(",") if chosen.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    bench = Bench(
        smoke=chosen.smoke,
        repeats=2 if chosen.smoke else chosen.repeats,
        trials=12 if chosen.smoke else chosen.trials,
        clean_steps=12 if chosen.smoke else chosen.clean_steps,
    )
    torch.set_num_threads(chosen.threads or torch.get_num_threads())
    sections: list[Any] = []
    for name in names:
        print(f"... {name}", file=sys.stderr, flush=True)
        sections.append(SECTIONS[name](bench))
        print(sections[-1].text(), flush=True)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    told = document("guard", f"./dojo python benchmarks/guard.py {words}".strip(), sections)
    if chosen.save:
        print(f"kept as {save(told)}")
    print(json.dumps(told))
    return int(any(bar["ok"] is False for bar in told["bars"].values()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no bar judged")
    parser.add_argument("--only", help=f"sections, by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each that count")
    parser.add_argument("--trials", type=int, default=30000, help="faults of the campaign")
    parser.add_argument("--clean-steps", type=int, default=100000, help="steps without a fault")
    parser.add_argument("--threads", type=int, help="threads of each operator")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
