"""From stores to training: windows of T instants of every camera, with labels, as batches.

Frames stay uint8 YUV 4:2:0 from decoder to batch. The order of an epoch is a keyed permutation: it
depends on (seed, epoch) alone, needs no memory, and can be entered at any batch.

    loader = Loader([Store.open("runs/demo/store")], LoaderConfig(batch=32, seed=0))
    for batch in loader.batches(epoch=0, start_batch=0):
        batch.frames      # uint8 [b, t, c, 6, height / 2, width / 2]
"""

from opendojo.loader.batch import Batch, ego_paths
from opendojo.loader.loader import Loader, LoaderConfig
from opendojo.loader.order import permuted
from opendojo.loader.window import Split, WindowSpec, WindowTable

__all__ = [
    "Batch",
    "Loader",
    "LoaderConfig",
    "Split",
    "WindowSpec",
    "WindowTable",
    "ego_paths",
    "permuted",
]
