"""What fleets record, read into the store: videos, picture folders, drives, comma2k19 segments.

A reader knows one kind of recording and yields it as a `Clip`; which reader is found by looking, so
a folder of anything can be given. Every clip is known by its content: what is in the store already
is not read twice, whatever it is called. What cannot be read is named in `rejects.jsonl`, with the
cause and what to do, and stops nothing else: recordings are opened and decoded in processes that
may crash, hang or run out of memory alone.

    store = Store.create("runs/demo/store")
    report = ingest(["fleet/", "dashcam.mp4"], store, options=IngestOptions(threads=2))
    print(report.frames_new, report.frames_per_s, report.rejects)
"""

from opendojo.ingest.options import IngestOptions
from opendojo.ingest.pipeline import ingest
from opendojo.ingest.report import CameraReport, IngestReport, SourceReport
from opendojo.ingest.sniff import find_clips

__all__ = [
    "CameraReport",
    "IngestOptions",
    "IngestReport",
    "SourceReport",
    "find_clips",
    "ingest",
]
