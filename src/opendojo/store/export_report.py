"""What an export did."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExportReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """Counts of an export, or of a part of it."""

    clips: int = 0
    """Clips that are in the folder now because of it."""
    frames: int = 0
    """Frames of all their cameras."""
    bytes: int = 0
    """Size of the files written or linked."""
    clips_known: int = 0
    """Clips that were there already."""

    def __add__(self, other: ExportReport) -> ExportReport:
        """Both together."""
        return ExportReport(
            clips=self.clips + other.clips,
            frames=self.frames + other.frames,
            bytes=self.bytes + other.bytes,
            clips_known=self.clips_known + other.clips_known,
        )
