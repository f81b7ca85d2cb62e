"""Eight networks that no calibration has seen, each with a batch, made small for one core."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model import DrivingNet, NetConfig
from opendojo.model.export_driving import step_graph

__all__ = ["NETWORKS", "Made"]

Made = tuple[nn.Module, tuple[Any, ...], int]
"""The network, its inputs, and how many samples they hold."""


class Attend(nn.Module):
    """A block of a transformer, before-norm."""

    def __init__(self, width: int, heads: int, *, causal: bool, experts: int = 0) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp: nn.Module = (
            Experts(width, experts)
            if experts
            else nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, t, c] to the same."""
        b, t, c = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.after(x))


class Experts(nn.Module):
    """A mixture whose experts each take the same count of tokens (Zhou et al. 2022)."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, count)
        self.up = nn.Parameter(torch.randn(count, width, 2 * width) * 0.02)
        self.down = nn.Parameter(torch.randn(count, 2 * width, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[b, t, c] to the same."""
        flat = x.flatten(0, 1)
        share = self.gate(flat).softmax(-1)
        each = flat.shape[0] // share.shape[1] * 2
        weight, chosen = share.t().topk(each, dim=1)
        taken = flat[chosen]
        made = torch.bmm(F.silu(torch.bmm(taken, self.up)), self.down) * weight[..., None]
        return torch.zeros_like(flat).index_add(0, chosen.flatten(), made.flatten(0, 1)).view_as(x)


class Language(nn.Module):
    """A GPT with tied tables; the loss is its own."""

    def __init__(self, width: int, layers: int, *, words: int, experts: int = 0) -> None:
        super().__init__()
        self.table, self.place = nn.Embedding(words, width), nn.Embedding(1024, width)
        self.blocks = nn.ModuleList(
            Attend(width, width // 32, causal=True, experts=experts) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[b, t] to a loss."""
        x = self.table(tokens) + self.place(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.table.weight.t()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


class Patches(nn.Module):
    """A vision transformer."""

    def __init__(self, width: int = 192, layers: int = 6) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.Sequential(*(Attend(width, 3, causal=False) for _ in range(layers)))
        self.head = nn.Linear(width, 100)

    def forward(self, x: Tensor) -> Tensor:
        """[b, 3, h, w] to [b, 100]."""
        return self.head(self.blocks(self.cut(x).flatten(2).transpose(1, 2)).mean(1))


class Basic(nn.Module):
    """A basic block of a ResNet (He et al. 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.short = nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        ) if stride > 1 or before != width else nn.Identity()  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] to [b, width, h / stride, w / stride]."""
        y = self.norms[1](self.two(F.relu(self.norms[0](self.one(x)))))
        return F.relu(y + self.short(x))


def residual() -> Made:
    """ResNet-18, channels last."""
    widths = (64, 64, 128, 128, 256, 256, 512, 512)
    body: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                             nn.MaxPool2d(3, 2, 1)]  # fmt: skip
    before = 64
    for number, width in enumerate(widths):
        body.append(Basic(before, width, 2 if number in (2, 4, 6) else 1))
        before = width
    body += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100)]
    net = nn.Sequential(*body)
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    x = torch.randn(4, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    return net, (x,), 4


def volume() -> Made:
    """A 3-D convolution net over short clips."""
    widths, body = (3, 16, 32, 64, 96), list[nn.Module]()
    for a, b in pairwise(widths):
        body += [nn.Conv3d(a, b, 3, 1, 1), nn.GroupNorm(4, b), nn.ReLU(),
                 nn.Conv3d(b, b, 3, 2, 1), nn.ReLU()]  # fmt: skip
    net = nn.Sequential(*body, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(96, 20))
    return net, (torch.randn(2, 3, 8, 48, 48),), 2


def perceptron() -> Made:
    """Five wide layers."""
    body: list[nn.Module] = []
    for a, b in ((600, 1500), (1500, 1500), (1500, 1500), (1500, 700)):
        body += [nn.Linear(a, b), nn.SiLU(), nn.LayerNorm(b)]
    return nn.Sequential(*body, nn.Linear(700, 50)), (torch.randn(192, 600),), 192


def driving(size: str, width_px: int, height_px: int, batch: int) -> Callable[[], Made]:
    """Our own network on windows of one instant, as `machine work` trains it."""

    def make() -> Made:
        config = NetConfig(size=size, width_px=width_px, height_px=height_px)  # type: ignore[arg-type]
        graph = step_graph(DrivingNet(config))
        drawn = graph.draw(batch, torch.Generator().manual_seed(0))
        for name in drawn:
            if "mask" in name:  # all cameras see: those that are absent would not be computed
                drawn[name] = torch.ones_like(drawn[name])
        return graph.module, tuple(drawn[port.name] for port in graph.inputs), batch

    return make


def gpt() -> Made:
    """10.7 M parameters."""
    return Language(320, 6, words=10_000), (torch.randint(10_000, (4, 160)),), 4


def mixture() -> Made:
    """A small language model with four experts a block."""
    return Language(192, 4, words=4000, experts=4), (torch.randint(4000, (4, 128)),), 4


def patches() -> Made:
    """A vision transformer with 6 layers of 192."""
    return Patches(), (torch.randn(8, 3, 160, 160),), 8


NETWORKS: dict[str, Callable[[], Made]] = {
    "driving nano": driving("nano", 128, 64, 8),
    "driving tiny": driving("tiny", 256, 128, 4),
    "resnet-18": residual,
    "gpt 11m": gpt,
    "vit": patches,
    "3-d convolution": volume,
    "mlp": perceptron,
    "mixture of experts": mixture,
}
