"""The laws that the core values state in their docstrings."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import stat
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.budget import Budget
from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import derive_seed, format_time, parse_time, stream
from assay.core.digest import Digest, digest_bytes, digest_file, digest_tree
from assay.core.discovery import Control, discover
from assay.core.errors import BudgetError, DataError, FormatError, SettingError, VerificationError
from assay.core.event import Event, chain, read_chain
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.files import replacing, write_bytes
from assay.core.finding import Finding, Severity, worst
from assay.core.keys import PrivateKey, PublicKey
from assay.core.measure import Measure, Verdict
from assay.core.settings import OneOf, Within, check_settings, setting
from assay.core.statement import Envelope, Statement

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORDS = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_round_trips(value):
    data = canonical_bytes(value)
    assert parse(data) == value
    assert canonical_bytes(parse(data)) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, {1: 2}, object(), b"x"])
def test_canonical_json_refuses(value):
    with pytest.raises(FormatError):
        canonical_bytes({"a": [value]} if value is not None else value)


@pytest.mark.parametrize("data", [b'{"a":1,"a":2}', b"NaN", b"{", b"\xff", b"[" * 100_000])
def test_parsing_refuses(data):
    with pytest.raises(FormatError):
        parse(data)


@pytest.mark.parametrize("text", ["sha256:00", "md5:" + "0" * 32, "sha256:" + "G" * 64, "", "sha256"])
def test_a_malformed_digest_is_refused(text):
    with pytest.raises(FormatError):
        Digest.parse(text)


def test_digests_of_files_and_folders(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert digest_file(tmp_path / "a") == digest_bytes(b"x") == Digest.parse(str(digest_bytes(b"x")))
    before = digest_tree(tmp_path)
    (tmp_path / "b").write_bytes(b"")
    assert digest_tree(tmp_path) != before
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(DataError, match="link"):
        digest_tree(tmp_path)


SHARES = st.floats(0, 1)


@given(st.lists(SHARES, min_size=3, max_size=3).map(sorted), SHARES)
def test_a_verdict_is_uncertain_exactly_when_the_interval_straddles(ends, bar):
    low, middle, high = ends
    verdict = Measure("m", middle, low, high, 10).against(at_least=bar)
    assert (verdict is Verdict.PASS) == (low >= bar)
    assert (verdict is Verdict.FAIL) == (low < bar and high < bar)
    assert verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNCERTAIN)


def test_a_void_measure_never_passes():
    measure = Measure("m", 1.0, 1.0, 1.0, 10).voided("train and test overlap")
    assert measure.against(at_least=0.1) is Verdict.VOID


@pytest.mark.parametrize(("estimate", "low", "high"), [(0.5, 0.6, 0.7), (float("nan"), 0, 1), (0.8, 0.1, 0.7)])
def test_an_impossible_measure_is_refused(estimate, low, high):
    with pytest.raises(FormatError):
        Measure("m", estimate, low, high, 10)


def evidence() -> Evidence:
    return Evidence(
        "scan",
        (Subject("model.onnx", digest_bytes(b"m")),),
        NOW,
        ("AML.T0011.000",),
        (Measure("m", 0.5, 0.4, 0.6, 10, seed=1),),
        (Finding("r", Severity.HIGH, "bad", "m:1", "mend it"),),
        (NotChecked("n", "why", "do"),),
        {"k": [1, "two"]},
    )


def test_evidence_round_trips():
    assert Evidence.from_json(parse(canonical_bytes(evidence().to_json()))) == evidence()


def test_what_was_not_checked_is_never_clean():
    unchecked = dataclasses.replace(evidence(), findings=())
    assert not unchecked.clean()
    assert dataclasses.replace(unchecked, not_checked=()).clean()
    assert worst(evidence().findings) is Severity.HIGH


@pytest.mark.parametrize(
    "record", [{}, {"control": "c"}, {"control": "c", "subjects": "x", "made": "2026-01-01T00:00:00Z"}]
)
def test_damaged_evidence_is_refused(record):
    with pytest.raises(FormatError):
        Evidence.from_json(record)


KEY, OTHER = PrivateKey.generate(), PrivateKey.generate("p256")


def envelope() -> dict[str, object]:
    statement = Statement((Subject("m", digest_bytes(b"m")),), "https://example.test/x", {"score": 0.5})
    return Envelope.of(statement, KEY, OTHER).to_json()


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_a_signed_statement_is_handed_out(key):
    assert Envelope.from_json(envelope()).verify([key.public]).predicate == {"score": 0.5}


def test_a_statement_of_another_signer_is_refused():
    with pytest.raises(VerificationError):
        Envelope.from_json(envelope()).verify([PrivateKey.generate().public])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_payload_byte_is_refused(data):
    record = envelope()
    payload = bytearray(base64.b64decode(record["payload"]))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    record["payload"] = base64.b64encode(bytes(payload)).decode()
    with pytest.raises(VerificationError):
        Envelope.from_json(record).verify([KEY.public, OTHER.public])


@pytest.mark.parametrize(
    "record", [None, {}, {"signatures": []}, {"signatures": [1], "payload": ""}, {"signatures": [], "payload": "@"}]
)
def test_a_malformed_envelope_is_refused(record):
    with pytest.raises(FormatError):
        Envelope.from_json(record)


def test_a_private_key_stays_private(tmp_path):
    path = tmp_path / "signer.key"
    KEY.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PrivateKey.read(path).public.id == KEY.public.id == PublicKey.read(f"{path}.pub").id
    secret = path.read_text().splitlines()[1]
    assert secret not in repr(KEY)
    path.write_text(path.read_text().replace("PRIVATE", "SECRET"))
    with pytest.raises(FormatError) as caught:
        PrivateKey.read(path)
    assert secret not in str(caught.value) + repr(caught.value.__cause__)


def lines() -> list[bytes]:
    events = [Event("request.served", NOW, actor=f"k{i}", data={"rows": i}) for i in range(5)]
    return list(chain(e.to_json() for e in events))


def test_an_event_chain_reads_back():
    assert [e.actor for e in read_chain(lines())] == ["k0", "k1", "k2", "k3", "k4"]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda kept: kept[1:],
        lambda kept: [kept[0], *kept[2:]],
        lambda kept: [kept[1], kept[0], *kept[2:]],
        lambda kept: [kept[0], kept[1].replace(b'"k1"', b'"kX"'), *kept[2:]],
        lambda kept: [kept[0], b"{\n", *kept[1:]],
    ],
)
def test_a_tampered_event_chain_is_refused(tamper):
    with pytest.raises(VerificationError):
        list(read_chain(tamper(lines()), where="events"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as draft:
        draft.write_bytes(b"new and broken")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(0, 60))
def test_a_budget_is_never_overrun(amounts, limit):
    budget = Budget(limit)
    for amount in amounts:
        before = budget.spent
        try:
            budget.spend(amount)
        except BudgetError:
            assert budget.spent == before
        assert budget.spent <= limit


@dataclasses.dataclass(frozen=True, slots=True)
class Knobs:
    share: float = setting(0.5, Within(0, 1), "A share.")
    word: str = setting("a", OneOf(("a", "b")), "A word.")

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize("name", ["share", "word"])
def test_every_invalid_setting_is_refused(name):
    for value in Knobs.__dataclass_fields__[name].metadata["assay.setting"].constraint.invalid():
        with pytest.raises(SettingError, match=name):
            Knobs(**{name: value})


def test_discovery_finds_slotted_dataclasses_once():
    class Base(Control):
        """A base."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Part(Base, name="part"):
        """The part. And more."""

    assert list(discover(Base)) == ["part"]
    assert Part.summary().startswith("The part.")


def test_two_parts_of_one_name_are_refused():
    class Base(Control):
        """A base."""

    one = type("One", (Base,), {}, name="same")
    two = type("Two", (Base,), {}, name="same")
    with pytest.raises(SettingError, match="both define"):
        discover(Base)
    assert one is not two


def test_seeds_and_times():
    assert derive_seed(1, "a") != derive_seed(1, "b") != derive_seed(2, "b")
    assert stream(1, "a").random() == stream(1, "a").random()
    assert parse_time(format_time(NOW)) == NOW
    for text in ("yesterday", "2026-01-01T00:00:00"):
        with pytest.raises(FormatError):
            parse_time(text)


def test_json_of_an_error_is_plain():
    error = DataError("is empty", where="t.csv", remedy="Give rows")
    assert json.dumps(error.to_json())
    assert error.line() == "t.csv: is empty. Give rows"
