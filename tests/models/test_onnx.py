from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from robustbench_aa import load
from robustbench_aa.errors import CheckpointError, UsageError

WEIGHT = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


def write(path: Path, batch: int | str, size: int | str = 32, channels: int = 3) -> str:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    shape = [batch, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 6])],
        [numpy_helper.from_array(WEIGHT[:channels], "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return f"onnx:{path}"


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_logits_do_not_depend_on_the_batch_that_the_graph_fixes(
    tmp_path: Path, batch: int | str
) -> None:
    classifier = load(write(tmp_path / "a.onnx", batch))
    assert (classifier.input_size, classifier.classes) == (32, 6)
    x = torch.randn(7, 3, 32, 32)
    expected = x.mean((2, 3)) @ torch.from_numpy(WEIGHT)
    torch.testing.assert_close(classifier.module(x), expected)
    content = (tmp_path / "a.onnx").read_bytes()
    assert classifier.weights_sha256 == hashlib.sha256(content).hexdigest()


def test_a_graph_of_free_size_gets_imagenets_size(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.onnx", "N", "S")).input_size == 224


def test_a_graph_that_does_not_classify_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model at .*lost\.onnx; check the path"):
        load(f"onnx:{tmp_path}/lost.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(CheckpointError, match=r"text\.onnx is not an ONNX file with its weigh"):
        load(f"onnx:{tmp_path}/text.onnx")
    with pytest.raises(UsageError, match="does not map images"):
        load(write(tmp_path / "grey.onnx", "N", channels=1))


def test_a_missing_extra_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write(tmp_path / "a.onnx", "N")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'robustbench-aa\[onnx\]'"):
        load(name)
