"""Judging a driving network: on roads it has never seen, with floors beside every figure.

Closed loop comes first: the network drives, and a score says how far it came and what it broke. A
driver that stops, one that keeps its speed, the same network without its cameras and the world's
own expert drive the same roads, so that every score can be read. Open-loop errors are for finding
bugs. The report puts it all on one page; the film shows the drive.

    scores = table([ExpertDriver(), NetworkDriver(network), StopDriver()])
    errors = open_loop(network, held_out_loader)
    write_report(folder, data, Pictures(metrics=rows))
"""

from opendojo.evaluate.closed_loop import HELD_OUT_SETS, DriveConfig, Drives, drive, roll, table
from opendojo.evaluate.driver import (
    ConstantVelocityDriver,
    Driver,
    ExpertDriver,
    NetworkDriver,
    Observation,
    StopDriver,
)
from opendojo.evaluate.film import film
from opendojo.evaluate.follow import FollowConfig, follow
from opendojo.evaluate.gallery import bird_eye_picture, forecast_pictures, sample_pictures
from opendojo.evaluate.open_loop import open_loop
from opendojo.evaluate.picture import Picture, Pictures
from opendojo.evaluate.record import Recording, record
from opendojo.evaluate.report import write_report
from opendojo.evaluate.score import Route, Trace

__all__ = [
    "HELD_OUT_SETS",
    "ConstantVelocityDriver",
    "DriveConfig",
    "Driver",
    "Drives",
    "ExpertDriver",
    "FollowConfig",
    "NetworkDriver",
    "Observation",
    "Picture",
    "Pictures",
    "Recording",
    "Route",
    "StopDriver",
    "Trace",
    "bird_eye_picture",
    "drive",
    "film",
    "follow",
    "forecast_pictures",
    "open_loop",
    "record",
    "roll",
    "sample_pictures",
    "table",
    "write_report",
]
