"""A WebDataset of pre-extracted JPEGs in a DataLoader: the way out that users of video take.

One sample holds every camera's pictures of a window, each a JPEG of the training size; Pillow
decodes them in the workers, which stack them to uint8 [cameras, t, h, w, 3] and batch them.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from PIL import Image
from protocol import Stream, serve

SHARDS = 8


def encode(picture: np.ndarray[Any, Any], quality: int) -> bytes:
    """A picture, uint8 [h, w, 3], as a JPEG."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format="JPEG", quality=quality)
    return out.getvalue()


def luma_psnr_db(pictures: np.ndarray[Any, Any], quality: int) -> float:
    """PSNR over some pictures, uint8 [n, h, w, 3], after JPEG of a quality.

    In levels of limited-range luma (219 for the 255 of JPEG's), as video is measured in.
    """
    errors = []
    for picture in pictures:
        lossy = Image.open(io.BytesIO(encode(picture, quality))).convert("L")
        before = np.asarray(Image.fromarray(picture).convert("L"), np.float32)
        error = (np.asarray(lossy, np.float32) - before) * (219 / 255)
        errors.append(np.mean(error**2))
    return float(10 * np.log10(255**2 / np.mean(errors)))


def quality_for(pictures: np.ndarray[Any, Any], psnr_db: float) -> int:
    """The lowest JPEG quality that reaches a PSNR on some pictures."""
    low, high = 1, 100
    while low < high:
        middle = (low + high) // 2
        if luma_psnr_db(pictures, middle) >= psnr_db:
            high = middle
        else:
            low = middle + 1
    return low


def write(plan: dict[str, Any], home: str, quality: int) -> dict[str, Any]:
    """Write shards of windows, uint8 [cameras, t, h, w, 3] each; a quality of 0 matches a PSNR."""
    windows = [np.load(path) for path in plan["windows"]]
    flat = windows[0].reshape(-1, *windows[0].shape[2:])
    if quality == 0:
        quality = quality_for(flat, plan["psnr_db"])
    Path(home).mkdir(parents=True, exist_ok=True)
    total = pictures = 0
    count = len(windows) * plan["rounds"]
    with wds.ShardWriter(
        str(Path(home) / "%04d.tar"), maxcount=-(-count // SHARDS), verbose=0
    ) as sink:
        for number in range(count):
            sample: dict[str, Any] = {"__key__": f"{number:08d}"}
            for camera, shots in enumerate(windows[number % len(windows)]):
                for k, picture in enumerate(shots):
                    data = sample[f"cam_{camera}_{k}.jpg"] = encode(picture, quality)
                    total, pictures = total + len(data), pictures + 1
            sink.write(sample)
    return {
        "bytes_per_frame": total / pictures,
        "quality": quality,
        "psnr_db": luma_psnr_db(flat, quality),
    }


def decoded(sample: dict[str, Any]) -> Any:
    """A sample's pictures in order, uint8 [cameras * t, h, w, 3]."""
    names = [name for name in sample if name.endswith(".jpg")]
    return np.stack([np.asarray(Image.open(io.BytesIO(sample[name]))) for name in names])


def loader(plan: dict[str, Any], home: str, workers: int) -> Any:
    """Shards resampled without end, batches made in the workers."""
    shards = sorted(str(path) for path in Path(home).glob("*.tar"))
    data = (
        wds.WebDataset(shards, resampled=True, shardshuffle=False)
        .shuffle(64)
        .map(decoded)
        .batched(plan["batch"], collation_fn=np.stack)
    )
    return wds.WebLoader(data, batch_size=None, num_workers=workers)


def main() -> None:
    """`jpeg_peer.py PLAN write`, or `jpeg_peer.py PLAN HOME WORKERS`."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    if sys.argv[2] == "write":
        serve({"write": lambda home, quality: write(plan, home, quality)})
        return
    workers = int(sys.argv[3])
    batches = loader(plan, sys.argv[2], workers)
    stream = Stream(lambda: batches, lambda batch: batch.shape[0] * batch.shape[1])
    stream.warm_up = 2 * workers + 1

    def check(path: str) -> dict[str, Any]:
        np.save(path, np.asarray(stream.next()[0]))
        return {}

    serve({"go": stream.turn, "check": check})


if __name__ == "__main__":
    main()
