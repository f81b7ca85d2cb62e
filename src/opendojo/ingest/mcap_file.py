"""MCAP files: their messages in the order in which they lie, and what those of cameras say.

The container is that of mcap.dev/spec; the records are parsed by the `mcap` package (an extra), the
frame around each is read here, so that a length which lies is found out before anything is
allocated for it. Messages come as protobuf or JSON of Foxglove's schemas, or as ROS 2's CDR.
"""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from opendojo.clip import BadClip
from opendojo.ingest.content import reason, shown
from opendojo.store import foxglove

__all__ = ["LOG_SCHEMA", "MAGIC", "PICTURES", "Message", "decoder", "holds_picture", "messages"]

MAGIC = b"\x89MCAP0\r\n"
PICTURES = ("CompressedImage", "CompressedVideo")
"""Short names of the schemas that hold pictures."""
LOG_SCHEMA = "opendojo.Log"
"""JSON with the columns of `clip.Log` under their names; what `opendojo store export` writes."""
_LARGEST_RECORD_BYTES = 1 << 29
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 3, 4, 5, 6, 15
_HEAD_BYTES = 9
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_MEND = "copy it again, or mend it with `mcap recover`"

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message and what is known of its channel."""

    topic: str
    schema: str
    encoding: str
    log_time_ns: int
    data: bytes


def messages(file: str) -> Iterator[Message]:
    """Every message of a file, as they lie in it.

    Raises `BadClip` with the byte where the file is damaged or cut off, and without the `formats`
    extra.
    """
    try:
        from mcap.records import Channel, Schema
    except ImportError as fault:
        cause = "MCAP is read with the `formats` extra, which is not installed"
        remedy = "pip install opendojo[formats]"
        raise BadClip(shown(Path(file)), cause, remedy=remedy) from fault
    from mcap.data_stream import ReadDataStream

    schemas: dict[int, str] = {0: ""}
    channels: dict[int, Channel] = {}
    byte = 0
    try:
        for at, opcode, content in _records(file):
            byte = at
            if opcode == _SCHEMA:
                schema = Schema.read(ReadDataStream(io.BytesIO(content)))
                schemas[schema.id] = schema.name
            elif opcode == _CHANNEL:
                channel = Channel.read(ReadDataStream(io.BytesIO(content)))
                channels[channel.id] = channel
            elif opcode == _MESSAGE:
                number, _, log_time_ns, _ = _MESSAGE_HEAD.unpack_from(content)
                channel = channels[number]
                yield Message(
                    topic=channel.topic,
                    schema=schemas[channel.schema_id],
                    encoding=channel.message_encoding,
                    log_time_ns=log_time_ns,
                    data=content[_MESSAGE_HEAD.size :],
                )
    except _faults() as fault:
        cause = f"{type(fault).__name__} {fault}" if isinstance(fault, KeyError) else reason(fault)
        raise BadClip(shown(Path(file)), cause, remedy=_MEND, byte=byte) from fault


def _faults() -> tuple[type[BaseException], ...]:
    """What broken records lead to."""
    from mcap.exceptions import McapError

    shapes = (ValueError, KeyError, OverflowError, RuntimeError, struct.error)
    return (McapError, OSError, EOFError, *shapes)


def _records(file: str) -> Iterator[tuple[int, int, bytes]]:
    """Byte, opcode and content of each record of the data section, chunks opened."""
    size = Path(file).stat().st_size
    with Path(file).open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise ValueError("does not begin as an MCAP file does")
        while True:
            at = stream.tell()
            opcode, length = _head(stream)
            if at + _HEAD_BYTES + length > size:
                raise ValueError("a record goes on beyond the end: the file was cut off")
            if opcode == _DATA_END:
                return
            if opcode not in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
                stream.seek(length, os.SEEK_CUR)
                continue
            if length > _LARGEST_RECORD_BYTES:
                raise ValueError(f"a record of {length >> 20} MiB")
            content = stream.read(length)
            if opcode != _CHUNK:
                yield at, opcode, content
                continue
            for inner, body in _chunk(content):
                yield at, inner, body


def _head(stream: BinaryIO) -> tuple[int, int]:
    head = stream.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES:
        raise ValueError("ends without its end mark: the recording was cut off")
    return head[0], int.from_bytes(head[1:], "little")


def _chunk(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of a chunk, its check sum and size held against what they should be."""
    from mcap.data_stream import ReadDataStream
    from mcap.records import Chunk

    chunk = Chunk.read(ReadDataStream(io.BytesIO(content)))
    if chunk.uncompressed_size > _LARGEST_RECORD_BYTES:
        raise ValueError(f"a chunk of {chunk.uncompressed_size >> 20} MiB")
    data = _opened(chunk.compression, chunk.data, chunk.uncompressed_size)
    if len(data) != chunk.uncompressed_size:
        raise ValueError("a chunk is not of the size it claims")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("a chunk does not fit its check sum")
    at = 0
    while at < len(data):
        end = at + _HEAD_BYTES + int.from_bytes(data[at + 1 : at + _HEAD_BYTES], "little")
        if end > len(data):
            raise ValueError("a record goes on beyond its chunk")
        yield data[at], data[at + _HEAD_BYTES : end]
        at = end


def _opened(compression: str, data: bytes, size: int) -> bytes:
    """At most one byte more than `size`, so that what claims too little is found out."""
    if compression == "zstd":
        import zstandard

        try:
            return zstandard.ZstdDecompressor().stream_reader(data).read(size + 1)
        except zstandard.ZstdError as fault:
            raise ValueError(f"a chunk cannot be decompressed: {fault}") from fault
    if compression == "lz4":
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    if compression:
        raise ValueError(f"chunks compressed by {compression!r}: zstd and lz4 are read")
    return data


def decoder(schema: str, encoding: str) -> tuple[str, Callable[[bytes], Fields]] | None:
    """The short name of a schema known here and what takes its messages apart, else None.

    Fields come under the names that Foxglove's protobuf schemas give them. What is no such message
    raises `ValueError`.
    """
    short = schema.replace("::", "/").replace(".", "/").rpartition("/")[2]
    known = f"foxglove.{short}"
    if encoding == "cdr" and short in PICTURES:
        stamped = schema.startswith("sensor_msgs")
        return short, lambda data: _cdr_picture(data, format_first=stamped)
    if schema == LOG_SCHEMA and encoding == "json":
        return LOG_SCHEMA, _json
    if schema != known or known not in foxglove.MESSAGES:
        return None
    if encoding == "protobuf":
        return short, lambda data: foxglove.decode(known, data)
    return (short, _json) if encoding == "json" else None


def holds_picture(message: Message) -> bool:
    """Whether a message is of a schema of pictures that is read here."""
    known = decoder(message.schema, message.encoding)
    return known is not None and known[0] in PICTURES


def _json(data: bytes) -> Fields:
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("a message of JSON is no object")
    time = fields.get("timestamp")
    if isinstance(time, dict):
        fields["timestamp"] = {
            "seconds": int(time.get("sec", 0)),
            "nanos": int(time.get("nsec", 0)),
        }
    if isinstance(fields.get("data"), str):
        fields["data"] = base64.b64decode(fields["data"], validate=True)
    return fields


def _cdr_picture(data: bytes, *, format_first: bool) -> Fields:
    """A picture as ROS 2 writes it: time, frame, then format and data in either order."""
    order = "<" if data[1:2] == b"\x01" else ">"
    at = 4  # the head that names the byte order

    def number() -> int:
        nonlocal at
        at += -at % 4
        (value,) = struct.unpack_from(f"{order}I", data, at)
        at += 4
        return value

    def some() -> bytes:
        nonlocal at
        size = number()
        if at + size > len(data):
            raise ValueError("a field is longer than its message")
        at += size
        return data[at - size : at]

    try:
        time = {"seconds": number(), "nanos": number()}
        frame_id = some().rstrip(b"\0").decode()
        first, second = some(), some()
    except struct.error as fault:
        raise ValueError("a message of CDR is cut short") from fault
    form, picture = (first, second) if format_first else (second, first)
    fields = {"timestamp": time, "frame_id": frame_id, "data": picture}
    return fields | {"format": form.rstrip(b"\0").decode()}
