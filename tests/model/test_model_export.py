"""What is exported says what the network says, and the comparison can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from opendojo.model import DrivingNet, Motion, NetConfig
from opendojo.model.export import Graph, Port, check_parity, export_onnx, export_program
from opendojo.model.export_driving import driving_meta, half_graphs, step_graph
from opendojo.model.export_run import open_exported


def network(**dials: object) -> DrivingNet:
    """A network whose heads say something: they start at zero."""
    torch.manual_seed(0)
    net = DrivingNet(NetConfig(**dials))  # type: ignore[arg-type]
    for weights in net.parameters():
        if not bool(weights.any()):
            nn.init.normal_(weights, std=0.05)
    return net.eval()


@pytest.fixture(scope="module")
def small() -> DrivingNet:
    return network(cameras=("front", "left"), width_px=64, height_px=32)


def onnx_there() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'opendojo[onnx]'")


class Line(nn.Module):
    """y = a x + b: small enough to be exported in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def line_graph() -> Graph:
    torch.manual_seed(3)
    ports = (Port(name="x", dtype=torch.float32, shape=(4,), low=-1.0),)
    return Graph(name="line", module=Line().eval(), inputs=ports, outputs=("y",))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_step_is_the_networks_own_way_through_its_window(small: DrivingNet, count: int) -> None:
    graph = step_graph(small)
    generator = torch.Generator().manual_seed(count)
    feeds = graph.draw(3, generator)
    feeds["filled"] = (torch.arange(8, 0, -1) <= count).expand(3, -1)
    told = graph.run(feeds)
    with torch.inference_mode():
        scene = small.encode(feeds["frames"], feeds["camera_mask"], feeds["lens"])
        queue = torch.cat([feeds["past"], scene[:, None]], 1)[:, -count:]
        names = ("time_s", "speed_mps", "speed_mask", "command")
        motion = Motion(**{name: feeds[name][:, -count:] for name in names})
        memory = small.recall(queue, motion)
        path_m = small.plan(memory[:, -1:], motion.last()).path_m[:, 0]
    torch.testing.assert_close(told["scene"], scene, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told["path_m"], path_m, rtol=1e-4, atol=1e-4)


def test_an_absent_camera_and_an_empty_queue_have_no_say(small: DrivingNet) -> None:
    graph = step_graph(small)
    feeds = graph.draw(2, torch.Generator().manual_seed(0))
    feeds["camera_mask"] = torch.tensor([[True, False], [True, False]])
    feeds["filled"] = (torch.arange(8, 0, -1) <= 3).expand(2, -1)
    other = {name: value.clone() for name, value in feeds.items()}
    other["frames"][:, 1] = 77
    other["past"][:, :5] = 9.0
    other["speed_mps"][:, :5] = 3.0
    other["time_s"][:, :5] = -4.0
    assert torch.equal(graph.run(feeds)["path_m"], graph.run(other)["path_m"])
    other["past"][:, 5:] += 1.0
    assert not torch.equal(graph.run(feeds)["path_m"], graph.run(other)["path_m"])


def test_the_halves_make_the_step(small: DrivingNet) -> None:
    step, (encode, plan) = step_graph(small), half_graphs(small)
    feeds = step.draw(2, torch.Generator().manual_seed(5))
    scene = encode.run(feeds)["scene"]
    queue = torch.cat([feeds["past"], scene[:, None]], 1)
    assert torch.equal(plan.run({**feeds, "queue": queue})["path_m"], step.run(feeds)["path_m"])


def test_a_blind_network_is_not_exported() -> None:
    with pytest.raises(ValueError, match="not exported"):
        step_graph(DrivingNet(NetConfig(blind=True)))


def test_a_program_says_what_the_module_says(tmp_path: Path) -> None:
    graph = line_graph()
    path = export_program(graph, tmp_path / "line.pt2", {"note": 7})
    exported = open_exported(path)
    assert exported.meta["note"] == 7
    assert exported.meta["inputs"] == [{"name": "x", "dtype": "float32", "shape": [4]}]
    found = check_parity(graph, exported, rows=20)
    assert found.ok and found.rows == 20 and found.worst < 1e-6
    assert [p.name for p in tmp_path.iterdir()] == ["line.pt2"]


def test_an_export_that_says_something_else_is_caught(tmp_path: Path) -> None:
    graph = line_graph()
    path = export_program(graph, tmp_path / "line.pt2")
    with torch.no_grad():
        graph.module.get_parameter("layer.bias")[1] += 1e-3
    found = check_parity(graph, path, rows=20)
    assert not found.ok
    assert (found.worst_output, found.bar) == ("y", 1e-4)
    with torch.no_grad():
        graph.module.get_parameter("layer.bias")[1] = torch.nan
    assert not check_parity(graph, path, rows=2).ok


def test_onnx_says_what_the_module_says_at_any_batch(tmp_path: Path) -> None:
    onnx_there()
    graph = line_graph()
    path = export_onnx(graph, tmp_path / "line.onnx", {"note": 7})
    exported = open_exported(path)
    assert exported.meta["note"] == 7
    for rows in (1, 2, 31):
        assert check_parity(graph, exported, rows=rows, batch=rows).ok
    with torch.no_grad():
        graph.module.get_parameter("layer.weight")[0, 0] += 1e-2
    assert not check_parity(graph, exported, rows=20).ok


def test_onnx_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r"pip install 'opendojo\[onnx\]'"):
        export_onnx(line_graph(), tmp_path / "line.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "line.onnx").touch()
    with pytest.raises(ValueError, match=r"pip install 'opendojo\[onnx\]'"):
        open_exported(tmp_path / "line.onnx")


@pytest.mark.parametrize("name", ["none.onnx", "none.pt2"])
def test_a_file_that_is_not_there_or_not_ours_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        open_exported(tmp_path / name)
    if name.endswith(".onnx"):
        onnx_there()
    (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(ValueError, match="cannot be opened"):
        open_exported(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["nano", "tiny"])
@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_a_thousand_random_instants_agree(tmp_path: Path, size: str, ending: str) -> None:
    """Random pictures, queues, speeds and absent cameras; whole and in two halves."""
    if ending == ".onnx":
        onnx_there()
    net = network(size=size)
    write = export_onnx if ending == ".onnx" else export_program
    for graph in (step_graph(net), *half_graphs(net)):
        path = write(graph, tmp_path / f"{graph.name}{ending}", driving_meta(net))
        found = check_parity(graph, path, rows=1000, batch=50)
        assert found.ok, found
