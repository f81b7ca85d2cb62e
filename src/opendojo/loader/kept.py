"""Windows kept decoded for later epochs: a small set is decoded once, whichever worker did it.

All of a split is kept or nothing: of a set many times the room, a kept window would come again only
after all the others, and hold memory until then.
"""

from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt

from opendojo.loader.ring import Memory, Rows, RowsLayout

__all__ = ["Kept"]

Lease = dict[int, int]
"""Windows that workers were told to keep, and where; it counts once they have."""


class Kept:
    """Which windows are kept where, in shared memory that workers fill and read."""

    def __init__(
        self, size: int, fields: dict[str, tuple[str, tuple[int, ...]]], windows: int
    ) -> None:
        whole = RowsLayout(fields=fields, rows=windows)
        fits = whole.bytes <= size
        self.layout = whole if fits else RowsLayout(fields=fields, rows=0)
        self.memory = Memory.create(self.layout.bytes, name="opendojo-kept")
        weakref.finalize(self, self.memory.close)
        self._places: dict[int, int] = {}
        self._leased: set[int] = set()
        self._free = list(range(self.layout.rows - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._places)

    def rows(self) -> Rows | None:
        """The kept rows, where any can be."""
        return self.layout.views(self.memory.map, 0) if self.layout.rows else None

    def direct(self, orders: npt.NDArray[np.void]) -> Lease:
        """Say in `keep` of each order whether its row is copied from here, or kept here."""
        lease: Lease = {}
        for row, window in enumerate(orders["window"].tolist()):
            place = self._places.get(window)
            if place is not None:
                orders["keep"][row] = -place - 1
            elif self._free and window not in self._leased:
                lease[window] = self._free.pop()
                self._leased.add(window)
                orders["keep"][row] = lease[window] + 1
        return lease

    def settle(self, lease: Lease) -> None:
        """The rows of a lease are filled."""
        self._places.update(lease)
        self._leased.difference_update(lease)
        lease.clear()

    def drop(self, lease: Lease) -> None:
        """The rows of a lease will not be filled."""
        self._free.extend(lease.values())
        self._leased.difference_update(lease)
        lease.clear()
