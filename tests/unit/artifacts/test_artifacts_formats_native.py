"""Native boosting models, CatBoost files and configurations that name code; nothing here is ever loaded."""

import json
import os
import pickle
import struct
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bypasses"))
from families.case import EVIL, call

from assay.artifacts.formats.boosting import UbjReader
from assay.artifacts.formats.catboost import CatBoostReader
from assay.artifacts.formats.python_source import check_source
from assay.artifacts.pickle.policy import builtin_policy
from assay.artifacts.reader import Inspection, Limits
from assay.artifacts.scan import FileVerdict, scan_bytes
from assay.testing.scanners import check_scanner

CLEAN, UNSUPPORTED, ERROR, SUSPICIOUS, MALICIOUS = FileVerdict
FLAGGED = {SUSPICIOUS, MALICIOUS}
PLAIN = b"cos\nsystem\n(S'true'\ntR."


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0", 0


def numbers(*values):
    return struct.pack(f"<I{len(values)}i", len(values), *values), 0


def vector(*children):
    head = 4 + 4 * len(children)
    return _placed(struct.pack("<I", len(children)), [4 + 4 * i for i in range(len(children))], head, children), 0


def table(*fields):
    """A flatbuffer's table of references; None: the field is not there. Returns its bytes and where it begins."""
    layout = 4 + 2 * len(fields)
    there = [f for f in fields if f is not None]
    offsets, at = [], 4
    for f in fields:
        offsets.append(0 if f is None else at)
        at += 0 if f is None else 4
    head = struct.pack(f"<HH{len(fields)}H", layout, at, *offsets) + struct.pack("<i", layout)
    places = [layout + o for o in offsets if o]
    return _placed(head, places, layout + at, there), layout


def _placed(head, places, size, children):
    out, behind = bytearray(head.ljust(size, b"\0")), b""
    for place, (raw, entry) in zip(places, children, strict=True):
        out[place : place + 4] = struct.pack("<I", size + len(behind) + entry - place)
        behind += raw
    return bytes(out) + behind


def cbm(*parts, version="FlabuffersModel_v1", behind=b"", trees=True, core=b""):
    forest = table(None, numbers(1, 2), numbers(1, 1), numbers(0, 1)) if trees else None
    info = vector(table(text("params"), text('{"loss_function": "Logloss"}')))
    raw, entry = table(text(version), forest, info, vector(*map(text, parts)) if parts else None)
    made = core or struct.pack("<I", 4 + entry) + raw
    return b"CBM1" + struct.pack("<I", len(made)) + made + behind


def ubj_text(value):
    return b"L" + struct.pack(">q", len(value)) + value.encode()


def ubj(inner=b"Ti\x05", end=b"}"):
    typed = b"[$d#L" + struct.pack(">q", 2) + b"\0" * 8
    counted = b"[#i\x02i\x01S" + ubj_text("x")
    return b"{" + ubj_text("learner") + b"{" + ubj_text("a") + typed + ubj_text("b") + counted + ubj_text("c") + inner[:1] + b"}" + ubj_text("version") + b"[" + inner[1:] + b"]" + end  # fmt: skip


LIGHT = (
    b"tree\nversion=v4\nnum_class=1\naverage_output\nfeature_names=a \xc3\xa9\n\nTree=0\nnum_leaves=2\nleaf_value=0.1 0.2\n\n\n"
    b"end of trees\n\nfeature_importances:\na=1\n\nparameters:\n[boosting: gbdt]\n[metric: ]\n\nend of parameters\n\n"
    b'pandas_categorical:[["u"]]\n'
)
XGB = json.dumps({"learner": {"a": [1, 2], "name": '}]"{'}, "version": [3, 0, 0]}).encode()
CAT = json.dumps({"features_info": {}, "oblivious_trees": [], "model_info": {}}).encode()
MODELS = {"lightgbm-text": LIGHT, "xgboost-json": XGB, "xgboost-ubj": ubj(), "catboost": cbm(), "catboost-json": CAT}
TABLES = struct.pack("<I", 2) + struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0)


@pytest.mark.parametrize("name", MODELS)
def test_a_plain_model_is_clean_under_its_name(name):
    for tail in (b"", b"\n") if name != "xgboost-ubj" else (b"",):
        report = scan_bytes(MODELS[name] + tail)
        assert report.verdict is CLEAN and report.format == name, report


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tail", [EVIL, PLAIN, b"\n\n" + PLAIN, EVIL + b"}", call("my.own", "thing"), b"anything"])
def test_what_lies_behind_a_model_is_flagged(name, tail):
    report = scan_bytes(MODELS[name] + tail)
    assert report.verdict in FLAGGED, report
    if tail in {EVIL, PLAIN, EVIL + b"}"}:
        assert report.verdict is MALICIOUS


def test_what_lies_behind_a_long_model_is_flagged():
    long = json.dumps({"learner": {"a": [[0.5] * 100] * 9000}, "version": [1]}).encode()
    assert len(long) > 4 << 20 and scan_bytes(long).verdict is CLEAN
    for tail in (EVIL, PLAIN, EVIL + b"}"):
        assert scan_bytes(long + tail).verdict is MALICIOUS
    assert scan_bytes(long[:-1]).verdict is not CLEAN
    trees = LIGHT.replace(b"leaf_value=0.1 0.2\n", b"leaf_value=" + b"0.125 " * 90_000 + b"\n")
    assert scan_bytes(trees).verdict is CLEAN and scan_bytes(trees + PLAIN).verdict is MALICIOUS


def test_what_lies_within_a_text_model_is_flagged():
    for content in (
        LIGHT.replace(b"parameters:\n", b"parameters:\n" + PLAIN, 1),
        LIGHT.replace(b"end of trees", PLAIN + b"\nend of trees"),
        LIGHT.replace(b"[metric: ]", b"[metric: ]\n" + EVIL),
        LIGHT.replace(b"\nTree=0", b"\nx: !!python/object/apply:os.system [x]\nTree=0"),
        LIGHT + PLAIN + b"\npandas_categorical:null\n",
    ):
        assert scan_bytes(content).verdict in FLAGGED, content


@pytest.mark.parametrize("cut", [1, 2, 5, 30])
def test_models_cut_short_are_not_clean(cut):
    for name, model in MODELS.items():
        if name == "lightgbm-text" and cut < 30:
            continue  # the last lines are optional
        if name == "catboost-json":
            continue  # any JSON may be cut short to a text
        assert scan_bytes(model[:-cut]).verdict is not CLEAN, name
    assert scan_bytes(LIGHT[: LIGHT.index(b"end of trees")]).verdict is ERROR


def test_catboost_is_followed_to_its_end():
    assert scan_bytes(cbm(trees=False)).verdict is CLEAN
    assert scan_bytes(cbm("static_provider_v1", behind=TABLES)).verdict is CLEAN
    assert scan_bytes(cbm("static_provider_v1", behind=TABLES + EVIL)).verdict is MALICIOUS
    assert scan_bytes(cbm("static_provider_v1", behind=TABLES[:-1])).verdict is ERROR
    assert scan_bytes(cbm("text_process_v2", behind=TABLES)).verdict is UNSUPPORTED
    assert scan_bytes(cbm(version="other")).verdict is ERROR
    assert scan_bytes(cbm(core=b"\xff" * 40)).verdict is ERROR
    assert scan_bytes(cbm(core=b"\0")).verdict is ERROR
    assert scan_bytes(b"CBM1\xff\xff\xff\xff" + b"\xff" * 9).verdict is ERROR


def test_really_saved_models_are_clean(tmp_path):
    catboost, np = pytest.importorskip("catboost"), pytest.importorskip("numpy")
    x = np.random.default_rng(0).normal(size=(60, 3))
    model = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False).fit(x, np.arange(60) % 2)
    for ending in ("cbm", "json"):
        model.save_model(str(tmp_path / f"m.{ending}"), format=ending)
        assert scan_bytes((tmp_path / f"m.{ending}").read_bytes()).verdict is CLEAN


def test_really_saved_boosters_with_more_settings_are_clean(tmp_path):
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "\u00e9"])
    x["c"] = pd.Categorical(["u", "v"] * 30)
    y, path = np.arange(60) % 3, tmp_path / "m"
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, linear_tree=True, num_threads=1).fit(x, y).booster_.save_model(
        path
    )
    found = [path.read_bytes()]
    for more in ({"booster": "dart"}, {"enable_categorical": True}):
        model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, **more).fit(x if "booster" not in more else x[["a"]], y)
        for ending in ("ubj", "json"):
            model.save_model(tmp_path / f"m.{ending}")
            found.append((tmp_path / f"m.{ending}").read_bytes())
    for content in found:
        assert scan_bytes(content).verdict is CLEAN, content[:40]
        for tail in (EVIL, PLAIN):
            assert scan_bytes(content + tail).verdict is MALICIOUS


def test_readers_hold_the_laws_of_scanners():
    check_scanner(CatBoostReader(), [cbm(), cbm("static_provider_v1", behind=TABLES)])
    check_scanner(UbjReader(), [ubj()])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.integers(0, 1 << 20), st.integers(1, 255))
def test_no_flipped_byte_makes_a_model_with_a_payload_clean(name, at, mask):
    harmed = bytearray(MODELS[name] + EVIL)
    harmed[at % len(harmed)] ^= mask
    assert scan_bytes(bytes(harmed)).verdict is not CLEAN


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"CBM1", b"{L\0\0\0\0\0\0\0\x07learner", b"tree\nversion=v4\n", b'{"learner": ']),
    st.binary(max_size=120),
)
def test_no_content_raises(head, body):
    scan_bytes(head + body)
    scan_bytes(head + struct.pack("<I", len(body)) + body)


YAML_CLEAN = [
    "flavors:\n  python_function:\n    loader_module: mlflow.sklearn # ours\n    code: null\n    env: conda.yaml\n",
    '{"loader_module": "mlflow.xgboost"}',
    "'loader_module': \"mlflow.catboost\"\n",
    "_target_: sklearn.linear_model.LogisticRegression\nC: 1.0\n",
    "class_path: Adam\n",
    "lr: 0.1\nname: a text: with a colon\n",
    '{"code": 200, "model": {"class": "x"}}',
    '{"a": 1}\n{"a": 2}\n',
    "[section]\nkey = 1\n",
]
YAML_SUSPICIOUS = [
    "loader_module: my_package.loader\n",
    "a: {loader_module: my_package.loader}\n",
    "_target_: my_package.Model\n",
    "class_path: my_package.Model\n",
    "_target_: ${oc.env:X}\n",
    "loader_module: mlflow.pyfunc.model\npython_model: python_model.pkl\n",
    "code: code\n",
    "__reduce__: 3\n",
    '{"py/object": "my_package.Model"}',
    '[{"_target_": "my_package.Model"}]',
]
YAML_MALICIOUS = [
    "loader_module: os\n",
    "loader_module: importlib\n",
    "? loader_module\n: subprocess\n",
    '"loader\\u005fmodule": os\n',
    "x: &m os\nloader_module: *m\n",
    "a:\n - _target_: builtins.eval\n   _args_: ['1']\n",
    "class_path: subprocess:Popen\n",
    "__reduce__: [os.system, [x]]\n",
    "%TAG !y! tag:yaml.org,2002:pyth\n---\n- !y!on/object/apply:os.system [x]\n",
    "- !!%70ython/name:os.system ''\n",
    "a: !!python/object/new:os.system [x]\n",
    '{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["x"]}]}',
    '{"a": [{"class_path": "subprocess.Popen"}]}',
    '{"class_name": "Dense", "config": {"x": {"_target_": "os.system"}}}',
]


@pytest.mark.parametrize("content", YAML_CLEAN)
def test_configurations_of_known_names_are_clean(content):
    assert scan_bytes(content.encode()).verdict is CLEAN, scan_bytes(content.encode())


@pytest.mark.parametrize("content", YAML_SUSPICIOUS)
def test_configurations_of_unknown_names_are_suspicious(content):
    assert scan_bytes(content.encode()).verdict is SUSPICIOUS, scan_bytes(content.encode())


@pytest.mark.parametrize("content", YAML_MALICIOUS)
def test_configurations_of_dangerous_names_are_malicious(content):
    report = scan_bytes(content.encode())
    assert report.verdict is MALICIOUS, report
    assert all(f.technique for f in report.findings)


def test_long_json_that_names_code_is_never_clean():
    long = json.dumps({"a": [[0.5] * 100] * 9000, "_target_": "os.system"}).encode()
    assert scan_bytes(long).verdict is ERROR


@pytest.mark.parametrize(
    "content",
    [b"[" * 250_000, b"{" * 250_000, b"a: " + b"{a: " * 60_000, b"? " * 120_000, b"&a x\n- *a\n" * 20_000, b"!!a " * 60_000,
     b'{"learner": ' + b"[" * 5_000_000, b'{"learner": ["' + b'\\"' * 3_000_000, b"tree\nversion=v4\n" + b"a=1\n" * 900_000,
     ubj(end=b"") + ubj_text("x") + b"[" * 5000, ubj(end=b"") + (ubj_text("x") + b"T") * 400_000,
     b"x: {_target_: a.b}\n" * 9000],
    ids=range(12),
)  # fmt: skip
def test_hostile_texts_stay_within_time(content):
    begun = time.thread_time()
    scan_bytes(content)
    assert time.thread_time() - begun < 2.5


SOURCES = {
    "import os\nos.system('x')": True,
    "from subprocess import run as r\nr(['x'])": True,
    "__import__('os').system('x')": True,
    "f = eval\nf('1')": True,
    "@os.system\ndef f(): pass": True,
    "getattr(os, 'system')('x')": True,
    "import torch\nclass M(torch.nn.Module):\n    pass": False,
    "def f(x:\n  eval(x)": True,
    "f" + "()" * 3000: False,
    "(" * 5000: False,
    "eval(x)\n" * 60_000: True,
    "x = 1;" * 40_000: False,
}


@pytest.mark.parametrize("at", range(len(SOURCES)))
def test_sources_are_judged_by_what_they_call(at):
    source, dangerous = list(SOURCES.items())[at]
    begun = time.thread_time()
    inspection = Inspection(builtin_policy(), Limits(), begun + 1.6)
    check_source(source.encode(), "m.py", "m.py", inspection)
    assert {f.severity.value for f in inspection.findings} == {"critical" if dangerous else "high"}
    assert len(inspection.findings) <= 20 and time.thread_time() - begun < 2


def test_a_pickle_of_the_models_text_is_still_a_pickle():
    class Evil:
        def __reduce__(self):
            return os.getcwd, ()

    assert scan_bytes(pickle.dumps([LIGHT, Evil()])).verdict is MALICIOUS
