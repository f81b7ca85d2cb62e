"""A campaign of injected faults: harm labelled by twins, the guard and its peers on the same ones.

Each trial runs a small network for three steps, three times from the same state: undisturbed, with
the fault and no guard (harm, and what cheap detectors see), with the fault under the guard.

A fault is *activated* where any bit of weights differs in the end, *harmful* where gradients of a
step moved by more than 1 %, or weights by more than 1 % of what training moved them, or a number is
not finite.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.guard.faults import SITES, Fault, draw_fault
from opendojo.guard.inject import Injector
from opendojo.guard.ledger import Ledger
from opendojo.guard.mode import Mode, Rates
from opendojo.guard.moment import Ring
from opendojo.guard.products import observed
from opendojo.guard.watch import PermanentFault, Watch

__all__ = ["EVERYTHING", "NETWORKS", "Campaign", "Trial", "clean_steps", "interval", "run_campaign"]

EVERYTHING = Rates(products=1, duplicates=1, saved=1, rest=1, optimizer=1)
"""What the campaign runs under: no sampling."""
STEPS, WARM = 3, 4
HARM = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one fault."""

    seed: int
    network: str
    dtype: str
    site: str
    model: str
    duration: str
    activated: bool
    harmful: bool
    detected: bool
    verdict: str
    recovered: bool | None
    """Whether the guarded run ended with the undisturbed run's bits; None where it was stopped."""
    peers: dict[str, bool]
    """What other detectors saw of the same fault."""


@dataclass
class Campaign:
    """All trials."""

    trials: list[Trial] = field(default_factory=list)

    def table(self) -> dict[str, Any]:
        """Shares by stratum, with 95 % intervals; every detector in the same rows."""
        harmful = [t for t in self.trials if t.harmful]
        activated = [t for t in self.trials if t.activated]
        stopped = [t for t in self.trials if t.recovered is not None and t.detected]
        strata: dict[str, list[Trial]] = defaultdict(list)
        for t in harmful:
            for key in (t.site, t.model, t.duration, f"{t.network} {t.dtype}"):
                strata[key].append(t)
        peers = sorted({name for t in harmful for name in t.peers})
        return {
            "trials": len(self.trials),
            "activated": len(activated),
            "harmful": len(harmful),
            "harmful_detected": _share(t.detected for t in harmful),
            "activated_detected": _share(t.detected for t in activated),
            "recovered_bit_equal": _share(bool(t.recovered) for t in stopped),
            "strata": {k: _share(t.detected for t in v) for k, v in sorted(strata.items())},
            "peers": {name: _share(t.peers[name] for t in harmful) for name in peers},
            "verdicts": dict(Counter(f"{t.duration}: {t.verdict}" for t in self.trials)),
            "missed": [asdict(t) for t in harmful if not t.detected],
        }


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    if count == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(hits: Iterable[bool]) -> dict[str, Any]:
    values = list(hits)
    low, high = interval(sum(values), len(values))
    share = sum(values) / len(values) if values else None
    return {"share": share, "of": len(values), "low": low, "high": high}


class _Attention(nn.Module):
    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.plain = plain
        self.embed = nn.Embedding(32, 32)
        self.norm, self.qkv = nn.LayerNorm(32), nn.Linear(32, 96)
        self.out, self.up, self.down = nn.Linear(32, 32), nn.Linear(32, 64), nn.Linear(64, 32)
        self.last = nn.Linear(32, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        if self.plain:
            seen = ((q @ k.mT) * (d // 2) ** -0.5).softmax(-1) @ v
        else:
            seen = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).reshape(b, t, d))
        x = x + self.down(F.gelu(self.up(x)))
        return self.last(x.mean(1))


def _convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1, groups=2), nn.GroupNorm(4, 24), nn.GELU(),
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(216, 10),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolution": _convolutional,
    "attention": lambda: _Attention(plain=True),
    "fused_attention": lambda: _Attention(plain=False),
}


def _batch(network: str, number: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1000 + number)
    labels = torch.randint(0, 10, (8,), generator=draw)
    if network == "convolution":
        return torch.randn(8, 3, 10, 10, generator=draw), labels
    return torch.randint(0, 32, (8, 12), generator=draw), labels


class _Run:
    """One run of a trial."""

    def __init__(self, network: str, dtype: str, fault: Fault | None) -> None:
        torch.manual_seed(0)
        self.network, self.dtype = network, dtype
        self.model = NETWORKS[network]()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 3e-3, fused=True)
        self.injector = Injector(fault)
        self.losses: list[float] = []
        self.gradients: list[Tensor] = []

    def compute(self, number: int, *, backward: bool) -> Tensor:
        x, labels = _batch(self.network, number)
        self.injector.begin()
        short = torch.float16 if self.dtype == "fp16" else torch.bfloat16
        with torch.autocast("cpu", short, enabled=self.dtype != "fp32"):
            loss = F.cross_entropy(self.model(x).float(), labels)
        self.injector.between()
        if backward:
            loss.backward()
            self.injector.pause()
        return loss

    def plain(self, number: int) -> None:
        self.optimizer.zero_grad()
        loss = self.compute(number, backward=True)
        grads = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(grads).clone())
        self.losses.append(loss.item())
        self.optimizer.step()

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()]).clone()

    def load(self, state: tuple[Any, Any]) -> None:
        self.model.load_state_dict(state[0])
        self.optimizer.load_state_dict(copy.deepcopy(state[1]))


class _Bench:
    """Warm state and undisturbed run of one network in one format."""

    def __init__(self, network: str, dtype: str) -> None:
        self.network, self.dtype = network, dtype
        run = _Run(network, dtype, None)
        with run.injector:
            for number in range(WARM):
                run.plain(number)
            run.injector.end()
        self.counts = run.injector.counts
        self.state = copy.deepcopy((run.model.state_dict(), run.optimizer.state_dict()))
        self.before = run.weights()
        self.spread = [g.norm().item() for g in run.gradients]
        run.gradients.clear()
        run.losses.clear()
        for number in range(WARM, WARM + STEPS):
            run.plain(number)
        self.right, self.gradients, self.losses = run.weights(), run.gradients, run.losses

    def trial(self, fault: Fault, rates: Rates) -> Trial:
        twin, peers = self._twin(fault)
        end = twin.weights()
        activated = not torch.equal(end, self.right)
        harmful = activated and self._harmful(twin, end)
        detected, verdict, recovered = self._guarded(fault, rates)
        return Trial(
            seed=fault.seed, network=self.network, dtype=self.dtype, site=fault.site,
            model=fault.model, duration=fault.duration, activated=activated, harmful=harmful,
            detected=detected, verdict=verdict, recovered=recovered, peers=peers,
        )  # fmt: skip

    def _start(self, fault: Fault) -> _Run:
        run = _Run(self.network, self.dtype, fault)
        run.load(self.state)
        run.injector.counts = self.counts
        return run

    def _twin(self, fault: Fault) -> tuple[_Run, dict[str, bool]]:
        run, ledger, far = self._start(fault), Ledger(), [0.0]
        rates = Rates(products=1, duplicates=0, saved=0, rest=0, optimizer=0)
        mode = Mode(rates, ledger, "rigorous", 0.0)
        rigorous = False

        def look(apart: Tensor) -> None:
            worst = apart.abs().amax().item()
            far[0] = max(far[0], math.inf if math.isnan(worst) else worst)

        with run.injector, observed(look):
            for number in range(WARM, WARM + STEPS):
                run.injector.armed = number > WARM
                if number == WARM + 1:
                    run.injector.idle(run.model, run.optimizer)
                mode.begin(number)
                with mode:
                    run.plain(number)
                rigorous = rigorous or bool(mode.flags())
        return run, self._peers(fault, run, rigorous, far[0])

    def _peers(self, fault: Fault, run: _Run, rigorous: bool, far: float) -> dict[str, bool]:
        norms = [g.norm().item() for g in run.gradients]
        finite = all(map(math.isfinite, [*norms, *run.losses]))
        usual = self.spread[-1]
        middle = sum(self.spread) / len(self.spread)
        deviation = (sum((n - middle) ** 2 for n in self.spread) / len(self.spread)) ** 0.5
        at_rest = fault.site in ("weight", "optimizer", "update")
        return {
            "not a number": not finite,
            "loss spike, factor 10": not finite or max(run.losses) > 10 * self.losses[0],
            "gradient norm, 6 sigma": not finite
            or max(norms) > max(middle + 6 * deviation, 2 * usual),
            "fixed bound 1 or 1e10 (ATTNChecker)": not far <= 1.0,
            "worst-case bound (as A-ABFT)": rigorous,
            "replica hash (modelled)": at_rest,
            "full duplicate (modelled)": not at_rest
            and fault.site != "saved"
            and fault.duration != "permanent",
        }

    def _harmful(self, twin: _Run, end: Tensor) -> bool:
        if not bool(end.isfinite().all()) or not all(map(math.isfinite, twin.losses)):
            return True
        for mine, right in zip(twin.gradients, self.gradients, strict=True):
            change = (mine - right).double().norm()
            if not bool(change <= HARM * right.double().norm()):
                return True
        moved = (self.right - self.before).double().norm()
        return not bool((end - self.right).double().norm() <= HARM * moved)

    def _guarded(self, fault: Fault, rates: Rates) -> tuple[bool, str, bool | None]:
        run = self._start(fault)
        watch = Watch(run.model, run.optimizer, rates, ring=Ring(2, 2))
        watch.number = WARM
        watch._at_rest = None
        try:
            with run.injector:
                for number in range(WARM, WARM + STEPS):
                    watch.step(lambda n=number: run.compute(n, backward=False))
                    run.injector.armed = True
                    if number == WARM:
                        run.injector.idle(run.model, run.optimizer)
        except PermanentFault:
            return True, "permanent", None
        events = watch.ledger.events
        verdict = events[0].verdict if events else "nothing"
        return bool(events), verdict, torch.equal(run.weights(), self.right)


def run_campaign(
    seeds: Sequence[int],
    *,
    rates: Rates = EVERYTHING,
    sites: tuple[str, ...] = SITES,
    dtypes: Sequence[str] = ("fp32", "bf16"),
    on_progress: Callable[[int, int], None] | None = None,
) -> Campaign:
    """One trial per seed, networks and formats in turn."""
    kinds = [(network, dtype) for network in NETWORKS for dtype in dtypes]
    benches = {kind: _Bench(*kind) for kind in kinds}
    campaign = Campaign()
    for number, seed in enumerate(seeds):
        bench = benches[kinds[seed % len(kinds)]]
        campaign.trials.append(bench.trial(draw_fault(seed, sites), rates))
        if on_progress is not None:
            on_progress(number + 1, len(seeds))
    return campaign


def clean_steps(count: int, rates: Rates = EVERYTHING) -> dict[str, Any]:
    """Train without faults, networks and formats in turn; what was suspected all the same.

    A network trains 200 steps on eight batches, far enough for its gradients to become small, and
    is then begun anew with other weights.
    """
    kinds = [(network, dtype) for network in NETWORKS for dtype in ("fp32", "bf16", "fp16")]
    told = {"steps": 0, "suspicions": 0, "verdicts": 0, "overflows": 0, "worst": 0.0}
    turn = 0
    while told["steps"] < count:
        network, dtype = kinds[turn % len(kinds)]
        run = _Run(network, dtype, None)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(turn)
            for parameter in run.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        watch = Watch(run.model, run.optimizer, rates)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, enabled=dtype == "fp16")
        for number in range(min(200, count - int(told["steps"]))):
            watch.step(
                lambda n=number, r=run, s=scaler: s.scale(r.compute(n % 8, backward=False)),
                lambda s=scaler, r=run: (s.step(r.optimizer), s.update()),
            )
        told["steps"] += watch.ledger.steps
        told["suspicions"] += len(watch.ledger.events) + watch.ledger.cleared
        told["verdicts"] += len(watch.ledger.events)
        told["overflows"] += watch.ledger.overflows
        told["worst"] = max(told["worst"], watch.ledger.worst)
        turn += 1
    return told
