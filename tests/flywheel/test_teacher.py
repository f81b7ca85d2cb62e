"""The teacher: on a network made here whose answer is known, and on a real road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opendojo.flywheel.teacher import Teacher

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def brightness_network(path: Path) -> Path:
    """Maps whose second class is the red channel less a half, and the blue one, times ten."""
    from onnx import TensorProto, helper

    def part(channel: int, out: str) -> list:
        weights = np.zeros((2, 3, 1, 1), np.float32)
        weights[1, channel] = 10.0
        bias = np.array([0.0, -5.0], np.float32)
        return [
            helper.make_node(
                "Constant", [], [f"{out}_w"], value=onnx.numpy_helper.from_array(weights)
            ),
            helper.make_node(
                "Constant", [], [f"{out}_b"], value=onnx.numpy_helper.from_array(bias)
            ),
            helper.make_node("Conv", ["x", f"{out}_w", f"{out}_b"], [out]),
        ]

    graph = helper.make_graph(
        [*part(0, "drivable"), *part(2, "lanes")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 48])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 32, 48])
            for name in ("drivable", "lanes")
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_masks_are_those_of_the_network(tmp_path: Path) -> None:
    teacher = Teacher(brightness_network(tmp_path / "t.onnx"))
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[40:, :, 0] = 255
    rgb[40:, 40:44, 2] = 255
    seen = teacher.look(rgb)
    assert seen.drivable.shape == (64, 96)
    assert seen.drivable[44:].all()
    assert not seen.drivable[:36].any()
    assert seen.lanes[50, 42]
    assert seen.lanes.mean() < 0.05
    assert seen.confidence["drivable"] > 0.95
    assert seen.origin == "teacher"
    assert seen.teacher_name.startswith("t.onnx ")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    teacher = Teacher(brightness_network(tmp_path / "t.onnx"))
    seen = teacher.look(np.full((64, 96, 3), 255, np.uint8))
    assert seen.confidence == {"drivable": 0.0, "lanes": 0.0}
    assert "100.0%" in seen.reason["drivable"]
    unsure = teacher.look(np.full((64, 96, 3), 130, np.uint8))
    assert unsure.confidence["drivable"] == 0.0
    with pytest.raises(ValueError, match="not there"):
        Teacher(tmp_path / "none.onnx")


@pytest.mark.slow
def test_a_real_road(shared_data: Path) -> None:
    import av

    teacher = Teacher(shared_data / "teacher/twinlitenet.onnx")
    with av.open(str(shared_data / "road/solidWhiteRight.mp4")) as file:
        frame = next(iter(file.decode(video=0))).to_ndarray(format="rgb24")
    seen = teacher.look(frame)
    assert seen.reason == {"drivable": "", "lanes": ""}
    height = len(frame)
    assert seen.drivable[int(0.75 * height), frame.shape[1] // 2], "the lane ahead"
    assert seen.drivable[: height // 3].mean() < 0.02, "no road in the sky"
