"""The frame store: a fleet's frames at training size, as ordinary files.

Each dataset in it is a LeRobotDataset v3.0: MP4 per camera that any player opens, Parquet that any
data frame reads, `meta/info.json`. Beside them lies a packet index, so that a window is decoded
from raw packets by offset, without demuxer or seek. One dataset holds clips of one nominal rate and
one set of cameras; a store holds as many datasets as its clips need. `store.json` is the pointer:
what it does not list is not there.

    store = Store.open("runs/demo/store")
    episode = store.episodes[0]
    store.decode(episode, range(8), out)      # uint8 [8, cameras, 6, height / 2, width / 2]
"""

from opendojo.store.layout import Episode, StoreSpec
from opendojo.store.part import StagedClip, StagedPart, stage_part
from opendojo.store.store import Store
from opendojo.store.verify import Fault, store_stats, verify_store

__all__ = [
    "Episode",
    "Fault",
    "StagedClip",
    "StagedPart",
    "Store",
    "StoreSpec",
    "stage_part",
    "store_stats",
    "verify_store",
]
