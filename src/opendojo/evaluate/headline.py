"""The five figures a report opens with, each with its unit and how it was got.

The content of report.json, as `write_report` takes it, has these top-level keys:

    ingest    clips, damaged_clips, frames: counts; seconds, frames_per_s: as the clock saw them;
              frames_per_core_s: frames for each second of processor time
    train     steps, frames: counts; seconds, frames_per_s; parameters: count; device: name;
              loading: {frames_per_s, frames_per_core_s}, the loader alone, without the network
    evaluate  closed_loop: what `table` returns; open_loop: what `open_loop` returns
    energy    joules, low, high: of the training run, None where not known; frames: trained with
              them; measured: whether a meter was read; method: how, in a sentence
    report    seed; data_fingerprint; created: ISO 8601; config: mapping; versions, machine:
              mappings of names to short texts; title (optional)

A frame is one picture of one camera. Other keys may be there; they are kept. `completed` adds
`report.headline`: a list of {name, value, unit, low, high, estimated, how}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FRAMES_PER_DAY", "completed", "cores_for_a_day"]

FRAMES_PER_DAY = 16e9
"""The day's work that machines are measured against."""

_SECONDS_PER_DAY = 86_400.0

_NEEDED = {
    "ingest": ("clips", "damaged_clips", "frames", "seconds", "frames_per_s", "frames_per_core_s"),
    "train": ("steps", "frames", "seconds", "frames_per_s", "parameters", "device", "loading"),
    "evaluate": ("closed_loop", "open_loop"),
    "energy": ("joules", "low", "high", "frames", "measured", "method"),
    "report": ("seed", "data_fingerprint", "created", "config", "versions", "machine"),
}


def cores_for_a_day(frames_per_core_s: float) -> float:
    """Cores that get through `FRAMES_PER_DAY` at this rate, if the rate scaled perfectly."""
    return FRAMES_PER_DAY / _SECONDS_PER_DAY / frames_per_core_s


def completed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The content of report.json with `report.headline` added; `data` itself is left alone.

    Raises `ValueError` naming every key that is missing.
    """
    missing = [
        f"{part}.{key}"
        for part, keys in _NEEDED.items()
        for key in keys
        if key not in data.get(part, {})
    ]
    if missing:
        raise ValueError(f"report data lacks {', '.join(missing)}")
    whole = {"schema_version": 1, **data}
    whole["report"] = {**data["report"], "headline": _headline(data)}
    return whole


def _headline(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    ingest, train, energy = data["ingest"], data["train"], data["energy"]
    figures = [
        _score(data["evaluate"]["closed_loop"]["drivers"]),
        _figure(
            "frames ingested", ingest["frames_per_s"], "frames/s",
            f"{ingest['frames']:,} frames in {ingest['seconds']:.1f} s by the clock",
        ),
        _figure(
            "frames trained", train["frames_per_s"], "frames/s",
            f"{train['frames']:,} frames in {train['seconds']:.1f} s by the clock, "
            f"on {train['device']}",
        ),
        _energy(energy),
    ]  # fmt: skip
    for verb, rate in (
        ("ingest", ingest["frames_per_core_s"]),
        ("load", train["loading"]["frames_per_core_s"]),
    ):
        how = (
            f"185,185 frames/s at this machine's {rate:,.0f} frames per core-second, "
            "if cores scaled perfectly"
        )
        name = f"to {verb} 16 billion frames a day"
        figures.append(_figure(name, cores_for_a_day(rate), "cores", how, estimated=True))
    return figures


def _energy(energy: Mapping[str, Any]) -> dict[str, Any]:
    per_frame = {
        key: None if energy[key] is None else energy[key] / max(energy["frames"], 1)
        for key in ("joules", "low", "high")
    }
    return _figure(
        "energy to train", per_frame["joules"], "J/frame", energy["method"],
        low=per_frame["low"], high=per_frame["high"],
        estimated=per_frame["joules"] is not None and not energy["measured"],
    )  # fmt: skip


def _score(drivers: Mapping[str, Any]) -> dict[str, Any]:
    network = drivers["network"]["score"]
    others = [
        f"{name} {result['score']['mean']:.1f}"
        for name, result in drivers.items()
        if name != "network"
    ]
    return _figure(
        "driving score", network["mean"], "of 100", "beside it: " + ", ".join(others),
        low=network["min"], high=network["max"],
    )  # fmt: skip


def _figure(
    name: str,
    value: float | None,
    unit: str,
    how: str,
    *,
    low: float | None = None,
    high: float | None = None,
    estimated: bool = False,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "low": low,
        "high": high,
        "estimated": estimated,
        "how": how,
    }
