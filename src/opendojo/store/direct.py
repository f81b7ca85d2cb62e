"""H.264 decoded straight into the caller's memory: the one copy that PyAV cannot leave out.

A decoder asks its `get_buffer2` callback for the memory of each picture. PyAV has no way to set it,
so the very library that PyAV loaded is called through ctypes here. No offset is taken on trust: the
callback's field is where the library has put its own default, the reference count's is where a
decoded frame shows it, and the flags' is proved by the first key frame. Where anything is not as
expected `open_direct` gives None, and frames are copied as for other codecs.

The pictures that a decoder still refers to lie in the caller's memory: it is kept alive until the
next run of packets is through. Decoders read up to a line past a picture, so memory must go on for
a line after the last row.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

__all__ = ["DirectDecoder", "can_hold", "open_direct"]

_ALIGN = 64
"""What the library's vector code expects of a line."""
_H264 = 27
"""AV_CODEC_ID_H264."""
_KEY, _CORRUPT = 2, 1
"""AV_FRAME_FLAG_KEY and AV_FRAME_FLAG_CORRUPT."""
_WIDTH, _FORMAT = 104, 116
"""Offsets in AVFrame, the same since FFmpeg 3; height and a count of samples lie between them."""
_NONE, _YUV420P = -1, 0
"""AV_PIX_FMT_NONE and AV_PIX_FMT_YUV420P."""
_FLAGS_AFTER_BUF = 92
"""From `buf[0]` to `flags`: eight references, three pointers, two counts; proved before use."""
_PLANES = struct.Struct("<3Q40x3i20xQ")
"""The head of AVFrame: three of eight planes, three of eight line sizes, `extended_data`."""
_SHAPE = struct.Struct("<2i4xi")
"""Width, height and pixel format of an AVFrame."""
_FRAMES = 64
"""Frames of a decoder that are known by their address; it keeps 36 of them."""
_PACKET_DATA, _PACKET_SIZE = 24, 32
"""Offsets in AVPacket."""
_PADDING = 64
"""AV_INPUT_BUFFER_PADDING_SIZE."""

_Pointer = ctypes.c_void_p
_GET_BUFFER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int)
_FREE = ctypes.CFUNCTYPE(None, _Pointer, _Pointer)


def can_hold(width_px: int, height_px: int, out: npt.NDArray[np.uint8]) -> bool:
    """Whether pictures of that size can be decoded into the rows of `out`, uint8 [n, bytes]."""
    address, step = out.__array_interface__["data"][0], out.strides[0]  # cheaper than `ctypes`
    return (
        width_px % (2 * _ALIGN) == 0
        and height_px % 16 == 0
        and address % _ALIGN == 0
        and step % _ALIGN == 0
    )


class _Library:
    """The functions that are called, of the libraries PyAV has loaded."""

    def __init__(self) -> None:
        codec, util = _loaded("libavcodec"), _loaded("libavutil")

        def found(library: Any, name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            return function

        number, pointer = ctypes.c_int, _Pointer
        self.find = found(codec, "avcodec_find_decoder", pointer, number)
        self.context = found(codec, "avcodec_alloc_context3", pointer, pointer)
        self.parameters = found(codec, "avcodec_parameters_alloc", pointer)
        self.configure = found(codec, "avcodec_parameters_to_context", number, pointer, pointer)
        self.open = found(codec, "avcodec_open2", number, pointer, pointer, pointer)
        self.packet = found(codec, "av_packet_alloc", pointer)
        self.send = found(codec, "avcodec_send_packet", number, pointer, pointer)
        self.receive = found(codec, "avcodec_receive_frame", number, pointer, pointer)
        self.default = found(
            codec, "avcodec_default_get_buffer2", number, ctypes.c_uint64, ctypes.c_uint64, number
        )
        self.free_context = found(codec, "avcodec_free_context", None, pointer)
        self.free_parameters = found(codec, "avcodec_parameters_free", None, pointer)
        self.free_packet = found(codec, "av_packet_free", None, pointer)
        self.frame = found(util, "av_frame_alloc", pointer)
        self.free_frame = found(util, "av_frame_free", None, pointer)
        self.plane = found(util, "av_frame_get_plane_buffer", pointer, pointer, number)
        self.malloc = found(util, "av_malloc", pointer, ctypes.c_size_t)
        self.set = found(
            util, "av_opt_set_int", number, pointer, ctypes.c_char_p, ctypes.c_int64, number
        )
        self.replace = found(util, "av_buffer_replace", number, ctypes.c_uint64, pointer)
        create = found(
            util, "av_buffer_create", pointer, pointer, ctypes.c_size_t, pointer, pointer, number
        )
        # The library counts who uses the memory; it never frees it.
        self._nothing = _FREE(lambda opaque, data: None)
        self._byte = ctypes.create_string_buffer(1)
        self.owner = create(
            ctypes.addressof(self._byte), 1, ctypes.cast(self._nothing, _Pointer), None, 0
        )


def _loaded(name: str) -> Any:
    """The library of that name which this process has loaded. Raises `OSError`."""
    assert "h264" in av.codecs_available  # so PyAV has loaded it
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith(name):
            return ctypes.CDLL(path)
    raise OSError(f"{name} is not loaded")


@cache
def _library() -> _Library | None:
    try:
        return _Library()
    except (OSError, AttributeError):
        return None


def _address(data: bytes) -> int:
    # `ctypes.cast` would leave a cycle for the collector each time.
    return _Pointer.from_buffer(ctypes.c_char_p(data)).value or 0


class DirectDecoder:
    """One H.264 decoder that puts its pictures where it is told; see `open_direct`."""

    def __init__(self, library: _Library, extradata: bytes, width_px: int, height_px: int) -> None:
        self._library = library
        self._context = _Pointer(library.context(library.find(_H264)))
        self._packet, self._frame = _Pointer(library.packet()), _Pointer(library.frame())
        self._callback = _GET_BUFFER(self._get_buffer)
        self._send, self._receive = library.send, library.receive
        self._default, self._replace = library.default, library.replace
        self._owner = library.owner
        self._buf_at = 0
        self._target = 0
        luma = width_px * height_px
        self._layout = (luma, luma + luma // 4, width_px, width_px // 2)
        self._wanted = (width_px, height_px, _YUV420P)
        self._views: dict[int, Any] = {}
        self._held: tuple[Any, Any] = (None, None)
        self._configure(extradata)
        packet, frame = self._packet.value or 0, self._frame.value or 0
        self._data = ctypes.c_uint64.from_address(packet + _PACKET_DATA)
        self._size = ctypes.c_int.from_address(packet + _PACKET_SIZE)
        self._shape = (ctypes.c_ubyte * _SHAPE.size).from_address(frame + _WIDTH)
        self._flags: Any = None

    def _configure(self, extradata: bytes) -> None:
        library = self._library
        parameters = _Pointer(library.parameters())
        kinds = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_int))
        head = library.malloc(len(extradata) + _PADDING)
        ctypes.memset(head, 0, len(extradata) + _PADDING)
        ctypes.memmove(head, extradata, len(extradata))
        kinds[0], kinds[1] = 0, _H264  # video
        ctypes.cast(parameters, ctypes.POINTER(ctypes.c_uint64))[2] = head
        kinds[6] = len(extradata)
        failed = library.configure(self._context, parameters)
        library.free_parameters(ctypes.byref(parameters))
        if failed or library.set(self._context, b"threads", 1, 0):
            raise OSError("the decoder takes no settings")

    def start(self, key_packet: bytes) -> bool:
        """Open it and prove the offsets on a key frame; False where they are not as expected."""
        library, context = self._library, self._context.value or 0
        own = ctypes.cast(library.default, _Pointer).value
        words = (ctypes.c_uint64 * 128).from_address(context)
        places = [i for i, word in enumerate(words) if word == own]
        if len(places) != 1 or library.open(self._context, None, None):
            return False
        frame = self._frame.value or 0
        if _SHAPE.unpack(self._shape)[2] != _NONE:  # as the library leaves a frame without picture
            return False
        if self._pass(_address(key_packet), len(key_packet)):
            return False
        reference = library.plane(self._frame, 0)
        held = [i for i, word in enumerate((ctypes.c_uint64 * 64).from_address(frame))
                if word == reference]  # fmt: skip
        if len(held) != 1 or _SHAPE.unpack(self._shape) != self._wanted:
            return False
        self._buf_at = 8 * held[0]
        self._flags = ctypes.c_int.from_address(frame + self._buf_at + _FLAGS_AFTER_BUF)
        if self._flags.value != _KEY:
            return False
        callback = ctypes.cast(self._callback, _Pointer).value
        ctypes.c_uint64.from_address(context + 8 * places[0]).value = callback or 0
        return True

    def _get_buffer(self, context: int, frame: int, flags: int) -> int:
        """The library's question: where to put the next picture. Asked for each, so kept short."""
        view = self._views.get(frame)
        if view is None:
            if len(self._views) == _FRAMES:
                self._views.clear()
            view = self._views[frame] = (ctypes.c_ubyte * (_FORMAT + 4)).from_address(frame)
        target = self._target
        # Packets may carry headers of their own: other sides or another format would not fit.
        if not target or _SHAPE.unpack_from(view, _WIDTH) != self._wanted:
            return self._default(context, frame, flags)
        u, v, line, half = self._layout
        _PLANES.pack_into(view, 0, target, target + u, target + v, line, half, half, frame)
        self._target = 0
        return self._replace(frame + self._buf_at, self._owner)

    def hold(self, out: Any) -> None:
        """Keep the memory of a run alive until the run after the next begins."""
        self._held = (self._held[1], out)

    def run(self, data: bytes, sizes: Sequence[int], targets: Sequence[int | None]) -> None:
        """Decode packets that lie end to end in `data`, each to the address that is its target.

        0 decodes a packet to nowhere, None leaves it out. Raises `ValueError` where no whole
        picture comes of one.
        """
        send, receive, context = self._send, self._receive, self._context
        packet, frame, start, length = self._packet, self._frame, self._data, self._size
        address = _address(data)
        for place, (size, target) in enumerate(zip(sizes, targets, strict=True)):
            if target is not None:
                self._target, start.value, length.value = target, address, size
                failed = send(context, packet) or receive(context, frame)
                if failed or self._target:
                    raise ValueError(f"packet {place} of a run does not decode (code {failed})")
                if self._flags.value & _CORRUPT:
                    raise ValueError(f"packet {place} of a run is damaged")
            address += size

    def _pass(self, address: int, size: int) -> int:
        self._data.value, self._size.value = address, size
        # A packet without a buffer of its own is copied, with the padding that decoders want.
        failed = self._send(self._context, self._packet)
        return failed or self._receive(self._context, self._frame)

    def __del__(self) -> None:
        self._library.free_frame(ctypes.byref(self._frame))
        self._library.free_context(ctypes.byref(self._context))
        self._library.free_packet(ctypes.byref(self._packet))


def open_direct(
    extradata: bytes, key_packet: bytes, width_px: int, height_px: int
) -> DirectDecoder | None:
    """A decoder for packets with these headers; None where this machine's libraries differ.

    `key_packet` is any packet of theirs that holds a key frame: it proves that all is as expected.
    """
    library = _library()
    if library is None:
        return None
    try:
        decoder = DirectDecoder(library, extradata, width_px, height_px)
    except OSError:
        return None
    return decoder if decoder.start(key_packet) else None
