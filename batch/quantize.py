"""Store the weights of an ONNX graph as 8-bit integers, and let it multiply in integers."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

_MIN_ROWS = 1024
"""A table that is looked up in and has fewer rows, such as that of positions, isn't worth it."""


def quantize(path: Path, into: Path) -> None:
    """Write the graph in `path`, as torch exports it and before any optimising, with int8 weights to `into`.

    Products with a weight take int8 times uint8, the latter scaled to what comes in ("dynamic quantisation"); each
    output of a weight has a scale of its own. The weights use 7 of the 8 bits (`reduce_range`): processors without VNNI
    add two products of 8 bits in 16 and cut off what is too much. A table of tokens has a scale for each row.
    Convolutions, normalisations, softmax and the products of attention stay fp32.
    """
    model = onnx.load(path)
    _quantize_tables(model.graph)
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})  # else it warns that it hasn't been
    quantize_dynamic(
        model,
        into,
        op_types_to_quantize=["MatMul"],  # with it goes Gemm, which it turns into MatMul and Add
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )


def _quantize_tables(graph: onnx.GraphProto) -> None:
    """Turn each large table whose rows are looked up, and nothing else, into int8 rows and a scale for each."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    tables = [
        weight
        for weight in graph.initializer
        if weight.data_type == TensorProto.FLOAT
        and len(weight.dims) == 2
        and weight.dims[0] >= _MIN_ROWS
        and all(_looks_up_rows(node, weight.name) for node in users.get(weight.name, []))
    ]
    names = {table.name for table in tables}
    for table in tables:
        name, values = table.name, numpy_helper.to_array(table)
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny * 127) / 127
        table.CopyFrom(numpy_helper.from_array(np.rint(values / scales).astype(np.int8), f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}.scales"))
    nodes = [new for node in graph.node for new in (_look_up(node) if names & {*node.input} else [node])]
    del graph.node[:]
    graph.node.extend(nodes)


def _looks_up_rows(node: onnx.NodeProto, table: str) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Gather" and node.input[0] == table and axis == 0


def _look_up(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """What looks up rows of int8 and their scales, for a `node` that looks up rows."""
    (name, ids), (rows,) = node.input, node.output
    return [
        helper.make_node("Gather", [f"{name}.int8", ids], [f"{rows}.int8"]),
        helper.make_node("Gather", [f"{name}.scales", ids], [f"{rows}.scales"]),
        helper.make_node("Cast", [f"{rows}.int8"], [f"{rows}.fp32"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{rows}.fp32", f"{rows}.scales"], [rows]),
    ]
