"""SavedModels, HDF5 files, XML and GGUF headers, made here byte by byte."""

from __future__ import annotations

import json
import random
import struct
import time

import pytest

from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import scan_bytes, scan_paths

NONE = b"\xff" * 8


def field(number, content):
    size, out = len(content), bytearray()
    while True:
        byte, size = size & 0x7F, size >> 7
        out.append(byte | (0x80 if size else 0))
        if not size:
            return bytes([number << 3 | 2]) + bytes(out) + content


def node(op, name="n"):
    return field(1, name.encode()) + field(2, op.encode())


def saved_model(*ops, inside_function=()):
    graph = b"".join(field(1, node(op)) for op in ("Placeholder", *ops))
    if inside_function:
        body = field(1, field(1, b"f")) + b"".join(field(3, node(op)) for op in inside_function)
        graph += field(2, field(1, body))
    return b"\x08\x01" + field(2, field(2, graph))


def h5(text, *, name="model_config", variable=False):
    """Return an HDF5 file whose root has one string attribute."""
    value = text.encode()
    label = name.encode() + b"\0"
    padded = label + b"\0" * (-len(label) % 8)
    heap = 1024
    if variable:
        kind = bytes([0x19, 0x01, 0, 0]) + struct.pack("<I", 16) + bytes([0x10, 0, 0, 0]) + struct.pack("<IHH", 1, 0, 8)
        kind += b"\0" * (-len(kind) % 8)
        stored = struct.pack("<IQI", len(value), heap, 1)
    else:
        kind = bytes([0x13, 0, 0, 0]) + struct.pack("<I", len(value))
        stored = value
    space = bytes([1, 0, 0, 0, 0, 0, 0, 0])
    message = struct.pack("<BBHHH", 1, 0, len(label), len(kind), len(space)) + padded + kind + space + stored
    message += b"\0" * (-len(message) % 8)
    header = struct.pack("<BBHII", 1, 0, 1, 1, len(message) + 8) + b"\0" * 4
    header += struct.pack("<HHI", 0x0C, len(message), 0) + message
    entry = struct.pack("<QQII", 0, 96, 0, 0) + b"\0" * 16
    start = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    start += struct.pack("<Q", 0) + NONE + struct.pack("<Q", 4096) + NONE + entry
    file = start.ljust(96, b"\0") + header
    if variable:
        collection = b"GCOL\x01\0\0\0" + struct.pack("<Q", 4096) + struct.pack("<HHIQ", 1, 1, 0, len(value)) + value
        file = file.ljust(heap, b"\0") + collection.ljust(4096, b"\0")
    return file


def gguf(*settings):
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(settings))
    for key, value in settings:
        out += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", 8, len(value)) + value.encode()
    return out


GOOD = json.dumps({"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}})
LAMBDA = json.dumps({"class_name": "Lambda", "module": "keras.layers", "config": {"function": "4wEA"}})

HOSTILE = {
    "savedmodel reads": saved_model("ReadFile"),
    "savedmodel python": saved_model("EagerPyFunc"),
    "savedmodel function": saved_model("MatMul", inside_function=("WriteFile",)),
    "savedmodel custom": saved_model("MyEvilOp"),
    "graphdef": field(1, node("WriteFile")),
    "h5 lambda": h5(LAMBDA),
    "h5 lambda, variable text": h5(LAMBDA, variable=True),
    "h5 escaped keys": h5(LAMBDA.replace('"class_name"', '"class\\u005fname"')),
    "xml entity": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><PMML>&x;</PMML>',
    "pmml extension": b'<PMML><Extension extender="a" value="java.lang.Runtime"/></PMML>',
    "pmml script": b"<PMML><script>1</script></PMML>",
    "gguf template": gguf(("tokenizer.chat_template", "{{ ''.__class__.__mro__ }}")),
    "gguf escaped": gguf(("tokenizer.chat_template", "{{ x|attr('\\x5f\\x5fclass') }}")),
}
HARMLESS = {
    "savedmodel": saved_model("MatMul", "Relu", inside_function=("Conv2D",)),
    "savedmodel calls its function": saved_model("f", inside_function=("Conv2D",)),
    "h5": h5(GOOD),
    "h5 variable": h5(GOOD, variable=True),
    "h5 weights": h5("3.0", name="keras_version"),
    "pmml": b'<?xml version="1.0"?><PMML version="4.4"><Header/><Extension name="note" value="fine"/></PMML>',
    "gguf": gguf(
        ("general.name", "m"), ("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")
    ),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_what_reaches_out_is_flagged(name):
    report = scan_bytes(HOSTILE[name])
    assert report.verdict in {FileVerdict.MALICIOUS, FileVerdict.SUSPICIOUS}, report
    assert report.findings[0].remedy
    assert report.findings[0].technique


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_does_not_is_clean(name):
    assert scan_bytes(HARMLESS[name]).verdict is FileVerdict.CLEAN, scan_bytes(HARMLESS[name])


@pytest.mark.parametrize("name", sorted({**HOSTILE, **HARMLESS}))
def test_cut_short_is_never_clean_by_accident(name):
    content = {**HOSTILE, **HARMLESS}[name]
    if name.startswith(("h5", "gguf", "savedmodel")):
        report = scan_bytes(content[: len(content) * 2 // 3 if not name.endswith("variable") else 200])
        hostile = name in HOSTILE
        assert report.verdict is not FileVerdict.CLEAN or not hostile or b"model_config" not in content


@pytest.mark.parametrize("seed", range(6))
def test_no_mutation_escapes_or_hangs(seed):
    rng = random.Random(seed)
    for content in {**HOSTILE, **HARMLESS}.values():
        for _ in range(25):
            harmed = bytearray(content)
            for _ in range(rng.randint(1, 6)):
                harmed[rng.randrange(8 if rng.random() < 0.1 else len(harmed)) % len(harmed)] = rng.randrange(256)
            started = time.thread_time()
            scan_bytes(bytes(harmed))
            assert time.thread_time() - started < 2.0


def test_shards_are_taken_beside_their_index_only(tmp_path):
    shard = tmp_path / "variables.data-00000-of-00001"
    shard.write_bytes(bytes(range(1, 200)) * 3)
    assert scan_paths([shard]).files[0].verdict is not FileVerdict.CLEAN
    (tmp_path / "variables.index").write_bytes(b"\0" * 40 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb")
    assert scan_paths([shard]).files[0].verdict is FileVerdict.CLEAN
    shard.write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    assert scan_paths([shard]).files[0].verdict is FileVerdict.MALICIOUS
