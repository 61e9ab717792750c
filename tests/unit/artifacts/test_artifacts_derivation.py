"""Derivation statements: signed, about these two files, and nothing in them can change."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.artifacts.derivation import DERIVATION_TYPE, Derivation, verify_derivation
from assay.core.digest import digest_bytes
from assay.core.errors import AssayError, VerificationError
from assay.core.evidence import Subject
from assay.core.files import write_record
from assay.core.keys import PrivateKey
from assay.core.statement import Envelope, Statement

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
CHILD, PARENT = b"child", b"parent"
STATED = Derivation(
    Subject("model.onnx", digest_bytes(CHILD)), Subject("m.joblib", digest_bytes(PARENT)), "exact",
    {"rows": 3.0, "max_difference": 1e-9}, {"assay": "1"}, ("epoch: int",), digest_bytes(b"rows"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("derivation")
    (made / "model.onnx").write_bytes(CHILD)
    (made / "m.joblib").write_bytes(PARENT)
    write_record(made / "derivation.json", Envelope.of(STATED.statement(), KEY).to_json())
    return made


def verified(folder, statement="derivation.json", child="model.onnx", keys=(KEY,), parent="m.joblib"):
    public = [key.public for key in keys]
    return verify_derivation(folder / statement, folder / child, public, parent=folder / parent if parent else None)


def test_what_was_stated_comes_back(folder):
    assert verified(folder) == STATED
    assert verified(folder, keys=(OTHER, KEY), parent=None) == STATED


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"keys": (OTHER,)}, "derivation-unsigned"),
        ({"keys": ()}, "derivation-unsigned"),
        ({"child": "m.joblib"}, "derivation-child"),
        ({"parent": "model.onnx"}, "derivation-parent"),
    ],
)
def test_anything_else_is_refused(folder, given_, reason):
    with pytest.raises(VerificationError) as refused:
        verified(folder, **given_)
    assert refused.value.reason == reason


def test_an_unsigned_statement_is_refused(folder):
    write_record(folder / "unsigned.json", Envelope.of(STATED.statement()).to_json())
    with pytest.raises(VerificationError):
        verified(folder, "unsigned.json")


@pytest.mark.parametrize(
    "statement",
    [
        Statement((STATED.child,), "https://example.org/other", STATED.statement().predicate),
        Statement((STATED.child, STATED.parent), DERIVATION_TYPE, STATED.statement().predicate),
        *(
            Statement((STATED.child,), DERIVATION_TYPE, {**STATED.statement().predicate, name: bad})
            for name in ("parent", "measured", "versions", "dropped")
            for bad in (None, 3)
        ),
        Statement((STATED.child,), DERIVATION_TYPE, {**STATED.statement().predicate, "measured": {"rows": True}}),
        Statement((STATED.child,), DERIVATION_TYPE, {**STATED.statement().predicate, "rows": "md5:1"}),
    ],
)
def test_a_statement_of_another_form_is_refused(folder, statement):
    write_record(folder / "odd.json", Envelope.of(statement, KEY).to_json())
    with pytest.raises(AssayError):
        verified(folder, "odd.json")


@settings(max_examples=60)
@given(st.data())
def test_any_changed_byte_is_refused_or_says_the_same(folder, data):
    raw = bytearray((folder / "derivation.json").read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    (folder / "flipped.json").write_bytes(bytes(raw))
    try:
        found = verified(folder, "flipped.json")
    except AssayError:
        return
    assert found == STATED and json.loads(bytes(raw)) is not None
