"""A workload by a name: a size of the driving network, a run, a saved trace, one's own network.

load_workload("base")
load_workload("runs/demo", precision="bf16")
load_workload("mypackage.nets:make")        # make() -> (module, inputs)
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opendojo.machine.workload import Workload
from opendojo.machine.workload_file import read_workload
from opendojo.model.motion import Motion
from opendojo.model.network import DrivingNet
from opendojo.model.sizes import MEMORY_STEPS, SIZES, NetConfig
from opendojo.model.trace import OptimizerName, Precision, trace

__all__ = ["driving_workload", "load_workload"]


def load_workload(
    name: str | Path, *, precision: Precision = "bf16", optimizer: OptimizerName = "adamw",
    backward: bool = True,
) -> Workload:  # fmt: skip
    """The workload that a name stands for.

    A size (`nano` to `large`), a folder of a run, a `.json` file that was saved (as it was traced),
    or `package.module:factory`, where the factory takes nothing and returns a network and its
    inputs, as `trace` takes them. Raises `ValueError` in one sentence for anything else.
    """
    word = str(name)
    how: dict[str, Any] = {
        "precision": precision, "optimizer": optimizer, "backward": backward
    }  # fmt: skip
    if word in SIZES:
        return driving_workload(NetConfig(size=word), **how)
    if word.endswith(".json"):
        return read_workload(word)
    if Path(word).is_dir():
        return driving_workload(_run_config(Path(word)), name=word, **how)
    if ":" in word:
        module, inputs = _made(word)
        return trace(module, inputs, name=word, **how)
    raise ValueError(
        f"network {word!r}: give a size ({', '.join(SIZES)}), the folder of a run, a .json file of "
        "a trace, or package.module:factory"
    )


def driving_workload(
    config: NetConfig, *, windows: int = 2, name: str | None = None, **how: Any
) -> Workload:
    """The driving network's step on a window of eight instants, all heads; a sample is a window.

    Its units are frames: one picture of one camera. `how` goes to `trace`.
    """
    t, c = MEMORY_STEPS, len(config.cameras)
    with torch.device("meta"):
        network = DrivingNet(config)
        shape = (windows, t, c, 6, config.height_px // 2, config.width_px // 2)
        frames = torch.zeros(shape, dtype=torch.uint8)
        there = torch.ones(windows, c, dtype=torch.bool)
        motion = Motion.of(torch.zeros(windows, t))
        lens = torch.zeros(windows, c, 16)
    return trace(
        network, (frames, there, lens, motion), name=name or config.size, sample="window",
        samples_unit=float(t * c), answer=True, **how,
    )  # fmt: skip


def _run_config(run_dir: Path) -> NetConfig:
    path = run_dir / "config.json"
    if not path.is_file():
        raise ValueError(f"{run_dir} holds no training run: it has no config.json")
    net: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["net"]
    if "cameras" not in net:
        raise ValueError(f"{run_dir} trained {next(iter(net.values()))}, not a driving network: "
                         "name its factory, package.module:factory")  # fmt: skip
    told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in net.items()}
    return NetConfig(**told)


def _made(word: str) -> tuple[nn.Module, Any]:
    package, _, attribute = word.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(package), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"network {word!r}: {error}") from error
    with torch.device("meta"):
        made = factory()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        raise ValueError(f"network {word!r}: the factory must return (module, inputs)")
    return made
