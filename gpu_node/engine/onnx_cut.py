"""Cuts a graph in two: what some of its inputs decide by themselves, and the rest."""

from __future__ import annotations

from collections.abc import Sequence, Set

import onnx
from onnx.utils import Extractor


def cut(model: onnx.ModelProto, first: Sequence[str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph from the inputs ``first`` to all that needs no other input, and the graph that goes
    on from there: one after the other they make the very numbers of ``model``.

    Numbers in eight bits are handed over as they are, and widened where they are read.
    """
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    constant = _decided(graph, {one.name for one in graph.initializer})
    decided = _decided(graph, constant.union(first)) - constant
    makers = {output: node for node in graph.node for output in node.output}
    handed: dict[str, None] = {}
    for node in graph.node:
        if node.output[0] in decided:
            continue
        for name in decided.intersection(node.input):
            maker = makers.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear":
                name = maker.input[0]
            handed[name] = None
    others = [one.name for one in graph.input if one.name not in first]
    extractor = Extractor(model)
    return (
        extractor.extract_model(list(first), list(handed)),
        extractor.extract_model([*others, *handed], [one.name for one in graph.output]),
    )


def _decided(graph: onnx.GraphProto, names: Set[str]) -> set[str]:
    """All that ``names`` are enough for; a graph's nodes are in the order they run."""
    decided = set(names)
    for node in graph.node:
        if decided.issuperset(name for name in node.input if name):
            decided.update(node.output)
    return decided
