"""Training: the step as a plain function, the loop around it, checkpoints, the record of a run.

Starting a run again resumes it, and ends with the very bits of an undisturbed run. Any module
from a batch to named losses is trained; several processes share the work under `torchrun`.

    result = train("runs/demo", NetConfig(), loader, TrainConfig(steps=400))
    network = load_network("runs/demo")
    result.digest
"""

from opendojo.train.checkpoint import DamagedCheckpoint as DamagedCheckpoint
from opendojo.train.config import OptimConfig as OptimConfig
from opendojo.train.config import TrainConfig as TrainConfig
from opendojo.train.launch import LaunchFailed as LaunchFailed
from opendojo.train.launch import launch as launch
from opendojo.train.loop import TrainResult as TrainResult
from opendojo.train.loop import load_network as load_network
from opendojo.train.loop import load_trainee as load_trainee
from opendojo.train.loop import train as train
from opendojo.train.metrics import read_metrics as read_metrics
from opendojo.train.sources import BatchSource as BatchSource
from opendojo.train.sources import Mixed as Mixed
from opendojo.train.step import Progress as Progress
from opendojo.train.step import StepResult as StepResult
from opendojo.train.step import SuspectStep as SuspectStep
from opendojo.train.step import in_precision as in_precision
from opendojo.train.step import make_optimizer as make_optimizer
from opendojo.train.step import step as step

__all__ = [
    "BatchSource",
    "DamagedCheckpoint",
    "LaunchFailed",
    "Mixed",
    "OptimConfig",
    "Progress",
    "StepResult",
    "SuspectStep",
    "TrainConfig",
    "TrainResult",
    "in_precision",
    "launch",
    "load_network",
    "load_trainee",
    "make_optimizer",
    "read_metrics",
    "step",
    "train",
]
