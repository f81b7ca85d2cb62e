"""Training: the step as a plain function, the loop around it, checkpoints, the record of a run.

Starting a run again resumes it, and ends with the very bits of an undisturbed run.

    result = train("runs/demo", NetConfig(), loader, TrainConfig(steps=400))
    network = load_network("runs/demo")
    result.digest
"""

from opendojo.model import forecast_loss as forecast_loss
from opendojo.model import path_loss as path_loss
from opendojo.train.checkpoint import Checkpoint as Checkpoint
from opendojo.train.checkpoint import DamagedCheckpoint as DamagedCheckpoint
from opendojo.train.checkpoint import load_newest as load_newest
from opendojo.train.checkpoint import save as save
from opendojo.train.config import OptimConfig as OptimConfig
from opendojo.train.config import TrainConfig as TrainConfig
from opendojo.train.loop import BatchSource as BatchSource
from opendojo.train.loop import TrainResult as TrainResult
from opendojo.train.loop import load_network as load_network
from opendojo.train.loop import train as train
from opendojo.train.metrics import read_metrics as read_metrics
from opendojo.train.step import Progress as Progress
from opendojo.train.step import StepResult as StepResult
from opendojo.train.step import SuspectStep as SuspectStep
from opendojo.train.step import make_optimizer as make_optimizer
from opendojo.train.step import step as step

__all__ = [
    "BatchSource",
    "Checkpoint",
    "DamagedCheckpoint",
    "OptimConfig",
    "Progress",
    "StepResult",
    "SuspectStep",
    "TrainConfig",
    "TrainResult",
    "forecast_loss",
    "load_network",
    "load_newest",
    "make_optimizer",
    "path_loss",
    "read_metrics",
    "save",
    "step",
    "train",
]
