"""Judging a driving network: on roads it has never seen, with floors beside every figure.

Closed loop comes first: the network drives, and a score says how far it came and what it broke.
Rolling windows hold what was driven to the definitions of NAVSIM v2. A driver that stops, one that
keeps its speed, the same network without its cameras and the world's own expert drive the same
roads, so that every score can be read. Open-loop errors are for finding bugs. The report puts it
all on one page; the film shows the drive.

    scores = table([ExpertDriver(), NetworkDriver(network), StopDriver()])
    worse = sweep("latency", [NetworkDriver(network), StopDriver()])
    write_report(folder, data, Pictures(metrics=rows))
"""

from opendojo.evaluate.closed_loop import DriveConfig, Drives, drive, roll
from opendojo.evaluate.driver import Driver, NetworkDriver, Observation
from opendojo.evaluate.film import film
from opendojo.evaluate.floors import (
    FLOORS,
    ConstantTurnRateDriver,
    ConstantVelocityDriver,
    ExpertDriver,
    IdmDriver,
    ReplayDriver,
    ShuffledDriver,
    StopDriver,
)
from opendojo.evaluate.follow import FollowConfig, follow
from opendojo.evaluate.gallery import bird_eye_picture, forecast_pictures, sample_pictures
from opendojo.evaluate.open_loop import open_loop
from opendojo.evaluate.picture import Picture, Pictures
from opendojo.evaluate.record import Recording, record
from opendojo.evaluate.report import write_report
from opendojo.evaluate.scenes import HELD_OUT_SETS, SCENES, Scenes, held_out, scene_hashes
from opendojo.evaluate.score import Route, Trace
from opendojo.evaluate.sweep import SWEEPS, sweep
from opendojo.evaluate.table import table

__all__ = [
    "FLOORS",
    "HELD_OUT_SETS",
    "SCENES",
    "SWEEPS",
    "ConstantTurnRateDriver",
    "ConstantVelocityDriver",
    "DriveConfig",
    "Driver",
    "Drives",
    "ExpertDriver",
    "FollowConfig",
    "IdmDriver",
    "NetworkDriver",
    "Observation",
    "Picture",
    "Pictures",
    "Recording",
    "ReplayDriver",
    "Route",
    "Scenes",
    "ShuffledDriver",
    "StopDriver",
    "Trace",
    "bird_eye_picture",
    "drive",
    "film",
    "follow",
    "forecast_pictures",
    "held_out",
    "open_loop",
    "record",
    "roll",
    "sample_pictures",
    "scene_hashes",
    "sweep",
    "table",
    "write_report",
]
