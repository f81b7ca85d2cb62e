"""The codec dial: how each codec is asked for short closed groups that decode fast or pack small.

All four are set up so that every packet gives its frame at once (no B frames, low delay) and so
that the headers depend on size, rate and preset but never on a clip's quality: packets of clips
that were encoded apart then share one file and one decoder. For x264 that takes `stitchable`, which
keeps the quality out of the picture parameter set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.codec.context import Flags

if TYPE_CHECKING:
    from opendojo.store.layout import StoreSpec

__all__ = ["CODECS", "Codec", "make_decoder", "make_encoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One setting of the dial."""

    encoder: str
    """FFmpeg's name of the encoder."""
    decoder: str
    """FFmpeg's name of the decoder."""
    stream: str
    """FFmpeg's name of the format, as LeRobot's `video.codec` has it."""
    best: int
    """The best quality number."""
    worst: int
    """The worst quality number."""
    usual: int
    """The quality number taken where none is asked for: 41 to 45 dB on road footage."""
    least_px: int = 16
    """The smallest side it takes."""
    headers_in_band: bool = False
    """Whether every group repeats the headers, so that none are kept beside the packets."""
    flags: int
    """Of the encoder, as `av.codec.context.Flags`."""
    options: Callable[[int, int, str], dict[str, str]]
    """Encoder options from quality number, frames of a group and preset."""
    low_delay: bool = False
    """Whether its decoder has to be told to hand out each frame at once."""


def _x264(crf: int, gop: int, preset: str) -> dict[str, str]:
    # No CABAC, no deblocking, one slice: 1.9 times the decoding speed of x264's defaults for a
    # quarter more bytes. Psychovisual tuning spends bits where people look, not where PSNR counts.
    # Whole macroblocks (no partitions) decode faster still. With mbtree and without adaptive
    # quantisation x264 is not deterministic: equal pictures gave packets that differ.
    params = (
        f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=0:cabac=0:no-deblock=1:"
        "weightp=0:threads=1:stitchable=1:psy=0:aq-mode=0:mbtree=0:partitions=none"
    )
    return {"preset": preset, "crf": str(crf), "x264-params": params}


def _mpeg2(scale: int, gop: int, preset: str) -> dict[str, str]:
    # With both ends equal the rate control has no choice; the quantiser is then constant.
    return {"qmin": str(scale), "qmax": str(scale), "sc_threshold": "1000000000", "g": str(gop)}


def _x265(crf: int, gop: int, preset: str) -> dict[str, str]:
    params = (
        f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=0:pools=1:frame-threads=1:"
        "info=0:log-level=error"
    )
    return {"preset": preset, "crf": str(crf), "x265-params": params}


def _svt_av1(crf: int, gop: int, preset: str) -> dict[str, str]:
    params = f"keyint={gop}:irefresh-type=2:pred-struct=1:scd=0:lp=1"
    return {"preset": "8", "crf": str(crf), "svtav1-params": params}


CODECS = {
    "h264": Codec(
        encoder="libx264",
        decoder="h264",
        stream="h264",
        best=1,
        worst=51,
        usual=20,
        flags=Flags.global_header,
        options=_x264,
    ),
    "mpeg2": Codec(
        encoder="mpeg2video",
        decoder="mpeg2video",
        headers_in_band=True,
        stream="mpeg2video",
        best=1,
        worst=31,
        usual=4,
        flags=Flags.global_header | Flags.closed_gop | Flags.low_delay,
        options=_mpeg2,
        low_delay=True,
    ),
    "hevc": Codec(
        encoder="libx265",
        decoder="hevc",
        stream="hevc",
        best=1,
        worst=51,
        usual=24,
        flags=Flags.global_header,
        options=_x265,
    ),
    "av1": Codec(
        encoder="libsvtav1",
        decoder="libdav1d",
        least_px=64,
        stream="av1",
        best=1,
        worst=63,
        usual=32,
        flags=Flags.global_header,
        options=_svt_av1,
        low_delay=True,
    ),
}
"""What `StoreSpec.codec` may be. MPEG-2 decodes fastest, AV1 packs smallest."""


def make_encoder(spec: StoreSpec, fps: int, crf: int, context: Any = None) -> Any:
    """An encoder for one clip of one camera, not yet open; `context` is set up where given."""
    codec = CODECS[spec.codec]
    if spec.codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors alone: it greets each clip in 20 lines
    if context is None:
        context = av.CodecContext.create(codec.encoder, "w")
        context.flags |= codec.flags
    context.width, context.height = spec.width_px, spec.height_px
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, fps)
    context.framerate = Fraction(fps)
    context.gop_size = spec.gop_frames
    context.max_b_frames = 0
    context.thread_count = 1  # more threads would cut the picture into slices
    context.options = codec.options(crf, spec.gop_frames, spec.preset)
    return context


def make_decoder(codec: str, extradata: bytes) -> Any:
    """A decoder of one thread that hands out each frame with its packet."""
    decoder: Any = av.CodecContext.create(CODECS[codec].decoder, "r")
    if extradata:
        decoder.extradata = extradata
    decoder.thread_count = 1
    if CODECS[codec].low_delay:
        decoder.flags |= Flags.low_delay
    return decoder
