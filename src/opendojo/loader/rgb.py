"""Frames as RGB, for networks that take nothing else: decoded and converted by swscale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from opendojo.store import BadStore, Episode, Store
from opendojo.store.codec import make_decoder

__all__ = ["RgbDecoder"]


class RgbDecoder:
    """As `Store.decode`, giving RGB, eight bits a channel, pixel by pixel."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._decoders: dict[tuple[str, bytes], Any] = {}
        self._reformatter = VideoReformatter()

    def decode(
        self,
        episode: Episode,
        instants: Sequence[int],
        out: npt.NDArray[np.uint8],
        cameras: Sequence[str],
    ) -> None:
        """Decode rising instants into `out`, uint8 [instants, cameras, height * width * 3].

        Raises `ValueError` naming the clip where packets do not decode.
        """
        start = instants[0] - instants[0] % self._store.spec.gop_frames
        wanted = [instant - start for instant in instants]
        for place, camera in enumerate(cameras):
            head = self._store.extradata(episode, camera)
            packets = self._store.packets(episode, camera, start, wanted[-1] + 1)
            decoder = self._decoders.pop(head, None) or make_decoder(*head)
            done = 0
            try:
                for number, packet in enumerate(packets):
                    frames = decoder.decode(av.Packet(packet))
                    if len(frames) != 1 or frames[0].is_corrupt:
                        raise ValueError(f"packet {number} of a run is damaged")
                    while done < len(wanted) and wanted[done] == number:
                        self._convert(frames[0], out[done, place])
                        done += 1
            except (av.error.FFmpegError, ValueError) as error:
                clip = f"{self._store.url}: clip {episode.clip_id}, camera {camera}"
                cause = f"instants {start} to {instants[-1]}: {error}"
                raise BadStore(clip, cause, "run `opendojo store verify --decode`") from error
            self._decoders[head] = decoder

    def _convert(self, frame: Any, out: npt.NDArray[np.uint8]) -> None:
        picture = self._reformatter.reformat(frame, format="rgb24")
        (plane,) = picture.planes
        width, height = picture.width * 3, picture.height
        if plane.line_size == width:
            out.data[:] = memoryview(plane)[: width * height]
        else:
            lines = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * height)
            out.reshape(height, width)[:] = lines.reshape(height, -1)[:, :width]
