import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.clock import parse_time
from assay.core.discovery import discover
from assay.core.errors import DataError, FormatError, SettingError, VerificationError
from assay.core.event import Event, read_chain
from assay.gateway.auth import Keys, make_key
from assay.gateway.body import gunzip
from assay.gateway.codec import decode
from assay.gateway.columns import Columns
from assay.gateway.events import EventFile
from assay.gateway.guard import Guard
from assay.gateway.guards.outlier import Outlier
from assay.gateway.invocations import decode_invocation
from assay.gateway.limits import Buckets, Caps, Rate
from assay.gateway.reject import Rejected
from assay.gateway.serve import is_loopback
from assay.testing.guards import check_guard, guarded_table

NOW = parse_time("2026-01-01T00:00:00Z")


@pytest.mark.parametrize("kind", discover(Guard).values(), ids=lambda k: k.name)
def test_every_guard_keeps_the_laws(kind):
    check_guard(kind)


def test_keys_file_holds_no_secret_and_round_trips(tmp_path):
    secret, keys = make_key(Keys.empty(), "alice")
    keys.write(tmp_path / "keys.json")
    assert secret.encode() not in (tmp_path / "keys.json").read_bytes()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    again = Keys.read(tmp_path / "keys.json")
    assert again == keys
    found = again.find(secret.encode())
    assert found is not None
    assert found.principal == "alice"
    assert again.without(found.id).find(secret.encode()) is None
    assert again.find(secret.encode() + b"x") is None
    assert again.find(b"") is None


@pytest.mark.parametrize(
    "record", [None, [], {}, {"salt": "zz", "keys": []}, {"salt": "00", "keys": [{}]}, {"salt": "00", "keys": [1]}]
)
def test_damaged_keys_are_refused(record):
    with pytest.raises(FormatError):
        Keys.from_json(record)


def test_unknown_scope_is_refused():
    with pytest.raises(SettingError):
        make_key(Keys.empty(), "alice", scopes=("admin",))


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=60))
def test_bucket_never_gives_more_than_burst_and_rate(asks):
    buckets, now, given_out = Buckets(Rate(per_second=2.0, burst=20.0, base=1.0)), 0.0, 0.0
    for rows, pause in asks:
        now += pause
        if buckets.take("p", rows, now) == 0.0:
            given_out += 1 + rows
    assert given_out <= 20.0 + 2.0 * now + 1e-6


def _status(call):
    try:
        call()
    except Rejected as no:
        return no.status
    return 200


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data):
    columns = Columns(guarded_table(10)[0])
    for call in (lambda: decode(data, None, columns, Caps()), lambda: decode_invocation(data, columns, Caps())):
        assert _status(call) < 500


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["inputs", "instances", "dataframe_split", "columns", "data", "a", "colour", "name", "shape"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_decoded_or_refused(value):
    import json

    columns, body = Columns(guarded_table(10)[0]), json.dumps(value).encode()
    for call in (lambda: decode(body, None, columns, Caps()), lambda: decode_invocation(body, columns, Caps())):
        assert _status(call) < 500


@given(st.binary(max_size=2000))
def test_gunzip_round_trip(data):
    assert gunzip(gzip.compress(data), Caps()) == data


def test_gunzip_stops_at_the_cap():
    with pytest.raises(Rejected) as refused:
        gunzip(gzip.compress(b"\0" * 100_000), Caps(body_bytes=1000))
    assert refused.value.status == 413
    with pytest.raises(Rejected):
        gunzip(gzip.compress(b"abc" * 100)[:-5], Caps())


def test_outlier_states_its_false_alarm_rate_and_finds_far_rows():
    contract, x = guarded_table(6000)
    guard = Outlier(false_alarm=0.01)
    screen = guard.screening(contract, guard.fit(contract, x[:3000]))
    verdict = screen(x[3000:])
    assert (~verdict.ok).mean() < 0.02
    assert not screen(np.array([[6.0, -6.0, 4, 0, 0]])).ok[0]
    assert screen(np.full((1, 5), np.nan)) is None


def test_outlier_refuses_what_it_cannot_state():
    contract, x = guarded_table(100)
    with pytest.raises(DataError, match="false-alarm"):
        Outlier().fit(contract, x)
    with pytest.raises(SettingError):
        Outlier().screening(contract, {})
    with pytest.raises(SettingError):
        Outlier(mode="maybe")


def _lines(folder):
    return [line for p in sorted(folder.glob("events-*.jsonl")) for line in p.read_bytes().splitlines(keepends=True)]


def test_events_chain_over_segments_and_restarts(tmp_path):
    for start in (0, 20):
        with EventFile(tmp_path, segment_bytes=1000) as events:
            for i in range(start, start + 20):
                assert events.put(Event("request.served", NOW, data={"i": i}))
    assert len(list(tmp_path.glob("events-*.jsonl"))) > 2
    assert [e.data["i"] for e in read_chain(_lines(tmp_path))] == list(range(40))


def test_torn_last_line_is_kept_aside_and_told(tmp_path):
    with EventFile(tmp_path) as events:
        events.put(Event("request.served", NOW))
    with (tmp_path / "events-000001.jsonl").open("ab") as stream:
        stream.write(b'{"kind":"requ')
    with EventFile(tmp_path) as events:
        events.put(Event("request.served", NOW))
    assert [e.kind for e in read_chain(_lines(tmp_path))] == ["request.served", "events.recovered", "request.served"]
    assert (tmp_path / "events-000001.torn").read_bytes() == b'{"kind":"requ'


def test_an_edited_event_stops_the_start(tmp_path):
    with EventFile(tmp_path) as events:
        for i in range(3):
            events.put(Event("request.served", NOW, actor="alice", data={"i": i}))
    path = tmp_path / "events-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"alice", b"mallo", 1))
    with pytest.raises(VerificationError):
        EventFile(tmp_path)


def test_two_writers_are_refused(tmp_path):
    with EventFile(tmp_path), pytest.raises(SettingError, match="another"):
        EventFile(tmp_path)


def test_event_that_cannot_be_written_fails_closed(tmp_path):
    with EventFile(tmp_path) as events:
        events.put(Event("request.served", NOW, data={"x": float("nan")}))
        events.flush()
        assert events.failure
        assert not events.put(Event("request.served", NOW))


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback(host, ours):
    assert is_loopback(host) is ours
