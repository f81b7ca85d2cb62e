"""torchcodec in a torch DataLoader, as its authors and users run it for training.

One decoder per file and worker, kept open (created anew for each sample it is slower on small
files); exact seek mode, whose scan is paid once; one FFmpeg thread each, since there is a worker
for every core; one range call for a window; windows that start on a group's first frame; uint8 out,
default collation, persistent workers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import Stream, serve
from torch.utils.data import DataLoader, Dataset, Sampler
from torchcodec.decoders import VideoDecoder


class Windows(Dataset[torch.Tensor]):
    """Windows by number: uint8 [cameras, t, 3, h, w], or [t, 3, h, w] where there is one camera.

    `size_px` resizes each frame on reading, and then times (not frame numbers) are asked for;
    `as_lerobot` makes float32 in 0 to 1 of the large frames before that, as LeRobotDataset does.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._windows = plan["windows"]
        self._frames = plan["frames"]
        self._rate_hz = plan.get("rate_hz")
        self._size_px = plan.get("size_px")
        self._as_lerobot = plan.get("as_lerobot", False)
        self._decoders: dict[str, VideoDecoder] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> torch.Tensor:
        files, first = self._windows[number]
        cameras = [self._camera(file, first) for file in files]
        return cameras[0] if len(cameras) == 1 else torch.stack(cameras)

    def _camera(self, file: str, first: int) -> torch.Tensor:
        decoder = self._decoders.get(file)
        if decoder is None:
            decoder = self._decoders[file] = VideoDecoder(file, num_ffmpeg_threads=1)
        if self._size_px is None:
            return decoder.get_frames_in_range(first, first + self._frames).data
        times_s = [(first + k + 0.5) / self._rate_hz for k in range(self._frames)]
        large = decoder.get_frames_played_at(times_s).data
        if self._as_lerobot:
            large = torch.stack(list(large)) / 255.0
        return torch.nn.functional.interpolate(
            large, size=self._size_px, mode="bilinear", antialias=True
        )


class Shuffled(Sampler[int]):
    """Every window in random order, over and over."""

    def __init__(self, count: int, rounds: int) -> None:
        self._count, self._rounds = count, rounds

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(self._rounds):
            yield from torch.randperm(self._count, generator=generator).tolist()

    def __len__(self) -> int:
        return self._count * self._rounds


def main() -> None:
    """Serve turns over the plan named."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    data = Windows(plan)

    def make() -> DataLoader[torch.Tensor]:
        return DataLoader(
            data,
            batch_size=plan["batch"],
            sampler=Shuffled(len(data), plan["rounds"]),
            num_workers=plan["workers"],
            prefetch_factor=2,
            drop_last=True,
        )

    def frames_in(batch: torch.Tensor) -> int:
        return batch.shape[:-3].numel()

    stream = Stream(make, frames_in)
    stream.warm_up = 2 * plan["workers"] + 1

    def check(numbers: list[int], path: str) -> dict[str, Any]:
        # in this process, with decoders of its own: the workers must not inherit any
        np.save(path, np.stack([Windows(plan)[k].numpy() for k in numbers]))
        return {}

    serve({"go": stream.turn, "check": check})


if __name__ == "__main__":
    main()
