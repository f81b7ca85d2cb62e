"""What traffic is made of: how many, of which kinds, how they drive, and who breaks rules."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrafficConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficConfig:
    """One kind of traffic. Shares are in [0, 1]."""

    agents: int = 16
    """Slots for road users in each world; those of people on foot come last."""
    density: float = 1.0
    """Share of the slots in use."""
    walkers: float = 0.2
    """Share of the slots that are for people on foot; in a town without walks they stay empty."""
    cyclists: float = 0.08
    """Share of the vehicles that are bicycles."""
    trucks: float = 0.1
    """Share of the vehicles that are trucks."""
    rule_breakers: float = 0.0
    """Share of the drivers of cars and trucks with a vice: late brakes, cut-ins, running reds."""
    slowest: float = 0.8
    fastest: float = 1.05
    """A driver's speed on a free road, as a share of the limit, is drawn between these."""
    near_m: float = 20.0
    """No nearer to the ego than this does traffic begin."""
    newcomer_m: float = 60.0
    """No nearer to the ego than this do newcomers appear later."""
    far_m: float = 140.0
    """No farther from the ego than this is anybody placed."""
    leave_m: float = 150.0
    """Who is farther from the ego than this makes room for a newcomer."""

    def __post_init__(self) -> None:
        if not 1 <= self.agents <= 256:
            raise ValueError(f"agents must be between 1 and 256, not {self.agents}")
        for name in ("density", "walkers", "cyclists", "trucks", "rule_breakers"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share in [0, 1], not {getattr(self, name)}")
        if self.cyclists + self.trucks > 1.0:
            raise ValueError("cyclists and trucks are shares of the vehicles: their sum exceeds 1")
        if not 0.0 < self.slowest <= self.fastest:
            raise ValueError("give 0 < slowest <= fastest")
        if not 0.0 < self.near_m <= self.newcomer_m < self.far_m < self.leave_m:
            raise ValueError("give 0 < near_m <= newcomer_m < far_m < leave_m")

    @property
    def on_foot(self) -> int:
        """Slots for people on foot."""
        return min(self.agents - 1, round(self.agents * self.walkers))

    @property
    def vehicles(self) -> int:
        """Slots for vehicles, the first ones."""
        return self.agents - self.on_foot

    @classmethod
    def clean(cls, agents: int = 16) -> TrafficConfig:
        """Everybody keeps the rules."""
        return cls(agents=agents, density=0.85)

    @classmethod
    def hard(cls, agents: int = 16) -> TrafficConfig:
        """Full streets, a wider spread of speeds, and one driver in eight has a vice."""
        return cls(
            agents=agents, walkers=0.25, cyclists=0.12, trucks=0.15, rule_breakers=0.125,
            slowest=0.65, fastest=1.2,
        )  # fmt: skip

    @classmethod
    def adversarial(cls, agents: int = 16) -> TrafficConfig:
        """Half of the drivers break rules; never for training."""
        return cls(
            agents=agents, walkers=0.25, cyclists=0.12, trucks=0.15, rule_breakers=0.5,
            slowest=0.6, fastest=1.35, near_m=12.0,
        )  # fmt: skip
