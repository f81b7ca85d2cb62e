"""What a run writes beside its weights: configuration, circumstances, result."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import opendojo
from opendojo.model import NetConfig
from opendojo.store.atomic import write_json
from opendojo.train.config import TrainConfig

__all__ = ["read_json", "read_net_config", "write_circumstances", "write_config"]


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


def read_net_config(run_dir: Path) -> NetConfig:
    """The network's configuration of a run; raises `ValueError` where there is no run."""
    document = read_json(run_dir / "config.json")
    if document is None:
        raise ValueError(f"{run_dir} holds no training run: it has no config.json")
    told: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in document["net"].items()
    }
    return NetConfig(**told)


def write_config(run_dir: Path, net: NetConfig, config: TrainConfig, data: str) -> None:
    """Write config.json, or hold it against the one that is there.

    Raises `ValueError`, naming the first field that differs, where the folder belongs to a run of
    another configuration or on other data.
    """
    path = run_dir / "config.json"
    mine = json.loads(json.dumps({"net": asdict(net), "train": asdict(config), "data": data}))
    before = read_json(path)
    if before is None:
        write_json(path, mine)
        return
    was, now = _flat(before), _flat(mine)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            raise ValueError(
                f"{run_dir} holds a run with {name} {was.get(name)}, not {now.get(name)}: "
                f"give this run another folder, or remove that one"
            )


def write_circumstances(run_dir: Path, config: TrainConfig, data: str) -> None:
    """Write run.json: where and with what this attempt of the run is made."""
    before = read_json(run_dir / "run.json")
    packages = ("torch", "numpy", "av")
    write_json(
        run_dir / "run.json",
        {
            "attempts": 1 + (before["attempts"] if before else 0),
            "seed": config.seed,
            "threads": config.threads,
            "data": data,
            "platform": platform.platform(),
            "processor": platform.machine(),
            "versions": {
                "python": platform.python_version(),
                "opendojo": opendojo.__version__,
                **{name: metadata.version(name) for name in packages},
            },
            "commit": _commit(),
        },
    )


def _commit() -> str | None:
    """Commit of the checkout this package runs from; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
