"""No change of one byte in a signed model, its bundle or the manifest in it is taken; nor any other spelling of the bundle."""

import base64
import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.artifacts.oms import sign_model, verify_model
from assay.core.errors import VerificationError
from assay.core.keys import PrivateKey

FILES = {"weights.bin": bytes(range(256)), "config.json": b'{"a": 1}', "deep/er/tokens.txt": b"a\nb\n"}
KINDS = ("ed25519", "p256")


class Signed:
    """A signed folder that every example changes and puts back."""

    def __init__(self, folder, kind):
        self.key, self.model, self.bundle = PrivateKey.generate(kind), folder / "model", folder / "model.sig"
        for name, data in FILES.items():
            (self.model / name).parent.mkdir(parents=True, exist_ok=True)
            (self.model / name).write_bytes(data)
        self.made = sign_model(self.model, self.key, self.bundle)
        self.data = self.bundle.read_bytes()

    def verdict(self, bundle=None):
        """Return the reason of the refusal, "" when what was signed is found again."""
        self.bundle.write_bytes(self.data if bundle is None else bundle)
        try:
            assert verify_model(self.model, self.bundle, [self.key.public]) == self.made
        except VerificationError as error:
            return error.reason
        return ""


@pytest.fixture(scope="module", params=KINDS)
def signed(request, tmp_path_factory):
    made = Signed(tmp_path_factory.mktemp("mutations"), request.param)
    assert made.verdict() == ""
    return made


_ANYWHERE = st.integers(0, 1 << 30)


@settings(max_examples=200, deadline=None)
@given(at=_ANYWHERE, mask=st.integers(1, 255))
def test_any_other_byte_in_the_bundle_is_refused(signed, at, mask):
    at %= len(signed.data)
    changed = bytes([signed.data[at] ^ mask])
    assert signed.verdict(signed.data[:at] + changed + signed.data[at + 1 :])


@settings(max_examples=100, deadline=None)
@given(at=_ANYWHERE)
def test_any_byte_less_in_the_bundle_is_refused(signed, at):
    at %= len(signed.data)
    assert signed.verdict(signed.data[:at] + signed.data[at + 1 :])


@settings(max_examples=150, deadline=None)
@given(at=_ANYWHERE, more=st.sampled_from([bytes([n]) for n in range(256)]))
def test_any_byte_more_is_refused_or_is_white_space_between_values(signed, at, more):
    at %= len(signed.data) + 1
    longer = signed.data[:at] + more + signed.data[at:]
    if not signed.verdict(longer):
        assert more in b" \t\r\n"
        assert json.loads(longer) == json.loads(signed.data)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(FILES)), at=_ANYWHERE, mask=st.integers(1, 255))
def test_any_other_byte_in_the_model_is_refused(signed, name, at, mask):
    data = bytearray(FILES[name])
    data[at % len(data)] ^= mask
    try:
        (signed.model / name).write_bytes(data)
        assert signed.verdict() == "file-changed"
    finally:
        (signed.model / name).write_bytes(FILES[name])


@settings(max_examples=100, deadline=None)
@given(at=_ANYWHERE, mask=st.integers(1, 255))
def test_any_other_byte_in_the_manifest_is_refused(signed, at, mask):
    record = json.loads(signed.data)
    manifest = bytearray(base64.b64decode(record["dsseEnvelope"]["payload"]))
    manifest[at % len(manifest)] ^= mask
    record["dsseEnvelope"]["payload"] = base64.b64encode(manifest).decode()
    assert signed.verdict(json.dumps(record).encode()) == "signature"


def _texts(data):
    """Return the base64 texts of a bundle: the manifest and the signature."""
    envelope = json.loads(data)["dsseEnvelope"]
    return envelope["payload"], envelope["signatures"][0]["sig"]


@pytest.mark.parametrize("which", [0, 1])
def test_other_spellings_of_the_same_base64_are_refused(signed, which):
    text = _texts(signed.data)[which]
    raw, alphabet = base64.b64decode(text), b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padding = len(text) - len(text.rstrip("="))
    last = alphabet.index(text.rstrip("=")[-1].encode())
    body = text.rstrip("=")[:-1]
    bits = [body + chr(alphabet[last ^ n]) + "=" * padding for n in range(1, 1 << 2 * padding)]
    same = [t for t in bits if base64.b64decode(t) == raw]
    assert len(same) == (1 << 2 * padding) - 1
    others = [
        *same,
        text.rstrip("=") if padding else f"{text}=",
        f"{text}====",
        f"{text}\n",
        text[:8] + "\n" + text[8:],
    ]
    urlsafe = base64.urlsafe_b64encode(raw).decode()
    for other in [*others, *([urlsafe] if urlsafe != text else [])]:
        written = signed.data.replace(json.dumps(text).encode(), json.dumps(other).encode())
        assert written != signed.data and signed.verdict(written), other


def test_a_key_that_stands_twice_is_refused_at_every_level(signed):
    keys = [m.span() for m in re.finditer(rb'"[A-Za-z]+":', signed.data)]
    assert len(keys) >= 8
    for start, stop in keys:
        key = signed.data[start:stop]
        for value in (b"null", b'""', b"[]", b"{}"):
            assert signed.verdict(signed.data[:start] + key + value + b"," + signed.data[start:]) == "signature-form"


CHANGES = {
    "added": (lambda m: (m / "hook.py").write_text("x"), "file-unexpected"),
    "added below": (lambda m: (m / "deep" / "hook.py").write_text("x"), "file-unexpected"),
    "added hidden": (lambda m: (m / ".hidden").write_text(""), "file-unexpected"),
    "added empty": (lambda m: (m / "empty").write_text(""), "file-unexpected"),
    "removed": (lambda m: (m / "config.json").unlink(), "file-missing"),
    "renamed": (lambda m: (m / "config.json").rename(m / "config2.json"), "file-"),
    "renamed in case": (lambda m: (m / "config.json").rename(m / "Config.json"), "file-"),
    "moved": (lambda m: (m / "config.json").rename(m / "deep" / "config.json"), "file-"),
    "swapped": (
        lambda m: (
            os.rename(m / "config.json", m / "x"),
            os.rename(m / "weights.bin", m / "config.json"),
            os.rename(m / "x", m / "weights.bin"),
        ),
        "file-changed",
    ),
    "cut": (lambda m: os.truncate(m / "weights.bin", 255), "file-changed"),
    "longer": (lambda m: (m / "weights.bin").write_bytes(FILES["weights.bin"] + b"\0"), "file-changed"),
    "link to the same": (
        lambda m: ((m / "config.json").rename(m.parent / "c"), (m / "config.json").symlink_to(m.parent / "c")),
        "file-link",
    ),
    "folder by a link": (
        lambda m: ((m / "deep").rename(m.parent / "d"), (m / "deep").symlink_to(m.parent / "d")),
        "file-",
    ),
    "link beside": (lambda m: (m / "more").symlink_to("config.json"), "file-"),
    "dead link": (lambda m: (m / "more").symlink_to("nothing"), "file-"),
    "folder in its place": (lambda m: ((m / "config.json").unlink(), (m / "config.json").mkdir()), "file-"),
    "pipe": (lambda m: os.mkfifo(m / "pipe"), "file-"),
}


@pytest.mark.parametrize("way", CHANGES)
def test_a_folder_that_is_not_the_signed_one_is_refused(tmp_path, way):
    made = Signed(tmp_path, "ed25519")
    change, reason = CHANGES[way]
    change(made.model)
    assert made.verdict().startswith(reason)
