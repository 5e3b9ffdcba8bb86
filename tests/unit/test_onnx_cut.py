"""A cut graph: what some inputs decide by themselves, then the rest, and the very same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gpu_node.engine.onnx_cut import cut

FLOAT = TensorProto.FLOAT
STILL = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
SPOKEN = np.array([[1.0, -1.0, 0.5, 2.0]], np.float32)


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Of the inputs still and spoken to the output picture."""
    constants = [
        numpy_helper.from_array(np.array([[2.0, 3.0, 4.0, 5.0]], np.float32), "gain"),
        numpy_helper.from_array(np.array(0.01, np.float32), "step"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
    ]
    row = [1, 4]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, FLOAT, row) for name in ("still", "spoken")],
        [helper.make_tensor_value_info("picture", FLOAT, row)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(made: onnx.ModelProto, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def test_what_the_first_inputs_decide_is_computed_before_the_others_are_there() -> None:
    whole = model(
        helper.make_node("Neg", ["gain"], ["loss"]),
        helper.make_node("Mul", ["still", "loss"], ["louder"]),
        helper.make_node("Relu", ["louder"], ["kept"]),
        helper.make_node("Mul", ["spoken", "loss"], ["mouth"]),
        helper.make_node("Add", ["mouth", "kept"], ["picture"]),
    )

    before, after = cut(whole, ["still"])

    handed = run(before, {"still": STILL})
    assert list(handed) == ["kept"]
    assert [node.op_type for node in after.graph.node] == ["Neg", "Mul", "Add"]
    made = run(after, {"spoken": SPOKEN, **handed})
    wanted = run(whole, {"spoken": SPOKEN, "still": STILL})
    assert np.array_equal(made["picture"], wanted["picture"])


def test_eight_bits_are_handed_over_as_they_are() -> None:
    whole = model(
        helper.make_node("Mul", ["still", "gain"], ["louder"]),
        helper.make_node("QuantizeLinear", ["louder", "step", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "step", "zero"], ["kept"]),
        helper.make_node("Add", ["spoken", "kept"], ["picture"]),
    )

    before, after = cut(whole, ["still"])

    handed = run(before, {"still": STILL})
    assert {name: value.dtype for name, value in handed.items()} == {"small": np.uint8}
    made = run(after, {"spoken": SPOKEN, **handed})
    wanted = run(whole, {"spoken": SPOKEN, "still": STILL})
    assert np.array_equal(made["picture"], wanted["picture"])


def test_an_input_that_is_read_with_the_others_is_handed_over_itself() -> None:
    whole = model(
        helper.make_node("Mul", ["spoken", "still"], ["mouth"]),
        helper.make_node("Add", ["mouth", "gain"], ["picture"]),
    )

    before, after = cut(whole, ["still"])

    assert np.array_equal(run(before, {"still": STILL})["still"], STILL)
    assert {one.name for one in after.graph.input} == {"spoken", "still"}
