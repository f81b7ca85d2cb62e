"""`view_store`: a folder with a page to browse a store's clips, and a contact sheet.

    OUT/index.html        the page: no server, no network, any browser
    OUT/sheet.png         the contact sheet
    OUT/view-<hash>/      clips.js (what the page knows of each clip), and per clip and camera a
                          strip of stills

The folder of data is named by a hash of its content and the page is replaced last, so whoever
looks sees the old view or the new one, and the same call on the same store changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from opendojo.store.atomic import locked, sync_folder
from opendojo.store.store import Store
from opendojo.store.view_card import FACETS, Card
from opendojo.store.view_choose import Chosen, Told, full_tag
from opendojo.store.view_picture import (
    SHEET_ROWS,
    contact_sheet,
    main_camera,
    sheet_band,
    strip,
)

__all__ = ["view_store"]

MARK = "opendojo-view"
"""In the head of every page made here: a folder whose page lacks it is somebody else's."""
MAIN_CELL_PX, SIDE_CELL_PX = 256, 160


def view_store(
    store: Store,
    out: str | Path,
    *,
    clips: int = 500,
    tags: Sequence[str] = (),
    on_progress: Told | None = None,
) -> dict[str, Any]:
    """Write the page and the sheet; return their paths and how many clips they show.

    At most `clips` clips, spread evenly where the store holds more; with `tags` (`night`, or
    `light:night`) only clips that carry every one of them. Raises `ValueError` for a tag that the
    store does not know, where no clip carries them, or where `out` holds other things.
    """
    folder = Path(out)
    if clips < 1:
        raise ValueError(f"a view needs at least one clip, not {clips}")
    if not len(store.episodes):
        raise ValueError(f"{store.url} holds no clips yet: bring some in with `opendojo ingest`")
    wanted = [full_tag(tag, store) for tag in tags]
    _claim(folder, store)
    with locked(folder / ".lock"):
        _sweep(folder, keep=_shown_folder(folder))
        fresh = Path(tempfile.mkdtemp(prefix=".view-", dir=folder))
        try:
            chosen = Chosen(store, clips, wanted, on_progress)
            records, bands = _write_clips(chosen, store, fresh, folder)
            if not records:
                raise ValueError(
                    f"none of {chosen.looked} clips looked at carries {' and '.join(wanted)}: "
                    "ask for fewer tags, or for more --clips"
                )
            page = _document(store, records, chosen, wanted)
            name = _publish(folder, fresh, page, bands)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _sweep(folder, keep=name)
    return {
        "page": str(folder / "index.html"),
        "sheet": str(folder / "sheet.png"),
        "clips": len(records),
        "store_clips": len(store.episodes),
        "looked_at": chosen.looked,
        "unreadable": chosen.unreadable,
        "tags": wanted,
    }


def _claim(folder: Path, store: Store) -> None:
    """Make the folder, or see that it is a view's."""
    if "://" not in store.url and folder.resolve().is_relative_to(store.path.resolve()):
        raise ValueError(f"{folder} lies in the store: choose a folder outside it with --out")
    page = folder / "index.html"
    ours = page.is_file() and MARK in page.read_text(errors="replace")[:400]
    if not ours and folder.is_dir() and any(p.name[0] != "." for p in folder.iterdir()):
        raise ValueError(f"{folder} holds other things: choose an empty folder with --out")
    folder.mkdir(parents=True, exist_ok=True)


def _write_clips(
    chosen: Chosen, store: Store, fresh: Path, folder: Path
) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """Write each clip's strips as it comes; what stays is a record each, and the sheet's bands."""
    records: list[dict[str, Any]] = []
    bands: list[tuple[str, Image.Image]] = []
    rows = 0
    for card in chosen:
        # candidates come spread evenly, so the sheet takes the first that fit
        if rows + len(card.episode.cameras) <= SHEET_ROWS:
            rows += len(card.episode.cameras)
            band = sheet_band(card, store.spec.width_px, store.spec.height_px)
            bands.append((card.source, band))
        number = len(records)
        records.append(_record(card, store, folder))
        _write_strips(card, store, fresh / f"{number // 1000:03d}", number % 1000)
    return records, [band for _, band in sorted(bands, key=lambda pair: pair[0])]


def _write_strips(card: Card, store: Store, folder: Path, number: int) -> None:
    folder.mkdir(exist_ok=True)
    spec = store.spec
    main = main_camera([camera.name for camera in card.episode.cameras])
    for camera in range(len(card.episode.cameras)):
        cell = min(MAIN_CELL_PX if camera == main else SIDE_CELL_PX, spec.width_px)
        picture = strip(card, camera, spec.width_px, spec.height_px, cell)
        picture.save(folder / f"{number:03d}-{camera}.jpg", quality=72)


def _record(card: Card, store: Store, folder: Path) -> dict[str, Any]:
    """A clip as the page's script reads it."""
    episode = card.episode
    names = [camera.name for camera in episode.cameras]
    return {
        "id": episode.clip_id,
        "source": card.source,
        "dataset": episode.dataset,
        "cameras": names,
        "main": main_camera(names),
        "rate": round(episode.rate_hz, 3),
        "instants": episode.instants,
        "seconds": round(card.seconds, 3),
        "tags": list(card.tags),
        "flags": {name: round(share, 3) for name, share in card.flag_shares.items() if share},
        "luma": round(card.luma, 3),
        "speed": _numbers(card.speed_mps, 2),
        "turn": _numbers(card.turn, 4),
        "unit": card.turn_unit,
        "times": [round(still.time_s, 3) for still in card.stills],
        "videos": [_address(store, folder, name) for name in card.videos],
        "span": [round(second, 3) for second in card.video_span_s],
    }


def _numbers(values: Any, digits: int) -> list[float | None]:
    return [round(v, digits) if math.isfinite(v) else None for v in values.tolist()]


def _address(store: Store, folder: Path, name: str) -> str:
    """A file of the store as the page links to it: relative where both lie on this machine."""
    if "://" in store.url:
        return f"{store.url.rstrip('/')}/{quote(name)}"
    return quote(os.path.relpath(store.path.resolve() / name, folder.resolve()))


def _document(
    store: Store, records: list[dict[str, Any]], chosen: Chosen, wanted: Sequence[str]
) -> dict[str, Any]:
    spec = store.spec
    return {
        "name": store.url.rstrip("/").rpartition("/")[2],
        "place": store.url,
        "fingerprint": store.fingerprint,
        "size": [spec.width_px, spec.height_px],
        "codec": spec.codec,
        "gop": spec.gop_frames,
        "frames": store.frames,
        "hours": float(np.sum(store.episodes.instants / store.episodes.rate_hz)) / 3600,
        "storeClips": len(store.episodes),
        "looked": chosen.looked,
        "wanted": list(wanted),
        "facets": FACETS,
        "clips": records,
    }


def _publish(folder: Path, fresh: Path, page: dict[str, Any], bands: list[Image.Image]) -> str:
    """Name the data by its content, put it in place, and the page last; return the data's name."""
    # what a source calls itself may hold anything: as ASCII with <, > and & escaped it is only text
    text = json.dumps(page, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    (fresh / "clips.js").write_text(f"window.OPENDOJO_VIEW={text};\n")
    name = f"view-{_content_hash(fresh)}"
    if not (folder / name).is_dir():
        fresh.chmod(0o755)
        fresh.rename(folder / name)
    width, height = page["size"]
    title = f"{page['name']}: {len(bands)} of {page['storeClips']:,} clips, {width}x{height}"
    _write(folder / "sheet.png", _png(contact_sheet(bands, title)))
    _write(folder / "index.html", _page(name).encode())
    sync_folder(folder)
    return name


def _page(data: str) -> str:
    """The page with its style and script in it; `data` is the folder it reads clips from."""
    style, script, page = (
        (resources.files("opendojo.store") / f"view.{kind}").read_text()
        for kind in ("css", "js", "html")
    )
    for name, text in (("{{style}}", style), ("{{script}}", script), ("{{data}}", data)):
        page = page.replace(name, text)
    return page


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=2)
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Replace a file in one instant."""
    part = path.with_name(f".{path.name}-new")
    part.write_bytes(data)
    part.replace(path)


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _shown_folder(folder: Path) -> str:
    """The data folder that the page reads, empty where there is no page yet."""
    page = folder / "index.html"
    if not page.is_file():
        return ""
    return page.read_text().partition('data-view="')[2].partition('"')[0]


def _sweep(folder: Path, keep: str) -> None:
    """Remove data that no page reads: of the view before, or of a call that was killed."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != keep and path.name.startswith(("view-", ".view-")):
            shutil.rmtree(path)
