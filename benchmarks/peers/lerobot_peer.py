"""The real `lerobot` package: its own recording of the footage, its own dataset in a DataLoader.

`write` records episodes with the package's defaults (AV1 by libsvtav1, a key frame every second
frame, crf 30); turns read windows of consecutive frames by `delta_timestamps`, as its policies do,
which gives float32 in 0 to 1. torchvision is a stand-in: the read path by torchcodec has no use for
it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from no_torchvision import stand_in
from protocol import Stream, serve

stand_in()

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402 (after the stand-in)
from torch.utils.data import DataLoader, RandomSampler, Subset  # noqa: E402

KEY = "observation.images.front"
NAME = "opendojo/benchmark"


def write(plan: dict[str, Any]) -> dict[str, Any]:
    """Record the episodes, each an uint8 [n, h, w, 3] file of numpy."""
    first = np.load(plan["episodes"][0], mmap_mode="r")
    features = {
        KEY: {"dtype": "video", "shape": first.shape[1:], "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (1,), "names": None},
    }
    data = LeRobotDataset.create(
        NAME, plan["rate_hz"], features, root=plan["home"], video_backend="torchcodec"
    )
    for path in plan["episodes"]:
        for frame in np.load(path):
            data.add_frame({KEY: frame, "action": np.zeros(1, np.float32), "task": "drive"})
        data.save_episode()
    data.finalize()
    files = list(Path(plan["home"]).glob("videos/**/*.mp4"))
    return {"video_bytes": sum(file.stat().st_size for file in files)}


def main() -> None:
    """`lerobot_peer.py PLAN write`, or `lerobot_peer.py PLAN WORKERS`."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    if sys.argv[2] == "write":
        serve({"write": lambda: write(plan)})
        return
    workers = int(sys.argv[2])
    times_s = [k / plan["rate_hz"] for k in range(plan["frames"])]
    data = LeRobotDataset(
        NAME, root=plan["home"], delta_timestamps={KEY: times_s}, video_backend="torchcodec"
    )
    # windows start on every `frames`-th frame of an episode: on a key frame, the best case
    starts, before = [], 0
    for length in plan["lengths"]:
        starts += range(before, before + length - plan["frames"] + 1, plan["frames"])
        before += length
    windows = Subset(data, starts)

    def make() -> DataLoader[Any]:
        sampler = RandomSampler(windows, replacement=True, num_samples=1 << 20)
        return DataLoader(
            windows,
            batch_size=plan["batch"],
            sampler=sampler,
            num_workers=workers,
            prefetch_factor=2,
            drop_last=True,
        )

    stream = Stream(make, lambda batch: batch[KEY].shape[0] * batch[KEY].shape[1])
    stream.warm_up = 2 * workers + 1

    def check(path: str) -> dict[str, Any]:
        batch = stream.next()
        np.save(path, batch[KEY][0].numpy())
        return {"index": int(batch["index"][0])}

    serve({"go": stream.turn, "check": check})


if __name__ == "__main__":
    main()
