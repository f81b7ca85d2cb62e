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

from opendojo.machine import cores_for

__all__ = ["completed"]

_NEEDED = {
    "ingest": ("clips", "damaged_clips", "frames", "seconds", "frames_per_s", "frames_per_core_s"),
    "train": ("steps", "frames", "seconds", "frames_per_s", "parameters", "device", "loading"),
    "evaluate": ("closed_loop", "open_loop"),
    "energy": ("joules", "low", "high", "frames", "measured", "method"),
    "report": ("seed", "data_fingerprint", "created", "config", "versions", "machine"),
}


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
    figures.append(_cores("ingest", ingest["frames_per_core_s"]))
    figures.append(_cores("load", train["loading"]["frames_per_core_s"]))
    return figures


def _cores(verb: str, frames_per_core_s: float) -> dict[str, Any]:
    name = f"to {verb} 16 billion frames a day"
    if not frames_per_core_s:  # the process that did it was killed before it could write it down
        return _figure(name, None, "cores", "the rate was not measured")
    how = (
        f"185,185 frames/s at this machine's {frames_per_core_s:,.0f} frames per core-second, "
        "if cores scaled perfectly"
    )
    cores = cores_for(frames_per_core_s)["cores"]
    return _figure(name, cores, "cores", how, estimated=True)


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
        low=network["low"], high=network["high"],
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
