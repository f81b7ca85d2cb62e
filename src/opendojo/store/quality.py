"""What is wrong with a frame, told from some of its luma in about fifteen microseconds.

    inspect = Inspector()                 # one per camera and clip
    bits = [inspect(frame) for frame in frames]
    dark = bits[7] & DARK

Frames are flagged, never dropped: who trains chooses (`LoaderConfig.without`). Eight whole lines
of it stand for the picture, so that neighbours along a line are true neighbours.

- `DARK`: next to nothing is brighter than a deep shade, as with the lens covered. A night road is
  not dark: lamps and what they light are more than 2 % of it.
- `FROZEN`: equal to the frame before but for rounding. A sensor's noise makes this impossible while
  it works; a stuck camera or encoder repeats itself. Sources that were coded so hard that a
  standing scene is copied bit by bit are flagged too: the pixels do not tell them apart.
- `DUPLICATE`: nearly the last frame that was new, noise aside: the vehicle stands. What is compared
  with stays the same while it lasts, so that slow creeping is found out.
- `BLURRED`: the detail is gone. The measure is the energy of second differences of neighbours over
  that of first differences four pixels apart. Both scale with the square of contrast, so neither
  exposure nor what is seen matters much: a sharp edge gives 1/2, a ramp of w pixels 1 / (8 w).
  Road footage measured 0.13 to 1.1, the same under a 9 pixel box blur 0.02 to 0.05. Below
  `_SOFT` a frame is blurred whatever the clip is like. Up to `_SHARP` it is where it falls under
  `_SOFT_SHARE` of the clip's own running median: turns, bumps and spray, which come and go. That
  median is tracked by steps of bounded size (Robbins and Monro, 1951, in the logarithm), which a
  burst of bad frames cannot carry off.
"""

from __future__ import annotations

import math

import numpy as np

from opendojo.clip import Bytes, Frame

__all__ = ["BLURRED", "DARK", "DUPLICATE", "FLAGS", "FROZEN", "Inspector"]

DARK = 1
FROZEN = 2
BLURRED = 4
DUPLICATE = 8
FLAGS: dict[str, int] = {
    "dark": DARK,
    "frozen": FROZEN,
    "blurred": BLURRED,
    "duplicate": DUPLICATE,
}
"""Bit of each flag by its name."""

_LINES = 8
_SHADE = 48
"""Luma; 16 is black and 235 white. 48 reflects some 2 % of the light that white does."""
_LIT_SHARE = 0.02
_STUCK_LEVELS, _STUCK_SHARE = 1, 0.001
_STILL_LEVELS, _STILL_SHARE = 12, 0.004
"""Driving gives at least 0.9 % of pixels that change by more than 12 levels from one frame to the
next, at 128x64 and 25 Hz on a straight and empty road; noise of 2.5 levels gives 0.07 %."""
_SOFT = 0.045
_SHARP = 0.12
_SOFT_SHARE = 0.4
"""Sharp footage stays above half of its own median; or, where an empty scene raised that, above
`_SHARP`."""
_FLAT_ENERGY = 4.0
"""Mean square of differences below which there is nothing to be sharp: fog, a covered lens."""
_MEDIAN_STEP = 0.005


class Inspector:
    """Looks at the frames of one camera and clip in order; call it with each of them once."""

    def __init__(self) -> None:
        self._before: Bytes | None = None
        self._new: Bytes | None = None
        self._seen = 0
        self._log_median = 0.0

    def __call__(self, frame: Frame) -> int:
        """The flags of a frame, as bits: an OR of those in `FLAGS`."""
        height = frame.height_px
        step = max(height // _LINES, 1)
        lines = frame.y[step // 2 :: step].copy()
        bits = 0
        if np.count_nonzero(lines > _SHADE) < _LIT_SHARE * lines.size:
            bits |= DARK
        if self._blurred(lines):
            bits |= BLURRED
        if self._before is not None and self._new is not None:
            apart = _apart(lines, self._before)
            if np.count_nonzero(apart > _STUCK_LEVELS) <= _STUCK_SHARE * lines.size:
                bits |= FROZEN | DUPLICATE
            else:
                apart = apart if self._new is self._before else _apart(lines, self._new)
                if np.count_nonzero(apart > _STILL_LEVELS) <= _STILL_SHARE * lines.size:
                    bits |= DUPLICATE
        self._before = lines
        if not bits & DUPLICATE:
            self._new = lines
        return bits

    def _blurred(self, lines: Bytes) -> bool:
        luma = lines.astype(np.float32)
        steps = luma[:, 1:] - luma[:, :-1]
        fine = (steps[:, 1:] - steps[:, :-1]).ravel()
        coarse = (luma[:, 4:] - luma[:, :-4]).ravel()
        energy = float(coarse @ coarse)
        if energy <= _FLAT_ENERGY * coarse.size:
            return False
        sharpness = float(fine @ fine) / energy
        # of a picture with detail at all, rounding alone gives more than this
        logarithm = math.log(max(sharpness, 1e-6))
        fallen = self._seen > 0 and logarithm < self._log_median + math.log(_SOFT_SHARE)
        soft = sharpness < _SOFT or (fallen and sharpness < _SHARP)
        self._seen += 1
        pace = max(1.0 / self._seen, _MEDIAN_STEP)
        change = logarithm - self._log_median
        self._log_median += max(-pace, min(pace, change)) if self._seen > 1 else change
        return soft


def _apart(lines: Bytes, others: Bytes) -> Bytes:
    """How far each pixel is from the other's, in levels."""
    apart = np.maximum(lines, others)
    apart -= np.minimum(lines, others)
    return apart
