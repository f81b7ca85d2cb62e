"""What fleets record, read into the store: videos, picture folders, drives, comma2k19 segments.

A reader knows one kind of recording and yields it as a `Clip`; which reader is found by looking, so
a folder of anything can be given. Every clip is known by its content: what is in the store already
is not read twice, whatever it is called. What cannot be read is named in `rejects.jsonl`, with the
cause and what to do, and stops nothing else.

    store = Store.create("runs/demo/store")
    report = ingest(["fleet/", "dashcam.mp4"], store)
    print(report.frames_new, report.frames_per_s, report.rejects)
"""

from opendojo.ingest.pipeline import IngestReport, SourceReport, ingest
from opendojo.ingest.sniff import find_clips

__all__ = ["IngestReport", "SourceReport", "find_clips", "ingest"]
