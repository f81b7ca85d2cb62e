"""Fit the software's factors to published runs and store them as the machine's calibration.

    ./dojo python benchmarks/machine_calibration.py --runs FILE.csv

writes `src/opendojo/machine/data/calibration.json`: the factors, and the rows they come from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from opendojo.machine.calibration import fit
from opendojo.machine.runs import read_runs

__all__ = ["main"]

_STORED = Path(__file__).parents[1] / "src/opendojo/machine/data/calibration.json"


def main() -> None:
    """Fit, write, and say how many rows were used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=Path, required=True)
    runs, _ = read_runs(parser.parse_args().runs)
    factors = {name: round(value, 5) for name, value in fit(runs).items()}
    document = {"rows": [run.row["id"] for run in runs], "factors": factors}
    _STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{_STORED}: {len(factors)} factors from {len(runs)} rows")


if __name__ == "__main__":
    main()
