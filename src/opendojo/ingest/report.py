"""What an ingest did: counts by source, and by camera what the frames are worth."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np

from opendojo.store import StagedClip, StagedPart
from opendojo.store.quality import FLAGS

__all__ = ["CameraReport", "IngestReport", "SourceReport", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one of the paths given came to."""

    clips_new: int = 0
    clips_known: int = 0
    frames_new: int = 0
    rejects: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraReport:
    """The new frames of all cameras of one name."""

    frames: int
    psnr_db: float
    """Mean luma PSNR of what is stored against the fitted source, measured on sampled groups and
    weighted by frames."""
    psnr_least_db: float
    """That of the worst clip."""
    flagged: dict[str, float]
    """Share of the frames that are dark, frozen, blurred, duplicate."""
    drift_db: float | None
    """Luma PSNR of the worst clip's source as decoded against its exact decode, on its first
    frames; None where the decode is exact, infinity where it was to differ and did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did."""

    clips_new: int
    """Clips published, those kept in part among them."""
    clips_known: int
    """Clips that the store had already, or that came twice."""
    frames_new: int
    """Frames published, of all cameras."""
    rejects: int
    """Files and clips of which nothing could be kept."""
    damaged: int
    """Clips kept up to where they break off."""
    seconds: float
    cpu_seconds: float
    """Processor time of this process and its workers."""
    bytes_in: int
    """Size of the new clips' sources."""
    bytes_out: int
    """Size of the files made of them."""
    sources: dict[str, SourceReport]
    """The counts for each of the paths given."""
    cameras: dict[str, CameraReport]
    """The new frames by the name of their camera."""

    @property
    def frames_per_s(self) -> float:
        """New frames a second of wall clock."""
        return self.frames_new / self.seconds if self.seconds > 0 else 0.0


@dataclass
class _Camera:
    frames: int = 0
    psnr_sum: float = 0.0
    psnr_frames: int = 0
    psnr_least_db: float = math.inf
    flagged: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAGS, 0))
    drift_db: float | None = None

    def report(self) -> CameraReport:
        """The counts so far, quality in dB; NaN where none was measured."""
        nothing = not self.psnr_frames
        return CameraReport(
            frames=self.frames,
            psnr_db=math.nan if nothing else self.psnr_sum / self.psnr_frames,
            psnr_least_db=math.nan if nothing else self.psnr_least_db,
            flagged={name: count / max(self.frames, 1) for name, count in self.flagged.items()},
            drift_db=self.drift_db,
        )


@dataclass
class Tally:
    """Counts while they grow; `sources` maps a path given to its counts by name."""

    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    cameras: dict[str, _Camera] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    began_s: float = field(default_factory=time.monotonic)
    cpu_began_s: float = field(default_factory=time.process_time)

    def add(self, source: str, **counts: int) -> None:
        """Add to the counts of a source."""
        kept = self.sources.setdefault(source, {})
        for name, count in counts.items():
            kept[name] = kept.get(name, 0) + count

    def add_cpu_s(self, cpu_s: float) -> None:
        """Add processor time that was spent elsewhere."""
        self.cpu_began_s -= cpu_s

    def add_part(self, part: StagedPart, drift_db: dict[str, tuple[float, ...]]) -> None:
        """Add what a staged part's cameras show; before it is published, which takes its files."""
        if not part.instants:
            return
        self.bytes_out += sum(file.stat().st_size for file in part.folder.iterdir())
        index = np.load(part.folder / "index.npy", mmap_mode="r")
        for clip in part.clips:
            rows = index[clip.row : clip.row + clip.instants]
            for position, name in enumerate(part.camera_names):
                camera = self.cameras.setdefault(name, _Camera())
                self._add_camera(camera, clip, position, rows[f"{name}.flags"])
                if clip.clip_id in drift_db:
                    drift = drift_db[clip.clip_id][position]
                    known = camera.drift_db
                    camera.drift_db = drift if known is None else min(known, drift)

    def _add_camera(
        self,
        camera: _Camera,
        clip: StagedClip,
        position: int,
        flags: np.ndarray[tuple[int], np.dtype[np.uint8]],
    ) -> None:
        camera.frames += clip.instants
        for name, bit in FLAGS.items():
            camera.flagged[name] += int(np.count_nonzero(flags & bit))
        psnr_db = clip.psnr_db[position]
        if math.isfinite(psnr_db):
            camera.psnr_sum += psnr_db * clip.instants
            camera.psnr_frames += clip.instants
            camera.psnr_least_db = min(camera.psnr_least_db, psnr_db)

    def report(self, workers_cpu_s: float) -> IngestReport:
        """The counts so far; `workers_cpu_s` is the processor time of the workers."""
        sources = {name: SourceReport(**counts) for name, counts in self.sources.items()}
        return IngestReport(
            clips_new=sum(s.clips_new for s in sources.values()),
            clips_known=sum(s.clips_known for s in sources.values()),
            frames_new=sum(s.frames_new for s in sources.values()),
            rejects=sum(s.rejects for s in sources.values()),
            damaged=sum(s.damaged for s in sources.values()),
            seconds=time.monotonic() - self.began_s,
            cpu_seconds=time.process_time() - self.cpu_began_s + workers_cpu_s,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            sources=sources,
            cameras={name: camera.report() for name, camera in self.cameras.items()},
        )
