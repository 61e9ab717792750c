"""Harmless files that no library of models is needed for: plain values, traps, arrays, archives, texts."""

import bz2
import collections
import datetime
import decimal
import fractions
import functools
import gzip
import io
import json
import lzma
import operator
import pathlib
import pickle
import random
import re
import types
import uuid
import zlib
from collections.abc import Callable

import joblib
import numpy as np

from .case import GOOD, Case, table, tarred, zipped
from .documents import gguf, pmml, row, safetensors

PLAIN = {
    "values": {"a": [1, 2.5, None, True, "x" * 300, b"y" * 300, {1, 2}, frozenset({3}), (1, 2, 3, 4), 2**80, bytearray(b"zz"), 1j]},
    "containers": [collections.OrderedDict(a=1), collections.deque([1], 3), collections.Counter("aab"), collections.defaultdict(list), types.SimpleNamespace(a=1)],
    "times": [datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), datetime.timedelta(1), datetime.timezone.utc],
    "numbers": [decimal.Decimal("1.5"), fractions.Fraction(1, 2), range(3), slice(1, 2), ...],
}  # fmt: skip
TRAPS = {
    "uuid": uuid.UUID(int=5), "itemgetter": operator.itemgetter(1, 2), "partial": functools.partial(sorted, reverse=True),
    "partial-round": functools.partial(round, ndigits=2), "path": pathlib.PurePosixPath("a/b"), "random": random.Random(1),
    "expression": re.compile("a+b"), "functions": [len, sorted, str.lower, operator.add, np.log1p, np.mean, np.float32], "error": ValueError("x"),
    "commands-as-text": "os.system('true'); eval(x); cos\nsystem\n(S'x'\ntR.", "none-type": type(None),
    "opcodes-as-bytes": [b"cos\nsystem\n", b"\x80\x04notapickle"],
}  # fmt: skip


def pickled() -> list[Case]:
    made = []
    for family, values in (("plain", PLAIN), ("trap", TRAPS)):
        for at, (name, value) in enumerate(values.items()):
            for protocol in {0, 2, 4, 5} if family == "plain" else {(0, 2, 4, 5)[at % 4], 4}:
                made.append(Case(family, f"{name}-{protocol}", f"{name}-{protocol}.pkl", pickle.dumps(value, protocol)))
    return made


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def arrays() -> dict[str, bytes]:
    nested = np.zeros(2, [("a", "i4"), ("b", [("c", "f8", (2,)), ("d", [("e", "U5")])])])
    bag = np.array([{"a": 1}, None, "x", [1.5]], object)
    numbers = np.arange(12.0).reshape(3, 4)
    made = {
        "float": numbers, "text": np.array(["a", "bcd"]), "structured": nested, "fortran": np.asfortranarray(numbers), "scalar": np.array(3), "dates": np.array(["2026-01-01"], "M8[D]"),
        "names": np.zeros(2, [("é", "i4"), ("it's", "f4")]), "objects": bag, "empty": np.zeros((0, 3)), "stops": np.full(99, 46, np.uint8),
    }  # fmt: skip
    files = {f"{n}.npy": written(lambda b, a=a: np.save(b, a, allow_pickle=True)) for n, a in made.items()}
    files["pair.npz"] = written(lambda b: np.savez(b, a=numbers, b=made["text"]))
    files["packed.npz"] = written(lambda b: np.savez_compressed(b, a=numbers, names=bag))
    files["objects.npz"] = written(lambda b: np.savez(b, config=np.array({"rate": 0.1, "layers": [1, 2]}, object)))
    files["two.npy"] = files["float.npy"] + files["text.npy"]
    files["dump.pkl"] = numbers.dumps()
    files["generators.pkl"] = pickle.dumps([np.random.default_rng(0), np.random.RandomState(0)])
    return files


def joblib_files() -> dict[str, bytes]:
    numbers = [
        np.arange(9),
        {"weights": np.ones((3, 3)), "stops": np.full(400, 46, np.uint8), "names": np.array(["a", None], object)},
    ]
    settings = {
        "plain": 0,
        "zlib": ("zlib", 3),
        "gzip": ("gzip", 3),
        "bz2": ("bz2", 3),
        "lzma": ("lzma", 3),
        "xz": ("xz", 3),
        "nine": 9,
    }
    made = {f"{n}.joblib": written(lambda b, c=c: joblib.dump(numbers, b, compress=c)) for n, c in settings.items()}
    made["protocol-2.joblib"] = written(lambda b: joblib.dump(numbers, b, protocol=2))
    made["fortran.joblib"] = written(lambda b: joblib.dump(np.asfortranarray(np.eye(7)), b))
    return made


def formats() -> dict[str, bytes]:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8}
    chat = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}{% if add_generation_prompt %}{{ raise_exception('x') }}{% endif %}"
    mlmodel = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n    python_version: 3.11.7\n  sklearn:\n    code: null\n    pickled_model: model.pkl\n"
    text = b"# Model\n\n```python\nimport os\nprint(os.listdir())\n```\n"
    return {
        "metadata.safetensors": safetensors({"__metadata__": {"format": "pt", "note": "x"}, "a": one}, bytes(8)),
        "empty.safetensors": safetensors({"a": row(0, 0, [0])}), "two.safetensors": safetensors({"b": row(4, 8), "a": row(0, 4)}, bytes(8)),
        "padded.safetensors": safetensors({}, bytes(8), json.dumps({"a": one}).encode() + b"   "),
        "config.json": json.dumps(config).encode(), "tokenizer_config.json": json.dumps({"chat_template": chat}).encode(),
        "MLmodel": mlmodel, "conda.yaml": b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip:\n  - mlflow\n",
        "README.md": text, "vocab.txt": b"[PAD]\n[UNK]\nimport\nos\nsystem\n", "table.csv": b"a,b\n1,2\n", "rows.jsonl": b'{"a": 1}\n{"a": 2}\n',
        "model.pmml": pmml(body='<TreeModel functionName="classification"><Node score="a"><True/></Node></TreeModel>'),
        "model.gguf": gguf(general__architecture="llama", tokenizer__chat_template=chat),
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(40), "params.yaml": b"lr: 0.1\nlayers: [1, 2]\n",
        "lines.pkl.gz": gzip.compress(GOOD, mtime=0), "lines.pkl.bz2": bz2.compress(GOOD), "lines.pkl.xz": lzma.compress(GOOD), "lines.z": zlib.compress(GOOD),
        "archive.zip": zipped(("a.json", b'{"a": 1}'), ("b/c.pkl", GOOD)), "archive.tar": tarred(("a.json", b'{"a": 1}'), ("c.pkl", GOOD)),
        "archive.tar.gz": gzip.compress(tarred(("a.json", b"{}")), mtime=0), "nested.zip": zipped(("in.zip", zipped(("c.pkl", GOOD)))),
    }  # fmt: skip


def cases() -> list[Case]:
    return [
        *pickled(),
        *table("numpy", arrays()),
        *table("joblib", joblib_files()),
        *[Case("format", n, n, d) for n, d in formats().items()],
    ]
