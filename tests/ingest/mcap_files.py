"""MCAP recordings that tests make, in the encodings that recorders use."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from mcap.writer import CompressionType, Writer
from PIL import Image
from recordings import marked

from opendojo.store.foxglove import descriptor_set, encode, timestamp

Message = tuple[str, str, int, dict[str, Any]]
"""Topic, schema, time in nanoseconds, fields."""
START_NS = 1_700_000_000_123_456_789


def write_mcap(
    path: Path,
    messages: Iterable[Message],
    *,
    encoding: str = "protobuf",
    compression: CompressionType = CompressionType.ZSTD,
    chunk_bytes: int = 1 << 20,
    chunked: bool = True,
) -> Path:
    """Write messages in their order, all in one encoding."""
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, chunk_size=chunk_bytes, use_chunking=chunked)
        writer.start()
        channels: dict[str, int] = {}
        for topic, schema, time_ns, fields in messages:
            if topic not in channels:
                known = descriptor_set(schema) if encoding == "protobuf" else b""
                named = {"protobuf": "protobuf", "json": "jsonschema", "cdr": "ros2msg"}
                number = writer.register_schema(schema, named[encoding], known)
                channels[topic] = writer.register_channel(topic, encoding, number)
            data = ENCODERS[encoding](schema, fields)
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return path


def _protobuf(schema: str, fields: dict[str, Any]) -> bytes:
    return encode(schema, fields)


def _json(schema: str, fields: dict[str, Any]) -> bytes:
    out = dict(fields)
    if "timestamp" in out:
        time = out["timestamp"]
        out["timestamp"] = {"sec": time["seconds"], "nsec": time["nanos"]}
    if "data" in out:
        out["data"] = base64.b64encode(out["data"]).decode()
    return json.dumps(out).encode()


def _cdr(schema: str, fields: dict[str, Any]) -> bytes:
    """A CompressedImage of ROS 2, little endian."""
    out = b"\0\1\0\0" + struct.pack("<II", *fields["timestamp"].values())
    frame = fields["frame_id"].encode() + b"\0"
    form = fields["format"].encode() + b"\0"
    data = fields["data"]
    for part in (frame, form, data) if schema.startswith("sensor") else (frame, data, form):
        out += bytes(-len(out) % 4) + struct.pack("<I", len(part)) + part
    return out


ENCODERS: dict[str, Callable[[str, dict[str, Any]], bytes]] = {
    "protobuf": _protobuf,
    "json": _json,
    "cdr": _cdr,
}


def still(index: int, form: str = "png", size: tuple[int, int] = (64, 48)) -> bytes:
    """A `marked` picture as JPEG or PNG."""
    out = io.BytesIO()
    Image.fromarray(marked(*size, index).to_ndarray(format="rgb24")).save(out, form)
    return out.getvalue()


def stills(
    topic: str,
    count: int = 8,
    *,
    schema: str = "foxglove.CompressedImage",
    period_ms: float = 100,
    offset_ms: float = 0,
    form: str = "png",
) -> list[Message]:
    """Pictures of one camera."""
    messages: list[Message] = []
    for k in range(count):
        time_ns = START_NS + round((offset_ms + k * period_ms) * 1e6)
        fields = {
            "timestamp": timestamp(time_ns),
            "frame_id": topic.strip("/"),
            "format": form,
            "data": still(k, form),
        }
        messages.append((topic, schema, time_ns, fields))
    return messages


def stream(codec: str, count: int, size: tuple[int, int] = (64, 64), gop: int = 4) -> list[bytes]:
    """Packets of a video without a container, one a frame, headers before each key frame."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.framerate, encoder.gop_size = "yuv420p", 10, gop
    encoder.time_base = 1 / encoder.framerate
    encoder.max_b_frames, encoder.thread_count = 0, 1
    if codec == "libx264":
        encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    elif codec == "libx265":
        encoder.options = {"x265-params": "bframes=0:log-level=none:repeat-headers=1"}
    packets: list[bytes] = []
    for k in range(count):
        picture = marked(*size, k)
        picture.pts = k
        packets += [bytes(packet) for packet in encoder.encode(picture)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


def video(topic: str, form: str, packets: list[bytes], period_ms: float = 100) -> list[Message]:
    """A camera whose pictures are packets of a stream."""
    messages: list[Message] = []
    for k, packet in enumerate(packets):
        time_ns = START_NS + round(k * period_ms * 1e6)
        fields = {
            "timestamp": timestamp(time_ns),
            "frame_id": topic.strip("/"),
            "format": form,
            "data": packet,
        }
        messages.append((topic, "foxglove.CompressedVideo", time_ns, fields))
    return messages


def pose(k: int, period_ms: float = 100) -> Message:
    """A vehicle on a straight line to the left-forward, 5 m/s."""
    time_ns = START_NS + round(k * period_ms * 1e6)
    far_m = 0.5 * k
    half = np.pi / 8
    fields = {
        "timestamp": timestamp(time_ns),
        "frame_id": "map",
        "pose": {
            "position": {"x": far_m * np.cos(np.pi / 4), "y": far_m * np.sin(np.pi / 4)},
            "orientation": {"z": float(np.sin(half)), "w": float(np.cos(half))},
        },
    }
    return "/pose", "foxglove.PoseInFrame", time_ns, fields
