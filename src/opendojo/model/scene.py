"""From image tokens of every camera to scene tokens at places around the vehicle.

Queries stand at fixed places of the ground and look at the cameras' tokens. How much one looks at a
token is a matter of geometry first: of the angle between the token's ray and the way from its
camera to the place, at a height that each attention head has for itself. A logit of kappa (cos - 1)
is the von Mises-Fisher kernel, so from the first step on each place reads what the pictures show
there, whatever the rig; training then moves heights, kernels and what is learnt on top. Geometry is
the same for all instants of a window and is worked out once.

Bird's-eye queries on camera tokens: Tesla's talks of 2021; Li et al., BEVFormer, ECCV 2022; logits
from geometry: Chen et al., GKT (arXiv 2206.04584).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opendojo.model.rays import RAY_FEATURES, Rays
from opendojo.model.sizes import NetConfig, Ring

__all__ = ["Mixing", "Scene", "Sight", "place_table"]

_HEIGHTS_M = (0.0, 0.0, 1.0, 3.0)
_KAPPA = (500.0, 150.0, 500.0, 200.0)
"""Heights and kernels that heads begin with: a kappa of 500 is 2.6 degrees wide, one of 150 is 4.7.
Narrow ones keep places apart: with 200, 40, 200, 80 the same 48 steps left a held-out path error of
2.5 m, with these 2.0 m."""
_NOWHERE = -4.0
"""First logit of seeing nothing there: where no ray comes within some three widths of a kernel."""


def place_table(rings: tuple[Ring, ...]) -> Tensor:
    """Where queries stand, float32 [q, 2] in m (x forward, y left)."""
    places = []
    for range_m, count, half_deg in rings:
        whole = half_deg >= 180.0
        step = 360.0 / count if whole else 2.0 * half_deg / max(count - 1, 1)
        start = 0.0 if whole else -half_deg
        for i in range(count):
            bearing = math.radians(start + i * step)
            places.append((range_m * math.cos(bearing), range_m * math.sin(bearing)))
    return torch.tensor(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What geometry says of w rigs, for all layers."""

    logits: Tensor
    """float32 [w, heads, q, k + 1]: the last is that of seeing nothing; -inf for absent cameras."""
    rays: Tensor
    """float32 [w, k, RAY_FEATURES]."""


class Scene(nn.Module):
    """Scene tokens from maps of features."""

    places: Tensor

    def __init__(self, config: NetConfig, channels: int) -> None:
        super().__init__()
        widths = config.widths
        self.heads, self.token = widths.heads, widths.token
        self.register_buffer("places", place_table(widths.places), persistent=False)
        repeats = -(-self.heads // len(_KAPPA))
        self.height_m = nn.Parameter(torch.tensor(_HEIGHTS_M * repeats)[: self.heads])
        self.log_kappa = nn.Parameter(torch.tensor(_KAPPA * repeats)[: self.heads].log())
        self.nowhere = nn.Parameter(torch.full((self.heads, 1, 1), _NOWHERE))
        self.place = nn.Parameter(0.1 * torch.randn(config.places, self.token))
        layer = Attending if widths.attends else Resampling
        self.looks = nn.ModuleList(layer(config, channels) for _ in range(widths.layers))
        self.mixes = nn.ModuleList(
            Mixing(self.token, self.heads) for _ in range(widths.layers - 1 + widths.attends)
        )

    def sight(self, rays: Rays, camera_mask: Tensor) -> Sight:
        """Geometry of w rigs: rays of [w, k] tokens, camera_mask bool [w, c]."""
        logits = self._kernel(rays)
        there = camera_mask.repeat_interleave(logits.shape[-1] // camera_mask.shape[1], 1)
        logits = logits.masked_fill(~there[:, None, None], -torch.inf)
        nowhere = self.nowhere.expand(len(logits), -1, logits.shape[2], 1)
        return Sight(logits=torch.cat([logits, nowhere], -1), rays=rays.features())

    def _kernel(self, rays: Rays) -> Tensor:
        """kappa (cos - 1) of every head, place and token, [w, heads, q, k].

        Sums rather than matrix products, which autocast would round.
        """
        ux, uy, uz = (u[:, None, None] for u in rays.direction.unbind(-1))
        ox, oy, oz = (o[:, None, None] for o in rays.origin_m.unbind(-1))
        dx, dy = (self.places[:, i, None] - o for i, o in enumerate((ox, oy)))
        dz = self.height_m[:, None, None] - oz
        flat2, along = dx * dx + dy * dy, dx * ux + dy * uy
        cos = (along + dz * uz) * (flat2 + dz * dz + 1e-4).rsqrt()
        return self.log_kappa.exp()[:, None, None] * (cos - 1.0)

    def forward(self, maps: Tensor, sight: Sight) -> Tensor:
        """float [n, k, channels] of image tokens to scene tokens [n, q, token].

        n is a multiple of the rigs w in `sight`: each serves so many instants in a row.
        """
        scene = self.place.repeat(len(maps), 1, 1)
        for number, look in enumerate(self.looks):
            scene = look(scene, maps, sight)
            if number < len(self.mixes):
                scene = self.mixes[number](scene)
        return scene


class Resampling(nn.Module):
    """A look that geometry alone directs: one set of weights for all instants of a window."""

    def __init__(self, config: NetConfig, channels: int) -> None:
        super().__init__()
        token, self.heads = config.widths.token, config.widths.heads
        self.value = nn.Linear(channels, token)
        self.key = nn.Linear(RAY_FEATURES, token)
        self.query = nn.Linear(token, token)
        self.nothing = nn.Parameter(torch.zeros(token))
        self.out = nn.Linear(token, token)

    def forward(self, scene: Tensor, maps: Tensor, sight: Sight) -> Tensor:
        """Scene tokens [n, q, d] and image tokens [n, k, channels] to scene tokens."""
        rigs, heads, places, _ = sight.logits.shape
        wide = (heads, -1)
        query = self.query(scene[0]).unflatten(-1, wide).transpose(0, 1)  # the same for all
        key = self.key(sight.rays.to(maps.dtype)).unflatten(-1, wide).permute(0, 2, 3, 1)
        learnt = F.pad(query @ key * query.shape[-1] ** -0.5, (0, 1))
        weights = (sight.logits + learnt).softmax(-1).to(maps.dtype)
        value = self.value(maps).view(rigs, -1, maps.shape[1], *self.nothing.view(wide).shape)
        value = value.permute(0, 3, 2, 1, 4)  # [w, heads, k, t, d / heads]
        seen = weights[..., :-1] @ value.flatten(3)
        seen = seen.view(rigs, heads, places, value.shape[3], -1).permute(0, 3, 2, 1, 4)
        unseen = weights[..., -1].permute(0, 2, 1)[:, None, ..., None] * self.nothing.view(wide)
        return F.relu(self.out((seen + unseen).flatten(3)).flatten(0, 1) + scene)


class Attending(nn.Module):
    """A look directed by geometry and by what is seen: attention of scene on image tokens."""

    def __init__(self, config: NetConfig, channels: int) -> None:
        super().__init__()
        token, self.heads = config.widths.token, config.widths.heads
        self.norm = nn.LayerNorm(token)
        self.query = nn.Linear(token, token)
        self.both = nn.Linear(channels, 2 * token)
        self.ray = nn.Linear(RAY_FEATURES, token)
        self.nothing = nn.Parameter(torch.zeros(2, token))
        self.out = nn.Linear(token, token)

    def forward(self, scene: Tensor, maps: Tensor, sight: Sight) -> Tensor:
        """Scene tokens [n, q, d] and image tokens [n, k, channels] to scene tokens."""
        n, instants = len(maps), len(maps) // len(sight.rays)
        key, value = self.both(maps).chunk(2, -1)
        key = key + self.ray(sight.rays.to(maps.dtype)).repeat_interleave(instants, 0)
        nothing = self.nothing[:, None, None].expand(-1, n, 1, -1)
        key, value = torch.cat([key, nothing[0]], 1), torch.cat([value, nothing[1]], 1)
        query = self.query(self.norm(scene))
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        logits = sight.logits.to(query.dtype).repeat_interleave(instants, 0)
        seen = _attended(query, key, value, logits)
        return scene + self.out(seen.transpose(1, 2).flatten(2))


class Mixing(nn.Module):
    """Scene tokens look at one another, and each thinks: a transformer block before its norms."""

    def __init__(self, token: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.then = nn.LayerNorm(token), nn.LayerNorm(token)
        self.all = nn.Linear(token, 3 * token)
        self.out = nn.Linear(token, token)
        self.wide, self.narrow = nn.Linear(token, 2 * token), nn.Linear(2 * token, token)

    def forward(self, scene: Tensor) -> Tensor:
        """[n, q, d] to the like."""
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in self.all(self.norm(scene)).chunk(3, -1)
        )
        seen = _attended(query, key, value, None)
        scene = scene + self.out(seen.transpose(1, 2).flatten(2))
        return scene + self.narrow(F.relu(self.wide(self.then(scene))))


def _attended(query: Tensor, key: Tensor, value: Tensor, logits: Tensor | None) -> Tensor:
    """Scaled dot-product attention [n, heads, q, d]; `logits` are added to its own.

    On processors by plain products: with these few tokens PyTorch's own kernel took 1.6 times as
    long in float32 with logits, 8 times in bfloat16 without (forward and backward, two cores).
    """
    if query.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=logits)
    apart = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if logits is not None:
        apart = apart + logits
    return apart.softmax(-1).to(value.dtype) @ value
