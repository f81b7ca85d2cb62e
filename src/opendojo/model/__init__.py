"""The driving network: pictures of any rig, its lenses and the own motion in, a plan out.

One dial, the size; everything else follows. Pictures stay YUV 4:2:0 in six planes until the stem
takes them. Training, evaluation and driving call the same three parts: encode, recall, plan.

    network = DrivingNet(NetConfig(size="nano"))
    motion = Motion.of(batch.speed_mps, batch.speed_mask, time_s=batch.time_s)
    output = network(batch.frames, batch.camera_mask, batch.lens, motion)
    output.path_m  # [batch, time, point, 2]

`DrivingTrainee` is the same network with its losses, for a trainer.
"""

from opendojo.model.cost import Cost as Cost
from opendojo.model.cost import cost as cost
from opendojo.model.cost import flops_per_frame as flops_per_frame
from opendojo.model.cost import networks_table as networks_table
from opendojo.model.cost import parameters as parameters
from opendojo.model.losses import forecast_loss as forecast_loss
from opendojo.model.losses import path_loss as path_loss
from opendojo.model.motion import COMMANDS as COMMANDS
from opendojo.model.motion import Motion as Motion
from opendojo.model.network import DrivingNet as DrivingNet
from opendojo.model.network import Output as Output
from opendojo.model.planner import Plan as Plan
from opendojo.model.sizes import MEMORY_STEPS as MEMORY_STEPS
from opendojo.model.sizes import SIZES as SIZES
from opendojo.model.sizes import SUB_SCORES as SUB_SCORES
from opendojo.model.sizes import NetConfig as NetConfig
from opendojo.model.trace import trace as trace
from opendojo.model.trainee import DrivingTrainee as DrivingTrainee
from opendojo.model.trainee import LossConfig as LossConfig
from opendojo.model.trainee import motion_of as motion_of
from opendojo.model.truth import Truth as Truth
from opendojo.model.vocabulary import Trajectories as Trajectories
from opendojo.model.vocabulary import Vocabulary as Vocabulary
from opendojo.model.workloads import load_workload as load_workload

__all__ = [
    "COMMANDS",
    "MEMORY_STEPS",
    "SIZES",
    "SUB_SCORES",
    "Cost",
    "DrivingNet",
    "DrivingTrainee",
    "LossConfig",
    "Motion",
    "NetConfig",
    "Output",
    "Plan",
    "Trajectories",
    "Truth",
    "Vocabulary",
    "cost",
    "flops_per_frame",
    "forecast_loss",
    "load_workload",
    "motion_of",
    "networks_table",
    "parameters",
    "path_loss",
    "trace",
]
