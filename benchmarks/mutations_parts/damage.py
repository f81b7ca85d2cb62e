"""Ways in which a recording's files come to be broken, and ways in which someone breaks them."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["damage"]

Rng = np.random.Generator

_MARKS = re.compile(
    rb"ftyp|moov|mdat|trak|mdia|stsd|stsz|stco|stts|stss|stsc|ctts|tkhd|mvhd|mdhd|elst|avc1|avcC"
    rb"|RIFF|LIST|idx1|strf|strh|movi|00dc|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x16\x54\xae\x6b"
    rb"|\x1f\x43\xb6\x75|\xff\xc0|\xff\xc4|\xff\xda|IHDR|IDAT|PAR1|NUMPY"
)
"""Where containers and pictures say how long something is, just before or after."""
_LIES = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000000, 0x01000000)
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, -(2**63), 2**200, 1e308, -1e308, 1e-308, float("nan"),
    float("inf"), "", "x", "x" * 5000, "../../../../etc/passwd", "/dev/zero", "/dev/stdin", "a\0b",
    "\ud800", "{0}", "{episode_index:99999999}", [], {}, [[]], [1, 2, 3], {"a": {"b": []}},
)  # fmt: skip


def damage(folder: Path, rng: Rng, others: list[Path]) -> str:
    """Damage one to three files of a recording; what was done, in words.

    `others` are files of whole recordings, for what gets mixed up.
    """
    told: list[str] = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
        if not files:
            break
        victim = _chosen(files, rng)
        ways = [*_ways(victim), *_ANY]
        way = ways[int(rng.integers(len(ways)))]
        way(victim, rng, others)
        told.append(f"{way.__name__.strip('_')} {victim.relative_to(folder)}")
    return ", ".join(told)


def _chosen(files: list[Path], rng: Rng) -> Path:
    """Control files as often as pictures and videos, of which there are many more."""
    media = [f for f in files if f.suffix in (".jpg", ".png", ".mp4")]
    control = [f for f in files if f not in media]
    pool = control if control and (not media or rng.random() < 0.6) else media
    return pool[int(rng.integers(len(pool)))]


def _ways(victim: Path) -> list[Callable[[Path, Rng, list[Path]], None]]:
    """What can be done to a file of this kind beside what can be done to any."""
    if victim.suffix in (".json", ".jsonl"):
        return [_field_of_json] * 8
    if victim.suffix in (".csv", ".txt"):
        return [_field_of_text] * 8
    if victim.suffix == ".parquet":
        return [_column_of_parquet] * 6
    if victim.suffix == ".mcap":
        return [_length_of_a_record] * 5
    if (victim.suffix == "" and "global_pose" in str(victim)) or "CAN" in str(victim):
        return [_array] * 5
    return []


def _flip(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = bytearray(victim.read_bytes())
    for place in rng.integers(0, max(len(data), 1), int(rng.integers(1, 64))):
        if data:
            data[place] = int(rng.integers(256))
    _replace(victim, bytes(data))


def _flip_one_bit(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = bytearray(victim.read_bytes())
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    _replace(victim, bytes(data))


def _cut(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = victim.read_bytes()
    _replace(victim, data[: int(rng.integers(len(data) + 1))])


def _cut_from_the_start(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = victim.read_bytes()
    _replace(victim, data[int(rng.integers(len(data) + 1)) :])


def _blank(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = bytearray(victim.read_bytes())
    at, some = int(rng.integers(len(data) + 1)), int(rng.integers(1, 4096))
    data[at : at + some] = bytes(len(data[at : at + some]))
    _replace(victim, bytes(data))


def _splice(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = victim.read_bytes()
    other = others[int(rng.integers(len(others)))].read_bytes()
    begin, end = sorted(int(v) for v in rng.integers(0, len(other) + 1, 2))
    at, gone = int(rng.integers(len(data) + 1)), int(rng.integers(0, 2000))
    _replace(victim, data[:at] + other[begin:end] + data[at + gone :])


def _double(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = victim.read_bytes()
    at, some = int(rng.integers(len(data) + 1)), int(rng.integers(1, 5000))
    _replace(victim, data[:at] + data[at : at + some] * int(rng.integers(1, 5)) + data[at:])


def _size_that_lies(victim: Path, rng: Rng, others: list[Path]) -> None:
    data = bytearray(victim.read_bytes())
    places = [found.start() for found in _MARKS.finditer(data)]
    if places and rng.random() < 0.8:
        at = places[int(rng.integers(len(places)))] + int(rng.choice([-4, -4, 4, 4, 8, 12, 16]))
    else:
        at = int(rng.integers(max(len(data) - 4, 1)))
    lie = int(_LIES[int(rng.integers(len(_LIES)))])
    if at >= 0 and len(data) >= at + 4:
        struct.pack_into(">I" if rng.random() < 0.6 else "<I", data, at, lie)
    _replace(victim, bytes(data))


def _another_file_under_its_name(victim: Path, rng: Rng, others: list[Path]) -> None:
    _replace(victim, others[int(rng.integers(len(others)))].read_bytes())


def _rename(victim: Path, rng: Rng, others: list[Path]) -> None:
    endings = [".mp4", ".mkv", ".avi", ".ts", ".mcap", ".hevc", ".jpg", ".json", "", ".webm"]
    ending = endings[int(rng.integers(len(endings)))]
    target = victim.with_name(victim.stem + ending)
    if not target.exists():
        victim.rename(target)


def _remove(victim: Path, rng: Rng, others: list[Path]) -> None:
    victim.unlink()


def _not_a_file(victim: Path, rng: Rng, others: list[Path]) -> None:
    how = int(rng.integers(4))
    victim.unlink()
    if how == 0:
        victim.mkdir()
    elif how == 1:
        os.mkfifo(victim)
    elif how == 2:
        victim.symlink_to(victim.name)  # to itself
    else:
        victim.symlink_to("/dev/zero")


def _field_of_json(victim: Path, rng: Rng, others: list[Path]) -> None:
    try:
        lines = victim.read_text().splitlines()
        many = victim.suffix == ".jsonl"
        document = [json.loads(line) for line in lines] if many else json.loads("\n".join(lines))
    except ValueError:
        return _flip(victim, rng, others)
    if rng.random() < 0.05:
        _replace(victim, b"[" * 200_000)
        return None
    leaf = document
    while isinstance(leaf, (dict, list)) and leaf:
        keys = list(leaf) if isinstance(leaf, dict) else list(range(len(leaf)))
        key = keys[int(rng.integers(len(keys)))]
        inner: Any = leaf[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.15:
            if rng.random() < 0.15:
                del leaf[key]
            else:
                leaf[key] = _VALUES[int(rng.integers(len(_VALUES)))]
            break
        leaf = inner
    text = "\n".join(json.dumps(one) for one in document) if many else json.dumps(document)
    _replace(victim, text.encode())
    return None


def _field_of_text(victim: Path, rng: Rng, others: list[Path]) -> None:
    lines = victim.read_text(errors="replace").splitlines()
    if not lines:
        return
    at = int(rng.integers(len(lines)))
    mark = "," if "," in lines[at] else " "
    cells = lines[at].split(mark)
    cells[int(rng.integers(len(cells)))] = str(_VALUES[int(rng.integers(len(_VALUES)))])
    lines[at] = mark.join(cells[: int(rng.integers(1, len(cells) + 1))] if at % 3 == 0 else cells)
    _replace(victim, "\n".join(lines * int(rng.choice([1, 1, 2]))).encode(errors="surrogatepass"))


def _column_of_parquet(victim: Path, rng: Rng, others: list[Path]) -> None:
    try:
        table = pq.read_table(victim)
    except (pa.ArrowException, OSError):
        return _flip(victim, rng, others)
    names = table.column_names
    at = int(rng.integers(len(names)))
    how = int(rng.integers(7))
    if how == 0:
        table = table.drop([names[at]])
    elif how == 1:
        table = table.slice(0, int(rng.integers(table.num_rows + 1)))
    elif how == 2:
        table = table.take(pa.array(rng.permutation(table.num_rows)))
    elif how == 3:
        table = table.rename_columns([*names[:at], "other", *names[at + 1 :]])
    else:
        fill = _VALUES[int(rng.integers(len(_VALUES)))]
        values = table.column(at).to_pylist()
        for k in range(len(values)):
            if how == 4 or rng.random() < 0.3:
                values[k] = fill
        try:
            table = table.set_column(at, names[at], pa.array(values))
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            table = table.set_column(
                at, names[at], pa.array([str(v)[:9] for v in range(len(values))])
            )
    victim.unlink()
    pq.write_table(table, str(victim))
    return None


def _length_of_a_record(victim: Path, rng: Rng, others: list[Path]) -> None:
    """Change the opcode, the length or the first bytes of one of an MCAP file's records."""
    data = bytearray(victim.read_bytes())
    places, at = [], 8
    while at + 9 <= len(data):
        places.append(at)
        at += 9 + int.from_bytes(data[at + 1 : at + 9], "little")
    if not places:
        return _flip(victim, rng, others)
    at = places[int(rng.integers(len(places)))]
    how = int(rng.integers(3))
    if how == 0:
        data[at] = int(rng.integers(256))
    elif how == 1:
        lie = int(rng.choice([0, 1, 40, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]))
        struct.pack_into("<Q", data, at + 1, lie)
    else:
        for place in range(at + 9, min(at + 60, len(data))):
            if rng.random() < 0.1:
                data[place] = int(rng.integers(256))
    _replace(victim, bytes(data))
    return None


def _array(victim: Path, rng: Rng, others: list[Path]) -> None:
    """A numpy array of another shape, kind or content, or a header that asks for too much."""
    how = int(rng.integers(5))
    if how == 0:
        _replace(victim, re.sub(rb"\(\d+", b"(99999999999", victim.read_bytes(), count=1))
        return
    try:
        array = np.load(victim)
    except (ValueError, OSError, EOFError):
        return
    if how == 1:
        array = array[: int(rng.integers(len(array) + 1))]
    elif how == 2:
        array = np.where(rng.random(array.shape) < 0.3, rng.choice([np.nan, np.inf, -1e300]), array)
    elif how == 3:
        array = rng.permutation(array)
    else:
        array = array.astype(rng.choice(["i1", "c16", "U3", "f2", "?"]))
    victim.unlink()
    with victim.open("wb") as file:
        np.save(file, array)


def _replace(victim: Path, data: bytes) -> None:
    """Write a new file: the old one's bytes may be another mutant's by a link."""
    victim.unlink()
    victim.write_bytes(data)


def _mixed_up(victim: Path, rng: Rng, others: list[Path]) -> None:
    """Two files of the recording change places."""
    beside = sorted(p for p in victim.parent.iterdir() if p.is_file() and p != victim)
    if beside:
        other = beside[int(rng.integers(len(beside)))]
        between = victim.with_name(".between")
        victim.rename(between)
        shutil.move(other, victim)
        shutil.move(between, other)


_ANY: list[Callable[[Path, Rng, list[Path]], None]] = [
    _flip, _flip, _flip_one_bit, _flip_one_bit, _cut, _cut, _cut_from_the_start, _blank, _splice,
    _splice, _double, _size_that_lies, _size_that_lies, _size_that_lies,
    _another_file_under_its_name, _rename, _remove, _not_a_file, _mixed_up,
]  # fmt: skip
