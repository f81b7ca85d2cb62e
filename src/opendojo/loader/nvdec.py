"""Frames decoded by the GPU's own decoders (NVDEC), from packets to a batch on the device.

PyAV's wheels bring FFmpeg's CUDA decoders, so a driver is all that is needed beside them. The
processor reads packets and makes labels; pictures never are in its memory. H.264, HEVC and AV1 say
what every bit of a decoded picture is, so a GPU gives the bits that the processor gives; MPEG-2
leaves the rounding of its transform open, so its pictures may differ by a level or two.

The decoder is a seam of one function: `open_nvdec` on a GPU, `open_software` in tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from opendojo.loader.batch import Batch
from opendojo.loader.reader import Reader, Window
from opendojo.loader.ring import RowsLayout, row_fields
from opendojo.store import BadStore, Store
from opendojo.store.codec import CODECS, make_decoder

if TYPE_CHECKING:
    from opendojo.loader.loader import Loader

__all__ = ["OpenDecoder", "device_batches", "open_nvdec", "open_software"]

OpenDecoder = Callable[[str, bytes, torch.device], Any]
"""From codec, extradata and device to a decoder that gives each frame with its packet."""


def open_nvdec(codec: str, extradata: bytes, device: torch.device) -> Any:
    """A decoder whose frames stay on the GPU. Raises `ValueError` where there is none for it."""
    from av.codec.hwaccel import HWAccel

    hardware = HWAccel(
        "cuda", device=str(device.index or 0), allow_software_fallback=False, is_hw_owned=True
    )
    # libdav1d has no hardware behind it, FFmpeg's own AV1 decoder has nothing else.
    name = "av1" if codec == "av1" else CODECS[codec].decoder
    try:
        decoder: Any = av.CodecContext.create(name, "r", hwaccel=hardware)
    except (av.error.FFmpegError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"no NVDEC decoder for {codec} on {device} ({error}): set LoaderConfig.decoder to cpu"
        ) from error
    if extradata:
        decoder.extradata = extradata
    return decoder


def open_software(codec: str, extradata: bytes, device: torch.device) -> Any:
    """The processor's decoder under the same seam, for tests."""
    return make_decoder(codec, extradata)


def device_batches(
    loader: Loader,
    stores: Sequence[Store],
    window_ids: Iterator[npt.NDArray[np.int64]],
    device: torch.device,
    open_decoder: OpenDecoder = open_nvdec,
) -> Iterator[Batch]:
    """Batches of these windows on `device`, each the caller's own, made one ahead by a thread.

    Raises `ValueError` naming the clip where packets do not decode.
    """
    maker = _Maker(loader, stores, device, open_decoder)
    ahead: deque[Future[tuple[Batch, Any]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="nvdec") as pool:
        try:
            for ids in window_ids:
                ahead.append(pool.submit(maker.make, ids))
                if len(ahead) > 1:
                    yield maker.hand_over(*ahead.popleft().result())
            while ahead:
                yield maker.hand_over(*ahead.popleft().result())
        finally:
            for future in ahead:
                future.cancel()


class _Maker:
    """Makes batches in one thread."""

    def __init__(
        self, loader: Loader, stores: Sequence[Store], device: torch.device, opened: OpenDecoder
    ) -> None:
        self._table, self._config = loader.table, loader.config
        self._stores, self._device, self._open = stores, device, opened
        self._height, self._width = loader.height_px, loader.width_px
        self._reader = Reader(stores, loader.config, None)
        self._decoders: dict[tuple[str, bytes], Any] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(self, window_ids: npt.NDArray[np.int64]) -> tuple[Batch, Any]:
        """A batch, and the event after which it is whole."""
        with torch.cuda.stream(self._stream):  # no stream changes nothing
            batch = self._filled(window_ids)
            if self._stream is None:
                return batch, None
            event = torch.cuda.Event()
            event.record(self._stream)
            return batch, event

    def hand_over(self, batch: Batch, event: Any) -> Batch:
        """Let the caller's stream wait for it."""
        if event is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_event(event)
            for tensor in batch.tensors().values():
                tensor.record_stream(now)
        return batch

    def _filled(self, window_ids: npt.NDArray[np.int64]) -> Batch:
        window, cameras = self._config.window, len(self._config.cameras)
        count = len(window_ids)
        layout = RowsLayout(
            fields=row_fields(window.frames, cameras, window.path_points, 0), rows=count
        )
        rows = layout.views(bytearray(layout.bytes), 0)
        rows["window_id"][:] = window_ids
        orders = self._table.orders(window_ids)
        windows = self._reader.label(orders, list(range(count)), rows)
        labels = Batch.of_rows(rows, self._height, self._width).to(self._device)
        shape = (count, window.frames, cameras, self._height * self._width * 3 // 2)
        yuv = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        for one in windows:
            for slot in one.slots:
                self._decode(one, self._config.cameras[slot], yuv[one.row, :, slot])
        return labels.with_yuv(yuv)

    def _decode(self, window: Window, camera: str, out: Tensor) -> None:
        """A window of one camera into `out`, uint8 [instants, frame_bytes] on the device."""
        store, episode = self._stores[window.store], window.episode
        instants = window.instants.tolist()
        start = instants[0] - instants[0] % store.spec.gop_frames
        head = store.extradata(episode, camera)
        decoder = self._decoders.pop(head, None) or self._open(*head, self._device)
        try:
            packets = store.packets(episode, camera, start, instants[-1] + 1 - start)
            for place, packet in enumerate(packets, start):
                frames = decoder.decode(av.Packet(packet))
                if len(frames) != 1 or frames[0].is_corrupt:
                    raise ValueError(f"packet {place} is damaged")
                for row in (row for row, instant in enumerate(instants) if instant == place):
                    self._copy(frames[0], out[row])
        except (av.error.FFmpegError, ValueError) as error:
            clip = f"{store.url}: clip {episode.clip_id}, camera {camera}"
            raise BadStore(clip, str(error), "run `opendojo store verify --decode`") from error
        self._decoders[head] = decoder  # one that went wrong is not used again

    def _copy(self, frame: Any, out: Tensor) -> None:
        """The planes of a frame, three (4:2:0) or two (NV12), one after another."""
        luma, half = self._height * self._width, (self._height // 2, self._width // 2)
        planes = [torch.from_dlpack(plane) for plane in frame.planes]
        out[:luma].view(self._height, self._width).copy_(planes[0])
        chroma = out[luma:].view(2, *half)
        if len(planes) == 2:
            chroma.copy_(planes[1].movedim(-1, 0))
        else:
            chroma[0].copy_(planes[1])
            chroma[1].copy_(planes[2])
