"""Checkpoints, keys and proof files: what is accepted has one text, and nothing else is accepted."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import FormatError, VerificationError
from assay.core.keys import PrivateKey
from assay.registry.log import merkle
from assay.registry.log.note import VerifierKey, decode_base64, sign_checkpoint, split_note
from assay.registry.log.proof import Proof
from assay.registry.log.tiles import SMALL_LIMIT, logged_form

NAME = "example.com/models"
KEY = PrivateKey.generate()
OTHER = PrivateKey.generate()
TRUSTED = VerifierKey.of(NAME, KEY.public)
ROOT = bytes(range(32))
CHECKPOINT = sign_checkpoint(NAME, 20, ROOT, KEY)
# Keys as published for Go's sumdb/note and its checksum database.
PUBLISHED = [
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
]
# The example of Go's sumdb/note, signed by the first of the keys.
SIGNED = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_text_of_a_checkpoint():
    lines = CHECKPOINT.text.split("\n")
    assert lines[:4] == [NAME, "20", base64.b64encode(ROOT).decode(), ""]
    assert lines[4].startswith(f"— {NAME} ")
    assert lines[5:] == [""]
    assert TRUSTED.open(CHECKPOINT.text) == CHECKPOINT
    assert TRUSTED.open(CHECKPOINT.text).text == CHECKPOINT.text


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_keys_are_read(text):
    assert str(VerifierKey.parse(text)) == text


def test_a_note_signed_by_another_program_verifies():
    body, [(name, key_id, signature)] = split_note(SIGNED)
    key = VerifierKey.parse(PUBLISHED[0])
    assert (name, key_id) == (key.name, key.id)
    key._verify(signature, body.encode(), "")
    with pytest.raises(VerificationError, match="does not match"):
        key._verify(signature, body.encode() + b" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "", "name", "name+00000000", PUBLISHED[0] + "\n", PUBLISHED[0].replace("c74f20a3", "C74F20A3"),
        PUBLISHED[0].replace("c74f20a3", "c74f20a4"), PUBLISHED[0].replace("Peter", "Pete"), PUBLISHED[0] + "=",
        PUBLISHED[0].replace("Peter", "Peter "), " " + PUBLISHED[0], PUBLISHED[0].replace("+AR", "+BR"), "+" + PUBLISHED[0],
    ],
)  # fmt: skip
def test_no_other_text_is_a_key(text):
    with pytest.raises(FormatError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u3000b", "a\u2028b", "a\x7fb", "\ud800"])
def test_names_that_could_be_misread_are_refused(name):
    with pytest.raises(FormatError, match="cannot name"):
        VerifierKey.of(name, KEY.public)
    with pytest.raises(FormatError, match="cannot name"):
        sign_checkpoint(name, 1, ROOT, KEY)


def test_only_ed25519_keys_speak_for_a_log():
    with pytest.raises(FormatError, match="Ed25519"):
        VerifierKey.of(NAME, PrivateKey.generate("p256").public)


def test_another_key_is_refused():
    with pytest.raises(VerificationError, match="not signed by the key"):
        VerifierKey.of(NAME, OTHER.public).open(CHECKPOINT.text)


def test_the_same_key_under_another_name_is_refused():
    with pytest.raises(VerificationError, match="not signed by the key"):
        VerifierKey.of("example.com/other", KEY.public).open(CHECKPOINT.text)


def test_a_checkpoint_of_another_origin_is_refused_though_signed():
    body = CHECKPOINT.text.partition("\n\n")[0].replace(NAME, "example.com/other") + "\n"
    line = base64.b64encode(TRUSTED.id + KEY.sign(body.encode())).decode()
    with pytest.raises(VerificationError, match="another log"):
        TRUSTED.open(f"{body}\n— {NAME} {line}\n")


def test_signatures_of_witnesses_are_kept_and_not_judged():
    text = CHECKPOINT.text + f"— witness.example {base64.b64encode(b'1234' + bytes(72)).decode()}\n"
    assert TRUSTED.open(text).text == text
    with pytest.raises(VerificationError, match="does not match"):
        TRUSTED.open(text + f"— {NAME} {base64.b64encode(TRUSTED.id + bytes(64)).decode()}\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "\n",
        lambda t: t[:-1],
        lambda t: "\n" + t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("\n20\n", "\n020\n"),
        lambda t: t.replace("\n20\n", "\n+20\n"),
        lambda t: t.replace("\n20\n", "\n２０\n"),
        lambda t: t.replace("\n20\n", "\n20\nextension\n"),
        lambda t: t.replace("\n20\n", "\n" + "9" * 5000 + "\n"),
        lambda t: t.replace("— ", "- "),
        lambda t: t.replace("— ", "—  "),
        lambda t: t.partition("—")[0],
        lambda t: t + "x" * (1 << 19),
        lambda t: t + t.split("\n")[4] * 70,
        lambda t: t.replace("=\n", "==\n", 1),
        lambda t: "",
        lambda t: "\n\n",
    ],
)
def test_any_other_form_is_refused(change):
    with pytest.raises(VerificationError):
        TRUSTED.open(change(CHECKPOINT.text))


def test_every_changed_byte_of_a_checkpoint_is_refused():
    data = CHECKPOINT.text.encode()
    for at in range(len(data)):
        for bit in (0, 5):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(VerificationError):
                TRUSTED.open(changed.decode("utf-8", "replace"))


@settings(max_examples=200)
@given(st.text(alphabet="aA+/=-_ \n0", max_size=12))
def test_base64_has_one_form(text):
    try:
        data = decode_base64(text)
    except FormatError:
        return
    assert base64.b64encode(data).decode() == text


@given(st.text(max_size=80))
def test_no_text_breaks_the_parsers(text):
    for parse in (split_note, VerifierKey.parse, Proof.parse):
        with pytest.raises(FormatError):
            parse(text)


ENTRIES = [b"entry %d" % i for i in range(11)]
TREE = merkle.in_memory([merkle.leaf_hash(e) for e in ENTRIES])
SIGNED_TREE = sign_checkpoint(NAME, 11, merkle.tree_root(11, TREE), KEY)


def proof(index: int, extra: bytes = b"") -> Proof:
    return Proof(index, merkle.inclusion_path(index, 11, TREE), SIGNED_TREE.text, extra)


@given(st.integers(0, 10), st.binary(max_size=50))
def test_proofs_round_trip_and_hold(index, extra):
    made = proof(index, extra)
    assert Proof.parse(made.text()) == made
    assert Proof.parse(made.text()).text() == made.text()
    assert made.verify(ENTRIES[index], TRUSTED) == SIGNED_TREE


def test_the_text_of_a_proof():
    lines = proof(10, b"hello").text().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra aGVsbG8=", "index 10"]
    assert lines[5:8] == ["", NAME, "11"]


def test_a_log_of_one_entry_needs_no_hashes():
    one = sign_checkpoint(NAME, 1, merkle.leaf_hash(b"x"), KEY)
    made = Proof(0, (), one.text)
    assert Proof.parse(made.text()) == made
    assert made.verify(b"x", TRUSTED).size == 1


def test_a_proof_of_a_large_entry_is_over_its_digest():
    large = b"x" * (SMALL_LIMIT + 1)
    made = Proof(0, (), sign_checkpoint(NAME, 1, merkle.leaf_hash(logged_form(large)), KEY).text)
    assert made.verify(large, TRUSTED).size == 1
    with pytest.raises(VerificationError, match="not the one"):
        made.verify(large + b"x", TRUSTED)
    with pytest.raises(VerificationError, match="no log holds"):
        made.verify(logged_form(large), TRUSTED)


def test_each_way_to_be_wrong_has_its_message():
    made = proof(4)
    with pytest.raises(VerificationError, match="not the one that the log holds"):
        made.verify(b"another", TRUSTED)
    with pytest.raises(VerificationError, match="not signed by the key"):
        made.verify(ENTRIES[4], VerifierKey.of(NAME, OTHER.public))
    with pytest.raises(VerificationError, match="outside the log"):
        Proof(11, made.hashes, made.checkpoint).verify(ENTRIES[4], TRUSTED)
    with pytest.raises(VerificationError, match="too few"):
        Proof(4, made.hashes[:-1], made.checkpoint).verify(ENTRIES[4], TRUSTED)
    with pytest.raises(VerificationError, match="too many"):
        Proof(4, (*made.hashes, ROOT), made.checkpoint).verify(ENTRIES[4], TRUSTED)
    with pytest.raises(VerificationError, match="not the one that the log holds"):
        Proof(5, made.hashes, made.checkpoint).verify(ENTRIES[4], TRUSTED)


def test_every_changed_byte_of_a_proof_is_refused():
    data = proof(4).text().encode()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises((FormatError, VerificationError)):
            Proof.parse(changed.decode("utf-8", "replace")).verify(ENTRIES[4], TRUSTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: " " + t,
        lambda t: t.replace("@v1", "@v2"),
        lambda t: t.replace("index 4", "index 04"),
        lambda t: t.replace("index 4", "index -4"),
        lambda t: t.replace("index 4\n", ""),
        lambda t: t.replace("index 4", "extra \nindex 4"),
        lambda t: t.replace("index 4", "extra aGVsbG9=\nindex 4"),
        lambda t: t.replace("index 4", "index 4\nAAAA"),
        lambda t: t.replace("index 4", "index 4" + ("\n" + base64.b64encode(ROOT).decode()) * 70),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t + "\n",
        lambda t: t.partition("\n\n")[0],
        lambda t: t + "x" * (1 << 22),
    ],
)
def test_any_other_form_of_a_proof_is_refused(change):
    with pytest.raises(FormatError):
        Proof.parse(change(proof(4).text()))
