"""Bare decoding: the fastest PyAV loop over the same packets, with nothing read, checked or copied.

The packets lie in memory, ready made; one single-thread decoder takes them group by group, in a
fixed random order, and each picture is dropped. `drained` empties and resets the decoder between
groups, as one must where groups are not known to be closed.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import av

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.protocol import serve


def groups(files: list[str]) -> tuple[Any, list[list[Any]]]:
    """A decoder for the files, and their whole groups of pictures as ready-made packets."""
    found: list[list[Any]] = []
    decoder: Any = None
    for file in files:
        with av.open(file) as container:
            stream = container.streams.video[0]
            if decoder is None:
                decoder = av.CodecContext.create(stream.codec_context.name, "r")
                decoder.extradata = stream.codec_context.extradata
                decoder.thread_count = 1
            for packet in container.demux(stream):
                if packet.size:
                    if packet.is_keyframe:
                        found.append([])
                    found[-1].append(av.Packet(bytes(packet)))
    longest = max(len(group) for group in found)
    whole = [group for group in found if len(group) == longest]
    random.Random(0).shuffle(whole)
    return decoder, whole


def main() -> None:
    """Serve turns over the files named."""
    drained = sys.argv[1] == "drained"
    decoder, whole = groups(sys.argv[2:])

    def go(seconds: float) -> dict[str, float]:
        place, frames, decode = 0, 0, decoder.decode
        began, busy = time.perf_counter(), time.process_time()
        while True:
            group = whole[place]
            for packet in group:
                decode(packet)
            if drained:
                decode(None)
                decoder.flush_buffers()
            frames += len(group)
            place = (place + 1) % len(whole)
            spent = time.perf_counter() - began
            if spent >= seconds:
                busy_s = time.process_time() - busy
                return {"seconds": spent, "frames": frames, "busy_s": busy_s}

    serve({"go": go})


if __name__ == "__main__":
    main()
