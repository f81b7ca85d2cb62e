"""The same order and the same bits, whatever the workers, the world size, the place of a resume."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from common.document import Section
from common.stores import Measured, make_store
from frames_parts.own import FRAMES, Bench, config
from opendojo.loader import Loader
from opendojo.store import StoreSpec

__all__ = ["run"]

WORKERS, WORLDS = (1, 2, 4), (1, 2, 4)
BATCH, EPOCHS, RESUMES = 3, (0, 5), 6
NAMES = ("yuv", "camera_mask", "time_s", "speed_mps", "speed_mask", "path_m", "path_mask", "drawn")


def run(bench: Bench) -> Section:
    """Compare hashes of every window, number by number, over whole epochs."""
    section = Section("order", "same order, same bits", not bench.smoke)
    spec = StoreSpec(width_px=128, height_px=64)
    count, frames = (2, 64) if bench.smoke else (6, 160)
    measured = make_store(bench.folder / "order", spec, count, frames=frames)
    section.say(
        f"{len(measured.windows)} windows of {FRAMES}, batches of {BATCH} a rank, epochs {EPOCHS}; "
        "a window's hash is over its number, pixels, labels and masks"
    )
    passed = tried = 0
    for epoch in EPOCHS[: 1 if bench.smoke else None]:
        plain = _hashes(measured, epoch, workers=0)
        assert sorted(plain) != plain, "no shuffling at all"
        assert len({one for batch in plain for one in batch}) == len(measured.windows)
        results = {
            **{f"{n} workers": _hashes(measured, epoch, workers=n) == plain for n in WORKERS},
            **{f"{n} ranks": _same_over_ranks(measured, epoch, plain, n) for n in WORLDS},
            **{
                f"resumed at batch {at}": _hashes(measured, epoch, 2, at) == plain[at:]
                for at in _places(len(plain), epoch, 2 if bench.smoke else RESUMES)
            },
            "world size changed on the way": _changed_world(measured, epoch, plain),
        }
        for what, same in results.items():
            section.rows.append((f"epoch {epoch}, {what}", "the same" if same else "DIFFERENT"))
        passed, tried = passed + sum(results.values()), tried + len(results)
    section.add("same", "runs that equal the plain one", float(passed), f"of {tried}")
    section.bar("exact", passed, tried, "runs")
    return section


def _places(batches: int, epoch: int, count: int) -> list[int]:
    return sorted(random.Random(epoch).sample(range(1, batches), min(count, batches - 1)))


def _hashes(measured: Measured, epoch: int, workers: int, start: int = 0) -> list[list[str]]:
    """Hashes of the windows of each batch."""
    loader = Loader([measured.store], config(batch=BATCH, workers=workers))
    return [_rows(batch) for batch in loader.batches(epoch, start)]


def _rows(batch: Any) -> list[str]:
    """A hash for each row of a batch."""
    columns = [np.asarray(getattr(batch, name)) for name in NAMES]
    numbers = np.asarray(batch.window_id)
    return [
        hashlib.sha1(b"".join([str(int(number)).encode(), *(c[row].tobytes() for c in columns)]))
        .hexdigest()
        for row, number in enumerate(numbers)
    ]  # fmt: skip


def _same_over_ranks(measured: Measured, epoch: int, plain: list[list[str]], world: int) -> bool:
    """Ranks' batches, laid side by side block by block, are the global order to its end."""
    loaders = [
        Loader([measured.store], config(batch=BATCH, workers=1), rank=rank, ranks=world)
        for rank in range(world)
    ]
    read = [[_rows(batch) for batch in loader.batches(epoch)] for loader in loaders]
    together = _flat(batch for block in zip(*read, strict=True) for batch in block)
    return _is_all_but(_flat(plain), together, loaders[0].left_out, world)


def _changed_world(measured: Measured, epoch: int, plain: list[list[str]]) -> bool:
    """Two ranks take some blocks, then four go on from their state: the order is the global one."""
    settings = config(batch=BATCH, workers=1)
    blocks = min(2, (len(_flat(plain)) - 4) // (2 * BATCH))
    assert blocks > 0, "too few windows to change the world size among them"
    pair = [Loader([measured.store], settings, rank=r, ranks=2) for r in range(2)]
    seen, states = [], []
    for loader in pair:
        loader.load_state_dict({"seed": settings.seed, "epoch": epoch, "window": 0})
        taken, batches = [], iter(loader)
        for _ in range(blocks):
            taken.append(_rows(next(batches)))
            states.append(loader.state_dict())
        seen.append(taken)
        batches.close()  # type: ignore[attr-defined]
    head = _flat(batch for block in zip(*seen, strict=True) for batch in block)
    four = [Loader([measured.store], settings, rank=r, ranks=4) for r in range(4)]
    read = []
    for loader in four:
        loader.load_state_dict(states[-1])
    left_out = four[0].left_out
    for loader in four:
        read.append([_rows(batch) for batch in loader])
    tail = _flat(batch for block in zip(*read, strict=True) for batch in block)
    return bool(head and tail) and _is_all_but(_flat(plain), head + tail, left_out, 4)


def _is_all_but(whole: list[str], read: list[str], left_out: int, world: int) -> bool:
    """What was read is the whole order but for the windows at its end that ranks cannot share."""
    return left_out < world and read == whole[: len(whole) - left_out]


def _flat(batches: Iterable[list[str]]) -> list[str]:
    return [one for batch in batches for one in batch]
