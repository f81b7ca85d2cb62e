"""What a run writes beside its weights: configuration, circumstances, result."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import opendojo
from opendojo.model import NetConfig
from opendojo.store.atomic import write_json
from opendojo.train.checkpoint import clean, newest_whole
from opendojo.train.config import TrainConfig

__all__ = ["Opened", "open_run", "read_json", "read_net", "read_net_config"]

_FREE = (
    "accumulate",
    "checkpoint_every",
    "device",
    "guard",
    "keep",
    "log_every",
    "parallel",
    "spike",
    "spike_window",
    "tensorboard",
    "threads",
)
"""What may be another from one attempt of a run to the next: none of it says what is learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an attempt finds in the run's folder."""

    done: dict[str, Any] | None
    """The result of a finished run."""
    place: Path | None
    """The newest whole checkpoint."""
    config: TrainConfig
    """The configuration with the number of threads settled."""


def open_run(
    run_dir: Path, net: dict[str, Any], config: TrainConfig, data: str, ranks: int
) -> Opened:
    """Write down or compare what the run is, clear what a kill left, find where to go on.

    Raises `ValueError` where the folder holds another run, `DamagedCheckpoint` where no checkpoint
    of it is whole.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    before = read_json(run_dir / "run.json") or {}
    config = replace(config, threads=_threads(run_dir, before, config, ranks))
    _write_config(run_dir, net, config, data)
    done = read_json(run_dir / "done.json")
    if done is not None:
        return Opened(done=done, place=None, config=config)
    _write_circumstances(run_dir, before, config, data, ranks)
    clean(run_dir / "checkpoints")
    place = newest_whole(run_dir / "checkpoints")
    return Opened(done=None, place=place, config=config)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


def read_net(run_dir: Path) -> dict[str, Any]:
    """What the run's config.json says of the network; raises `ValueError` where there is no run."""
    document = read_json(run_dir / "config.json")
    if document is None:
        raise ValueError(f"{run_dir} holds no training run: it has no config.json")
    return document["net"]


def read_net_config(run_dir: Path) -> NetConfig:
    """The driving network's configuration of a run; raises `ValueError` where there is none."""
    net = read_net(run_dir)
    if "cameras" not in net:
        raise ValueError(f"{run_dir} trained {next(iter(net.values()))}, not a driving network")
    told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in net.items()}
    return NetConfig(**told)


def _threads(run_dir: Path, before: dict[str, Any], config: TrainConfig, ranks: int) -> int:
    """The count asked for, else the one that so many ranks began with, else torch's choice."""
    recorded = before.get("threads_by_ranks", {}).get(str(ranks))
    if None not in (config.threads, recorded) and config.threads != recorded:
        raise ValueError(
            f"{run_dir} holds a run with train.threads {recorded}, not {config.threads}: give this "
            f"run another folder, or remove that one"
        )
    return config.threads or recorded or torch.get_num_threads()


def _write_config(run_dir: Path, net: dict[str, Any], config: TrainConfig, data: str) -> None:
    """Write config.json, or hold it against the one that is there."""
    path = run_dir / "config.json"
    mine = json.loads(json.dumps({"net": net, "train": asdict(config), "data": data}))
    before = read_json(path)
    if before is None:
        write_json(path, mine)
        return
    # what a run did not know of when it began was as it is by default
    was = {**_flat({"train": asdict(TrainConfig())}), **_flat(before)}
    now = _flat(mine)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name) and name.removeprefix("train.") not in _FREE:
            raise ValueError(
                f"{run_dir} holds a run with {name} {was.get(name)}, not {now.get(name)}: "
                f"give this run another folder, or remove that one"
            )


def _write_circumstances(
    run_dir: Path, before: dict[str, Any], config: TrainConfig, data: str, ranks: int
) -> None:
    """Write run.json: where and with what this attempt of the run is made."""
    packages = ("torch", "numpy", "av")
    threads = {**before.get("threads_by_ranks", {}), str(ranks): config.threads}
    write_json(
        run_dir / "run.json",
        {
            "attempts": 1 + before.get("attempts", 0),
            "seed": config.seed,
            "ranks": ranks,
            "parallel": config.parallel if ranks > 1 else None,
            "threads": config.threads,
            "threads_by_ranks": threads,
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


@functools.cache
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
