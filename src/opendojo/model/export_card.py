"""The model card: what an exported network is, in one page and one JSON document beside it.

It says what it was trained on, how it was made, how it drives beside its floors, what it cost, and
what it does not show. What a run has no record of is said to be unknown, never left out.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["card_markdown", "make_card", "network_folder"]

_LIMITS = (
    "Judged in a drawn world of boxes on flat ground. That proves the loop and the measure; it "
    "does not show skill on real roads, and nothing published lets one predict it from these "
    "scores.",
    "The scores are not those of NAVSIM, nuPlan or CARLA, whose scenes differ.",
    "It has no guard of its own: nothing checks a plan before it is driven.",
    "Not for use in a vehicle on public roads.",
)


def network_folder(run: Path) -> Path:
    """The folder of the trained network that `run` means: itself, or what a whole job trained.

    Raises `ValueError` where there is neither.
    """
    if (run / "config.json").is_file():
        return run
    report = _json(run / "report.json")
    if report is not None and "train" in report:
        return Path(report["train"]["run"])
    if not run.is_dir():
        raise ValueError(f"there is no folder {run}")
    raise ValueError(f"{run} holds no training run: it has neither config.json nor report.json")


def make_card(
    run: Path,
    *,
    network: Mapping[str, Any],
    files: Mapping[str, Any],
    parity: Mapping[str, Any],
    latency: Mapping[str, Any],
) -> dict[str, Any]:
    """The card as plain values; `run` is the network's folder."""
    config = _json(run / "config.json") or {}
    circumstances = _json(run / "run.json") or {}
    done = _json(run / "done.json")
    return {
        "name": run.parent.name if run.name == "network" else run.name,
        "network": dict(network),
        "data": {"fingerprint": config.get("data") or None},
        "training": {
            "finished": done is not None,
            **{k: (done or {}).get(k) for k in ("steps", "frames", "seconds", "digest")},
            "config": {k: v for k, v in config.items() if k != "data"},
            **{k: circumstances.get(k) for k in ("seed", "versions", "platform", "commit")},
        },
        "scores": _scores(run),
        "energy": _energy(run),
        "export": {"files": dict(files), "parity": dict(parity), "latency": dict(latency)},
        "limits": list(_LIMITS),
    }


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a page."""
    network, training = card["network"], card["training"]
    lines = [f"# {card['name']}", ""]
    if "cameras" in network:
        lines += [
            f"A camera-only driving network: {', '.join(network['cameras'])} at "
            f"{network['width_px']}x{network['height_px']} in, a path of "
            f"{network['path_times_s'][-1]:g} s out. {network['parameters']:,} parameters.",
            "",
        ]
    lines += ["## Trained on", "", f"Data fingerprint: {_told(card['data']['fingerprint'])}.", ""]
    state = "finished" if training["finished"] else "not finished"
    lines += [
        f"{_count(training['steps'])} steps, {_count(training['frames'])} frames, seed "
        f"{_told(training['seed'])}, {state}. Commit {_told(training['commit'])}, digest "
        f"{_told(training['digest'])}. The whole configuration is in the JSON beside this page.",
        "",
    ]
    lines += _score_lines(card["scores"]) + _energy_lines(card["energy"])
    lines += _export_lines(card["export"])
    lines += ["## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    return "\n".join(lines) + "\n"


def _score_lines(scores: Mapping[str, Any] | None) -> list[str]:
    lines = ["## How it drives", ""]
    if scores is None:
        return [*lines, "Not known: this run was never judged (`opendojo evaluate --run`).", ""]
    lines += ["| driver | driving score, 0 to 100 | 95 % | routes finished |", "|---|---|---|---|"]
    drivers = scores["drivers"]
    for name in sorted(drivers, key=lambda name: -drivers[name]["score"]["mean"]):
        score, success = drivers[name]["score"], drivers[name]["success"]
        shown = f"**{name}**" if name == "network" else name
        lines.append(
            f"| {shown} | {score['mean']:.1f} | {score['low']:.1f} to {score['high']:.1f} | "
            f"{100 * success['mean']:.0f} % |"
        )
    return [*lines, "", f"Closed loop, from {scores['source']}; floors drive the same roads.", ""]


def _energy_lines(energy: Mapping[str, Any] | None) -> list[str]:
    lines = ["## What training drew", ""]
    if energy is None or energy.get("joules") is None:
        return [*lines, "Not known: no energy was written down for this run.", ""]
    how = "measured" if energy["measured"] else "estimated"
    between = "the range was not kept"
    if energy["low"] is not None:
        between = f"{energy['low']:,.0f} to {energy['high']:,.0f}"
    return [
        *lines,
        f"{energy['joules']:,.0f} J ({between}), {how}: "
        f"{energy['method']}. Counted: {_told(energy.get('scope'))}. Not counted: "
        f"{', '.join(energy.get('excludes') or ['not told'])}.",
        "",
    ]


def _export_lines(export: Mapping[str, Any]) -> list[str]:
    latency, lines = export["latency"], ["## The files", "", "| file | graph | SHA-256 |"]
    lines.append("|---|---|---|")
    for name, file in export["files"].items():
        lines.append(f"| {name} | {file['graph']} | `{file['sha256'][:16]}` |")
    lines.append("")
    for name, found in export["parity"].items():
        lines.append(
            f"`{name}`: within {found['worst']:.1e} of the network on {found['rows']} random "
            f"inputs (allowed {found['bar']:.0e} of each row's largest value)."
        )
    if latency.get("p50_ms") is not None:
        lines += [
            "",
            f"Latency per instant on {latency['machine']}, {latency['threads']} threads: p50 "
            f"{latency['p50_ms']:.1f} ms, p95 {latency['p95_ms']:.1f} ms, p99 "
            f"{latency['p99_ms']:.1f} ms over {latency['instants']} instants, warm-up left out.",
        ]
    return [*lines, ""]


def _scores(run: Path) -> dict[str, Any] | None:
    """The newest closed-loop table that was kept for this network."""
    places = [*run.glob("exam-*.json"), *run.parent.glob("exam-*.json")]
    for path in sorted(places, key=lambda path: -path.stat().st_mtime_ns):
        table = _json(path) or {}
        if "network" in table.get("drivers", {}):
            return {"source": path.name, "drivers": _short(table["drivers"])}
    return None


def _short(drivers: Mapping[str, Any]) -> dict[str, Any]:
    names, ends = ("score", "success", "completion"), ("mean", "low", "high")
    return {
        driver: {n: {e: row[n][e] for e in ends} for n in names if n in row}
        for driver, row in drivers.items()
    }


def _energy(run: Path) -> dict[str, Any] | None:
    """What the job's report says of this network's training, else the last logged step."""
    for home in (run, *list(run.parents)[:3]):
        report = _json(home / "report.json") or {}
        same = Path(report.get("train", {}).get("run", "")).name == run.name
        if "energy" in report and same:
            return report["energy"]
    return _logged_energy(run)


def _logged_energy(run: Path) -> dict[str, Any] | None:
    """The median of the logged joules per frame times the frames."""
    path, done = run / "metrics.jsonl", _json(run / "done.json")
    if done is None or not path.is_file():
        return None
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    known = [row for row in rows if row.get("joules_per_frame") is not None]
    if not known:
        return None
    each = statistics.median(row["joules_per_frame"] for row in known)
    return {
        "joules": each * done["frames"],
        "low": None,
        "high": None,
        "measured": all(row.get("energy_measured") for row in known),
        "method": f"{known[-1].get('energy_method')}, median of {len(known)} logged steps",
    }


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _told(value: object) -> str:
    return "not known" if value is None or value == "" else f"`{value}`"


def _count(value: float | None) -> str:
    return "?" if value is None or not math.isfinite(value) else f"{value:,}"
