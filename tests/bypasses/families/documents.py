"""Documents: safetensors headers, skops schemas, XML, YAML, JSON and other formats that can name code."""

import functools
import gzip
import io
import json
import struct
import zipfile

from .case import EVIL, Case, call, table, zipped


def safetensors(header: object, body: bytes = b"", raw: bytes = b"") -> bytes:
    text = raw or json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def row(begin: int, stop: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": [stop - begin] if shape is None else shape, "data_offsets": [begin, stop]}


def safetensors_files() -> dict[str, bytes]:
    one = json.dumps(row(0, 4)).encode()
    return {
        "hole": safetensors({"a": row(4, 8)}, bytes(8)), "hole-between": safetensors({"a": row(0, 4), "b": row(6, 8)}, bytes(8)),
        "overlap": safetensors({"a": row(0, 4), "b": row(0, 4)}, bytes(4)), "partial-overlap": safetensors({"a": row(0, 4), "b": row(2, 6)}, bytes(6)),
        "pickle-behind": safetensors({"a": row(0, 4)}, bytes(4) + EVIL), "pickle-in-hole": safetensors({"a": row(len(EVIL), len(EVIL) + 4)}, EVIL + bytes(4)),
        "beyond-the-end": safetensors({"a": row(0, 400)}, bytes(4)), "shape": safetensors({"a": row(0, 4, [5])}, bytes(4)),
        "duplicate": safetensors({}, bytes(4), b'{"a":' + one + b',"a":' + one + b"}"),
        "duplicate-key": safetensors({}, bytes(4), b'{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}'),
        "header-too-long": struct.pack("<Q", 1 << 39) + b"{}", "header-beyond": struct.pack("<Q", 4000) + b"{}" + bytes(20),
        "negative": safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]}}, bytes(4)),
        "overflow": safetensors({"a": row(0, 4, [1 << 62, 4])}, bytes(4)), "unknown-type": safetensors({"a": row(0, 4, dtype="OBJECT")}, bytes(4)),
        "more-fields": safetensors({"a": {**row(0, 4), "__reduce__": "os.system"}}, bytes(4)),
        "metadata-object": safetensors({"__metadata__": {"a": {"b": 1}}, "a": row(0, 4)}, bytes(4)),
        "pickle.st": EVIL, "broken-json": safetensors({}, bytes(4), b'{"a": ['),
        "reversed": safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}, bytes(4)),
    }  # fmt: skip


@functools.cache
def skops_schema() -> dict[str, object]:
    """The schema that skops writes for a small dictionary."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps({"a": 1, "b": [2.0]}))) as archive:
        held: dict[str, object] = json.loads(archive.read("schema.json"))
    return held


def skops(**node: object) -> bytes:
    """A skops archive, really written, with one more node in its dictionary."""
    tree = json.loads(json.dumps(skops_schema()))
    tree["content"]["a"] = {"__id__": 9, **node}
    return zipped(("schema.json", json.dumps(tree).encode()))


def skops_files() -> dict[str, bytes]:
    items = {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": '"true"',
        "is_json": True,
    }
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [items]}
    return {
        "function": skops(__class__="function", __module__="builtins", __loader__="FunctionNode", content={"module_path": "os", "function": "system"}),
        "function-direct": skops(__class__="system", __module__="os", __loader__="FunctionNode"),
        "function-posix": skops(__class__="system", __module__="posix", __loader__="FunctionNode", content={"module_path": "builtins", "function": "len"}),
        "operator": skops(__class__="methodcaller", __module__="operator", __loader__="OperatorFuncNode", attrs=arguments),
        "operator-lie": skops(__class__="itemgetter", __module__="operator", __loader__="OperatorFuncNode", attrs={**items, "__loader__": "FunctionNode", "__module__": "os", "__class__": "system"}),
        "operator-getter": skops(__class__="attrgetter", __module__="operator", __loader__="OperatorFuncNode", attrs=arguments),
        "method": skops(__class__="Popen", __module__="subprocess", __loader__="MethodNode", content={"func": "wait", "obj": items}),
        "method-of-allowed": skops(__class__="LogisticRegression", __module__="sklearn.linear_model._logistic", __loader__="MethodNode", content={"func": "__init__", "obj": items}),
        "reduce": skops(__class__="Popen", __module__="subprocess", __loader__="ReduceNode", reduce={"args": arguments}),
        "type": skops(__class__="eval", __module__="builtins", __loader__="TypeNode"),
        "type-content": skops(__class__="type", __module__="builtins", __loader__="TypeNode", content={"__class__": "Popen", "__module__": "subprocess"}),
        "object": skops(__class__="Popen", __module__="subprocess", __loader__="ObjectNode", content=items),
        "unknown-object": skops(__class__="Model", __module__="nowhere_package.core", __loader__="ObjectNode", content=items),
        "unknown-loader": skops(__class__="str", __module__="builtins", __loader__="EvilNode"),
        "partial": skops(__class__="partial", __module__="functools", __loader__="PartialNode", content={"func": {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}, "args": arguments}),
        "default-factory": skops(__class__="defaultdict", __module__="collections", __loader__="DefaultDictNode", content={"default_factory": {"__class__": "getcwd", "__module__": "os", "__loader__": "FunctionNode"}}),
        "numpy-object": skops(__class__="load", __module__="numpy", __loader__="FunctionNode"),
        "no-module": skops(__class__="os.system", __module__="", __loader__="ObjectNode"),
        "fallback-pickle": EVIL, "fallback-member": zipped(("schema.json", json.dumps(skops_schema()).encode()), ("a.npy", EVIL)),
    }  # fmt: skip


PMML = '<?xml version="1.0"?>\n{0}<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"{1}><Header/>{2}<DataDictionary/></PMML>'


def pmml(head: str = "", attributes: str = "", body: str = "") -> bytes:
    return PMML.format(head, attributes, body).encode()


def gguf(**settings: str) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(settings))
    for key, value in settings.items():
        name = key.replace("__", ".").encode()
        out += struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, len(value)) + value.encode()
    return out


ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"


def r_text(text: str) -> bytes:
    return struct.pack(">II", 0x00040009, len(text)) + text.encode()


def r_symbol(name: str) -> bytes:
    return struct.pack(">I", 1) + r_text(name)


def r_call(name: str, argument: str) -> bytes:
    value = struct.pack(">II", 16, 1) + r_text(argument)
    return struct.pack(">I", 6) + r_symbol(name) + struct.pack(">I", 2) + value + struct.pack(">I", 254)


def rds(body: bytes) -> bytes:
    """R's serialisation, version 3, as saveRDS writes it."""
    return b"X\n" + struct.pack(">III", 3, 0x040202, 0x030500) + struct.pack(">I", 5) + b"UTF-8" + body


PROMISE = rds(struct.pack(">II", 5, 0xFD)[:4] + struct.pack(">I", 251) + r_call("system", "true"))


def configurations() -> dict[str, bytes]:
    def config(**entries: object) -> bytes:
        return json.dumps(entries).encode()

    return {
        "auto-map.json": config(model_type="x", auto_map={"AutoModel": "modeling_x.Model"}),
        "auto-map-remote.json": config(auto_map={"AutoConfig": "someone/else--configuration_x.Config"}),
        "target.json": config(model={"_target_": "os.system", "command": "true"}),
        "target.yaml": b"model:\n  _target_: subprocess.run\n  args: [true]\n",
        "class-path.yaml": b"model:\n  class_path: nowhere_package.Model\n",
        "json-pickle.json": config(**{"py/object": "subprocess.Popen", "args": ["true"]}),
        "json-reduce.json": config(**{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]}),
        "object-apply.yaml": b"a: !!python/object/apply:os.system ['true']\n",
        "object-new.yaml": b"a: !!python/object/new:subprocess.Popen [['true']]\n",
        "name-tag.yaml": b"a: !!python/name:os.system\n",
        "module-tag.yaml": b"a: !!python/module:antigravity\n",
        "long-tag.yaml": b"a: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n",
        "tag-handle.yaml": b"%TAG !e! tag:yaml.org,2002:python/object/apply:\n---\na: !e!os.system ['true']\n",
        "short-handle.yaml": b"%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system x\n",
        "MLmodel": b"flavors:\n  python_function:\n    loader_module: os\n    python_version: 3.11\n",
        "MLmodel-own.yaml": b"flavors:\n  python_function:\n    loader_module: my_loader\n    code: code\n",
        "MLmodel-script.yaml": b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n    model_code_path: agent.py\n",
        "tokenizer-template.json": config(chat_template=ESCAPE),
        "template.jinja": ("{% for m in messages %}" + ESCAPE + "{% endfor %}").encode(),
        "java-tag.yaml": b"a: !!javax.script.ScriptEngineManager []\n",
    }


def other_formats() -> dict[str, bytes]:
    template = "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}"
    return configurations() | {
        "entity.pmml": pmml('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hosts">]>', "", "<Extension>&e;</Extension>"),
        "laughs.pmml": pmml('<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>', "", "&b;"),
        "doctype.pmml": pmml('<!DOCTYPE x SYSTEM "http://localhost:9/x.dtd">'),
        "script.pmml": pmml("", "", '<Extension name="x"><script>true</script></Extension>'),
        "include.pmml": pmml("", ' xmlns:xi="http://www.w3.org/2001/XInclude"', '<xi:include href="file:///etc/hosts"/>'),
        "java.pmml": pmml("", "", '<TransformationDictionary><DerivedField><Apply function="java.lang.Runtime.exec"/></DerivedField></TransformationDictionary>'),
        "template.gguf": gguf(tokenizer__chat_template=ESCAPE), "template-second.gguf": gguf(general__name="m", tokenizer__chat_template__tool=template),
        "behind.cbm": b"CBM1" + struct.pack("<I", 4) + b"\0\0\0\0" + EVIL,
        "pickle.cbm": EVIL,
        "behind.ubj": b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{}}" + EVIL,
        "behind.lgb.txt": b"tree\nversion=v4\nnum_class=1\n\nend of trees\n" + EVIL,
        "xgboost.model": call("xgboost.core", "Booster", call("os", "system", "true")[2:-1]),
        "promise.rds": PROMISE, "promise.rds.gz": gzip.compress(PROMISE, mtime=0), "call.rda": b"RDX3\n" + PROMISE,
        "object-array.msgpack": b"\x81\xa1w\x82\xc4\x04kind\xc4\x01O\xc4\x04data\xc4" + bytes([len(EVIL)]) + EVIL,
        "lite.tflite": tflite("FlexReadFile"), "lite-custom.tflite": tflite("EvilCustomOp"),
    }  # fmt: skip


def tflite(custom: str) -> bytes:
    """A TensorFlow Lite flatbuffer whose only operator code is a custom one."""
    name = custom.encode() + b"\0" * (4 - len(custom) % 4)
    text = struct.pack("<I", len(custom)) + name
    code_table = struct.pack("<HHHH", 8, 8, 0, 4)  # layout: own 8 bytes, builtin absent, custom_code at 4
    # root -> model table -> operator_codes vector -> operator code table -> text
    model_layout = struct.pack("<HHHH", 8, 12, 4, 8)  # version at 4, operator codes at 8
    out = bytearray(struct.pack("<I", 0) + b"TFL3")
    model_layout_at = len(out)
    out += model_layout
    model_at = len(out)
    out += struct.pack("<iII", model_at - model_layout_at, 3, 4)
    vector_at = len(out)
    out += struct.pack("<II", 1, 0)
    code_layout_at = len(out)
    out += code_table
    code_at = len(out)
    out += struct.pack("<iI", code_at - code_layout_at, 4)
    out += text
    struct.pack_into("<I", out, 0, model_at)
    struct.pack_into("<I", out, model_at + 8, vector_at - (model_at + 8))
    struct.pack_into("<I", out, vector_at + 4, code_at - (vector_at + 4))
    struct.pack_into("<I", out, code_at + 4, len(out) - len(text) - (code_at + 4))
    return bytes(out)


def cases() -> list[Case]:
    return [
        *table("safetensors", safetensors_files(), ".safetensors"), *table("skops", skops_files(), ".skops"),
        *table("other-format", other_formats()),
    ]  # fmt: skip
