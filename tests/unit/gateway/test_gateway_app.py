import gzip
import json
import struct

import httpx
import numpy as np
import pytest

from assay.core.errors import SettingError, VerificationError
from assay.core.event import read_chain
from assay.gateway.app import gateway
from assay.gateway.auth import Keys, make_key
from assay.gateway.events import EventFile
from assay.gateway.guard import fit_guards, guards_of
from assay.gateway.limits import Caps, Rate
from assay.gateway.serve import background, run

GOOD = [0.5, -0.2, 3, 1, 2]
JSON = {"content-type": "application/json"}


def test_answers_rows_and_records_them(make):
    ask = make()
    answer = ask.rows([GOOD, GOOD])
    assert answer.status_code == 200, answer.text
    outputs = {o["name"]: o for o in answer.json()["outputs"]}
    assert outputs["probabilities"]["shape"] == [2, 2]
    assert np.sum(outputs["probabilities"]["data"]) == pytest.approx(2)
    (event,) = ask.notes
    assert event.kind == "request.served"
    assert event.actor == "alice"
    assert event.data["x"] == [GOOD, GOOD]
    assert ask.key not in json.dumps(event.to_json())


def test_named_columns_and_mlflow_give_the_same_answer(make):
    ask = make()
    named = [
        ("a", "FP64", 0.5),
        ("b", "FP64", -0.2),
        ("count", "INT64", 3),
        ("flag", "BOOL", True),
        ("colour", "BYTES", "blue"),
    ]
    inputs = [{"name": n, "shape": [1], "datatype": t, "data": [v]} for n, t, v in named]
    first = ask(json={"inputs": inputs}).json()["outputs"][1]["data"]
    assert first == ask.rows([GOOD]).json()["outputs"][1]["data"]
    record = {n: v for n, _, v in named}
    bodies = [
        {"dataframe_records": [record]},
        {"dataframe_split": {"columns": list(record), "data": [list(record.values())]}},
        {"instances": [record]},
        {"inputs": {k: [v] for k, v in record.items()}},
        {"inputs": [GOOD]},
        {"instances": [GOOD]},
    ]
    for body in bodies:
        answer = ask(path="/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["probabilities"] == [first]
        assert answer.json()["predictions"][0] in {"no", "yes"}


def test_named_columns_agree_with_the_contract_encoder(table):
    pa = pytest.importorskip("pyarrow")
    from assay.contract.encode import encode
    from assay.gateway.columns import Columns

    columns = {"a": [0.1, None], "b": [1.0, 2], "count": [3, 4], "flag": [True, False], "colour": ["green", "mauve"]}
    expected = encode(table[0], pa.table(columns))
    assert np.array_equal(Columns(table[0]).encode(columns, 2), expected, equal_nan=True)


def test_binary_tensors_both_ways(make):
    ask = make()
    raw = np.array([GOOD], dtype="<f8").tobytes()
    head = json.dumps(
        {
            "inputs": [
                {"name": "input", "shape": [1, 5], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    answer = ask(content=head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    assert np.frombuffer(answer.content[size:]).sum() == pytest.approx(1)
    headers["inference-header-content-length"] = str(len(head) + 999)
    assert ask(content=head + raw, headers=headers).status_code == 400
    headers["inference-header-content-length"] = str(len(head))
    assert ask(content=head + raw + b"x", headers=headers).status_code == 400


def test_binary_text_longer_than_its_tensor(make):
    raw = struct.pack("<I", 2**31) + b"re"
    tensor = {"name": "colour", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = make()(content=head + raw, headers={"inference-header-content-length": str(len(head))})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("status", "reason", "request_"),
    [
        (401, "key", {"key": "assay_0_wrong", "json": {}}),
        (401, "key", {"key": "x" * 10000, "json": {}}),
        (404, "path", {"path": "/v2/models/other/infer", "json": {}}),
        (405, "method", {"method": "GET"}),
        (415, "media_type", {"content": b"a,b", "headers": {"content-type": "text/csv"}}),
        (415, "encoding", {"content": b"{}", "headers": {**JSON, "content-encoding": "br"}}),
        (413, "bytes", {"content": b" " * (1 << 20) + b"{}", "headers": JSON}),
        (413, "bytes", {"content": gzip.compress(b"A" * 50_000_000), "headers": {**JSON, "content-encoding": "gzip"}}),
        (400, "gzip", {"content": b"not gzip", "headers": {**JSON, "content-encoding": "gzip"}}),
        (400, "gzip", {"content": gzip.compress(b"{}") * 2, "headers": {**JSON, "content-encoding": "gzip"}}),
        (400, "json", {"content": b"[" * 200_000, "headers": JSON}),
        (400, "json", {"content": b'{"inputs":' * 50_000, "headers": JSON}),
        (400, "json", {"content": b"\xff\xfe", "headers": JSON}),
        (400, "json", {"content": b"", "headers": JSON}),
        (
            400,
            "json",
            {"content": b'{"inputs":[{"name":"input","shape":[1,5],"datatype":"FP64","data":[NaN,1,1,1,1]}]}'},
        ),
        (
            400,
            "json",
            {"content": b'{"inputs":[{"name":"input","shape":[1,5],"datatype":"FP64","data":[1e999,1,1,1,1]}]}'},
        ),
        (
            400,
            "json",
            {"content": b'{"inputs":[{"name":"input","shape":[1,5],"datatype":"FP64","data":["1",1,1,1,1]}]}'},
        ),
        (
            400,
            "json",
            {
                "content": b'{"inputs":[{"name":"input","shape":[1,5],"datatype":"FP64","data":[1,1,1,1,1],"data":[2,2,2,2,2]}]}'
            },
        ),
        (
            400,
            "json",
            {
                "content": b'{"inputs":[{"name":"input","shape":[1,5],"datatype":"FP64","data":[1,1,1,1,1],"d\\u0061ta":[2]}]}'
            },
        ),
        (422, "shape", {"json": {"inputs": [{"name": "input", "shape": [9, 5], "datatype": "FP64", "data": [1.0]}]}}),
        (422, "shape", {"json": {"inputs": [{"name": "input", "shape": [-1, 5], "datatype": "FP64", "data": [1.0]}]}}),
        (422, "shape", {"json": {"inputs": [{"name": "input", "shape": [0, 5], "datatype": "FP64", "data": []}]}}),
        (
            413,
            "rows",
            {"json": {"inputs": [{"name": "input", "shape": [10**9, 5], "datatype": "FP64", "data": [1.0]}]}},
        ),
        (422, "columns", {"json": {"inputs": []}}),
        (422, "columns", {"json": {"inputs": [{"name": "zz", "shape": [1], "datatype": "FP64", "data": [1.0]}]}}),
        (
            422,
            "type",
            {"json": {"inputs": [{"name": "input", "shape": [1, 5], "datatype": "BYTES", "data": ["a"] * 5}]}},
        ),
        (422, "columns", {"path": "/invocations", "json": {"inputs": [[1]], "instances": [[1]]}}),
        (422, "columns", {"path": "/invocations", "json": []}),
        (422, "shape", {"path": "/invocations", "json": {"instances": [[1, 2]]}}),
        (422, "shape", {"path": "/invocations", "json": {"instances": []}}),
        (422, "shape", {"path": "/invocations", "json": {"inputs": {"a": 3}}}),
        (422, "type", {"path": "/invocations", "content": b'{"instances":[[1e0,1,1,1,' + b"9" * 400 + b"]]}"}),
        (400, "json", {"path": "/invocations", "content": b'{"instances":[{"a":1,"a":2}]}'}),
        (400, "json", {"path": "/invocations", "content": b'{"instances":' + b"[" * 100_000}),
        (
            422,
            "type",
            {
                "path": "/invocations",
                "json": {"instances": [{"a": "x", "b": 1, "count": 1, "flag": True, "colour": "red"}]},
            },
        ),
    ],
)
def test_hostile_requests_are_refused_with_a_reason(make, status, reason, request_):
    ask = make()
    answer = ask(**request_)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert all(event.kind == "request.refused" for event in ask.notes)


def test_contract_guard_refuses_and_says_which_row(make):
    ask = make()
    answer = ask.rows([GOOD, [99.0, 0, 3, 1, 2]])
    assert answer.status_code == 422
    assert answer.json()["reason"] == "contract"
    assert answer.json()["rows"][0]["row"] == 1
    assert ask.rows([[None, 0, 3, 1, 2]]).status_code == 422
    assert ask.rows([[0, 0, 3, 1, -1]]).status_code == 422
    assert [e.reason for e in ask.notes] == ["contract"] * 3


def test_guards_shape_answers(make):
    rounded = make(guards={"rounding": {"decimals": 1}}).rows([GOOD]).json()["outputs"][1]["data"]
    assert all(v == round(v, 1) for v in rounded)
    assert [o["name"] for o in make(guards={"label_only": None}).rows([GOOD]).json()["outputs"]] == ["label"]


def test_outlier_guard_enforces_or_observes(make, table):
    contract, x = table
    far = [[9.0, -9.0, 3, 1, 2]]
    for mode, status in (("enforce", 422), ("observe", 200)):
        settings = {"outlier": {"mode": mode, "false_alarm": 0.01}}
        fitted = fit_guards(guards_of(settings), contract, x)
        ask = make(guards=settings, fitted=fitted)
        answer = ask.rows(far)
        assert answer.status_code == status
        if mode == "observe":
            assert ask.notes[0].data["flags"] == {"outlier": 1}
        assert b'assay_guard_rows_total{guard="outlier"} 1' in ask("GET", "/metrics").content


@pytest.mark.parametrize(
    "guards", [{"nonsense": None}, {"rounding": {"digits": 2}}, {"rounding": 3}, {"outlier": None}]
)
def test_settings_that_do_not_fit_are_refused(make, guards):
    with pytest.raises((SettingError, KeyError)) as refused:
        make(guards=guards)
    assert isinstance(refused.value, SettingError)


def test_rate_limit_answers_429_with_retry_after(make):
    ask = make(rate=Rate(per_second=0.5, burst=5), timer=lambda: 0.0)
    assert ask.rows([GOOD]).status_code == 200
    assert ask.rows([GOOD] * 2).status_code == 200
    answer = ask.rows([GOOD])
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
    assert ask.rows([GOOD] * 9).status_code == 413


def test_scope_and_model_of_a_key(model_bytes, table, make):
    ask = make()
    secret, keys = make_key(Keys.empty(), "bob", models=("other",))
    ask.app._keys = keys
    assert ask.rows([GOOD], key=secret).status_code == 403
    secret, ask.app._keys = make_key(Keys.empty(), "bob", scopes=("metrics",))
    assert ask.rows([GOOD], key=secret).status_code == 403
    assert ask("GET", "/metrics", key=secret).status_code == 200


def test_a_release_that_no_longer_holds_stops_the_gateway(make):
    state = {"good": True}

    def recheck():
        if not state["good"]:
            raise VerificationError("the model has changed")

    ask = make(recheck=recheck)
    assert ask.app.recheck()
    state["good"] = False
    assert not ask.app.recheck()
    state["good"] = True
    assert ask.rows([GOOD]).status_code == 503
    assert ask("GET", "/v2/health/ready").status_code == 503
    assert [e.kind for e in ask.notes if e.kind == "release.refused"] == ["release.refused"]


def test_what_cannot_be_recorded_is_not_answered(make, monkeypatch):
    monkeypatch.setattr("assay.gateway.app._RECORD_PATIENCE", 0.02)
    ask = make()
    ask.notes.full = True
    answer = ask.rows([GOOD])
    assert (answer.status_code, answer.json()["reason"]) == (503, "events")


def test_strangers_cannot_fill_the_events(make):
    ask = make(timer=lambda: 0.0)
    for _ in range(150):
        ask(key="wrong", json={})
    assert len(ask.notes) == 100


def test_changed_bytes_are_not_a_model(table):
    with pytest.raises(Exception, match="not an ONNX model"):
        gateway(b"garbage", table[0], Keys.empty(), [])


def test_over_real_http_with_an_event_file(model_bytes, table, tmp_path):
    secret, keys = make_key(Keys.empty(), "alice")
    with EventFile(tmp_path / "events") as events:
        app = gateway(model_bytes, table[0], keys, events, recheck=lambda: None, caps=Caps(seconds=1))
        with (
            background(app) as url,
            httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}) as client,
        ):
            assert client.get("/ping").status_code == 200
            assert client.get("/v2/models/model").json()["inputs"][0]["shape"] == [-1, 5]
            assert client.post("/invocations", json={"instances": [GOOD]}).status_code == 200
    lines = (tmp_path / "events" / "events-000001.jsonl").read_bytes().splitlines(keepends=True)
    assert [e.kind for e in read_chain(lines)] == ["gateway.started", "request.served", "gateway.stopped"]


def test_public_address_needs_tls():
    with pytest.raises(SettingError, match="other machines"):
        run(None, host="0.0.0.0")
