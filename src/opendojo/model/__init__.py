"""The driving network: pixels of all cameras and the speed in, a path and a forecast out.

One dial, the size; everything else follows. Pictures stay YUV 4:2:0 in six planes until the stem
takes them. Training, evaluation and driving call the same four parts: encode, recall, plan,
forecast.

    network = DrivingNet(NetConfig(size="nano"))
    output = network(batch.frames, batch.camera_mask, batch.speed_mps, batch.speed_mask)
    output.path_m  # [batch, time, point, 2]
"""

from opendojo.model.cost import flops_per_frame as flops_per_frame
from opendojo.model.cost import parameters as parameters
from opendojo.model.network import DrivingNet as DrivingNet
from opendojo.model.network import Output as Output
from opendojo.model.sizes import MEMORY_STEPS as MEMORY_STEPS
from opendojo.model.sizes import NetConfig as NetConfig

__all__ = ["MEMORY_STEPS", "DrivingNet", "NetConfig", "Output", "flops_per_frame", "parameters"]
