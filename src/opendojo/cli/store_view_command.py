"""`opendojo store view STORE`: a page to browse its clips, and a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from opendojo.cli.show import Common, Progress, print_document
from opendojo.store import Store

__all__ = ["View", "make_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Common):
    """Make a page to browse a store's clips by tag, and a contact sheet.

    The page needs no server: open index.html in any browser.
    """

    path: Annotated[str, tyro.conf.Positional]
    """The store: a folder, or an address that fsspec reads."""
    out: Path | None = None
    """Folder for the page; beside the store, named after it with `-view`, if not given."""
    clips: int = 500
    """Clips shown at most, spread evenly where the store holds more."""
    tag: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Only clips with this tag, such as night, turns-left or camera:rear. May be given several
    times: a clip must carry them all."""


def make_view(chosen: View) -> int:
    """Run `opendojo store view`."""
    from opendojo.store.view import view_store

    store = Store.open(chosen.path)
    progress = Progress()
    try:
        made = view_store(
            store,
            chosen.out or _beside(chosen.path),
            clips=chosen.clips,
            tags=chosen.tag,
            on_progress=lambda done, total: progress("looking at clips", done, total),
        )
    finally:
        progress.close()
    if chosen.json:
        print_document(made)
    else:
        bad = f", {made['unreadable']} unreadable: run `opendojo store verify`"
        print(
            f"{made['clips']} of {made['store_clips']:,} clips{bad if made['unreadable'] else ''}"
        )
        print(f"page: {made['page']}   contact sheet: {made['sheet']}")
    return 0


def _beside(path: str) -> Path:
    """`STORE-view`; for a store elsewhere, in the folder one is in."""
    name = path.rstrip("/")
    return Path(f"{Path(name).name if '://' in name else name}-view")
