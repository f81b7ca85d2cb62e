"""What several of the loader's test files use."""

from __future__ import annotations

from pathlib import Path

import torch

from opendojo.loader import Batch
from opendojo.store import Store, stage_part


def filled(path: Path, clips: list) -> Store:
    """A store of these clips."""
    store = Store.create(path)
    with store.staging() as staging:
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


def equal(a: Batch, b: Batch) -> bool:
    """Every tensor is the same, bit for bit."""
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
