"""Hostile files of every family of techniques that is known to get past a scanner, made in memory.

Every payload is harmless in effect (it would print the working directory) and no test loads any.
``hostile()`` yields (family, name, bytes); all must be flagged. ``harmless()`` yields what must pass.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

CMD = "pwd"


def u(text: str) -> bytes:
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def sglob(module: str, name: str) -> bytes:
    return u(module) + u(name) + b"\x93"


def call(module: str, name: str, *args: str) -> bytes:
    return b"\x80\x04" + sglob(module, name) + b"(" + b"".join(map(u, args)) + b"tR."


EVIL = call("os", "system", CMD)

EXEC = """os.system posix.system os.popen subprocess.Popen subprocess.check_output pty.spawn builtins.eval builtins.exec
runpy.run_path runpy._run_code code.interact timeit.timeit cProfile.run profile.run pdb.run bdb.Bdb trace.Trace doctest.debug_script
idlelib.run.Executive idlelib.pyshell.ModifiedInterpreter lib2to3.pgen2.pgen.ParserGenerator pip.main ensurepip._run_pip
uuid._get_command_stdout _osx_support._read_output _aix_support._read_cmd_output imaplib.IMAP4_stream multiprocessing.util.spawnv_passfds
_posixsubprocess.fork_exec distutils.spawn.spawn _xxsubinterpreters.run_string _interpreters.run_string commands.getoutput
asyncio.create_subprocess_shell concurrent.futures.process._process_worker ctypes.CDLL venv.create webbrowser.open test.support.run_code
code.InteractiveInterpreter sched.scheduler atexit.register signal.signal""".split()
RESOLVE = """pkgutil.resolve_name pydoc.locate importlib.import_module logging.config._resolve zipimport.zipimporter
builtins.__import__ imp.load_source importlib.machinery.SourceFileLoader unittest.mock._importer builtins.getattr
operator.attrgetter operator.methodcaller""".split()
FILENET = """io.open builtins.open pathlib.Path.write_text logging.FileHandler pandas.read_csv ssl.get_server_certificate
urllib.request.urlopen urllib2.urlopen socket.create_connection shutil.rmtree tempfile.mktemp sqlite3.connect numpy.fromfile
numpy.memmap http.client.HTTPConnection""".split()
ML = """torch.utils.collect_env.run torch.utils._config_module.ConfigModule.load_config torch._dynamo.guards.GuardBuilder.get
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch._inductor.runtime.compile_tasks._reload_python_module
torch.utils.bottleneck.__main__.run_autograd_prof torch._ops._Ops.load_library numpy.f2py.crackfortran.getlincoef
numpy.f2py.crackfortran.myeval numpy.testing._private.utils.runstring pandas.eval mlflow.projects.backend.local._run_entry_point
joblib.load numpy.load torch.load pandas.read_pickle torch.hub.load torch.jit.unsupported_tensor_ops.execWrapper
sklearn.utils._testing.raises scipy.io.loadmat tensorflow.keras.models.load_model datasets.load_dataset unknown_package.mod.thing""".split()
CHAINS = [("logging", "os.system"), ("random", "_os.system"), ("joblib.memory", "os.system"), ("sklearn.datasets._base", "os.system"),
          ("torch.serialization", "os.system"), ("xgboost.core", "ctypes.CDLL"), ("collections", "_sys.modules"),
          ("datetime", "sys.modules"), ("sklearn.base", "BaseEstimator.__init__.__globals__")]  # fmt: skip


def baseline() -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        head = b"\x80" + bytes([protocol]) if protocol > 1 else b""
        yield f"proto{protocol}", head + glob("os", "system") + b"(S'pwd'\ntR."
    for name in EXEC:
        module, _, attr = name.rpartition(".")
        yield name, call(module, attr, CMD)


def gadgets(names: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        module, _, attr = name.rpartition(".")
        yield name, call(module, attr, CMD)
        yield f"{name}-p0", glob(module, attr) + b"(S'pwd'\ntR."


def chains() -> Iterator[tuple[str, bytes]]:
    for module, name in CHAINS:
        yield f"{module}:{name}", call(module, name, CMD)


def opcodes() -> Iterator[tuple[str, bytes]]:
    p = b"\x80\x04"
    yield "memo-binget", p + u("os") + b"q\x050" + u("system") + b"q\x060h\x05h\x06\x93" + u(CMD) + b"\x85R."
    yield (
        "memo-long",
        p
        + u("os")
        + b"r\x05\x00\x01\x000"
        + u("system")
        + b"r\x06\x00\x01\x000j\x05\x00\x01\x00j\x06\x00\x01\x00\x93"
        + u(CMD)
        + b"\x85R.",
    )
    yield "memo-text", p + u("os") + b"p9\n0" + u("system") + b"p10\n0g9\ng10\n\x93" + u(CMD) + b"\x85R."
    yield (
        "memo-overwrite",
        p + u("math") + b"q\x010" + u("os") + b"q\x010h\x01" + u("system") + b"\x93" + u(CMD) + b"\x85R.",
    )
    yield (
        "memoize-shift",
        p
        + u("math")
        + b"q\x070"
        + u("os")
        + b"\x940"
        + u("sqrt")
        + b"\x940h\x01"
        + u("system")
        + b"\x93"
        + u(CMD)
        + b"\x85R.",
    )
    yield "dup", p + u("pty") + b"20" + u("spawn") + b"\x93" + u(CMD) + b"\x85R."
    yield "decoy-pop", p + u("os") + u("math") + b"0" + u("system") + u("sqrt") + b"0\x93" + u(CMD) + b"\x85R."
    yield "decoy-popmark", p + u("os") + b"(" + u("math") + u("x") + b"1" + u("system") + b"\x93" + u(CMD) + b"\x85R."
    yield "escape-string", b"S'\\x6f\\x73'\nS'syst\\145m'\n\x93(S'pwd'\ntR."
    yield "escape-unicode", b"V\\u006f\\u0073\nVsystem\n\x93(Vpwd\ntR."
    yield "binstring", b"U\x02osT\x06\x00\x00\x00system\x93U\x03pwd\x85R."
    yield "inst", b"(S'pwd'\nios\nsystem\n."
    yield "obj", b"(cos\nsystem\nS'pwd'\no."
    yield "newobj", p + sglob("subprocess", "Popen") + u(CMD) + b"\x85\x81."
    yield "newobj-ex", p + sglob("subprocess", "Popen") + u(CMD) + b"\x85}\x92."
    yield "base0-int", b"I0x1\n0" + glob("os", "system") + b"(S'pwd'\ntR."
    yield "base0-long", b"L0x1L\n0" + glob("os", "system") + b"(S'pwd'\ntR."
    yield "persid-reduce", p + sglob("os", "system") + u(CMD) + b"\x85RQ."
    yield "build-numpy", p + sglob("numpy", "size") + b"}" + u("__builtins__") + sglob("os", "system") + b"sb."
    yield (
        "build-park",
        p
        + sglob("collections", "OrderedDict")
        + b"}"
        + u("a")
        + sglob("sys", "modules")
        + b"sb"
        + b"0"
        + sglob("collections", "OrderedDict.a")
        + b".",
    )
    yield (
        "build-hook",
        p
        + sglob("collections", "OrderedDict")
        + b")\x81}"
        + u("__setstate__")
        + sglob("math", "floor")
        + b"sb"
        + u(CMD)
        + b"b.",
    )
    yield (
        "ext-add",
        p + sglob("copyreg", "add_extension") + u("os") + u("system") + b"K\x01\x87R0\x82\x01" + u(CMD) + b"\x85R.",
    )
    yield "ext-elsewhere", p + b"\x82\x07" + u(CMD) + b"\x85R."
    yield "ext2", p + b"\x83\x07\x01" + u(CMD) + b"\x85R."
    yield "ext4", p + b"\x84\x07\x01\x00\x00" + u(CMD) + b"\x85R."
    yield (
        "join-name",
        p
        + u("o")
        + b"0"
        + sglob("builtins", "str.join")
        + u("")
        + b"("
        + u("o")
        + u("s")
        + b"l\x86R"
        + u("system")
        + b"\x93"
        + u(CMD)
        + b"\x85R.",
    )
    yield (
        "rot13-name",
        p
        + sglob("_codecs", "encode")
        + u("bf")
        + u("rot13")
        + b"\x86R"
        + sglob("_codecs", "encode")
        + u("flfgrz")
        + u("rot13")
        + b"\x86R\x93"
        + u(CMD)
        + b"\x85R.",
    )
    yield "partial", p + sglob("functools", "partial") + sglob("os", "system") + u(CMD) + b"\x86R."
    yield "partial-call", p + sglob("functools", "partial") + sglob("math", "sqrt") + b"\x85R)R."
    yield "partial-getattr", p + sglob("functools", "partial") + sglob("builtins", "getattr") + b"\x85R."
    yield "map", p + sglob("builtins", "map") + sglob("os", "system") + u(CMD) + b"\x86R."
    yield "defaultdict", p + sglob("collections", "defaultdict") + sglob("os", "getcwd") + b"\x85R."
    yield "python2", b"c__builtin__\neval\n(S'1'\ntR."
    yield "cpickle", b"ccPickle\nloads\n(S'N.'\ntR."
    yield (
        "getattr-chain",
        p + sglob("builtins", "getattr") + sglob("collections", "OrderedDict") + u("__init__") + b"\x86R.",
    )
    yield "add-method", p + sglob("os", "system") + u(CMD) + b"a."
    yield "scanner-tamper", call("assay.artifacts.scan", "scan")
    yield "import-and-junk", glob("antigravity", "fly") + b".junk\n"
    yield "import-and-break", glob("idlelib.run", "x") + b"\xff\xff"
    yield "patch-and-junk", glob("numpy", "size") + b"}S'__builtins__'\n" + glob("os", "x") + b"sb.junk"
    yield "marshal", call("marshal", "loads", "x")
    yield "function", call("types", "FunctionType", "x")


def broken() -> Iterator[tuple[str, bytes]]:
    body = EVIL[:-1]
    for name, tail in {"no-stop": b"", "invalid": b"\xff", "cut-string": b"\x8c\x20abc", "underflow": b"0000000", "bad-get": b"h\xee",
                       "bad-int": b"Ixyz\n.", "big-frame": b"\x95" + b"\xff" * 8, "bad-utf8": b"\x8c\x02\xff\xfe.", "zip-tail": b"PK\x03\x04"}.items():  # fmt: skip
        yield name, body + tail


def nested() -> Iterator[tuple[str, bytes]]:
    p = b"\x80\x04"
    inner = b"C" + bytes([len(EVIL)]) + EVIL
    for module, name in (
        ("pickle", "loads"),
        ("_pickle", "loads"),
        ("dill", "loads"),
        ("cloudpickle", "loads"),
        ("torch.storage", "_load_from_bytes"),
    ):
        yield f"{module}.{name}", p + sglob(module, name) + inner + b"\x85R."
    yield "bytes-constant", p + inner + b"."
    yield "twice", pickle.dumps(pickle.dumps(EVIL))
    yield (
        "base64",
        p
        + sglob("pickle", "loads")
        + sglob("base64", "b64decode")
        + u(base64.b64encode(EVIL).decode())
        + b"\x85R\x85R.",
    )
    packed = zlib.compress(EVIL)
    yield (
        "zlib",
        p
        + sglob("pickle", "loads")
        + sglob("zlib", "decompress")
        + b"C"
        + bytes([len(packed)])
        + packed
        + b"\x85R\x85R.",
    )
    yield "proto0-bytes", p + b"C\x16" + (glob("os", "system") + b"(S'pwd'\ntR.").ljust(22, b".") + b"."


def stacked() -> Iterator[tuple[str, bytes]]:
    yield "second", pickle.dumps({"a": 1}) + EVIL
    yield "2001st", pickle.dumps(1) * 2000 + EVIL
    yield "torch-legacy-5th", b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, {})) + EVIL
    yield "magic-computed", call("builtins", "eval", "1") + pickle.dumps(1001, 2)


def wrapper(body: bytes, *, tail: bytes = b".", dtype: bytes = b"", align: bool = True) -> bytes:
    made = dtype or sglob("numpy", "dtype") + u("i1") + b"\x89\x88\x87R"
    count = bytes([len(body)])
    state = b"}(" + u("shape") + b"K" + count + b"\x85" + u("dtype") + made
    state += (u("numpy_array_alignment_bytes") + b"K\x10" if align else b"") + b"u"
    head = b"\x80\x04" + sglob("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"
    return head + (b"\x00" if align else b"") + body + tail


def joblib_raw() -> Iterator[tuple[str, bytes]]:
    yield "after", wrapper(b"\x00" * 9, tail=b"0" + EVIL[2:])
    yield "stops", wrapper(b"." * 99, tail=b"0" + EVIL[2:])
    yield "between", wrapper(b"\x07" * 30, tail=b"0" + EVIL[2:-1] + b"0" + wrapper(b"\x01")[2:])
    yield "inside-as-opcodes", wrapper(b"0" + EVIL[2:], align=False)
    objects = sglob("numpy", "dtype") + u("O8") + b"\x89\x88\x87R"
    yield "object-array", wrapper(EVIL, dtype=objects, align=False)
    hidden = (
        sglob("numpy", "dtype")
        + u("V8")
        + b"\x89\x88\x87R(K\x03"
        + u("|")
        + b"N"
        + u("a")
        + b"\x85}"
        + u("a")
        + objects
        + b"K\x00\x86sK\x08K\x01K\x10tb"
    )
    yield "object-field", wrapper(EVIL, dtype=hidden, align=False)


def compressed() -> Iterator[tuple[str, bytes]]:
    alone = lzma.compress(EVIL, lzma.FORMAT_ALONE)
    for name, data in {"zlib": zlib.compress(EVIL), "gzip": gzip.compress(EVIL, mtime=0), "bz2": bz2.compress(EVIL), "xz": lzma.compress(EVIL),
                       "lzma": alone, "gzip-second-member": gzip.compress(pickle.dumps(1)) + gzip.compress(EVIL), "gzip-in-gzip": gzip.compress(gzip.compress(EVIL)),
                       "zfile": b"ZF0x" + hex(len(EVIL))[2:].ljust(17).encode() + zlib.compress(EVIL)}.items():  # fmt: skip
        yield name, data


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED, prefix: bytes = b"") -> bytes:
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return prefix + buffer.getvalue()


GOOD = pickle.dumps({"weights": [1, 2]}, 2)


def torch_zip() -> Iterator[tuple[str, bytes]]:
    plain = zipped(("archive/data.pkl", EVIL), ("archive/version", b"3\n"))
    yield "plain", plain
    yield "deflated", zipped(("archive/data.pkl", EVIL), method=zipfile.ZIP_DEFLATED)
    yield "case", zipped(("archive/Data.PKL", EVIL))
    yield "first-wins", zipped(("archive/data.pkl", EVIL), ("archive/data.pkl", GOOD))
    yield "last-wins", zipped(("archive/data.pkl", GOOD), ("archive/data.pkl", EVIL))
    yield "prefix", zipped(("archive/data.pkl", EVIL), prefix=b"#!/bin/sh\n")
    yield "pickle-head", GOOD + zipped(("archive/data.pkl", EVIL))
    crc = bytearray(plain)
    crc[14:18] = b"\1\2\3\4"
    yield "crc", bytes(crc)
    at = plain.index(b"archive/data.pkl")
    yield "two-names", plain[:at] + b"archive/data.txt" + plain[at + 16 :]
    yield "local-flags", plain[:6] + b"\x01" + plain[7:]
    bad = zipped(("archive/a", b"x"), ("archive/data.pkl", EVIL))
    yield "method-99", bad[:8] + b"\x63" + bad[9:]
    yield "polyglot-head", EVIL + zipped(("archive/data.pkl", GOOD))


def npy(dtype: str, body: bytes, shape: str = "(1,)") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def arrays() -> Iterator[tuple[str, bytes]]:
    yield "object", npy("'|O'", EVIL)
    yield "structured", npy("[('a', '<i4'), ('b', '|O')]", EVIL)
    yield "npz", zipped(("a.npy", npy("'<i4'", b"\0" * 4)), ("b.npy", npy("'|O'", EVIL)))


def archives() -> Iterator[tuple[str, bytes]]:
    inner = zipped(("m.pkl", EVIL))
    yield "zip-zip", zipped(("a.zip", inner))
    yield "zip-deep", zipped(("a", zipped(("b", zipped(("c", inner))))))
    yield "member-no-name", zipped(("notes", EVIL))
    yield "slip", zipped(("../../x.txt", b"text"))
    yield "python", zipped(("model/code.py", b"print(1)\n"))
    for name, info in (("tar", "m.pkl"), ("tar-slip", "../m.txt")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo(info)
            entry.size = len(EVIL)
            tar.addfile(entry, io.BytesIO(EVIL))
        yield name, buffer.getvalue()
        yield f"{name}.gz", gzip.compress(buffer.getvalue())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hosts"
        tar.addfile(entry)
    yield "tar-link", buffer.getvalue()


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "memo", b"\x80\x04Nr\xff\xff\xff\x7f."
    yield "binbytes8", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x."
    yield "hash", b"\x80\x04})" + b"2\x86" * 60 + b"Ns."
    yield "gzip", gzip.compress(b"\x80\x04" + b"N0" * (40 << 20), 9)


def keras() -> Iterator[tuple[str, bytes]]:
    def model(**layer: object) -> bytes:
        config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}
        return zipped(("metadata.json", b"{}"), ("config.json", json.dumps(config).encode()))

    yield (
        "lambda",
        model(
            module="keras.layers",
            class_name="Lambda",
            config={"function": {"class_name": "__lambda__", "config": {"code": "4wE="}}},
        ),
    )
    yield "module", model(module="os", class_name="system", config={}, registered_name="system")
    yield "get-file", model(module="keras.utils", class_name="get_file", config="get_file", registered_name="function")
    yield "torch-wrapper", model(module="keras.layers", class_name="TorchModuleWrapper", config={"module": "gASV"})
    yield "vocabulary", model(module="keras.layers", class_name="StringLookup", config={"vocabulary": "/etc/passwd"})


def skops() -> Iterator[tuple[str, bytes]]:
    def schema(**node: object) -> bytes:
        tree = {
            "__class__": "dict",
            "__module__": "builtins",
            "__loader__": "DictNode",
            "protocol": 2,
            "content": {"a": node},
        }
        return zipped(("schema.json", json.dumps(tree).encode()))

    yield (
        "function",
        schema(
            __class__="function",
            __module__="builtins",
            __loader__="FunctionNode",
            content={"module_path": "os", "function": "system"},
        ),
    )
    yield "function2", schema(__class__="system", __module__="os", __loader__="FunctionNode")
    yield "operator", schema(__class__="system", __module__="os", __loader__="OperatorFuncNode", attrs=["pwd"])
    yield (
        "method",
        schema(__class__="Popen", __module__="subprocess", __loader__="MethodNode", content={"func": "wait"}),
    )
    yield "reduce", schema(__class__="Popen", __module__="subprocess", __loader__="ReduceNode")
    yield "type", schema(__class__="eval", __module__="builtins", __loader__="TypeNode")
    yield "fallback-pickle", EVIL


def safetensors(header: object, body: bytes = b"", raw: bytes = b"") -> bytes:
    text = raw or json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def safetensors_abuse() -> Iterator[tuple[str, bytes]]:
    row = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    yield "hole", safetensors({"a": {**row, "data_offsets": [4, 8]}}, b"\0" * 8)
    yield "overlap", safetensors({"a": row, "b": row}, b"\0" * 4)
    yield "tail", safetensors({"a": row}, b"\0" * 4 + EVIL)
    yield "beyond", safetensors({"a": row}, b"\0")
    yield "shape", safetensors({"a": {**row, "shape": [5]}}, b"\0" * 4)
    yield (
        "duplicate",
        safetensors(
            {}, b"\0" * 4, raw=b'{"a":' + json.dumps(row).encode() + b',"a":' + json.dumps(row).encode() + b"}"
        ),
    )
    yield "long-header", struct.pack("<Q", 1 << 39) + b"{}"
    yield "pickle", EVIL


def field(number: int, body: bytes) -> bytes:
    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    return varint(number << 3 | 2) + varint(len(body)) + body


def onnx_model(node: bytes = b"", tensor: bytes = b"") -> bytes:
    graph = (field(1, node) if node else b"") + field(2, b"g") + (field(5, tensor) if tensor else b"")
    return b"\x08\x08" + field(2, b"maker") + field(7, graph) + field(8, field(1, b"") + b"\x10\x11")


def onnx() -> Iterator[tuple[str, bytes]]:
    yield "python-op", onnx_model(field(4, b"PyOp") + field(7, b"ai.onnx.contrib"))
    yield "custom-domain", onnx_model(field(4, b"Run") + field(7, b"evil.domain"))
    inner = field(1, field(4, b"Run") + field(7, b"evil.domain"))
    yield "subgraph", onnx_model(field(4, b"If") + field(5, field(1, b"then_branch") + field(6, inner)))
    for name, path in {
        "relative": b"../../etc/passwd",
        "absolute": b"/etc/passwd",
        "windows": b"..\\..\\x",
        "url": b"http://host/x",
    }.items():
        yield name, onnx_model(tensor=field(8, b"w") + field(13, field(1, b"location") + field(2, path)))
    yield "setting", onnx_model(tensor=field(8, b"w") + field(13, field(1, b"__class__") + field(2, b"x")))


def text() -> Iterator[tuple[str, bytes]]:
    yield "yaml-apply", b"a: !!python/object/apply:os.system ['pwd']\n"
    yield "yaml-long-tag", b"a: !<tag:yaml.org,2002:python/object/apply:os.system> ['pwd']\n"
    yield "mlmodel", b"flavors:\n  python_function:\n    loader_module: os\n"


FAMILIES = {
    "baseline": baseline, "gadget-resolve": lambda: gadgets(RESOLVE), "gadget-filenet": lambda: gadgets(FILENET),
    "gadget-ml": lambda: gadgets(ML), "attr-chain": chains, "opcode": opcodes, "broken-stream": broken, "nested": nested,
    "stacked": stacked, "joblib-raw": joblib_raw, "compressed": compressed, "torch-zip": torch_zip, "numpy": arrays,
    "archive": archives, "bomb": bombs, "keras": keras, "skops": skops, "safetensors": safetensors_abuse, "onnx": onnx,
    "text": text,
}  # fmt: skip


def hostile() -> Iterator[tuple[str, str, bytes]]:
    for family, make in FAMILIES.items():
        for name, data in make():
            yield family, name, data


def harmless() -> Iterator[tuple[str, bytes]]:
    import collections
    import datetime
    import decimal
    import functools
    import operator
    import uuid

    values = {"plain": {"a": [1, 2.5, None, True, "x" * 300, b"y" * 300, {1, 2}, frozenset({3}), (1, 2, 3, 4), 2**80, bytearray(b"zz")]},
              "stdlib": [collections.OrderedDict(a=1), datetime.datetime(2026, 1, 1), decimal.Decimal("1.5"), uuid.UUID(int=5),
                         collections.deque([1]), collections.Counter("aab"), collections.defaultdict(list)],
              "callables": [operator.itemgetter(1), functools.partial(sorted, reverse=True)]}  # fmt: skip
    for name, value in values.items():
        for protocol in range(6):
            yield f"{name}-{protocol}", pickle.dumps(value, protocol)
    yield "joblib-raw", wrapper(b"\x00" * 9)
    yield "joblib-stops", wrapper(b"." * 90)
    yield "npy", npy("'<i4'", b"\0" * 4)
    yield "npy-fields", npy("[('a', '<i4'), ('b', '<f8', (2,))]", b"\0" * 20)
    yield "npz", zipped(("a.npy", npy("'<i4'", b"\0" * 4)), method=zipfile.ZIP_DEFLATED)
    yield (
        "torch-zip",
        zipped(
            ("m/data.pkl", GOOD),
            ("m/data/0", b"\x80\x04junk"),
            ("m/version", b"3\n"),
            ("m/.data/serialization_id", b"1"),
        ),
    )
    yield (
        "safetensors",
        safetensors(
            {"__metadata__": {"a": "b"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8
        ),
    )
    yield "safetensors-empty", safetensors({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
    yield "onnx", onnx_model(field(4, b"Relu"))
    yield (
        "onnx-external",
        onnx_model(tensor=field(8, b"w") + field(13, field(1, b"location") + field(2, b"model.data"))),
    )
    yield "json", b'{"learner": {"a": [1, 2]}}'
    yield "yaml", b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
    yield "csv", b"a,b\n1,2\n"
    yield "readme", b"# Model\n\nimport this model with care.\n"
    yield "gzip", gzip.compress(pickle.dumps([1]))
    yield "trap-text", pickle.dumps("os.system('pwd'); eval(x); cos\nsystem\n")
