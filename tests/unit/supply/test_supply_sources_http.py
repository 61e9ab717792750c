"""Files by HTTP: what a hostile server sends is bounded and refused, and leaves nothing behind."""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.digest import digest_bytes
from assay.core.discovery import discover
from assay.core.errors import (
    AssayError,
    BudgetError,
    DataError,
    FormatError,
    InputError,
    MissingError,
    Refused,
    SettingError,
    VerificationError,
)
from assay.flows.fetch import scan_sources
from assay.supply.sources.draft import safe_parts
from assay.supply.sources.http import Web
from assay.supply.sources.limits import Deadline, SourceLimits
from assay.supply.sources.range_file import RangeFile
from assay.supply.sources.source import ModelSource, displayed, is_url, open_source, peek, source_of
from assay.supply.sources.sparse import fetch_sparse, find_holes

BODY = pickle.dumps({"weights": [1.0] * 50})
TENSOR = bytes(range(256)) * 2000


def torch_zip(
    tensor: bytes = TENSOR, *, pickled: bytes = b"\x80\x02}q\x00.", method: int = zipfile.ZIP_STORED
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/data/0", tensor, method)
        archive.writestr("model/data/1", b"small")
        archive.writestr("model/version", "3\n")
    return made.getvalue()


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def test_a_file_arrives_whole_and_pinned(script, tmp_path):
    script.answers["/m/model.pkl"] = BODY
    fetched = open_source(f"{script.url}/m/model.pkl?signature=hush", tmp_path)
    assert fetched.path == tmp_path / "model.pkl" and fetched.path.read_bytes() == BODY
    assert (fetched.digest, fetched.bytes) == (digest_bytes(BODY), len(BODY))
    assert fetched.url == f"{script.url}/m/model.pkl#etag=e1"
    assert [p.name for p in tmp_path.iterdir()] == ["model.pkl"]


def test_peek_reads_a_little(script):
    script.answers["/m"] = torch_zip()
    with peek(f"{script.url}/m") as stream, zipfile.ZipFile(stream) as archive:
        assert archive.read("model/data.pkl") == b"\x80\x02}q\x00."
        assert stream.bytes_read < 200_000 < stream.size


def test_the_tensors_stay_where_they_are(script, tmp_path):
    body = torch_zip()
    script.answers["/m.pt"] = body
    fetched = fetch_sparse(f"{script.url}/m.pt", tmp_path)
    local = fetched.path.read_bytes()
    at = body.index(TENSOR)
    assert local == body[:at] + bytes(len(TENSOR)) + body[at + len(TENSOR) :]
    assert [n.what for n in fetched.not_fetched] == [f"{fetched.path}!model/data/0"]
    assert fetched.bytes < len(body) / 2


@pytest.mark.parametrize(
    "body",
    [
        BODY * 2000,
        torch_zip(method=zipfile.ZIP_DEFLATED),
        torch_zip() + b"tail",
        b"prefix" + torch_zip(),
        torch_zip(TENSOR + b"PK\x05\x06" * 20)[:-1],
        torch_zip().replace(b"data.pkl", b"dat0.pkl"),
    ],
)
def test_what_is_no_plain_torch_archive_is_fetched_whole(script, tmp_path, body):
    script.answers["/m.pt"] = body
    fetched = fetch_sparse(f"{script.url}/m.pt", tmp_path)
    assert fetched.path.read_bytes() == body and not fetched.not_fetched


def test_a_member_that_lies_over_another_is_no_hole():
    body = bytearray(torch_zip())
    entry = body.index(b"PK\x01\x02", body.index(b"PK\x01\x02", body.index(b"PK\x01\x02") + 4) + 4)
    more = len(TENSOR) + 500
    body[entry + 20 : entry + 28] = more.to_bytes(4, "little") * 2
    data = bytes(body)
    assert find_holes(RangeFile(lambda a, b: data[a:b], len(data))) == []


def test_a_server_without_ranges_gives_the_whole_file(script, tmp_path):
    script.ranges = False
    script.answers["/m.pt"] = torch_zip()
    assert fetch_sparse(f"{script.url}/m.pt", tmp_path).path.read_bytes() == torch_zip()
    with pytest.raises(MissingError, match="parts"):
        peek(f"{script.url}/m.pt")


def test_a_scan_speaks_of_the_url(script, tmp_path):
    local = tmp_path / "here.pkl"
    local.write_bytes(BODY)
    script.answers["/bad.pt"] = torch_zip(pickled=b"cos\nsystem\n(S'id'\ntR.")
    report = scan_sources([f"{script.url}/bad.pt", local])
    bad, good = report.files
    assert bad.verdict.value == "malicious" and bad.path == f"{script.url}/bad.pt#etag=e1"
    assert all(f.location.startswith(f"{script.url}/bad.pt!model/data.pkl") for f in bad.findings)
    assert good.path == str(local) and good.verdict.value == "clean"


def test_a_tampered_sparse_scan_has_the_verdict_of_the_whole(script):
    script.answers["/m.pt"] = torch_zip()
    url = f"{script.url}/m.pt"
    assert scan_sources([url]).verdict is scan_sources([url], whole=True).verdict


# What is refused.


def lies_short(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"only this")


def compressed(handler):
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()


def silent(handler):
    time.sleep(1.2)


def redirect(to):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def status(code):
    def answer(handler):
        handler.send_response(code)
        handler.send_header("Content-Length", "11")
        handler.end_headers()
        handler.wfile.write(b"secret: abc")

    return answer


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (endless, BudgetError, "source-bytes"),
        (lies_short, VerificationError, "wrong-length"),
        (silent, BudgetError, "source-time"),
        (compressed, FormatError, ""),
        (status(500), MissingError, ""),
        (status(401), MissingError, ""),
        (status(404), DataError, ""),
        (redirect("http://example.org/m"), Refused, "insecure-transport"),
        (redirect("file:///etc/passwd"), AssayError, ""),
        (redirect("/m"), MissingError, ""),
    ],
)
def test_a_hostile_server_is_refused_and_leaves_nothing(script, tmp_path, answer, error, reason):
    script.answers["/m"] = answer
    limits = SourceLimits(bytes=1 << 20, file_bytes=1 << 20, seconds=5, silence=0.4 if answer is silent else 5)
    with pytest.raises(error) as caught:
        open_source(f"{script.url}/m?token=hush", tmp_path, limits=limits)
    assert "hush" not in caught.value.line() and "secret" not in caught.value.line()
    assert not reason or caught.value.reason == reason
    assert not list(tmp_path.iterdir())


def test_a_dripping_server_runs_out_of_time(script, tmp_path):
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    script.answers["/m"] = drip
    with pytest.raises(BudgetError, match=r"0\.3 seconds"):
        open_source(f"{script.url}/m", tmp_path, limits=SourceLimits(seconds=0.3))


def test_credentials_stay_with_their_server(serve):
    home, other = serve(), serve()
    other.answers["/taken"] = b'{"ok": 1}'
    home.answers["/there"] = redirect(f"{other.url}/taken")
    home.answers["/here"] = redirect("/again")
    home.answers["/again"] = b'{"ok": 2}'
    web = Web(home.url, Deadline(SourceLimits(), "t"), {"Authorization": "Bearer hush"})
    assert web.json("/there") == {"ok": 1} and web.json("/here") == {"ok": 2}
    assert all(fields["authorization"] == "Bearer hush" for _, fields in home.asked)
    assert [fields.get("authorization") for _, fields in other.asked] == [None]


def test_an_answer_without_end_is_not_kept(script):
    script.answers["/a"] = endless
    with pytest.raises(Refused, match="no end"):
        Web(script.url, Deadline(SourceLimits(), "t")).json("/a")


def test_a_range_that_was_not_asked_for_is_refused(script):
    def wrong(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 5-9/100")
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"xxxxx")

    script.answers["/m"] = wrong
    with pytest.raises(VerificationError, match="another range"):
        peek(f"{script.url}/m").read(4)


def test_a_file_that_changes_while_parts_are_read_is_refused(script, tmp_path):
    count = [0]
    body = torch_zip()

    def moving(handler):
        count[0] += 1
        first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        handler.send_response(206)
        handler.send_header("ETag", f'"{count[0]}"')
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        handler.send_header("Content-Length", str(last + 1 - first))
        handler.end_headers()
        handler.wfile.write(body[first : last + 1])

    script.answers["/m"] = moving
    with pytest.raises(VerificationError, match="changed"):
        fetch_sparse(f"{script.url}/m", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/m",
        "ftp://h/m",
        "file:///etc/passwd",
        "zip://a::memory://b",
        "https://me:hush@h/m",
        "local",
        "",
    ],
)
def test_urls_that_are_not_opened(url, tmp_path):
    with pytest.raises((InputError, Refused)) as caught:
        open_source(url, tmp_path)
    assert "hush" not in caught.value.line()


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "a/../x", "a//b", ".", "", "a\\b", "C:x", "a\x00b", "nul", "x.", " x", "a/" * 20 + "x", "y" * 300],
)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(Refused):
        safe_parts(name, "t")


@given(st.text(max_size=30))
def test_a_name_that_passes_stays_inside(name):
    try:
        parts = safe_parts(name, "t")
    except Refused:
        return
    path = Path("/in").joinpath(*parts)
    assert str(path).startswith("/in/") and ".." not in path.parts


@given(st.binary(max_size=3000), st.lists(st.tuples(st.integers(0, 3100), st.integers(0, 900)), max_size=8))
def test_a_range_file_reads_what_is_there(data, reads):
    stream = RangeFile(lambda a, b: data[a:b], len(data), block=128, kept=2, most=1 << 20)
    for start, size in reads:
        stream.seek(start)
        assert stream.read(size) == data[start : start + size]


def test_a_range_file_keeps_to_its_budget():
    stream = RangeFile(lambda a, b: bytes(b - a), 1 << 40, most=1 << 20)
    with pytest.raises(BudgetError):
        stream.read()
    with pytest.raises(VerificationError):
        RangeFile(lambda a, b: b"", 10).read(1)
    with pytest.raises(OSError):
        stream.seek(-1)


def test_every_scheme_has_one_source():
    schemes = [s for part in discover(ModelSource).values() for s in part.schemes]
    assert len(set(schemes)) == len(schemes) and {"hf", "s3", "mlflow", "-", "https"} <= set(schemes)
    assert is_url("-") and is_url("s3://b/k") and not is_url("model.pkl") and not is_url("./a://b")
    assert type(source_of("abfs://box@account/x")).name == "filesystem"


@given(st.text(max_size=60))
def test_a_shown_url_is_one_line_without_a_query(text):
    shown = displayed(f"https://user:hush@h/{text}".replace("#", ""))
    assert shown.isprintable() and "hush" not in shown


def test_standard_input(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BODY)))
    assert open_source("-", tmp_path).path.read_bytes() == BODY
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BODY)))
    with pytest.raises(BudgetError):
        open_source("-", tmp_path / "b", limits=SourceLimits(bytes=10))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError):
        open_source("-", tmp_path / "c")


def test_limits_are_checked():
    with pytest.raises(SettingError):
        SourceLimits(seconds=0)
    with pytest.raises(AssayError):
        Deadline(SourceLimits(seconds=1e-9), "t").left()
