"""The networks of `examples/`, which are not ours, keep the trainee's contract and learn."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from batches import make_batch
from opendojo.loader import Batch
from opendojo.model.export import check_parity, export_onnx, export_program

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("resnet_path", "video_path")


@pytest.fixture(params=NAMES)
def trainee(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    pytest.importorskip("transformers", reason="pip install transformers")
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    torch.manual_seed(0)
    module = importlib.import_module(request.param)
    if request.param == "video_path":
        return module.VideoPath(width=48, layers=2, heads=2)
    return module.factory()


@pytest.fixture
def batch(trainee: nn.Module) -> Batch:
    """The video transformer needs all its instants; the ResNet takes each by itself."""
    return batch_of(8 if type(trainee).__name__ == "VideoPath" else 2)


def batch_of(steps: int, rows: int = 2) -> Batch:
    """Windows of random pictures, each with a path of its own."""
    generator = torch.Generator().manual_seed(7)
    shape = (rows, steps, 3, 6, 32, 64)
    frames = torch.randint(16, 235, shape, generator=generator, dtype=torch.uint8)
    speed_mps = torch.rand(rows, steps, generator=generator) * 10
    times_s = torch.arange(1, 17) / 4
    ahead = speed_mps[..., None] * times_s
    side = torch.linspace(-5, 5, rows)[:, None, None] * times_s.expand_as(ahead) / 4
    return make_batch(
        frames,
        camera_mask=torch.ones(rows, 3, dtype=torch.bool),
        time_s=torch.arange(float(steps)).double().expand(rows, -1) / 10,
        speed_mps=speed_mps,
        speed_mask=torch.ones(rows, steps, dtype=torch.bool),
        path_m=torch.stack([ahead, side], -1),
        path_mask=torch.ones(rows, steps, 16, dtype=torch.bool),
        drawn=torch.ones(rows, dtype=torch.bool),
        window_id=torch.arange(rows),
    )


def test_losses_are_named_scalars_and_reach_every_weight(trainee: nn.Module, batch: Batch) -> None:
    losses = trainee(batch)
    assert losses and all(loss.dim() == 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    silent = [name for name, p in trainee.named_parameters() if p.grad is None]
    assert silent == [], "ranks would wait for one another"


def test_a_few_steps_on_one_batch_learn_it(trainee: nn.Module, batch: Batch) -> None:
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-3)
    seen: list[float] = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.stack(list(trainee(batch).values())).sum()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.8 * seen[0]


def test_missing_labels_give_no_loss(trainee: nn.Module, batch: Batch) -> None:
    batch.path_mask[:] = False
    loss = torch.stack(list(trainee(batch).values())).sum()
    assert loss.item() == 0.0
    loss.backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in trainee.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_they_are_exported_and_say_the_same(
    trainee: nn.Module, tmp_path: Path, ending: str
) -> None:
    write = export_program
    if ending == ".onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name, reason="pip install 'opendojo[onnx]'")
        write = export_onnx
    (graph,) = trainee.graphs()  # type: ignore[operator]
    found = check_parity(graph, write(graph, tmp_path / f"theirs{ending}"), rows=50)
    assert found.ok, found
