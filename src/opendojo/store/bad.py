"""What a store says of its own damage: which file, what is wrong with it, what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["RESTORE", "BadStore", "reading"]

RESTORE = "restore the file from a copy, or remove the store and ingest again"


class BadStore(ValueError):
    """A file of a store is missing, cut short or altered."""

    def __init__(self, file: str, cause: str, remedy: str = RESTORE) -> None:
        super().__init__(file, cause, remedy)  # so that it is pickled with all three
        self.file, self.cause, self.remedy = file, cause, remedy

    def __str__(self) -> str:
        return f"{self.file}: {self.cause}; {self.remedy}"


@contextlib.contextmanager
def reading(file: str) -> Iterator[None]:
    """Have whatever a file's content does to its reader end in a `BadStore` that names it.

    The errors of disks and networks stay what they are.
    """
    try:
        yield
    except (BadStore, OSError, MemoryError):
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        cause = f"its content is damaged ({found})"
        raise BadStore(file, cause, f"run `opendojo store verify`; {RESTORE}") from error
