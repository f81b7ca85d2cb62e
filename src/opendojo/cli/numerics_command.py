"""`opendojo numerics list|show|sweep`: number formats, and what a network loses in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.numerics.sweep import Swept

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class List(Common):
    """Every format, block format and precision of training, with what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Show(Common):
    """A format's range and gaps, and a picture of its number line.

    `opendojo numerics show cfloat8_1_4_3 --bias 11 --picture line.png`
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FORMAT")]
    """Its name, as `opendojo numerics list` has it."""
    bias: int | None = None
    """Another bias, where it can be chosen."""
    picture: Path | None = None
    """Draw the number line into this PNG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(Common):
    """Which layers of a trained network lose what in which format, and a recommended mix.

    Looks at the weights of linear and convolution layers of the newest checkpoint, each tensor
    with a shift of its own largest number or in blocks; and, where the run was AdamW's, at the root
    of the second moments of their gradients, which stands for the size of gradients. Activations
    are not looked at.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a training run."""
    formats: tuple[str, ...] = ()
    """Formats to try; ten of 4 to 16 bits by default."""
    tolerance: float = 0.05
    """Error that a recommended format may have, as a share of the tensor's norm."""
    biases: int = 2
    """How many biases of cfloat8_1_4_3 all weights may have together."""


def run(arguments: list[str]) -> int:
    """Run the command."""
    kinds = (("list", List), ("show", Show), ("sweep", Sweep))
    one, two, three = (
        Annotated[kind, tyro.conf.subcommand(name, description=cleandoc(kind.__doc__ or ""))]
        for name, kind in kinds
    )
    said = "Number formats, and what a network loses in them."
    chosen: Any = parse(one | two | three, "numerics", arguments, said)  # type: ignore[arg-type]
    if isinstance(chosen, List):
        _list(chosen)
    elif isinstance(chosen, Show):
        _show(chosen)
    else:
        _sweep(chosen)
    return 0


def _list(chosen: List) -> None:
    from opendojo.formats import block, element, names, precision

    if chosen.json:
        print_document(
            {
                "formats": [asdict(element(name)) for name in names()],
                "blocks": [asdict(block(name)) for name in names("block")],
                "precisions": [asdict(precision(name)) for name in names("precision")],
            }
        )
        return
    print(f"{'format':<22}{'bits':>5}  {'s-e-m':<8}{'bias':<10}{'largest':>12}{'least':>12}")
    for name in names():
        f = element(name)
        layout = f"{int(f.signed)}-{f.exponent_bits}-{f.mantissa_bits}"
        low, high = f.biases
        bias = str(f.bias) if low == high else f"{low} to {high}"
        print(f"{name:<22}{f.bits:>5}  {layout:<8}{bias:<10}{f.largest:>12.4g}{f.least:>12.4g}")
    print(f"\n{'blocks':<22}{'bits':>5}  of")
    for name in names("block"):
        b = block(name)
        print(f"{name:<22}{b.bits:>5g}  {b.size} {b.element.name} under a scale of {b.scale}")
    print(f"\n{'precision':<22}weights, activations, gradients")
    for name in names("precision"):
        p = precision(name)
        how = f", {p.gradient_rounding}" if p.gradient_rounding != "nearest" else ""
        print(f"{name:<22}{p.weights.name}, {p.activations.name}, {p.gradients.name}{how}")


def _show(chosen: Show) -> None:
    from opendojo.formats import element
    from opendojo.numerics.picture import draw_line, facts_of

    found = element(chosen.name, bias=chosen.bias)
    facts = facts_of(found)
    if chosen.picture is not None:
        draw_line(found, chosen.picture)
        facts["picture"] = str(chosen.picture)
    if chosen.json:
        print_document(facts)
        return
    low, high = found.biases
    print(f"{found.name}: {found.bits} bits, {facts['layout']} (sign, exponent, mantissa)")
    print(f"  bias          {found.bias}" + (f" of {low} to {high}" if low < high else ""))
    print(f"  largest       {found.largest:g}")
    print(f"  least normal  {found.least_normal:g}")
    print(f"  least         {found.least:g}")
    print(f"  range         {facts['decades']:.1f} decades")
    print(f"  overflow      {found.overflow}, codes that are no numbers: {found.specials}")
    if found.source:
        print(f"  source        {found.source} ({found.grade})")
    print(f"  {'from':>12} {'gap':>12} {'numbers':>8}")
    rows = facts["gaps"]
    for row in rows if len(rows) <= 40 else [*rows[:8], *rows[-8:]]:
        print(f"  {row['from']:>12.6g} {row['gap']:>12.6g} {row['numbers']:>8}")
    if chosen.picture is not None:
        print(f"drawn into {chosen.picture}")


def _sweep(chosen: Sweep) -> None:
    from opendojo.formats import element
    from opendojo.numerics.sweep import SWEPT, shared_biases, sweep
    from opendojo.train.layers import layer_tensors

    weights, moments = layer_tensors(chosen.run_dir)
    formats = chosen.formats or SWEPT
    progress = Progress()
    swept = {}
    for role, tensors in (("weights", weights), ("gradients", moments)):
        swept[role] = sweep(
            tensors,
            formats,
            tolerance=chosen.tolerance,
            on_tensor=lambda done, total, role=role: progress(role, done, total),
        )
    biases = shared_biases(weights, element("cfloat8_1_4_3"), chosen.biases)
    progress.close()
    if chosen.json:
        found = {role: [asdict(row) for row in rows] for role, rows in swept.items()}
        print_document({**found, "tolerance": chosen.tolerance, "cfloat8_biases": biases})
        return
    for role, rows in swept.items():
        _print_role(role, rows, formats)
    shares = ", ".join(str(bias) for bias in sorted(set(biases.values())))
    print(f"cfloat8_1_4_3 with at most {chosen.biases} biases for all weights: {shares}")


def _print_role(role: str, rows: list[Swept], formats: tuple[str, ...]) -> None:
    if not rows:
        print(f"{role}: none are kept in this run\n")
        return
    what = "root of the second moment, " if role == "gradients" else ""
    print(f"{role}: {what}error as % of the norm (underflow, % of the numbers)")
    print(f"{'layer':<34}" + "".join(f"{name:>16}" for name in formats) + "  fewest bits")
    for row in rows:
        cells = "".join(
            f"{100 * row.losses[f].error:>9.2f} ({100 * row.losses[f].underflow:>3.0f})"
            for f in formats
        )
        print(f"{row.name[-33:]:<34}{cells}  {row.recommended or 'none'}")
    print()
