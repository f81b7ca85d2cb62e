"""Queries: a small expression over tags, logs and scores, for people; safe with any input.

    query = Query("night and merge and error > 2 m")
    found = query.of({"night": flags, "merge": flags, "error_m": metres})   # bool [n]

Words: `and`, `or`, `not`, comparisons, `+ - * /`, parentheses, `abs min max`, numbers, names. Units
stand in names (`error_m`, `speed_mps`); a name may leave its unit away where that is clear, and a
number may have one: `speed > 50 km/h`. A number of another unit than what it is compared with is
an error. What is not known (NaN) fulfils no comparison.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Query", "unit_of"]

Column = npt.NDArray[Any]

_UNITS: dict[str, tuple[str, float]] = {
    "m": ("m", 1.0),
    "km": ("m", 1000.0),
    "s": ("s", 1.0),
    "ms": ("s", 0.001),
    "mps": ("mps", 1.0),
    "m/s": ("mps", 1.0),
    "km/h": ("mps", 1.0 / 3.6),
    "kmh": ("mps", 1.0 / 3.6),
    "mps2": ("mps2", 1.0),
    "m/s2": ("mps2", 1.0),
    "mps3": ("mps3", 1.0),
    "m/s3": ("mps3", 1.0),
    "rad": ("rad", 1.0),
    "deg": ("rad", math.pi / 180.0),
    "radps": ("radps", 1.0),
    "deg/s": ("radps", math.pi / 180.0),
}
"""What may stand behind a number: the unit of the names it goes with, and the factor to it."""
_SUFFIXES = {unit for unit, _ in _UNITS.values()}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<sign><=|>=|==|!=|=|<|>|\+|-|\*|/|\(|\)|,))"
)
_UNIT = re.compile(r"\s*(km/h|m/s[23]?|deg/s|[a-z]+[23]?)(?![A-Za-z_0-9])")
_WORDS = {"and", "or", "not"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_LONGEST, _DEEPEST = 2000, 50


def unit_of(name: str) -> str:
    """The unit in a column's name: `m` of `error_m`, nothing of `night`."""
    _, _, last = name.rpartition("_")
    return last if "_" in name and last in _SUFFIXES else ""


@dataclass(frozen=True, slots=True)
class _Value:
    """What a part of the expression came to: flags, or numbers with their unit."""

    column: Column
    unit: str
    """`?` of a plain number, which goes with any unit."""

    @property
    def is_flag(self) -> bool:
        return self.column.dtype == np.bool_


_Node = Callable[[Mapping[str, Column]], _Value]


class Query:
    """A parsed query. Raises `ValueError` where the text is none, saying where."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise ValueError(f"a query of {len(text)} letters: at most {_LONGEST}")
        self.text = text.strip()
        self.names: list[str] = []
        """Names as they are written, in order."""
        self._tokens = _tokens(text)
        self._at, self._depth = 0, 0
        if not self._tokens:
            raise ValueError("the query is empty: write such as `night and error > 2 m`")
        self._node = self._or()
        if self._at < len(self._tokens):
            raise self._wrong(f"{self._tokens[self._at][1]!r} was not expected here")

    def of(self, columns: Mapping[str, Column]) -> npt.NDArray[np.bool_]:
        """Which rows fulfil it: bool [n] from columns [n], bool for tags, else numbers.

        Raises `ValueError` for a name that is no column, and where units do not go together.
        """
        value = self._node(columns)
        if not value.is_flag:
            raise ValueError(f"{self.text!r} is a number, not a yes or no: compare it, as in `> 2`")
        rows = len(next(iter(columns.values()))) if columns else 0
        return np.broadcast_to(value.column, (rows,)).copy()

    def _wrong(self, why: str) -> ValueError:
        at = self._tokens[self._at][2] if self._at < len(self._tokens) else len(self.text)
        return ValueError(f"query {self.text!r}, letter {at + 1}: {why}")

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _or(self) -> _Node:
        node = self._and()
        while self._peek() == "or":
            self._take()
            node = _logical(np.logical_or, "or", node, self._and())
        return node

    def _and(self) -> _Node:
        node = self._not()
        while self._peek() == "and":
            self._take()
            node = _logical(np.logical_and, "and", node, self._not())
        return node

    def _not(self) -> _Node:
        if self._peek() != "not":
            return self._comparison()
        self._take()
        self._deeper()
        inner = self._not()
        self._depth -= 1
        return lambda columns: _Value(~_flags(inner(columns), "not"), "")

    def _comparison(self) -> _Node:
        left = self._sum()
        sign = self._peek()
        if sign not in _COMPARE:
            return left
        self._take()
        right = self._sum()
        if self._peek() in _COMPARE:
            raise self._wrong("one comparison at a time: join two with `and`")
        return lambda columns: _compared(sign, left(columns), right(columns))

    def _sum(self) -> _Node:
        node = self._product()
        while self._peek() in ("+", "-"):
            node = _arithmetic(self._take(), node, self._product())
        return node

    def _product(self) -> _Node:
        node = self._unary()
        while self._peek() in ("*", "/"):
            node = _arithmetic(self._take(), node, self._unary())
        return node

    def _unary(self) -> _Node:
        if self._peek() != "-":
            return self._atom()
        self._take()
        self._deeper()
        inner = self._unary()
        self._depth -= 1

        def negative(columns: Mapping[str, Column]) -> _Value:
            value = _numbers(inner(columns), "-")
            return _Value(-value.column, value.unit)

        return negative

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"more than {_DEEPEST} levels")

    def _atom(self) -> _Node:
        if self._at >= len(self._tokens):
            raise self._wrong("something is missing at the end")
        kind, word, _ = self._tokens[self._at]
        self._take()
        if kind == "number":
            return self._number(word)
        if kind == "name" and word not in _WORDS:
            return self._call(word) if self._peek() == "(" else self._name(word)
        if word == "(":
            self._deeper()
            inner = self._or()
            self._depth -= 1
            self._expect(")")
            return inner
        self._at -= 1
        raise self._wrong(f"a name or number was expected, not {word!r}")

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise self._wrong(f"{sign!r} is missing")
        self._take()

    def _number(self, word: str) -> _Node:
        value, unit = float(word), "?"
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "unit":
            unit, factor = _UNITS[self._take()]
            value *= factor
        return lambda _: _Value(np.float64(value), unit)  # type: ignore[arg-type]

    def _name(self, word: str) -> _Node:
        self.names.append(word)

        def column(columns: Mapping[str, Column]) -> _Value:
            name = _resolved(word, columns)
            found = np.asarray(columns[name])
            return _Value(found if found.dtype == np.bool_ else found.astype(np.float64),
                          unit_of(name))  # fmt: skip

        return column

    def _call(self, word: str) -> _Node:
        if word not in ("abs", "min", "max"):
            raise self._wrong(f"there is no function {word!r}: abs, min, max")
        self._take()
        self._deeper()
        inner = [self._or()]
        while self._peek() == ",":
            self._take()
            inner.append(self._or())
        self._depth -= 1
        self._expect(")")
        if (len(inner) == 1) != (word == "abs"):
            raise self._wrong("abs takes one number, min and max two or more")

        def called(columns: Mapping[str, Column]) -> _Value:
            values = [_numbers(node(columns), word) for node in inner]
            unit = values[0].unit
            for value in values[1:]:
                unit = _common(unit, value.unit, word)
            if word == "abs":
                return _Value(np.abs(values[0].column), unit)
            join = np.minimum if word == "min" else np.maximum
            column = values[0].column
            for value in values[1:]:
                column = join(column, value.column)
            return _Value(column, unit)

        return called


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Kind, text and place of every token; a unit is one where it follows a number."""
    out: list[tuple[str, str, int]] = []
    text = text.strip()
    at = 0
    while at < len(text):
        unit = _UNIT.match(text, at) if out and out[-1][0] == "number" else None
        if unit and unit[1] not in _WORDS:
            if unit[1] not in _UNITS:
                raise ValueError(f"query {text!r}: {unit[1]!r} is no unit: {', '.join(_UNITS)}")
            out.append(("unit", unit[1], unit.start(1)))
            at = unit.end()
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"query {text!r}, letter {at + 1}: {text[at:].lstrip()[:1]!r} has "
                             "no meaning here")  # fmt: skip
        kind = match.lastgroup or ""
        out.append((kind, match[kind], match.start(kind)))
        at = match.end()
    return out


def _resolved(word: str, columns: Mapping[str, Column]) -> str:
    """The column of a name that may have left its unit away."""
    if word in columns:
        return word
    fits = [name for name in columns if unit_of(name) and name == f"{word}_{unit_of(name)}"]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ValueError(f"{word!r} may be {' or '.join(sorted(fits))}: write which")
    near = difflib.get_close_matches(word, columns, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(columns))}"
    raise ValueError(f"there is no {word!r}: {hint}")


def _flags(value: _Value, word: str) -> npt.NDArray[np.bool_]:
    if not value.is_flag:
        raise ValueError(f"`{word}` joins yes-or-no parts: compare the number first, as in `> 2`")
    return value.column


def _numbers(value: _Value, word: str) -> _Value:
    if value.is_flag:
        raise ValueError(f"`{word}` needs numbers, and one side is a tag")
    return value


def _common(one: str, other: str, word: str) -> str:
    """The unit of two sides; a plain number goes with any."""
    if "?" in (one, other):
        return other if one == "?" else one
    if one != other:
        names = [unit or "no unit" for unit in (one, other)]
        raise ValueError(f"`{word}` cannot join {names[0]} and {names[1]}")
    return one


def _logical(join: Any, word: str, left: _Node, right: _Node) -> _Node:
    return lambda columns: _Value(
        join(_flags(left(columns), word), _flags(right(columns), word)), ""
    )


def _arithmetic(sign: str, left: _Node, right: _Node) -> _Node:
    def joined(columns: Mapping[str, Column]) -> _Value:
        one, other = _numbers(left(columns), sign), _numbers(right(columns), sign)
        if sign in "+-":
            unit = _common(one.unit, other.unit, sign)
        elif "?" in (one.unit, other.unit) and (sign == "*" or other.unit == "?"):
            unit = one.unit if other.unit == "?" else other.unit
        else:
            unit = "?" if sign == "/" and one.unit == other.unit else ""
        act = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[sign]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return _Value(act(one.column, other.column), unit)

    return joined


def _compared(sign: str, left: _Value, right: _Value) -> _Value:
    one, other = _numbers(left, sign), _numbers(right, sign)
    _common(one.unit, other.unit, sign)
    known = ~(np.isnan(one.column) | np.isnan(other.column))
    with np.errstate(invalid="ignore"):
        return _Value(np.asarray(_COMPARE[sign](one.column, other.column) & known), "")
