"""Encoders of one picture: six YUV planes in, a map of features at a sixteenth of its side out.

`resnet` has basic blocks (He et al., CVPR 2016), `regnet` the X blocks of Radosavovic et al.
("Designing Network Design Spaces", CVPR 2020): a 3x3 convolution in groups between two 1x1 ones.
Group normalisation (Wu and He, ECCV 2018) behaves the same in training and evaluation, whatever the
batch, so that a network drives exactly as it was trained. `timm:NAME` takes a backbone of timm.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.sizes import NetConfig, Widths

__all__ = ["BasicBlock", "Foreign", "GroupedBlock", "Trunk", "make_trunk"]

_NORM = 8
"""Channels per normalisation group."""
_STRIDE = 8
"""Of the map, counted in the six planes, which have half the picture's side."""


def _skip(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Conv2d(channels_in, channels_out, stride, stride, bias=False)


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions; one normalisation between them, to save time."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, group: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(channels_out // _NORM, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, 1, 1)
        self.skip = _skip(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels_in, h, w] to [n, channels_out, h / stride, w / stride]."""
        return F.relu(self.second(F.relu(self.norm(self.first(x)))) + self.skip(x))


class GroupedBlock(nn.Module):
    """A RegNet X block without bottleneck; the normalisation follows the grouped convolution."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, group: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 1)
        groups = channels_out // group
        self.middle = nn.Conv2d(channels_out, channels_out, 3, stride, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(channels_out // _NORM, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 1)
        self.skip = _skip(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels_in, h, w] to [n, channels_out, h / stride, w / stride]."""
        middle = F.relu(self.norm(self.middle(F.relu(self.first(x)))))
        return F.relu(self.second(middle) + self.skip(x))


class Trunk(nn.Module):
    """A stem and stages of residual blocks of one kind."""

    def __init__(self, widths: Widths, block: type[BasicBlock] | type[GroupedBlock]) -> None:
        super().__init__()
        self.channels = widths.stages[-1]
        self.stem = nn.Conv2d(6, widths.stem, 3, 2, 1)
        before = (widths.stem, *widths.stages)
        stages: list[nn.Module] = []
        for number, (width, depth) in enumerate(zip(widths.stages, widths.depths, strict=True)):
            stride = 2 if number < 2 else 1
            # groups divide the width: a stage narrower than one is a single group
            group = width if width % widths.group else widths.group
            first = block(before[number], width, stride, group)
            rest = (block(width, width, 1, group) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """float [n, 6, h/2, w/2] to [n, channels, h/16, w/16]."""
        return self.stages(F.relu(self.stem(x)))


class Foreign(nn.Module):
    """A backbone of timm on six planes, cut at the map nearest to a sixteenth of the picture."""

    def __init__(self, name: str, config: NetConfig) -> None:
        super().__init__()
        timm = _timm()
        planes = (config.height_px // 2, config.width_px // 2)
        options = {"pretrained": False, "in_chans": 6, "features_only": True}
        try:
            model = timm.create_model(name, img_size=planes, **options)
        except TypeError:  # convolutional backbones take any size and know no such argument
            model = timm.create_model(name, **options)
        except RuntimeError as error:
            raise ValueError(f"encoder timm:{name}: {error}") from error
        reductions = model.feature_info.reduction()
        self.index = min(range(len(reductions)), key=lambda i: abs(reductions[i] - _STRIDE))
        self.model = model
        self.channels: int = model.feature_info.channels()[self.index]

    def forward(self, x: Tensor) -> Tensor:
        """float [n, 6, h/2, w/2] to [n, channels, rows, columns]."""
        return self.model(x)[self.index]


def make_trunk(config: NetConfig) -> Trunk | Foreign:
    """The encoder that a configuration names."""
    if config.encoder.startswith("timm:"):
        return Foreign(config.encoder.removeprefix("timm:"), config)
    return Trunk(config.widths, GroupedBlock if config.encoder == "regnet" else BasicBlock)


def _timm():  # noqa: ANN202 - an optional package without types
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError("encoder timm:...: timm is not installed: pip install timm") from error
    return timm
