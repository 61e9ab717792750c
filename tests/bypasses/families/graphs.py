"""Graphs: ONNX models with foreign operators and paths, SavedModels with operations that reach the host, Keras configurations."""

import base64
import functools
import io
import json
import marshal
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from .case import EVIL, Case, field, table, zipped

DATA = Path(__file__).parents[1] / "data"


def model(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = (), functions: tuple[onnx.FunctionProto, ...] = (),
          edit: Callable[[onnx.ModelProto], object] | None = None) -> bytes:  # fmt: skip
    """An ONNX model as the onnx package writes it."""
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "y")]
    body = list(nodes) or [helper.make_node("Relu", ["x"], ["y"])]
    made = helper.make_model(
        helper.make_graph(body, "g", kinds[:1], kinds[1:], list(tensors)), functions=list(functions)
    )
    if edit:
        edit(made)
    return made.SerializeToString()


def outside(location: str, **more: str) -> onnx.TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def onnx_files() -> dict[str, bytes]:
    foreign = helper.make_node("Run", ["x"], ["y"], domain="evil.domain")
    kinds = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2])]
    branch = helper.make_graph([helper.make_node("Run", [], ["z"], domain="evil.domain")], "b", [], kinds)
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    deep = helper.make_node("If", [], ["z"], then_branch=branch, else_branch=branch)
    deeper = helper.make_node(
        "If", ["x"], ["y"], then_branch=helper.make_graph([deep], "b", [], kinds), else_branch=branch
    )
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [helper.make_node("Run", ["a"], ["b"], domain="evil.domain")], []
    )
    constant = helper.make_node("Constant", [], ["y"], value=outside("../../etc/hosts"))

    def training(made: onnx.ModelProto) -> None:
        made.training_info.add().algorithm.CopyFrom(helper.make_graph([foreign], "t", [], []))

    def sparse(made: onnx.ModelProto) -> None:
        made.graph.sparse_initializer.add().values.CopyFrom(outside("/etc/hosts"))

    return {
        "python-operator": model(helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib", module="os", compute="system")),
        "torch-operator": model(helper.make_node("PythonOp", ["x"], ["y"], domain="com.microsoft", func_name="f")),
        "aten": model(helper.make_node("ATen", ["x"], ["y"], domain="org.pytorch.aten", operator="add")),
        "custom-domain": model(foreign), "subgraph": model(choice), "deep-subgraph": model(deeper),
        "function-body": model(helper.make_node("F", ["x"], ["y"], domain="local"), functions=(function,)),
        "same-domain-not-defined": model(helper.make_node("G", ["x"], ["y"], domain="local"), functions=(function,)),
        "training-graph": model(edit=training),
        "relative": model(tensors=(outside("../../etc/hosts"),)), "absolute": model(tensors=(outside("/etc/hosts"),)),
        "windows": model(tensors=(outside("..\\..\\hosts"),)), "drive": model(tensors=(outside("C:\\hosts"),)),
        "url": model(tensors=(outside("http://localhost:9/x"),)), "in-the-middle": model(tensors=(outside("data/../../../hosts"),)),
        "in-attribute": model(constant), "in-sparse": model(edit=sparse),
        "setting": model(tensors=(outside("w.bin", __class__="x"),)), "setting-load": model(tensors=(outside("w.bin", load_external_data_for_model="1"),)),
        "pickle-behind": model() + EVIL,
        "unknown-standard-operator": model(helper.make_node("SystemCall", ["x"], ["y"])),
    }  # fmt: skip


def node(op: str, name: str = "n", **texts: str) -> bytes:
    """A TensorFlow NodeDef; texts: its string attributes."""
    attributes = b"".join(field(5, field(1, k) + field(2, field(2, v))) for k, v in texts.items())
    return field(1, name) + field(2, op) + attributes


def saved_model(*ops: bytes, library: tuple[bytes, ...] = ()) -> bytes:
    graph = b"".join(field(1, n) for n in (node("Placeholder", "x"), *ops))
    if library:
        graph += field(2, field(1, field(1, field(1, "f")) + b"".join(field(3, n) for n in library)))
    return field(1, 1) + field(2, field(1, field(4, "serve")) + field(2, graph))


def tensorflow_files() -> dict[str, bytes]:
    made = {f"{op}.pb": saved_model(node(op)) for op in ("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "MatchingFiles",
                                                        "TextLineDataset", "SaveDatasetV2", "SqlDataset", "ImmutableConst")}  # fmt: skip
    return made | {
        "function-library.pb": saved_model(library=(node("WriteFile"),)),
        "function-python.pb": saved_model(library=(node("MatMul"), node("PyFuncStateless"))),
        "custom-operation.pb": saved_model(node("EvilCustomOp")),
        "print-to-file.pb": saved_model(node("PrintV2", output_stream="file:///tmp/none")),
        "debug-to-host.pb": saved_model(node("DebugNumericSummaryV2")),
        "frozen-graph.pb": field(1, node("Placeholder", "x")) + field(1, node("ReadFile")),
        "second-meta-graph.pb": saved_model() + field(2, field(2, field(1, node("WriteFile")))),
        "in-zip.zip": zipped(("m/saved_model.pb", saved_model(node("ReadFile"))), ("m/variables/variables.index", b"")),
        "late-reader.pb": saved_model(node("WholeFileReaderV2")), "remote.pb": saved_model(library=(node("RpcClient"),)),
    }  # fmt: skip


CODE = base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()


def keras_v3(*layers: dict[str, object], weights: bytes = b"", **more: object) -> bytes:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": list(layers)},
        "registered_name": None,
        **more,
    }
    members = [("metadata.json", b'{"keras_version": "3.11.0"}'), ("config.json", json.dumps(config).encode())]
    return zipped(*members, *([("model.weights.h5", weights)] if weights else []))


def layer(
    name: str, module: str = "keras.layers", registered: str | None = None, **config: object
) -> dict[str, object]:
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def call_of(module: str, name: str) -> dict[str, object]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def keras_files() -> dict[str, bytes]:
    code = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
    hidden = layer("Sequential", "keras", layers=[layer("TimeDistributed", layer=layer("Lambda", function=code))])
    nested = zipped(
        ("metadata.json", b"{}"),
        ("config.json", b'{"module": "keras", "class_name": "Sequential", "config": {}, "registered_name": null}'),
        ("assets/a.pkl", EVIL),
    )
    from_disk = {n: (DATA / f"{n}.h5").read_bytes() for n in ("lambda", "lambda-latest", "lambda-nested", "module", "external-link", "external-data")}  # fmt: skip
    made = {
        "lambda": keras_v3(layer("Lambda", function=code)),
        "lambda-by-name": keras_v3(layer("Lambda", function=call_of("builtins", "eval"))),
        "lambda-hidden": keras_v3(hidden),
        "module-walk": keras_v3(layer("system", "os", "system")),
        "module-numpy": keras_v3(layer("function", "numpy.f2py.crackfortran", "function", x=1)),
        "module-keras-inside": keras_v3(layer("Dense", units=1, activation=call_of("keras.src.utils.file_utils", "get_file"))),
        "get-file": keras_v3(layer("Dense", units=1, kernel_initializer=call_of("keras.utils", "get_file"))),
        "unpickler": keras_v3(layer("TorchModuleWrapper", module=base64.b64encode(EVIL).decode())),
        "unpickler-inside": keras_v3(layer("TorchModuleWrapper", "keras.src.utils.torch_utils", "keras.src.utils.torch_utils>TorchModuleWrapper")),
        "saved-model-layer": keras_v3(layer("TFSMLayer", filepath="/tmp/none")),
        "jax-layer": keras_v3(layer("JaxLayer", call_fn=code)),
        "vocabulary": keras_v3(layer("StringLookup", vocabulary="/etc/hosts")),
        "vocabulary-text": keras_v3(layer("TextVectorization", vocabulary="http://localhost:9/none")),
        "custom-object": keras_v3(layer("Custom", "my_package.layers", "my_package>Custom")),
        "compile-config": keras_v3(compile_config={"loss": call_of("os", "system")}),
        "build-config": keras_v3({**layer("Dense", units=1), "build_config": call_of("subprocess", "run")}),
        "external-weights": keras_v3(layer("Dense", units=1), weights=from_disk["external-link"]),
        "pickle-asset": nested,
        "load-model": keras_v3(layer("Dense", units=1, kernel_initializer=call_of("keras.saving", "load_model"))),
        "function-as-class": keras_v3(layer("clone_model", "keras.src.models.cloning", "clone_model")),
    }  # fmt: skip
    text = json.dumps(json.loads(json.dumps({"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {"function": [CODE, None, None]}}]}})))  # fmt: skip
    return {**{f"{n}.keras": d for n, d in made.items()}, **{f"{n}.h5": d for n, d in from_disk.items()}, "model.json": text.encode(),
            "escaped.json": text.replace("Lambda", "\\u004cambda").encode(), "weights.h5": h5_pickle()}  # fmt: skip


@functools.cache
def h5_pickle() -> bytes:
    """An HDF5 file with a pickle behind its end."""
    return io.BytesIO((DATA / "lstm.h5").read_bytes() + EVIL).getvalue()


def cases() -> list[Case]:
    return [*table("onnx", onnx_files(), ".onnx"), *table("tf", tensorflow_files()), *table("keras", keras_files())]
