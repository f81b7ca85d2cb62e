"""Several ranks without `torchrun`: children forked from a process that has PyTorch loaded.

Run as a program, `ranks_kit.py kills PARALLEL FOLDER SEED...` trains once undisturbed and then, for
each seed, with a rank killed on the way and all ranks started again, as `torchrun` would;
`ranks_kit.py worlds PARALLEL FOLDER` changes the number of ranks on the way. Both print one JSON
document. The process forks only: it must not compute a gradient itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from opendojo.loader import permuted
from opendojo.train import OptimConfig, TrainConfig, read_metrics, train

ROWS, ROWS_TOGETHER = 48, 8
CONFIG = TrainConfig(
    steps=15, checkpoint_every=4, threads=1, optim=OptimConfig(warmup_steps=2, ema_decay=0.9)
)
"""Two and a half epochs of six steps."""


class Numbers:
    """Rows of random numbers, each with an id, shuffled by epoch and shared out among ranks.

    What it gave is written down, a line a batch, so that a test can hold ids against epochs.
    """

    fingerprint = "numbers"

    def __init__(self, rank: int = 0, ranks: int = 1, told: Path | None = None) -> None:
        self.rank, self.ranks, self.told = rank, ranks, told
        self.each = ROWS_TOGETHER // ranks

    def __len__(self) -> int:
        return ROWS // ROWS_TOGETHER

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        order = permuted(np.arange(ROWS), ROWS, seed=3, epoch=epoch)
        for number in range(start_batch, len(self)):
            first = number * ROWS_TOGETHER + self.rank * self.each
            ids = order[first : first + self.each]
            if self.told is not None:
                with self.told.open("a") as file:
                    line = {"epoch": epoch, "batch": number, "rank": self.rank}
                    file.write(json.dumps({**line, "ids": ids.tolist()}) + "\n")
            rows = [np.random.default_rng(int(i)).standard_normal(7) for i in ids]
            values = torch.tensor(np.array(rows), dtype=torch.float32)
            yield {"x": values[:, :6], "y": values[:, 6:], "window_id": torch.from_numpy(ids)}


class Small(nn.Module):
    """Two layers, running means, dropout when asked for."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(16, 1))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        gap = self.body(batch["x"]) - batch["y"]
        return {"square": (gap**2).mean(), "size": 0.01 * gap.abs().mean()}


class Plain(nn.Module):
    """No dropout and no running means: the same sum whatever the number of ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"square": ((self.body(batch["x"]) - batch["y"]) ** 2).mean()}


def forked(ranks: int, work: Callable[[int], None], meeting: Path) -> list[int]:
    """Run `work(rank)` in so many children that find each other; their exit statuses.

    Where one dies the others are killed, as `torchrun` does before it starts all anew.
    """
    meeting.unlink(missing_ok=True)
    children = [_child(rank, ranks, work, meeting) for rank in range(ranks)]
    left, statuses = set(children), dict.fromkeys(children, 0)
    while left:
        pid, status = os.wait()
        left.discard(pid)
        statuses[pid] = status
        if status:
            for other in left:
                os.kill(other, signal.SIGKILL)
    return [statuses[pid] for pid in children]


def _child(rank: int, ranks: int, work: Callable[[int], None], meeting: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(GLOO_SOCKET_IFNAME="lo", RANK=str(rank), WORLD_SIZE=str(ranks))
        if ranks > 1:
            where = f"file://{meeting}"
            torch.distributed.init_process_group(
                "gloo", init_method=where, rank=rank, world_size=ranks
            )
        work(rank)
        if ranks > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
        code = 0
    except BaseException as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def trained(folder: Path, config: TrainConfig, ranks: int = 2, **more: Any) -> list[int]:
    """One attempt by so many ranks; `more` goes to `train`, and may depend on the rank."""
    folder.mkdir(parents=True, exist_ok=True)
    make = more.pop("make", Small)

    def work(rank: int) -> None:
        chosen = {name: value(rank) for name, value in more.items()}
        source = Numbers(rank, ranks, folder / f"ids-{rank}.jsonl")
        train(folder / "run", make, source, config, **chosen)

    return forked(ranks, work, folder / "meeting")


def killed_once(folder: Path, config: TrainConfig, seed: int) -> int:
    """Train with a random rank killed at a random step; the number of attempts it took."""
    chance = random.Random(seed)
    victim, at = chance.randrange(2), chance.randrange(1, config.steps + 1)
    delay_s = chance.choice([0.0, 0.0, chance.random() * 0.02])
    fired = folder / "fired"

    def deadly(rank: int) -> Callable[[dict[str, Any]], None]:
        def die(row: dict[str, Any]) -> None:
            if rank == victim and row["step"] == at and not fired.exists():
                fired.touch()
                time.sleep(delay_s)  # so that a checkpoint may be anywhere in its writing
                os.kill(os.getpid(), signal.SIGKILL)

        return die

    for attempt in range(1, 4):
        if not any(trained(folder, config, on_step=deadly)):
            return attempt
    raise AssertionError(f"seed {seed}: three attempts did not finish the run")


def ids_by_epoch(folder: Path, steps: int) -> dict[int, list[int]]:
    """Ids that count, by epoch; asserts that a batch that was given twice was the same twice."""
    given: dict[tuple[int, int, int], list[int]] = {}
    for path in sorted(folder.glob("ids-*.jsonl")):
        for line in path.read_text().splitlines():
            told = json.loads(line)
            key = told["epoch"], told["batch"], told["rank"]
            assert given.setdefault(key, told["ids"]) == told["ids"], key
    epochs: dict[int, list[int]] = {}
    for (epoch, batch, _), ids in sorted(given.items()):
        if epoch * (ROWS // ROWS_TOGETHER) + batch < steps:
            epochs.setdefault(epoch, []).extend(ids)
    return epochs


def order_of(folder: Path) -> dict[tuple[int, int], list[int]]:
    """Ids of each batch, ranks side by side."""
    order: dict[tuple[int, int], dict[int, list[int]]] = {}
    for path in sorted(folder.glob("ids-*.jsonl")):
        for line in path.read_text().splitlines():
            told = json.loads(line)
            order.setdefault((told["epoch"], told["batch"]), {})[told["rank"]] = told["ids"]
    return {place: [i for rank in sorted(ids) for i in ids[rank]] for place, ids in order.items()}


def kills(parallel: str, home: Path, seeds: list[int]) -> dict[str, Any]:
    """An undisturbed run, and one for each seed with a rank killed on the way."""
    config = dataclasses.replace(CONFIG, parallel=parallel)
    assert not any(trained(home / "whole", config))
    told: dict[str, Any] = {"whole": json.loads((home / "whole/run/done.json").read_text())}
    for seed in seeds:
        mine = home / str(seed)
        mine.mkdir(parents=True)
        attempts = killed_once(mine, config, seed)
        done = json.loads((mine / "run/done.json").read_text())
        epochs = ids_by_epoch(mine, config.steps)
        once = [sorted(ids) == list(range(ROWS)) for ids in epochs.values()]
        told[str(seed)] = {
            "attempts": attempts,
            "same": done["digest"] == told["whole"]["digest"],
            "once": once == [True, True, False] and len(set(epochs[2])) == len(epochs[2]) == 24,
        }
    return told


def worlds(parallel: str, home: Path) -> dict[str, Any]:
    """One rank throughout, against one, two and one again, five steps each."""
    config = dataclasses.replace(CONFIG, parallel=parallel)
    assert not any(trained(home / "one", config, 1, make=Plain))
    for number, ranks in enumerate((1, 2, 1)):
        part = home / str(number)
        (part / "run").parent.mkdir()
        (part / "run").symlink_to(home / "run")

        def until(rank: int, last: int = 5 * (number + 1)) -> Callable[[], bool]:
            path = home / "run/metrics.jsonl"
            return lambda: rank == 0 and path.read_text().count("\n") >= last

        (home / "run").mkdir(exist_ok=True)
        assert not any(trained(part, config, ranks, make=Plain, stop=until))
    losses = [
        [row["loss_total"] for row in read_metrics(folder / "metrics.jsonl")]
        for folder in (home / "one/run", home / "run")
    ]
    mixed: dict[tuple[int, int], list[int]] = {}
    for number in range(3):
        mixed |= order_of(home / str(number))
    done = [json.loads((home / f / "done.json").read_text()) for f in ("one/run", "run")]
    return {
        "losses": losses,
        "same_order": mixed == order_of(home / "one"),
        "frames": [each["frames"] for each in done],
        "steps": [each["steps"] for each in done],
    }


if __name__ == "__main__":
    what, how, folder, *numbers = sys.argv[1:]
    if what == "kills":
        print(json.dumps(kills(how, Path(folder), [int(number) for number in numbers])))
    else:
        print(json.dumps(worlds(how, Path(folder))))
