"""`opendojo export RUN --out car.onnx|car.pt2`: a network as a file, with its model card."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from opendojo.cli.show import Common, Progress, parse, print_document

if TYPE_CHECKING:
    from opendojo.model.export import Graph
    from opendojo.model.export_run import Exported

__all__ = ["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportArguments(Common):
    """Write a trained network as one file, compare it with the network, measure it, write its card.

    The file takes the pictures of one instant and the queue of those before, and gives the plan and
    this instant's entry of the queue; the batch may be of any size. CAR.md and CAR.json beside it
    are the model card. ONNX needs `pip install 'opendojo[onnx]'`; .pt2 needs nothing more.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a training run, or of a whole job such as `opendojo demo` makes."""
    out: Path
    """The file: .onnx, or .pt2 for a program of `torch.export`."""
    halves: bool = False
    """Write CAR.encode and CAR.plan too: the same cut in two, for who runs them on two chips."""
    rows: int = 32
    """Random inputs on which file and network are compared."""
    instants: int = 100
    """Instants whose latency is measured, after the warm-up; 0 for none."""


def run(arguments: list[str]) -> int:
    """Run the command; exit code 1 where the export does not say what the network says."""
    chosen = parse(ExportArguments, "export", arguments, cleandoc(ExportArguments.__doc__ or ""))
    if chosen.out.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"--out {chosen.out}: give it the ending .onnx or .pt2")
    if chosen.rows < 1 or chosen.instants < 0:
        raise ValueError("--rows must be at least 1, --instants at least 0")
    from opendojo.model.export_card import card_markdown, make_card, network_folder
    from opendojo.store.atomic import write_json

    folder = network_folder(chosen.run)
    graphs, meta = _graphs(_network(folder), halves=chosen.halves)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    files, parity, latency = _write(chosen, graphs, meta, progress)
    progress.close()
    bad = {name: found for name, found in parity.items() if not found["ok"]}
    if bad:
        for name, found in bad.items():
            print(
                f"opendojo: {name} differs from the network by {found['worst']:.1e} in "
                f"{found['worst_output']} ({found['bar']:.0e} is allowed); it was removed",
                file=sys.stderr,
            )
            chosen.out.with_name(name).unlink()
        return 1
    card = make_card(folder, network=meta, files=files, parity=parity, latency=latency)
    write_json(chosen.out.with_suffix(".json"), card)
    chosen.out.with_suffix(".md").write_text(card_markdown(card))
    _show(chosen, card)
    return 0


def _network(folder: Path) -> Any:
    """Our network, or somebody else's trainee where the run says what makes it."""
    train: Any = importlib.import_module("opendojo.train")
    net = json.loads((folder / "config.json").read_text()).get("net", {})
    return train.load_trainee(folder) if "factory" in net else train.load_network(folder)


def _graphs(network: Any, *, halves: bool) -> tuple[list[Graph], dict[str, Any]]:
    """The graphs of our network, or those that a network of somebody else's gives."""
    from opendojo.model import DrivingNet
    from opendojo.model.export_driving import driving_meta, half_graphs, step_graph

    if not isinstance(network, DrivingNet) and hasattr(network, "graphs"):
        parameters = sum(p.numel() for p in network.parameters())
        return list(network.graphs()), {"kind": type(network).__name__, "parameters": parameters}
    if not isinstance(network, DrivingNet):
        raise ValueError(
            f"{type(network).__name__} cannot be exported: give it a method `graphs()` that "
            "returns a list of `opendojo.model.export.Graph` (docs/guides/networks.md)"
        )
    more = half_graphs(network) if halves else ()
    return [step_graph(network), *more], driving_meta(network)


def _write(
    chosen: ExportArguments, graphs: list[Graph], meta: dict[str, Any], progress: Progress
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Export, compare, measure: files, parities and latency for the card."""
    from opendojo.model.export import check_parity, export_onnx, export_program
    from opendojo.model.export_run import open_exported
    from opendojo.store.atomic import file_sha256

    write = export_onnx if chosen.out.suffix == ".onnx" else export_program
    files: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    latency: dict[str, Any] = {}
    for number, graph in enumerate(graphs):
        path = chosen.out.with_suffix(f".{graph.name}{chosen.out.suffix}") if number else chosen.out
        progress("exporting", number, len(graphs), path.name)
        write(graph, path, meta)
        exported = open_exported(path)
        found = check_parity(graph, exported, rows=chosen.rows)
        files[path.name] = {"graph": graph.name, "sha256": file_sha256(path)}
        parity[path.name] = {**dataclasses.asdict(found), "ok": found.ok}
        if not number and found.ok:
            latency = _latency(graph, exported, chosen.instants)
    progress("exporting", len(graphs), len(graphs), "")
    return files, parity, latency


def _latency(graph: Graph, exported: Exported, instants: int) -> dict[str, Any]:
    """Time of one instant of one car, on random inputs."""
    import time

    import torch

    from opendojo.evaluate.onnx_driver import WARM_UP, percentiles
    from opendojo.machine import machine_facts

    feeds = graph.draw(1, torch.Generator().manual_seed(2))
    seconds: list[float] = []
    for _ in range(WARM_UP + instants if instants else 0):
        began_s = time.perf_counter()
        exported.run(feeds)
        seconds.append(time.perf_counter() - began_s)
    facts = machine_facts()
    return {
        **percentiles(seconds[WARM_UP:]),
        "machine": facts["cpu"],
        "threads": torch.get_num_threads(),
    }


def _show(chosen: ExportArguments, card: dict[str, Any]) -> None:
    if chosen.json:
        print_document({"path": str(chosen.out), **card})
        return
    export = card["export"]
    for name, found in export["parity"].items():
        print(f"{chosen.out.with_name(name)}: within {found['worst']:.1e} of the network "
              f"on {found['rows']} random inputs")  # fmt: skip
    latency = export["latency"]
    if latency.get("p50_ms") is not None:
        print(f"latency of one instant: p50 {latency['p50_ms']:.2f} ms, p95 "
              f"{latency['p95_ms']:.2f} ms, p99 {latency['p99_ms']:.2f} ms")  # fmt: skip
    print(f"model card: {chosen.out.with_suffix('.md')}, {chosen.out.with_suffix('.json')}")
