"""What a loader is told; free of torch, so that worker processes start without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from opendojo.loader.window import Split, WindowSpec

__all__ = ["LoaderConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """What a loader reads, in which order, and with how many hands."""

    batch: int = 32
    """Windows in a batch; an epoch's last batch may hold fewer."""
    seed: int = 0
    """With the epoch, it alone decides the order."""
    cameras: tuple[str, ...] = ("front", "left", "right")
    """Slots of the rig, in the batch's order; a clip without one of them leaves it masked."""
    window: WindowSpec = field(default_factory=WindowSpec)
    """What one sample holds."""
    split: Split = "train"
    """`train`, `held-out` (the last part of every clip) or `all`."""
    held_out_share: float = 0.2
    """Share of each clip, at its end, that training does not see."""
    weights: tuple[float, ...] = ()
    """How often each store's windows come in an epoch; empty means once each. 0.25 takes a quarter
    of them, another quarter in the next epoch."""
    stride_groups: int = 1
    """Groups of pictures from the start of one window to the start of the next."""
    without: tuple[str, ...] = ()
    """Names of quality flags (`dark`, `frozen`, `blurred`, `duplicate`): windows that cover a
    flagged group of pictures are left out."""
    run: int = 1
    """Neighbouring windows that are drawn together, so that frames they share are decoded once; it
    divides `batch`. 1 shuffles best."""
    colour: Literal["yuv", "rgb", "none"] = "yuv"
    """`yuv` as decoders give it; `rgb` is converted by the workers, at twice the bytes; `none`
    reads the logs alone."""
    decoder: Literal["cpu", "nvdec"] = "cpu"
    """`nvdec` decodes on the GPU that `Loader.batches` is given as its device, without workers."""
    workers: int | None = None
    """Processes that decode; None takes one per core, 0 a thread of this process."""
    slots: int = 3
    """Batches in the ring: one is the consumer's, the others are filled ahead."""
    hang_s: float = 60.0
    """A worker that makes no progress for so long, while a batch is waited for, is replaced."""
    keep_bytes: int = 512 << 20
    """A split whose windows, decoded, fit into so many bytes is kept in shared memory for later
    epochs: that much beside the ring. Of a larger one nothing is kept."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.slots < 2:
            raise ValueError("batch must be at least 1, and slots at least 2")
        if self.run < 1 or self.batch % self.run:
            raise ValueError(f"run must divide batch ({self.batch}), {self.run} does not")
        if self.stride_groups < 1:
            raise ValueError(f"stride_groups must be at least 1, not {self.stride_groups}")
        if self.workers is not None and not 0 <= self.workers <= 1024:
            raise ValueError(f"workers must be 0 to 1024 (or None), not {self.workers}")
        if self.hang_s <= 0 or self.keep_bytes < 0:
            raise ValueError("hang_s must be above 0, and keep_bytes not below")
        if any(weight < 0 for weight in self.weights):
            raise ValueError(f"weights must not be below 0: {self.weights}")
        if not 0.0 <= self.held_out_share < 1.0:
            raise ValueError(f"held_out_share must be 0 to 1, not {self.held_out_share}")
        if self.colour not in ("yuv", "rgb", "none"):
            raise ValueError(f"colour must be yuv, rgb or none, not {self.colour!r}")
        if self.decoder not in ("cpu", "nvdec"):
            raise ValueError(f"decoder must be cpu or nvdec, not {self.decoder!r}")
        if self.decoder == "nvdec" and (self.colour != "yuv" or self.run != 1):
            raise ValueError("decoder nvdec gives colour yuv, and takes windows one by one (run 1)")
        if not self.cameras and self.colour != "none":
            raise ValueError("name at least one camera, or set colour to none")

    @property
    def read_cameras(self) -> tuple[str, ...]:
        """Cameras whose pictures are read: none where only the logs are."""
        return () if self.colour == "none" else self.cameras
