"""Number formats as data: what every room means by `cfloat8_1_4_3` or `mxfp4`.

This floor has no torch, so that a machine's plan and a training run read one table, formats.toml.
The arithmetic on it is in `opendojo.numerics`.

    chosen = element("cfloat8_1_4_3", bias=11)
    chosen.largest, chosen.least_normal, chosen.bits
    precision("mxfp8").weights
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

__all__ = ["BlockFormat", "Format", "Precision", "block", "element", "names", "precision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A float of a few bits: value = (-1)^s * 2^(e - bias) * 1.m, or 2^(1 - bias) * 0.m at e = 0.

    From the high end a code is sign, exponent, mantissa. Every value of every format here is a
    float32.
    """

    name: str
    """Its table's name."""
    exponent_bits: int
    """Bits of the exponent's field."""
    mantissa_bits: int
    """Bits of the mantissa without the hidden one."""
    bias: int
    """What is taken from the exponent's field."""
    biases: tuple[int, int]
    """Least and largest bias that may be chosen; both are `bias` where it is fixed."""
    specials: Literal["none", "one_nan", "ieee"]
    """Codes that are no numbers: none; all ones is NaN; or all-ones exponents, as IEEE has it."""
    signed: bool = True
    """False: no sign bit, and what is below 0 becomes 0."""
    subnormals: Literal["gradual", "printed"] = "gradual"
    """Scale at e = 0: 2^(1 - bias), or 2^-bias as Tesla's paper prints it."""
    overflow: Literal["saturate", "infinity", "nan"] = "saturate"
    """What becomes of what rounds to above the largest number, infinity included."""
    nan: Literal["largest", "zero"] = "largest"
    """What becomes of a NaN where there is no code for it: the largest number of its sign, or the
    zero of the other sign."""
    source: str = ""
    """Where the definition is printed."""
    grade: str = ""
    """R: read at the source. G: recalled or inferred."""

    def __post_init__(self) -> None:
        low, high = self.biases
        if not low <= self.bias <= high:
            told = f"from {low} to {high}" if low < high else f"{low}, which is fixed"
            raise ValueError(f"{self.name}: bias {self.bias} cannot be had: it is {told}")
        if self.overflow == "infinity" and self.specials != "ieee":
            raise ValueError(f"{self.name} has no infinity: overflow is saturate or nan")
        if self.overflow == "nan" and self.specials == "none":
            raise ValueError(f"{self.name} has no NaN: overflow is saturate")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def exponent_low(self) -> int:
        """Exponent of the least normal number."""
        return 1 - self.bias

    @property
    def exponent_high(self) -> int:
        """Exponent of the largest number."""
        return (1 << self.exponent_bits) - 1 - int(self.specials == "ieee") - self.bias

    @property
    def largest_code(self) -> int:
        """Code of the largest number."""
        ones = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        if self.specials == "ieee":
            return ones - (1 << self.mantissa_bits)
        return ones - int(self.specials == "one_nan")

    @property
    def largest(self) -> float:
        """The largest number."""
        mantissa = self.largest_code & ((1 << self.mantissa_bits) - 1)
        return (1.0 + mantissa / (1 << self.mantissa_bits)) * 2.0**self.exponent_high

    @property
    def least_normal(self) -> float:
        """The least normal number above 0."""
        return 2.0**self.exponent_low

    @property
    def quantum_exponent(self) -> int:
        """The exponent of the least subnormal number, which is the gap between subnormals."""
        return self.exponent_low - self.mantissa_bits - int(self.subnormals == "printed")

    @property
    def least(self) -> float:
        """The least number above 0."""
        return 2.0**self.quantum_exponent

    @property
    def wide(self) -> bool:
        """Whether exponents are float32's own, so that its subnormals are numbers here too."""
        return self.exponent_bits == 8 and self.bias == 127

    def with_bias(self, bias: int) -> Format:
        """The same with another bias; raises `ValueError` where that cannot be had."""
        return replace(self, bias=bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFormat:
    """Blocks of elements, each under a scale of its own."""

    name: str
    """Its table's name."""
    element: Format
    """Format of the elements."""
    size: int
    """Elements that share a scale."""
    scale: Literal["e8m0", "e4m3"]
    """Code of a scale: a power of two, or an FP8 number under one float32 per tensor."""
    scale_format: Format | None = None
    """Format of scales; None where they are powers of two."""
    source: str = ""
    """Where the definition is printed."""

    @property
    def bits(self) -> float:
        """Bits per element with its share of the scale; the tensor's one float32 is left out."""
        return self.element.bits + 8 / self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What a training run's `precision` means in linear and convolution layers."""

    name: str
    """Its table's name."""
    weights: Format | BlockFormat
    """Format in which weights enter products; the weights themselves stay float32."""
    activations: Format | BlockFormat
    """Format of a layer's input."""
    gradients: Format | BlockFormat
    """Format of the gradient of a layer's output."""
    gradient_rounding: Literal["nearest", "stochastic"] = "nearest"
    """How gradients are rounded; weights and activations go to the nearest."""
    scaling: Literal["none", "tensor", "channel", "history", "block"] = "tensor"
    """What shares a scale: nothing has one, a tensor (a bias of its own), each output channel of a
    weight and whole tensors else, a tensor and the steps before it, or a block."""

    def scaled(self, scaling: Literal["tensor", "channel", "history"]) -> Precision:
        """The same with another scaling; `ValueError` where numbers have no scale or blocks one."""
        if self.scaling in ("none", "block"):
            raise ValueError(
                f"precision {self.name}: its scaling is {self.scaling}, which cannot be {scaling}"
            )
        return replace(self, scaling=scaling)


def element(name: str, *, bias: int | None = None) -> Format:
    """A format of single numbers; `ValueError` for an unknown name or a bias out of range."""
    table = _table()["element"]
    facts = dict(_named(table, name, "format"))
    if "like" in facts:
        facts = {**table[facts.pop("like")], **facts}
    biases = tuple(facts.pop("biases", (facts["bias"], facts["bias"])))
    found = Format(name=name, biases=biases, **facts)
    return found if bias is None else found.with_bias(bias)


def block(name: str) -> BlockFormat:
    """A format of blocks; raises `ValueError` for an unknown name."""
    facts = dict(_named(_table()["block"], name, "block format"))
    inside = element(facts.pop("element"))
    scale = element("fp8_e4m3") if facts["scale"] == "e4m3" else None
    return BlockFormat(name=name, element=inside, scale_format=scale, **facts)


@functools.cache
def precision(name: str) -> Precision:
    """What a precision of training means; raises `ValueError` for an unknown name."""
    facts = dict(_named(_table()["precision"], name, "precision"))
    blocks = _table()["block"]
    for role in ("weights", "activations", "gradients"):
        facts[role] = (block if facts[role] in blocks else element)(facts[role])
    return Precision(name=name, **facts)


def names(kind: Literal["element", "block", "precision"] = "element") -> tuple[str, ...]:
    """Names of all formats of a kind, in the order of the table."""
    return tuple(_table()[kind])


def _named(table: Mapping[str, Any], name: str, kind: str) -> Mapping[str, Any]:
    if name not in table:
        near = difflib.get_close_matches(name, table, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(table)}"
        raise ValueError(f"there is no {kind} {name}: {hint}")
    return table[name]


@functools.cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    text = resources.files("opendojo").joinpath("formats.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
