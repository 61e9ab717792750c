"""The store of digests: a file is known only while nothing of it can have changed."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sqlite3
import time
import zipfile

import pytest

from assay.artifacts.digest_store import DigestStore
from assay.artifacts.examine import examine
from assay.artifacts.manifest import list_model
from assay.artifacts.model_files import hash_files
from assay.artifacts.oms import sign_model, verify_model
from assay.core.digest import digest_file
from assay.core.errors import DataError, Refused, SettingError, VerificationError
from assay.core.keys import PrivateKey
from assay.flows.sign import confirm, sign


class Clock:
    def __init__(self, offset=10 * 10**9):
        self.offset = offset

    def __call__(self):
        return time.time_ns() + self.offset


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w" * 100_000)
    (folder / "README.md").write_bytes(b"read me")
    return folder


def counts(path, model, **named):
    named.setdefault("now", Clock())
    with DigestStore(path, **named) as store:
        found = hash_files(model, [p.relative_to(model) for p in sorted(model.iterdir())], "sha256", store)
        assert found == {p.name: digest_file(p) for p in model.iterdir()}
        return store.found, store.hashed


def test_an_unchanged_file_is_known_and_a_changed_one_is_not(tmp_path, model):
    path = tmp_path / "d"
    assert counts(path, model) == (0, 2)
    assert counts(path, model) == (2, 0)
    (model / "README.md").write_bytes(b"edited")
    assert counts(path, model) == (1, 1)
    assert counts(path, model, fresh=True) == (0, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_young_file_is_not_trusted(tmp_path, model):
    path = tmp_path / "d"
    for _ in range(2):
        assert counts(path, model, now=Clock(0)) == (0, 2)
    assert counts(path, model, now=Clock(1_000_000_000)) == (0, 2)
    assert counts(path, model) == (0, 2)
    assert counts(path, model) == (2, 0)
    assert counts(path, model, now=Clock(-(10**12))) == (0, 2), "hashed in the future"


def test_a_change_that_restores_size_and_time_is_noticed(tmp_path, model):
    path, file = tmp_path / "d", model / "weights.bin"
    counts(path, model)
    before = file.stat()
    file.write_bytes(b"x" * 100_000)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert counts(path, model) == (1, 1)


def test_another_file_in_its_place_is_noticed_and_a_moved_one_is_never_confused(tmp_path, model):
    path = tmp_path / "d"
    counts(path, model)
    os.rename(model / "weights.bin", model / "old")
    os.rename(model / "README.md", model / "weights.bin")
    counts(path, model)


@pytest.mark.parametrize("statement", [
    "UPDATE digest SET hex = replace(hex, '0', '1')", "UPDATE digest SET hex = 'x'", "UPDATE digest SET mark = NULL",
    "UPDATE digest SET hashed_ns = hashed_ns + 1", "UPDATE digest SET size = 8", "UPDATE digest SET hex = NULL",
    "UPDATE digest SET hashed_ns = 'soon'", "UPDATE digest SET mark = zeroblob(16)",
])  # fmt: skip
def test_edited_rows_are_not_used(tmp_path, model, statement):
    path = tmp_path / "d"
    counts(path, model)
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute(statement)
    rows.close()
    assert counts(path, model) == (0, 2)


def test_rows_made_without_the_key_are_not_used(tmp_path, model):
    path = tmp_path / "d"
    counts(path, model)
    assert counts(path, model, key=b"secret") == (0, 2)
    assert counts(path, model, key=b"secret") == (2, 0)
    assert counts(path, model, key=b"other") == (0, 2)


@pytest.mark.parametrize("prepare", [
    lambda p: p.write_bytes(b"no database at all" * 100), lambda p: p.mkdir(), lambda p: p.symlink_to("/dev/null"),
    lambda p: (p.touch(), p.chmod(0o666)), os.mkfifo,
])  # fmt: skip
def test_what_is_no_store_of_ones_own_is_refused(tmp_path, prepare):
    prepare(tmp_path / "d")
    if (tmp_path / "d").is_file() and not (tmp_path / "d").is_symlink() and (tmp_path / "d").stat().st_size:
        (tmp_path / "d").chmod(0o600)
    with pytest.raises(DataError):
        DigestStore(tmp_path / "d")


def test_verification_with_a_store_refuses_what_it_refuses_without(tmp_path, model):
    key, bundle = PrivateKey.generate("p256"), tmp_path / "s.sig"
    with DigestStore(tmp_path / "d", now=Clock()) as store:
        made = sign_model(model, key, bundle, digests=store)
        assert verify_model(model, bundle, [key.public], digests=store) == made
        assert (store.found, store.hashed) == (2, 2)
        (model / "weights.bin").write_bytes(b"w" * 99_999 + b"x")
        with pytest.raises(VerificationError, match="not what was signed"):
            verify_model(model, bundle, [key.public], digests=store)


# -- one pass: digests and scan ---------------------------------------------------------------------------------------


class Harm:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture
def key(tmp_path):
    PrivateKey.generate("p256").write(tmp_path / "k")
    return tmp_path / "k"


def test_one_pass_gives_the_same_digests_as_two(tmp_path, model):
    with zipfile.ZipFile(model / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({"a": [1, 2]}, 2))
        archive.writestr("net/data/0", os.urandom(3 << 20))
    listing = list_model(model, tmp_path / "s.sig")
    with DigestStore(tmp_path / "d", now=Clock()) as store:
        for _ in range(2):
            found = examine(listing, store)
            assert dict(found.content.files) == hash_files(model, listing.names, "sha256")
        assert (store.found, store.hashed) == (3, 3)
    assert [f["name"] for f in found.content.scan["files"]] == ["README.md", "net.pt", "weights.bin"]


def test_the_verdict_is_signed_and_still_verifies_for_others(tmp_path, key):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    made = sign(tmp_path / "m.pkl", key, verdict=True)
    assert made.scan == "clean"
    assert confirm(tmp_path / "m.pkl", keys=[f"{key}.pub"]).files == made.files
    assert sign(tmp_path / "m.pkl", key, scan=False).scan == ""


def test_what_is_signed_holds_what_the_standard_knows_unless_a_verdict_is_asked_for(tmp_path, key, model):
    for verdict, keys in ((False, {"serialization", "resources"}), (True, {"serialization", "resources", "scan"})):
        sign(model, key, tmp_path / "s.sig", verdict=verdict)
        payload = json.loads((tmp_path / "s.sig").read_text())["dsseEnvelope"]["payload"]
        assert set(json.loads(base64.b64decode(payload))["predicate"]) == keys
    with pytest.raises(SettingError):
        sign(model, key, tmp_path / "s.sig", scan=False, verdict=True)


@pytest.mark.filterwarnings("ignore")
def test_the_peer_verifies_a_bundle_with_a_verdict(tmp_path, key, model):
    peer = pytest.importorskip("model_signing")
    sign(model, key, tmp_path / "s.sig", verdict=True)
    peer.verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "k.pub").verify(model, tmp_path / "s.sig")


@pytest.mark.parametrize("padding", [0, 2 << 20])
def test_the_malicious_is_not_signed(tmp_path, model, key, padding):
    (model / "m.pkl").write_bytes(pickle.dumps([b"0" * padding, Harm()]))
    with pytest.raises(Refused) as caught:
        sign(model, key)
    assert caught.value.reason == "scan-malicious"
    assert caught.value.where.endswith("m.pkl")
    assert not (model / "model.sig").exists()
    assert sign(model, key, scan=False).scan == ""


def test_a_file_that_changes_during_the_pass_is_refused(tmp_path, model, monkeypatch):
    import assay.artifacts.examine as room

    real = room.scan_bytes

    def slow(data, name, **named):
        with open(model / "weights.bin", "ab") as stream:
            stream.write(b"!")
        return real(data, name, **named)

    monkeypatch.setattr(room, "scan_bytes", slow)
    with pytest.raises(DataError, match="changed while"):
        examine(list_model(model / "weights.bin", tmp_path / "s.sig"))


def test_key_and_digests_do_not_lie_in_the_model(model, key):
    for named in ({"digests": model / "d"}, {"digests": model / "sub" / ".." / "d"}):
        with pytest.raises(DataError, match="inside the model"):
            sign(model, key, **named)
    assert not (model / "d").exists()
