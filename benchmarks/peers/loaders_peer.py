"""webdataset, litdata and mosaicml-streaming over encoded windows, as each one's guide sets it up.

`write` makes the shards from a folder of samples; the other words serve turns. All three decode in
their workers with `sample.Decoder` and collate into batches of uint8 [b, t, frame_bytes].
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from no_torchvision import stand_in
from protocol import Stream, serve
from sample import Decoder

SHARDS = 8
SHUFFLED = 512
"""Samples in a shuffle buffer, where there is one."""


def samples(folder: str) -> list[Path]:
    """The samples that were laid down, in order."""
    return sorted(Path(folder).glob("*.bin"))


def read(path: str) -> dict[str, Any]:
    """One sample for litdata's writer."""
    return {"window": Path(path).read_bytes()}


def write(plan: dict[str, Any]) -> None:
    """Lay the samples down in each peer's own format, `rounds` times over."""
    import litdata
    import streaming
    import webdataset as wds

    found, home = samples(plan["samples"]) * plan["rounds"], Path(plan["home"])
    with wds.ShardWriter(
        str(home / "wds-%04d.tar"), maxcount=-(-len(found) // SHARDS), verbose=0
    ) as sink:
        for number, path in enumerate(found):
            sink.write({"__key__": f"{number:08d}", "bin": path.read_bytes()})
    with streaming.MDSWriter(
        out=str(home / "mds"), columns={"window": "bytes"}, size_limit=1 << 24
    ) as sink:
        for path in found:
            sink.write({"window": path.read_bytes()})
    litdata.optimize(
        fn=read,
        inputs=[str(path) for path in found],
        output_dir=str(home / "litdata"),
        chunk_bytes="16MB",
        num_workers=2,
        verbose=False,
    )


def webdataset_loader(plan: dict[str, Any]) -> Iterable[Any]:
    """Shards resampled without end, a shuffle buffer, batches made in the workers."""
    import webdataset as wds

    shards = sorted(str(path) for path in Path(plan["home"]).glob("wds-*.tar"))
    data = (
        wds.WebDataset(shards, resampled=True, shardshuffle=False)
        .shuffle(SHUFFLED)
        .to_tuple("bin")
        .map(partial(_first, Decoder()))
        .batched(plan["batch"], collation_fn=np.stack)
    )
    return wds.WebLoader(data, batch_size=None, num_workers=plan["workers"])


def _first(decode: Decoder, sample: tuple[bytes, ...]) -> Any:
    return decode(sample[0])


def litdata_loader(plan: dict[str, Any]) -> Iterable[Any]:
    """StreamingDataset over local chunks in StreamingDataLoader."""
    import litdata

    class Windows(litdata.StreamingDataset):
        decode = Decoder()

        def __getitem__(self, index: Any) -> Any:
            return torch.from_numpy(self.decode(bytes(super().__getitem__(index)["window"])))

    data = Windows(str(Path(plan["home"]) / "litdata"), shuffle=True, drop_last=True)
    return litdata.StreamingDataLoader(
        data, batch_size=plan["batch"], num_workers=plan["workers"], drop_last=True
    )


def streaming_loader(plan: dict[str, Any]) -> Iterable[Any]:
    """StreamingDataset over local shards in torch's DataLoader."""
    import streaming
    from torch.utils.data import DataLoader

    class Windows(streaming.StreamingDataset):
        decode = Decoder()

        def __getitem__(self, at: Any) -> Any:
            return torch.from_numpy(self.decode(super().__getitem__(at)["window"]))

    data = Windows(local=str(Path(plan["home"]) / "mds"), shuffle=True, batch_size=plan["batch"])
    return DataLoader(data, batch_size=plan["batch"], num_workers=plan["workers"], drop_last=True)


LOADERS: dict[str, Callable[[dict[str, Any]], Iterable[Any]]] = {
    "webdataset": webdataset_loader,
    "litdata": litdata_loader,
    "streaming": streaming_loader,
}


def main() -> None:
    """`loaders_peer.py PLAN PEER WORKERS`, or `loaders_peer.py PLAN write`."""
    stand_in()
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    if sys.argv[2] == "write":
        serve({"write": lambda: write(plan) or {}})
        return
    plan["workers"] = int(sys.argv[3])
    loader = LOADERS[sys.argv[2]](plan)
    stream = Stream(lambda: loader, lambda batch: batch.shape[0] * batch.shape[1])
    stream.warm_up = 2 * plan["workers"] + 1

    def check(path: str) -> dict[str, Any]:
        np.save(path, np.asarray(stream.next()))
        return {}

    serve({"go": stream.turn, "check": check})


if __name__ == "__main__":
    os.environ.setdefault("LOCAL_WORLD_SIZE", "1")
    main()
