"""The real `lerobot` package opens what this project wrote: an export, or a dataset of a store.

`lerobot_open.py` answers {"do": "look", "root": folder, "key": camera, "index": n, "path": file}:
how many frames and episodes there are and what features; it saves that frame of that camera as
float32 RGB [3, h, w] in 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from no_torchvision import stand_in
from protocol import serve

stand_in()

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402 (after the stand-in)


def look(root: str, key: str, index: int, path: str) -> dict[str, Any]:
    """Open it as a stranger would, by the package alone."""
    data = LeRobotDataset("opendojo/looked-at", root=root, video_backend="torchcodec")
    item = data[index]
    np.save(path, item[key].numpy())
    return {
        "frames": len(data),
        "episodes": data.num_episodes,
        "fps": data.fps,
        "features": sorted(data.features),
        "episode": int(item["episode_index"]),
        "frame": int(item["frame_index"]),
        "time_s": float(item["time_s"]) if "time_s" in item else None,
        "stats": sorted(data.meta.stats or {}),
    }


if __name__ == "__main__":
    serve({"look": look})
