"""The hot path: raw packets by offset from a memory map into one reused decoder.

No demuxer, no seek, no RGB. A group of pictures is closed and starts at a known packet, so any
instant is reached by decoding at most `gop_frames` packets. On one core this is as fast as a C
program that does the same (`docs/log.md`).
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from opendojo.clip import pack_planes

__all__ = ["PacketIndex", "PacketReader"]

_OPEN_FILES = 256
"""Memory maps kept at once; the one used longest ago is closed first."""


class PacketIndex:
    """Where each packet of a part lies: an Arrow file, memory mapped, nothing copied."""

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            self._table = pa.ipc.open_file(source).read_all()
        self._columns: dict[str, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._table.num_rows

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column as a numpy array over the map."""
        column = self._columns.get(name)
        if column is None:
            chunks = self._table.column(name).chunks
            assert len(chunks) == 1, "an index file is written as one batch"
            column = self._columns[name] = chunks[0].to_numpy(zero_copy_only=True)
        return column


class _Video:
    """A mapped MP4 with the decoder settings its header holds."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            self.extradata = bytes(context.extradata or b"")
            self.codec = context.name
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class PacketReader:
    """Decodes chosen frames of packet runs; not for use by two threads at once."""

    def __init__(self) -> None:
        self._videos: OrderedDict[Path, _Video] = OrderedDict()
        self._decoders: dict[tuple[str, bytes], Any] = {}

    def decode(
        self,
        path: Path,
        offsets: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int32],
        wanted: Sequence[int],
        out: npt.NDArray[np.uint8],
    ) -> None:
        """Decode a run of packets that starts at a key packet; keep the frames wanted.

        `wanted` are places in the run, rising (one may repeat); frame wanted[i] is packed into
        out[i], uint8 [6, height / 2, width / 2] (`clip.pack_planes`). Raises `ValueError` where
        the packets do not decode to the frames they should.
        """
        video = self._video(path)
        decoder = self._decoder(video)
        last, done, place = wanted[-1], 0, 0
        try:
            for packet in self._packets(video, offsets[: last + 1], sizes[: last + 1]):
                for frame in decoder.decode(packet):
                    while done < len(wanted) and wanted[done] == place:
                        _pack(frame, out[done])
                        done += 1
                    place += 1
        except av.error.FFmpegError as error:
            raise ValueError(f"{path}: a packet does not decode ({error})") from error
        finally:
            decoder.flush_buffers()
        if done != len(wanted):
            raise ValueError(f"{path}: {place} frames decoded of {last + 1}: run `store verify`")

    def _packets(self, video: _Video, offsets: Any, sizes: Any) -> Any:
        for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
            yield av.Packet(video.map[offset : offset + size])
        yield None  # drains the decoder

    def _video(self, path: Path) -> _Video:
        video = self._videos.get(path)
        if video is None:
            video = self._videos[path] = _Video(path)
            if len(self._videos) > _OPEN_FILES:
                self._videos.popitem(last=False)
        self._videos.move_to_end(path)
        return video

    def _decoder(self, video: _Video) -> Any:
        key = (video.codec, video.extradata)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = av.CodecContext.create(video.codec, "r")
            decoder.extradata = video.extradata
            decoder.thread_count = 1
        return decoder


def _pack(frame: Any, out: npt.NDArray[np.uint8]) -> None:
    height, width = frame.height, frame.width
    planes: list[Any] = []
    for plane, (rows, columns) in zip(
        frame.planes,
        ((height, width), (height // 2, width // 2), (height // 2, width // 2)),
        strict=True,
    ):
        whole = np.frombuffer(plane, np.uint8, plane.line_size * rows)
        planes.append(whole.reshape(rows, plane.line_size)[:, :columns])
    pack_planes(planes[0], planes[1], planes[2], out)
