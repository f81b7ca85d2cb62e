"""`opendojo store tensors STORE`: what the loader yields, told by a batch that it really yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from opendojo.cli.show import Common, print_document
from opendojo.store import Store

if TYPE_CHECKING:
    from opendojo.loader import Batch, LoaderConfig

__all__ = ["FIELDS", "Tensors", "describe_tensors", "show_tensors"]

LETTERS = {
    "b": "windows in a batch",
    "t": "instants in a window",
    "c": "cameras",
    "p": "path points",
    "h": "height of a frame in pixels",
    "w": "width of a frame in pixels",
    "f": "bytes of a frame: h w 3 / 2",
    "l": "numbers that describe a lens (loader.LENS_COLUMNS)",
}

SPLITS = ("train", "held-out", "all")

FIELDS: dict[str, tuple[str, str, str]] = {
    "yuv": ("b t c f", "levels", "y [h w], u [h/2 w/2], v [h/2 w/2] end to end; 0: no such camera"),
    "frames": ("b t c 6 h/2 w/2", "levels", "yuv as six planes of half size, for a network's stem"),
    "y": ("b t c h w", "levels", "luma, 16 black to 235 white; a view of yuv"),
    "u": ("b t c h/2 w/2", "levels", "blue difference, 128 is none; a view of yuv"),
    "v": ("b t c h/2 w/2", "levels", "red difference, 128 is none; a view of yuv"),
    "rgb_frames": ("b t c 3 h w", "levels", "RGB, where LoaderConfig.colour is rgb"),
    "camera_mask": ("b c", "", "the camera is there"),
    "time_s": ("b t", "s", "from the window's first instant"),
    "speed_mps": ("b t", "m/s", "of the vehicle; 0 where unknown"),
    "speed_mask": ("b t", "", "the speed is known"),
    "path_m": ("b t p 2", "m", "later places: x forward, y left, as seen at each instant"),
    "path_mask": ("b t p", "", "the place is known, and the driver's own doing"),
    "lens": ("b c l", "px, m, rad", "intrinsics, distortion and mount of each camera"),
    "drawn": ("b", "", "the world drew it; else a camera saw it"),
    "window_id": ("b", "", "number of the window, the same in every epoch"),
}
"""Letters, unit and meaning of every tensor of a batch; sizes and types come from a real one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors(Common):
    """Say what the loader yields for a store: names, shapes, types, units, memory, windows.

    Read off one batch, not off a description.
    """

    path: Annotated[str, tyro.conf.Positional]
    """The store: a folder, or an address that fsspec reads."""
    batch: int = 32
    """Windows in a batch."""
    frames: int = 8
    """Instants in a window."""
    rate_hz: float | None = 10.0
    """Instants per second; None takes each stored one."""
    cameras: tuple[str, ...] = ()
    """Slots of the rig; all that the store has if not given."""
    colour: Literal["yuv", "rgb", "none"] = "yuv"
    """As LoaderConfig has it."""


def show_tensors(chosen: Tensors) -> int:
    """Run `opendojo store tensors`."""
    document = describe_tensors(chosen)
    if chosen.json:
        print_document(document)
    else:
        _print(document)
    return 0


def describe_tensors(chosen: Tensors) -> dict[str, Any]:
    """Read one batch of the store and say what it is made of."""
    from dataclasses import replace

    from opendojo.loader import Loader, LoaderConfig, WindowSpec

    store = Store.open(chosen.path)
    config = LoaderConfig(
        batch=chosen.batch,
        cameras=chosen.cameras or _cameras(store),
        window=WindowSpec(frames=chosen.frames, rate_hz=chosen.rate_hz),
        colour=chosen.colour,
        split="all",
        workers=0,
        keep_bytes=0,
    )
    loader = Loader([store], config)
    batches = loader.batches(0)
    try:
        batch = next(batches)
        tensors = _tensors(batch)
        held = sum(tensor.nbytes for tensor in batch.tensors().values())
        batch_bytes = held // len(batch.window_id) * config.batch
    finally:
        batches.close()
        loader.close()
    splits = {split: _windows(store, replace(config, split=split)) for split in SPLITS}
    return {
        "path": chosen.path,
        "frame": [store.spec.width_px, store.spec.height_px],
        "cameras": list(config.cameras),
        "tensors": tensors,
        "letters": LETTERS,
        "batch": config.batch,
        "batch_bytes": batch_bytes,
        "ring_slots": config.slots,
        "ring_bytes": config.slots * batch_bytes,
        "windows": splits,
    }


def _cameras(store: Store) -> tuple[str, ...]:
    """Every camera of the store, those of the largest dataset first."""
    datasets = store.pointer["datasets"].values()
    ranked = sorted(datasets, key=lambda counted: -counted["instants"])
    return tuple(dict.fromkeys(name for counted in ranked for name in counted["cameras"]))


def _tensors(batch: Batch) -> list[dict[str, Any]]:
    """Every tensor that this batch has: what it holds, then what it gives on request."""
    held = batch.tensors()
    lines: list[dict[str, Any]] = []
    for name, (letters, unit, meaning) in FIELDS.items():
        if name not in held and not batch.yuv.numel():
            continue
        tensor = getattr(batch, name)
        if not tensor.numel():
            continue
        lines.append(
            {
                "name": name,
                "letters": letters.split(),
                "shape": list(tensor.shape),
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "unit": unit,
                "meaning": meaning,
                "bytes": tensor.nbytes,
                "held": name in held,
            }
        )
    return lines


def _windows(store: Store, config: LoaderConfig) -> int:
    """Windows in an epoch; 0 where the split has none."""
    from opendojo.loader import WindowTable

    table = WindowTable([store], config.window, config.split, config.held_out_share)
    return len(table)


def _print(document: dict[str, Any]) -> None:
    width, height = document["frame"]
    print(f"{document['path']}: {width}x{height}, cameras {', '.join(document['cameras'])}")
    rows = [("name", "shape", "sizes", "type", "unit", "meaning")]
    for line in document["tensors"]:
        name = line["name"] if line["held"] else f"  {line['name']}"
        shape, sizes = " ".join(line["letters"]), " ".join(map(str, line["shape"]))
        rows.append((name, shape, sizes, line["dtype"], line["unit"], line["meaning"]))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[5]]))
    used = {letter for line in document["tensors"] for letter in " ".join(line["letters"])}
    for letter, meaning in document["letters"].items():
        if letter in used:
            print(f"{letter}: {meaning}")
    print(
        f"indented: made on request; a batch of {document['batch']} is "
        f"{document['batch_bytes'] / 1e6:,.1f} MB, the ring of {document['ring_slots']} "
        f"{document['ring_bytes'] / 1e6:,.1f} MB"
    )
    windows = ", ".join(f"{count:,} {split}" for split, count in document["windows"].items())
    print(f"windows in an epoch: {windows}")
