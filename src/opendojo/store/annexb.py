"""Packets of an MP4 as a stream without a container: what its header holds goes into them.

An MP4 keeps the parameter sets of H.264 and H.265 in its header and puts a length before each unit
(ISO 14496-15); a stream has a start code there, and its parameter sets before each key frame
(Annex B of either standard). AV1's units carry their lengths in both; a stream repeats the sequence
header (av1-isobmff, section 2.3).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["STREAM_FORMATS", "stream_packets"]

STREAM_FORMATS = {"h264": "h264", "hevc": "h265", "av1": "av1"}
"""Codecs that can be written as a stream, and what Foxglove calls them."""
_START = b"\0\0\0\1"
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2


def stream_packets(codec: str, extradata: bytes) -> Callable[[bytes, bool], bytes]:
    """What turns a packet of an MP4, and whether it is a key frame, into one of a stream.

    Raises `ValueError` for a codec that is not of `STREAM_FORMATS`.
    """
    if codec == "av1":
        # four bytes of av1C, then the units it repeats
        return lambda packet, key: _units(packet, extradata[4:] if key else b"")
    if codec == "h264":
        sets, length_bytes = _h264_sets(extradata)
    elif codec == "hevc":
        sets, length_bytes = _hevc_sets(extradata)
    else:
        raise ValueError(
            f"{codec} video cannot be written as a stream: "
            f"ingest into a store with codec {' or '.join(STREAM_FORMATS)}"
        )
    head = b"".join(_START + one for one in sets)
    return lambda packet, key: (head if key else b"") + _started(packet, length_bytes)


def _started(packet: bytes, length_bytes: int) -> bytes:
    """Start codes in place of lengths."""
    out, at = b"", 0
    while at < len(packet):
        size = int.from_bytes(packet[at : at + length_bytes], "big")
        at += length_bytes
        if size == 0 or at + size > len(packet):
            raise ValueError("a packet's units do not fill it: run `opendojo store verify`")
        out += _START + packet[at : at + size]
        at += size
    return out


def _h264_sets(avcc: bytes) -> tuple[list[bytes], int]:
    """Parameter sets of an avcC box and the bytes of a length (ISO 14496-15, 5.3.3.1)."""
    sets, at = [], 5
    for mask in (0x1F, 0xFF):  # sequence sets, then picture sets
        count = avcc[at] & mask
        at += 1
        for _ in range(count):
            one, at = _sized(avcc, at)
            sets.append(one)
    return sets, (avcc[4] & 3) + 1


def _hevc_sets(hvcc: bytes) -> tuple[list[bytes], int]:
    """Parameter sets of an hvcC box and the bytes of a length (ISO 14496-15, 8.3.3.1)."""
    sets, at = [], 23
    for _ in range(hvcc[22]):
        count = int.from_bytes(hvcc[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            one, at = _sized(hvcc, at)
            sets.append(one)
    return sets, (hvcc[21] & 3) + 1


def _sized(box: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(box[at : at + 2], "big")
    return box[at + 2 : end], end


def _units(packet: bytes, header: bytes) -> bytes:
    """An AV1 packet with its sequence header, unless it has it itself."""
    first = packet[0] >> 3 & 0xF
    if first == _TEMPORAL_DELIMITER:
        first = packet[2] >> 3 & 0xF
    return packet if first == _SEQUENCE_HEADER else header + packet
