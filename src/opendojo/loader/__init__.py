"""From stores to training: windows of T instants of every camera, with labels, as batches.

Worker processes decode straight into shared memory; a batch is a view of it, uint8 YUV 4:2:0 as
decoders give it. The order of an epoch is a keyed permutation: it depends on (seed, epoch) alone,
needs no memory, and can be entered at any batch by whatever number of ranks.

    loader = Loader([Store.open("runs/demo/store")], LoaderConfig(batch=32, seed=0))
    for batch in loader.batches(epoch=0, start_batch=0):
        batch.frames      # uint8 [b, t, c, 6, height / 2, width / 2]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opendojo.loader.augment import AugmentConfig, augmented, is_flipped
    from opendojo.loader.batch import Batch
    from opendojo.loader.config import LoaderConfig
    from opendojo.loader.labels import ego_paths
    from opendojo.loader.lens import LENS_COLUMNS
    from opendojo.loader.loader import Loader
    from opendojo.loader.order import Mixture, permuted
    from opendojo.loader.window import Split, WindowSpec, WindowTable

__all__ = [
    "LENS_COLUMNS",
    "AugmentConfig",
    "Batch",
    "Loader",
    "LoaderConfig",
    "Mixture",
    "Split",
    "WindowSpec",
    "WindowTable",
    "augmented",
    "ego_paths",
    "is_flipped",
    "permuted",
]

_FILES = {
    "LENS_COLUMNS": "lens",
    "AugmentConfig": "augment",
    "Batch": "batch",
    "Loader": "loader",
    "LoaderConfig": "config",
    "Mixture": "order",
    "Split": "window",
    "WindowSpec": "window",
    "WindowTable": "window",
    "augmented": "augment",
    "ego_paths": "labels",
    "is_flipped": "augment",
    "permuted": "order",
}


def __getattr__(name: str) -> Any:
    """Names on first use (PEP 562): workers import this room without torch."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
