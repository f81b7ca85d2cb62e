"""Published training runs: rows of a CSV as shapes, layouts and a measured time.

Everything comes from the row's own fields; what a row leaves open is filled by the usual value of
its network (`networks.toml`) and named in `assumed`. A row that cannot be modelled says why.
"""

from __future__ import annotations

import csv
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

__all__ = ["Refused", "Run", "read_runs"]

_COLUMNS = ("model", "accelerator", "count", "tokens_or_samples_per_s", "step_time_s", "notes")


class Refused(ValueError):
    """A row that cannot be modelled; the sentence says why."""


@dataclass(slots=True)
class Run:
    """One row, ready for the cost model. Sizes are those of one sample unless named otherwise."""

    row: dict[str, str]
    chip: str
    count: int
    kind: str
    """"dense", "moe" or "vision"."""
    stack: str
    """Software that trained it: "megatron", "xla", "zoo" ..."""
    format: str
    year: int
    values: dict[str, float] = field(default_factory=dict[str, float])
    """Numbers of the cost model by name; see `opendojo.machine.cost`."""
    assumed: tuple[str, ...] = ()
    network: str = ""
    """Key of `networks.toml` where the shape is the network's usual one."""
    measured_s: float = 0.0
    """Step time."""

    @property
    def family(self) -> str:
        """Rows of one family are twins: same network, same software, same chip."""
        model = re.sub(r"[^a-z0-9]", "", self.row["model"].lower())
        return f"{model}/{self.stack}/{self.chip}"


def read_runs(path: Path, *, core: bool = True) -> tuple[list[Run], list[tuple[str, str]]]:
    """Rows that can be modelled, and (identity, reason) of those that cannot.

    Raises:
        ValueError: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [c for c in _COLUMNS if not rows or c not in rows[0]]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r}; the columns of published runs are "
                         f"{', '.join(_COLUMNS)} ...")  # fmt: skip
    runs: list[Run] = []
    refused: list[tuple[str, str]] = []
    for row in rows:
        if core and row.get("core", "1") != "1":
            continue
        try:
            runs.append(read_run(row))
        except Refused as error:
            refused.append((row.get("id", "?"), str(error)))
    return runs, refused


def read_run(row: dict[str, str]) -> Run:
    """One row as a run.

    Raises:
        Refused: something that the model needs is unknown.
    """
    if not row["count"].isdigit():
        raise Refused(f"count of chips {row['count']!r} is no number")
    kind, shape, assumed = _shape(row)
    form = _format(row)
    run = Run(row=row, chip=row["accelerator"], count=int(row["count"]), kind=kind,
              stack=_stack(row), format=form, year=int(row["year"] or 2024),
              values=shape, assumed=tuple(assumed))  # fmt: skip
    if assumed and "name" in assumed[0]:
        run.network = _key("vision" if kind == "vision" else "language", row["model"]) or ""
    _layout(run)
    run.measured_s = _measured_s(run)
    return run


@cache
def _networks() -> dict[str, dict[str, list[float]]]:
    text = resources.files("opendojo.machine").joinpath("networks.toml").read_text("utf-8")
    return tomllib.loads(text)


def _number(row: dict[str, str], name: str, default: float = 0.0) -> float:
    try:
        return float(row.get(name) or default)
    except ValueError:
        return default


def _key(table: str, model: str) -> str | None:
    found = [k for k in _networks()[table] if k in model.lower()]
    return max(found, key=len) if found else None


def _named(table: str, model: str) -> list[float] | None:
    key = _key(table, model)
    return _networks()[table][key] if key else None


def _shape(row: dict[str, str]) -> tuple[str, dict[str, float], list[str]]:
    model, hidden = row["model"], _number(row, "hidden")
    assumed: list[str] = []
    if "MoE" in model and "10T" in model:
        raise Refused("the experts a token visits are not given")
    if not hidden and (known := _named("vision", model)):
        macs, elements, kernels, batch = known
        shape = {"macs": macs * 1e9, "elements": elements * 1e6, "kernels": kernels,
                 "usual_batch": batch, "parameters": _number(row, "params", 3e7)}  # fmt: skip
        return "vision", shape, ["shape of the network by its name"]
    known = None if hidden else _named("language", model)
    if not hidden and known is None:
        raise Refused(f"the shape of {model!r} is not known")
    if known:
        total, active, layers, hidden, width, topk, seq = known
        assumed.append("shape of the network by its name")
    else:
        usual = _named("language", model)
        layers, width, topk, active = _number(row, "layers", 32), hidden, 0.0, 0.0
        total = _number(row, "params") or 12 * layers * hidden**2
        seq = usual[6] if usual else 2048.0 if "LLAMA" not in model else 4096.0
        active = total
    if not row["seq_len"]:
        assumed.append(f"sequence of {seq:.0f}")
    seq = _number(row, "seq_len", seq)
    vocab = _number(row, "vocab", 51200 if total > 1e9 else 30522)
    shape = {"parameters": total, "active": active, "layers": layers, "hidden": hidden,
             "width": width, "topk": topk, "seq": seq, "vocab": vocab,
             "lora": float("LoRA" in model), "tables": _tables(model, total, layers, hidden),
             "headed": 0.15 if "bert" in model.lower() else 1.0,
             "causal": float(not any(w in model.lower() for w in _TWO_WAY))}  # fmt: skip
    return ("moe" if topk else "dense"), shape, assumed


_TWO_WAY = ("bert", "wan", "flux", "diff")


def _tables(model: str, total: float, layers: float, hidden: float) -> float:
    """Vocabulary tables among the parameters: none, one (tied), or two."""
    if any(word in model.lower() for word in ("llama", "qwen", "deepseek", "kimi")):
        return 2.0
    return 0.0 if abs(total / (12 * layers * max(hidden, 1) ** 2) - 1) < 1e-3 else 1.0


def _format(row: dict[str, str]) -> str:
    text = row["precision"].lower()
    for word in ("fp4", "fp8", "tf32", "fp32"):
        if word in text:
            return word
    if text or "mlperf" not in row["source"].lower():
        return "bf16"
    modern = any(c in row["accelerator"] for c in ("B200", "H100", "H200", "B300"))
    language = any(w in row["model"] for w in ("Llama", "GPT", "BERT"))
    return "fp8" if modern and language else "bf16"


_STACKS = (
    ("vtrain", "deepspeed"), ("mt-nlg", "deepspeed"), ("bigscience", "deepspeed"),
    ("llm-foundry", "fsdp"),
    ("torchtitan", "fsdp"), ("megatron-bridge", "nemo"), ("nemo", "nemo"), ("maxtext", "xla"),
    ("tpu-recipes", "xla"), ("maxdiff", "xla"), ("mlperf", "tuned"),
    ("deeplearningexamples", "reference"), ("timm", "reference"), ("detectron2", "zoo"),
    ("mmaction", "zoo"), ("mmdetection", "zoo"), ("gaudi", "nemo"),
)  # fmt: skip


def _stack(row: dict[str, str]) -> str:
    if "(MegaScale)" in row["model"]:
        return "megascale"
    source = row["source"].lower()
    return next((stack for word, stack in _STACKS if word in source), "megatron")


def _layout(run: Run) -> None:
    row, v = run.row, run.values
    noted = dict(re.findall(r"\b(CP|EP|VP)=(\d+)", row["notes"]))
    v["tp"] = _number(row, "tensor_parallel", 1)
    v["pp"] = _number(row, "pipeline_parallel", 1)
    v["cp"] = float(noted.get("CP", 1))
    if "GPT-3 175B (MLPerf)" in row["model"] and not row["tensor_parallel"]:
        raise Refused("a model that needs many chips, and its layout is not given")
    v["dp"] = max(1.0, run.count / (v["tp"] * v["pp"] * v["cp"]))
    v["ep"] = float(noted.get("EP", min(run.count, 64) if run.kind == "moe" else 1))
    # Unstated interleave: none in early software, later a few blocks in each stage.
    blocks = max(1.0, min(v.get("layers", 1) / v["pp"], 8.0)) if v["pp"] > 1 else 1.0
    usual_vp = 1.0 if run.stack == "deepspeed" or run.year < 2023 else blocks
    v["vp"] = max(1.0, _number(row, "interleave", usual_vp))
    usual = v.get("usual_batch", max(1.0, 8192.0 / v.get("seq", 8192.0)))
    if v["pp"] > 1:
        usual = 1.0
    v["gb"] = _number(row, "global_batch") or usual * v["dp"] * (8 if v["pp"] > 1 else 1)
    # Without a stated micro-batch: as many samples as fit, at most the rank's share.
    share = max(v["gb"] / v["dp"], 1.0 / run.count)
    v["mb"] = min(_number(row, "micro_batch") or (usual if run.kind != "vision" else share), share)
    v["accumulate"] = max(1.0, share / v["mb"])
    text = row["recompute"].lower()
    v["full"] = float(text.startswith("full"))
    v["selective"] = float("selective" in text)
    if not text and run.stack in ("megatron", "megascale", "deepspeed") and run.kind == "dense":
        v["full"], v["selective"] = float(run.year < 2023), float(run.year == 2024)
    v["fsdp"] = float("fsdp" in row["zero/fsdp"].lower() or run.stack == "xla")
    v["flash"] = float(
        run.year >= (2024 if "MegaScale" in row["model"] else 2023)
        and run.stack != "deepspeed"
        and "Megatron-LM" not in row["model"]
    )
    gbit = re.search(r"(\d+) ?Gb/s[^;]*per node", row["interconnect"])
    quad = re.search(r"4x100Gb", row["interconnect"])
    v["nic"] = float(gbit[1]) / 64 * 1e9 if gbit else 6.25e9 if quad else 0.0
    v["videoraw"] = float("PySlowFast" in row["model"])


def _model_flops(run: Run) -> float:
    v = run.values
    if run.kind == "vision":
        return 6 * v["macs"]
    attention = 12 * v["layers"] * v["width"] * v["seq"] ** 2
    if run.stack == "xla" and run.year >= 2025:
        attention /= 2
    hardware = "incl. recompute" in run.row["notes"]
    return (6 * v["active"] * v["seq"] + attention) * (4 / 3 if hardware else 1)


def _measured_s(run: Run) -> float:
    row, v = run.row, run.values
    tokens = "token" in row["unit"]
    rate, stated = _number(row, "tokens_or_samples_per_s"), _number(row, "step_time_s")
    if rate and (row["global_batch"] or not stated or not tokens):
        return v["gb"] * (v["seq"] if tokens and "seq" in v else 1.0) / rate
    if stated:
        if not row["global_batch"] and (found := re.search(r"(\d+) tokens per step", row["notes"])):
            return stated * v["gb"] * v["seq"] / float(found[1])
        return stated
    per_chip = _number(row, "tflops_per_chip") * 1e12
    if not per_chip and (share := _number(row, "mfu")):
        from opendojo.machine.cost import peak_flops_per_s

        per_chip = share / 100 * peak_flops_per_s(run.chip, "bf16")
    if not per_chip:
        raise Refused("no measured rate")
    return _model_flops(run) * v["gb"] / per_chip / run.count
