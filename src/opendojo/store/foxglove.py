"""The few Foxglove messages that recordings of cameras need, as bytes of protobuf and back.

Protocol buffers are a number and a value at a time (protobuf.dev/programming-guides/encoding), and
the numbers of a published schema do not change: a table of them takes the place of a compiler and
of a dependency. `descriptor_set` writes the same table as the `FileDescriptorSet` that an MCAP file
carries, so any other reader understands the messages without knowing them. Numbers are those of
github.com/foxglove/foxglove-sdk, schemas/proto.

    data = encode("foxglove.CompressedVideo", {"frame_id": "front", "data": packet})
    decode("foxglove.CompressedVideo", data)["data"]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["MESSAGES", "decode", "descriptor_set", "encode", "nanoseconds", "timestamp"]

_TIME = "google.protobuf.Timestamp"
_VECTOR, _QUATERNION, _POSE = "foxglove.Vector3", "foxglove.Quaternion", "foxglove.Pose"
_XYZ = {"x": (1, "double"), "y": (2, "double"), "z": (3, "double")}

# fmt: off
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    _TIME: {"seconds": (1, "int64"), "nanos": (2, "int32")},
    _VECTOR: _XYZ,
    _QUATERNION: {**_XYZ, "w": (4, "double")},
    _POSE: {"position": (1, _VECTOR), "orientation": (2, _QUATERNION)},
    "foxglove.CompressedImage": {
        "timestamp": (1, _TIME), "data": (2, "bytes"), "format": (3, "string"),
        "frame_id": (4, "string"),
    },
    "foxglove.CompressedVideo": {
        "timestamp": (1, _TIME), "frame_id": (2, "string"), "data": (3, "bytes"),
        "format": (4, "string"),
    },
    "foxglove.CameraCalibration": {
        "timestamp": (1, _TIME), "width": (2, "fixed32"), "height": (3, "fixed32"),
        "distortion_model": (4, "string"), "D": (5, "doubles"), "K": (6, "doubles"),
        "R": (7, "doubles"), "P": (8, "doubles"), "frame_id": (9, "string"),
    },
    "foxglove.FrameTransform": {
        "timestamp": (1, _TIME), "parent_frame_id": (2, "string"),
        "child_frame_id": (3, "string"), "translation": (4, _VECTOR), "rotation": (5, _QUATERNION),
    },
    "foxglove.PoseInFrame": {
        "timestamp": (1, _TIME), "frame_id": (2, "string"), "pose": (3, _POSE),
    },
    "foxglove.LocationFix": {
        "latitude": (1, "double"), "longitude": (2, "double"), "altitude": (3, "double"),
        "timestamp": (6, _TIME), "frame_id": (7, "string"),
    },
}
# fmt: on
"""Each message's fields: name to number and kind, which is a scalar or another message."""

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_WIRE = {"int64": _VARINT, "int32": _VARINT, "double": _EIGHT, "fixed32": _FOUR}
"""How a kind is written; all others carry their length."""
_TYPE_NUMBERS = {"double": 1, "doubles": 1, "int64": 3, "int32": 5, "fixed32": 7, "string": 9,
                 "bytes": 12}  # fmt: skip
_TYPE_MESSAGE = 11
_OPTIONAL, _REPEATED = 1, 3
_LONGEST_VARINT = 10


def timestamp(time_ns: int) -> dict[str, int]:
    """A time in nanoseconds since 1970 as the fields of a Timestamp."""
    return {"seconds": time_ns // 10**9, "nanos": time_ns % 10**9}


def nanoseconds(fields: Mapping[str, Any]) -> int:
    """Undo `timestamp`."""
    return fields.get("seconds", 0) * 10**9 + fields.get("nanos", 0)


def encode(message: str, values: Mapping[str, Any]) -> bytes:
    """A message of `MESSAGES` as bytes; `values` by field name, those left out at their default."""
    fields = MESSAGES[message]
    assert values.keys() <= fields.keys(), (message, sorted(values))
    return b"".join(_field(*fields[name], value) for name, value in values.items())


def _field(number: int, kind: str, value: Any) -> bytes:
    wire = _WIRE.get(kind, _LENGTH)
    tag = _varint(number << 3 | wire)
    if wire == _VARINT:
        return tag + _varint(value & (1 << 64) - 1)
    if wire == _EIGHT:
        return tag + struct.pack("<d", value)
    if wire == _FOUR:
        return tag + struct.pack("<I", value)
    if kind == "doubles":
        body = struct.pack(f"<{len(value)}d", *value)
    elif kind == "string":
        body = value.encode()
    else:
        body = value if kind == "bytes" else encode(kind, value)
    return tag + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def decode(message: str, data: bytes) -> dict[str, Any]:
    """The known fields of a message that are there, by name; messages within it as dictionaries.

    Raises `ValueError` where `data` is no such message.
    """
    known = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    out: dict[str, Any] = {}
    for number, wire, value in _wire_fields(data):
        name, kind = known.get(number, ("", ""))
        if not name:
            continue
        if kind == "doubles":
            out.setdefault(name, []).extend(_doubles(wire, value))
            continue
        if wire != _WIRE.get(kind, _LENGTH):
            raise ValueError(f"field {name} of {message} is not a {kind}")
        out[name] = _value(kind, value)
    return out


def _value(kind: str, value: Any) -> Any:
    if kind == "double":
        return struct.unpack("<d", value)[0]
    if kind == "fixed32":
        return struct.unpack("<I", value)[0]
    if kind in ("int64", "int32"):
        return value - (1 << 64) if value >> 63 else value
    if kind == "string":
        return value.decode()
    return value if kind == "bytes" else decode(kind, value)


def _doubles(wire: int, value: Any) -> list[float]:
    """Numbers of a repeated field, packed or one at a time."""
    if wire not in (_EIGHT, _LENGTH) or len(value) % 8:
        raise ValueError("a list of numbers is cut short")
    return list(struct.unpack(f"<{len(value) // 8}d", value))


def _wire_fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and raw value of each field."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield tag >> 3, wire, value
            continue
        if wire == _LENGTH:
            size, at = _read_varint(data, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"wire type {wire} is not of this format")
        if at + size > len(data):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, wire, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, at + place + 1
    raise ValueError("a number does not end")


def descriptor_set(message: str) -> bytes:
    """The `FileDescriptorSet` of a message and those within it, for an MCAP schema record."""
    files = b""
    for name in _within(message):
        needs = dict.fromkeys(kind for _, kind in MESSAGES[name].values() if kind in MESSAGES)
        package, _, short = name.rpartition(".")
        body = _text(1, _proto_file(name)) + _text(2, package)
        body += b"".join(_text(3, _proto_file(need)) for need in needs)
        body += _bytes(4, _message_type(short, MESSAGES[name])) + _text(12, "proto3")
        files += _bytes(1, body)
    return files


def _within(message: str) -> list[str]:
    """A message and those it is made of, the innermost first."""
    order: dict[str, None] = {}
    for _, kind in MESSAGES[message].values():
        if kind in MESSAGES:
            order |= dict.fromkeys(_within(kind))
    return [*order, message]


def _proto_file(message: str) -> str:
    if message == _TIME:
        return "google/protobuf/timestamp.proto"
    return message.replace(".", "/") + ".proto"


def _message_type(name: str, fields: Mapping[str, tuple[int, str]]) -> bytes:
    body = _text(1, name)
    for field, (number, kind) in fields.items():
        one = _text(1, field) + _number(3, number)
        one += _number(4, _REPEATED if kind == "doubles" else _OPTIONAL)
        one += _number(5, _TYPE_NUMBERS.get(kind, _TYPE_MESSAGE))
        one += _text(6, f".{kind}") if kind in MESSAGES else b""
        body += _bytes(2, one)
    return body


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())
