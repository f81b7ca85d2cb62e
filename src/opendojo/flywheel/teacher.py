"""A third-party network as teacher: drivable ground and lane lines of a picture, by ONNX Runtime.

    teacher = Teacher(Path("twinlitenet.onnx"))
    seen = teacher.look(rgb)            # uint8 [h, w, 3] in; bool masks [h, w] and confidences out

Made for networks of TwinLiteNet's kind (Che et al. 2023, arXiv 2307.10705): one picture 1x3xHxW of
RGB in 0..1, two maps of two classes, the second class being the thing. What they say is a label of
origin `teacher`: worth less than a log, and refused where they are not sure. It needs the
extra `onnx`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["Seen", "Teacher"]

_SURE = 0.6
"""Mean probability of a mask's own class under which it is refused."""
_LEAST, _MOST = {"drivable": 0.01, "lanes": 0.0005}, {"drivable": 0.75, "lanes": 0.25}
"""Shares of a picture between which a mask is believable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the teacher saw in one picture."""

    drivable: npt.NDArray[np.bool_]
    """bool [h, w]."""
    lanes: npt.NDArray[np.bool_]
    """bool [h, w]."""
    confidence: dict[str, float]
    """By `drivable` and `lanes`: 0 to 1; 0 where refused."""
    reason: dict[str, str]
    """Why one was refused; empty where it was not."""
    origin: str = "teacher"
    """Where it comes from; `teacher_name` says which."""
    teacher_name: str = ""
    """File name and first letters of its SHA-256."""


class Teacher:
    """A segmentation network from a file.

    Raises `ValueError` where ONNX Runtime is not installed, the file is not there, or it is a
    network of another kind.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        if not path.exists():
            raise ValueError(f"{path} is not there: give the teacher's ONNX file")
        try:
            import onnxruntime
        except ImportError:
            raise ValueError("a teacher needs ONNX Runtime: pip install opendojo[onnx]") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(outputs) != 2 or len(shape) != 4 or shape[1] != 3:
            raise ValueError(f"{path}: a teacher takes one picture and gives two maps")
        self._session, self._input = session, inputs[0].name
        self.size_px = (int(shape[3]), int(shape[2]))
        """Width and height that it takes."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.name = f"{path.name} {digest[:8]}"

    def look(self, rgb: npt.NDArray[np.uint8]) -> Seen:
        """Masks of a picture uint8 [h, w, 3], in its own size."""
        picture = np.asarray(Image.fromarray(rgb).resize(self.size_px, Image.Resampling.BILINEAR))
        batch = (picture.astype(np.float32) / 255.0).transpose(2, 0, 1)[None]
        maps = self._session.run(None, {self._input: batch})
        masks: dict[str, npt.NDArray[np.bool_]] = {}
        confidence: dict[str, float] = {}
        reason: dict[str, str] = {}
        for name, logits in zip(("drivable", "lanes"), maps, strict=True):
            mask, sure = _decided(np.asarray(logits)[0])
            masks[name] = _enlarged(mask, rgb.shape[:2])
            share = float(mask.mean())
            reason[name] = _doubt(name, share, sure)
            confidence[name] = 0.0 if reason[name] else sure
        return Seen(
            drivable=masks["drivable"], lanes=masks["lanes"], confidence=confidence,
            reason=reason, teacher_name=self.name,
        )  # fmt: skip


def _decided(logits: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.bool_], float]:
    """The mask of the second class, and the mean probability of the chosen class where it is."""
    margin = logits[1].astype(np.float64) - logits[0]
    mask = margin > 0
    sure = 1.0 / (1.0 + np.exp(-np.abs(margin)))
    return mask, float(sure[mask].mean()) if mask.any() else 0.0


def _enlarged(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    size = (int(shape[1]), int(shape[0]))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST)) > 127


def _doubt(name: str, share: float, sure: float) -> str:
    if not _LEAST[name] <= share <= _MOST[name]:
        return f"{share:.1%} of the picture would be {name}"
    return f"sure of {sure:.0%} only" if sure < _SURE else ""
