"""The frame store: a fleet's frames at training size, as ordinary files.

Each dataset in it is a LeRobotDataset v3.0: MP4 per camera that any player opens, Parquet that any
data frame reads, `meta/info.json`. Beside them lies a packet index, so that a window is decoded
from raw packets by offset, without demuxer or seek, from this disk or by byte ranges of a url. One
dataset holds clips of one nominal rate and one set of cameras; a store holds as many datasets as
its clips need. `store.json` is the pointer: what it does not list is not there. It stays small; the
clips stand in a memory-mapped catalogue, so a store of 10^9 frames opens in milliseconds.

    store = Store.open("runs/demo/store")
    episode = store.episodes[0]
    store.decode(episode, range(8), out)      # uint8 [8, cameras, width * height * 3 / 2]: y, u, v
"""

from opendojo.store.bad import BadStore
from opendojo.store.catalogue import Episodes
from opendojo.store.files import CacheSpec
from opendojo.store.layout import Episode, StoreSpec
from opendojo.store.part import StagedClip, StagedPart, stage_part
from opendojo.store.store import Store
from opendojo.store.verify import Fault, store_stats, verify_at, verify_store

__all__ = [
    "BadStore",
    "CacheSpec",
    "Episode",
    "Episodes",
    "Fault",
    "StagedClip",
    "StagedPart",
    "Store",
    "StoreSpec",
    "stage_part",
    "store_stats",
    "verify_at",
    "verify_store",
]
