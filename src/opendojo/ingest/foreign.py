"""What the readers of other people's folders share: tables, paths and faults that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opendojo.clip import Floats
from opendojo.ingest.content import reason

__all__ = [
    "BROKEN",
    "HIGHEST_RATE_HZ",
    "SHAPES",
    "WGS84_AXIS_M",
    "WGS84_E2",
    "floats",
    "inside",
    "read_table",
    "words",
]

WGS84_AXIS_M = 6378137.0
WGS84_E2 = 6.69437999014e-3
HIGHEST_RATE_HZ = 1000.0
"""No camera is faster: more is a header or a table that lies."""
SHAPES = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
"""What data of another shape than its format's lead to."""
BROKEN = (OSError, *SHAPES, pa.ArrowException)
"""What JSON of another shape and broken Parquet lead to."""


def words(fault: BaseException) -> str:
    """One of `BROKEN` in a few words for people."""
    return f"{fault} is missing" if isinstance(fault, KeyError) else reason(fault)


def inside(name: str, *, flat: bool = False) -> str:
    """A file's name as a control file gives it. Raises `ValueError` where it leads elsewhere.

    Elsewhere is out of the control file's folder, or, where that is `flat`, into a folder of it.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or (flat and path.name != name):
        raise ValueError(f"{name!r} is not a file of the {'folder' if flat else 'data set'}")
    return name


def read_table(file: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole Parquet file, or some of its columns.

    Not by `pq.read_table`, which imports pandas where that is there: half a second.
    """
    with pq.ParquetFile(file) as table:
        return table.read(columns=columns, use_threads=False)


def floats(column: Any) -> Floats:
    """A column of numbers, a `pa.ChunkedArray`, as float64 [rows]; NaN where there is none.

    Not by its `to_numpy`, which imports pandas too.
    """
    parts = [np.zeros(0)]
    for chunk in column.cast(pa.float64(), safe=False).chunks:
        if chunk.null_count:
            parts.append(np.array(chunk.to_pylist(), np.float64))
        elif len(chunk):
            values = np.frombuffer(chunk.buffers()[1], np.float64)
            parts.append(values[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)
