"""Which clips a view shows: all, an even sample, or those that carry every tag asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from opendojo.store.bad import BadStore
from opendojo.store.store import Store
from opendojo.store.view_card import FACETS, Card, episode_tags, look, unreadable

__all__ = ["Chosen", "Told", "full_tag", "spread"]

LOOKS_PER_CLIP = 10
"""With tags, so many clips are looked into, at most, for each one asked for."""
CANDIDATES = 200_000
"""With tags, so many clips are considered, at most; the catalogue alone rules most of them out."""

_EPISODE_FACETS = ("dataset", "origin", "camera", "length")

Told = Callable[[int, int], None]


class Chosen:
    """The clips a view shows, one after another, and how many were looked at for them."""

    def __init__(self, store: Store, clips: int, wanted: Sequence[str], told: Told | None) -> None:
        self._store, self._clips, self._wanted = store, clips, set(wanted)
        self._told = told or (lambda done, total: None)
        self.looked = 0
        self.unreadable = 0
        """Clips looked at whose files are damaged; they are shown as such."""
        count = len(store.episodes)
        limit = min(count, CANDIDATES if wanted else clips)
        self.candidates = np.unique(np.linspace(0, max(count - 1, 0), limit).round().astype(int))

    def __iter__(self) -> Iterator[Card]:
        known_now = {tag for tag in self._wanted if tag.partition(":")[0] in _EPISODE_FACETS}
        found = 0
        datasets = self._store.pointer["datasets"]
        for place in spread(len(self.candidates)):
            if found == self._clips or self.looked == self._clips * LOOKS_PER_CLIP:
                break
            episode = self._store.episodes[int(self.candidates[place])]
            if not known_now <= set(episode_tags(episode)):
                continue
            self.looked += 1
            fps = datasets[episode.dataset]["fps"]
            try:
                card = look(self._store, episode, fps)
            except BadStore:
                self.unreadable += 1
                card = unreadable(self._store, episode, fps)
            if self._wanted <= set(card.tags):
                found += 1
                yield card
                self._told(found, min(self._clips, len(self.candidates)))


def spread(count: int) -> Iterator[int]:
    """0 to count - 1, so ordered that any beginning is spread evenly: the bits of a counter
    reversed (van der Corput, 1935)."""
    bits = max(count - 1, 0).bit_length()
    for number in range(1 << bits):
        place = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if place < count:
            yield place


def full_tag(tag: str, store: Store) -> str:
    """A tag as `facet:value`; raises `ValueError` naming the nearest."""
    known = {facet: list(values) for facet, values in FACETS.items() if values}
    known["dataset"] = list(store.episodes.dataset_names)
    numbers = range(len(known["dataset"]))
    cameras = {name for number in numbers for name in store.episodes.dataset_cameras(number)}
    known["camera"] = sorted(cameras)
    full = [f"{facet}:{value}" for facet, values in known.items() for value in values]
    for candidate in full:
        if tag in (candidate, candidate.partition(":")[2]):
            return candidate
    near = difflib.get_close_matches(tag, [*full, *(c.partition(":")[2] for c in full)], 1)
    hint = f"did you mean `{near[0]}`?" if near else "known: " + ", ".join(full)
    raise ValueError(f"no clip has a tag `{tag}`: {hint}")
