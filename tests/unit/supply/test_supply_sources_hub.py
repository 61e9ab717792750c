"""The hub, played by a server in this process."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from assay.core.errors import (
    BudgetError,
    DataError,
    DependencyError,
    FormatError,
    MissingError,
    Refused,
    VerificationError,
)
from assay.supply.sources.limits import SourceLimits
from assay.supply.sources.source import open_source, peek

SHA = "a" * 40
BIG, SMALL = b"weights" * 1000, b"{}"
URL = f"hf://ada/credit@{SHA}"


def test_without_the_library(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match="hub"):
        open_source(URL, tmp_path)


def listed(**more):
    blob = hashlib.sha1(b"blob %d\0" % len(SMALL) + SMALL).hexdigest()
    lfs = {"sha256": hashlib.sha256(BIG).hexdigest(), "size": len(BIG), "pointerSize": 130}
    return {
        "id": "ada/credit", "sha": SHA, "private": False, "downloads": 0, "likes": 0, "tags": [],
        "siblings": [
            {"rfilename": "config.json", "size": len(SMALL), "blobId": blob},
            {"rfilename": "sub/model.pkl", "size": len(BIG), "blobId": "b" * 40, "lfs": lfs},
        ],
        **more,
    }  # fmt: skip


@pytest.fixture
def hub(script, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", script.url)
    monkeypatch.setenv("HF_TOKEN", "hf_hush")

    def say(revision=SHA, **more):
        script.answers[f"/api/models/ada/credit/revision/{revision}"] = json.dumps(listed(**more)).encode()

    script.say = say
    say()
    script.answers[f"/ada/credit/resolve/{SHA}/config.json"] = SMALL
    script.answers[f"/ada/credit/resolve/{SHA}/sub/model.pkl"] = BIG
    return script


def test_a_repository_a_folder_and_a_file(hub, tmp_path):
    whole = open_source(URL, tmp_path / "1")
    assert whole.url == URL and (whole.path / "sub/model.pkl").read_bytes() == BIG
    assert open_source(f"{URL}/sub", tmp_path / "2").bytes == len(BIG)
    one = open_source(f"{URL}/sub/model.pkl", tmp_path / "3")
    assert one.path.read_bytes() == BIG and one.digest.hex == hashlib.sha256(BIG).hexdigest()
    assert any(fields.get("authorization") == "Bearer hf_hush" for _, fields in hub.asked)
    stream = peek(f"{URL}/sub/model.pkl")
    assert stream.read(7) == b"weights"


@pytest.mark.parametrize("url", ["hf://ada/credit", "hf://ada/credit@main"])
def test_a_branch_is_resolved_only_when_allowed(hub, tmp_path, url):
    hub.say("main")
    with pytest.raises(Refused, match=SHA) as caught:
        open_source(url, tmp_path)
    assert caught.value.reason == "unpinned"
    assert open_source(url, tmp_path, allow_unpinned=True).url == URL


def _sibling(**change):
    base = listed()["siblings"]
    return {"siblings": [{**base[0], **change}, base[1]]}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"sha": "b" * 40}, VerificationError),
        ({"sha": "main"}, FormatError),
        (_sibling(rfilename="../../x"), Exception),
        (_sibling(rfilename="SUB/model.pkl"), Exception),
        (_sibling(size=3), VerificationError),
        (_sibling(size=1), VerificationError),
        (_sibling(size=1 << 60), BudgetError),
        (_sibling(size=None), FormatError),
        (_sibling(blobId="c" * 40), VerificationError),
        (_sibling(blobId=None), VerificationError),
        ({"siblings": []}, DataError),
        ({"siblings": [{"rfilename": 3}]}, Exception),
    ],
)
def test_a_hostile_hub_is_refused(hub, tmp_path, more, error):
    hub.say(**more)
    with pytest.raises(error) as caught:
        open_source(URL, tmp_path)
    assert hasattr(caught.value, "line") and "hush" not in caught.value.line()
    assert not list(tmp_path.iterdir())


def test_other_bytes_than_announced_are_refused(hub, tmp_path):
    hub.answers[f"/ada/credit/resolve/{SHA}/sub/model.pkl"] = BIG[:-1] + b"X"
    with pytest.raises(VerificationError, match="SHA-256"):
        open_source(URL, tmp_path)


def test_limits_hold_before_a_byte_is_fetched(hub, tmp_path):
    with pytest.raises(BudgetError):
        open_source(URL, tmp_path, limits=SourceLimits(bytes=100))
    assert not any("resolve" in path for path, _ in hub.asked)


@pytest.mark.parametrize("url", ["hf://credit", "hf://../x@main", "hf://a/b@", "hf://a/b@main@x"])
def test_urls_that_are_no_model(hub, tmp_path, url):
    with pytest.raises((FormatError, DataError)):
        open_source(url, tmp_path)


def test_what_is_not_there(hub, tmp_path, monkeypatch):
    with pytest.raises(DataError):
        open_source(f"hf://ada/none@{SHA}", tmp_path)
    with pytest.raises(DataError):
        open_source(f"{URL}/none.pkl", tmp_path)
    hub.answers[f"/api/models/ada/credit/revision/{SHA}"] = b"no json"
    with pytest.raises(MissingError):
        open_source(URL, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(Refused):
        open_source(URL, tmp_path)
