"""Known vulnerabilities from dumps and servers; a source that cannot be read is never clean."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError
from assay.core.finding import Severity
from assay.supply.deps.cvss import base_score
from assay.supply.deps.declared import Package
from assay.supply.deps.osv import check_known, severity_of
from assay.supply.deps.osv_record import about, affects
from assay.supply.deps.osv_server import ask_server
from assay.supply.sources.limits import SourceLimits

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def advisory(name="torch", events=({"introduced": "0"}, {"fixed": "2.6.0"}), identity="GHSA-1", versions=(), **more):
    return {
        "id": identity, "modified": "2026-01-02T03:04:05Z", "summary": "Loads code", "severity": [{"type": "CVSS_V3", "score": CRITICAL}],
        "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": list(events)}], "versions": list(versions)}],
        **more,
    }  # fmt: skip


def package(version="2.5.0", name="torch"):
    return Package(name, "requirements.txt:1", version)


def dump(folder, *records):
    for i, record in enumerate(records):
        (folder / f"{i}.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return folder


def found(source, *packages):
    return {f.rule: f for f in check_known(packages or [package()], source).findings}


RANGES = [
    ([{"introduced": "0"}, {"fixed": "2.6.0"}], {"2.5.9": True, "2.6.0": False, "2.6.0rc1": True, "2.6.0+cpu": False, "2.5.0+cu121": True, "0.dev0": True, "1!1.0": False}),
    ([{"introduced": "1.0"}, {"last_affected": "1.9"}], {"0.9": False, "1.0": True, "1.9": True, "1.9.0": True, "1.9.post1": False, "1.10": False}),
    ([{"fixed": "2.1"}, {"introduced": "2.0"}, {"introduced": "0"}, {"fixed": "1.5"}], {"1.4": True, "1.5": False, "2.0": True, "2.1": False}),
    ([{"introduced": "0"}], {"999": True}),
    ([{"introduced": "0"}, {"limit": "1.0"}], {"0.9": True, "1.0": False}),
    ([{"introduced": "0"}, {"limit": "*"}], {"1.0": True}),
    ([{"fixed": "1.0"}], {"0.5": None}),
    ([], {"0.5": None}),
    ([{"introduced": "0"}, {"fixed": "no version"}], {"0.5": None}),
    ([{"introduced": "0"}], {"no version": None}),
]  # fmt: skip


@pytest.mark.parametrize(("events", "wanted"), RANGES)
def test_ranges_go_by_pep_440(events, wanted):
    entry = advisory(events=events)["affected"][0]
    assert {v: affects(entry, v) for v in wanted} == wanted


def test_listed_versions_count_beside_the_ranges():
    entry = {"versions": ["1.0", "2.0.0", "odd one"], "ranges": [{"type": "GIT", "events": []}]}
    assert [affects(entry, v) for v in ("1.0.0", "2.0", "odd one", "3.0")] == [True, True, True, False]
    assert affects({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, "1.0") is None
    assert affects({}, "1.0") is None


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        (CRITICAL, 9.8), ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1), ("CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H/E:P", 10.0), ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N", None), ("CVSS:4.0/AV:N/AC:L", None), ("AV:N/AC:L/Au:N/C:P/I:P/A:P", None), ("", None), ("CVSS:3.1/AV:Z/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", None),
    ],
)  # fmt: skip
def test_cvss_scores(vector, score):
    assert base_score(vector) == score


def test_severity_from_the_score_the_word_or_malice():
    assert severity_of(advisory()) is Severity.CRITICAL
    assert (
        severity_of(
            advisory(
                severity=[{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}], database_specific={"severity": "MODERATE"}
            )
        )
        is Severity.MEDIUM
    )
    assert severity_of(advisory(severity=[], identity="MAL-2025-1")) is Severity.CRITICAL
    assert severity_of(advisory(severity=[])) is None


def test_a_folder_and_a_zip_say_the_same(tmp_path):
    folder = dump(tmp_path, advisory(), advisory("numpy", identity="GHSA-2"))
    packed = tmp_path / "all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "0.json", "GHSA-1.json")
    for source in (folder, packed, str(folder / "0.json")):
        known = check_known([package(), package("2.6.0", "numpy"), package("1.0", "other")], source)
        assert [(f.rule, f.severity, f.location) for f in known.findings] == [
            ("deps-vulnerable", Severity.CRITICAL, "requirements.txt:1")
        ]
        assert "2.6.0" in known.findings[0].remedy and known.newest == "2026-01-02T03:04:05Z" and not known.unread


def test_withdrawn_fixed_and_other_ecosystems_are_clean(tmp_path):
    other = advisory(identity="X-1")
    other["affected"][0]["package"]["ecosystem"] = "npm"
    folder = dump(
        tmp_path,
        advisory(withdrawn="2025-01-01T00:00:00Z"),
        advisory(events=[{"introduced": "2.5.1"}], identity="G-3"),
        other,
    )
    assert found(folder) == {}


def test_aliases_are_one_finding_and_its_worst_severity(tmp_path):
    records = (
        advisory(identity="PYSEC-1", aliases=["CVE-1"], severity=[]),
        advisory(aliases=["CVE-1"]),
        advisory(identity="G-9", severity=[]),
    )
    findings = check_known([package()], dump(tmp_path, *records)).findings
    assert sorted((f.severity, "CVE-1" in f.message) for f in findings) == [
        (Severity.CRITICAL, True),
        (Severity.MEDIUM, False),
    ]


def test_malice_is_named(tmp_path):
    record = advisory(identity="MAL-2025-7", versions=["2.5.0"], events=())
    assert found(dump(tmp_path, record))["deps-malicious"].severity is Severity.CRITICAL


UNREAD = {
    "absent": lambda p: p / "absent",
    "empty folder": lambda p: p,
    "not json": lambda p: dump(p, "{"),
    "not a record": lambda p: dump(p, "[]"),
    "one of two": lambda p: dump(p, advisory(), "{"),
    "not osv": lambda p: dump(p, {"a": 1}),
    "affected is text": lambda p: dump(p, {"id": "a", "affected": "torch"}),
    "no name": lambda p: dump(p, {"id": "a", "affected": [{"package": {"ecosystem": "PyPI"}}]}),
    "another ecosystem": lambda p: dump(p, {"id": "a", "affected": [{"package": {"name": "torch", "ecosystem": "npm"}}]}),
    "no ranges": lambda p: dump(p, advisory(events=())),
    "no zip": lambda p: dump(p, "PK").joinpath("0.json").rename(p / "all.zip"),
    "ftp": lambda _: "ftp://a.example/osv",
    "file": lambda _: "file:///etc/passwd",
    "no host": lambda _: "http:///x",
    "bad url": lambda _: "http://[::1",
    "no server": lambda _: "http://127.0.0.1:9",
}  # fmt: skip


@pytest.mark.parametrize("source", UNREAD.values(), ids=UNREAD)
def test_a_source_that_cannot_be_read_is_never_clean(tmp_path, source):
    known = check_known([package()], source(tmp_path))
    assert known.unread
    assert any(f.rule == "deps-osv-unread" and f.severity is Severity.HIGH for f in known.findings)


def test_a_zip_that_swells_or_is_locked(tmp_path):
    swollen = tmp_path / "a.zip"
    with zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * (17 << 20))
    assert "deps-osv-unread" in found(swollen)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.json", json.dumps(advisory()))
    data = bytearray(held.getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    assert "deps-osv-unread" in found(tmp_path / "b.zip")


JSON = st.recursive(st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["0", "1.0", "PyPI", "torch", "introduced", "ECOSYSTEM", ""]), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "affected", "package", "name", "ecosystem", "ranges", "type", "events", "introduced", "fixed", "limit", "versions", "severity", "score"]), inner, max_size=4), max_leaves=12)  # fmt: skip


@settings(deadline=None)
@given(JSON, JSON, JSON)
@example(None, [{"type": []}], None)
def test_no_record_breaks_the_reader(anything, ranges, versions):
    for record in (
        anything,
        {"id": "a", "affected": anything},
        {
            "id": "a",
            "affected": [{"package": {"name": "torch", "ecosystem": "PyPI"}, "ranges": ranges, "versions": versions}],
        },
    ):
        if not isinstance(record, dict):
            continue
        severity_of(record)
        try:
            entries = list(about(record))
        except AssayError:
            continue
        for _, entry in entries:
            affects(entry, "1.0")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_bytes_are_clean(tmp_path, data):
    for name in ("a.json", "a.zip"):
        (tmp_path / name).write_bytes(data)
        assert found(tmp_path / name)


class Osv:
    """A server that knows advisories; a test may replace what it says to a path."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, object]] = {}
        self.answers: dict[str, bytes] = {}
        self.status, self.location, self.pages, self.url = 200, "", 1, ""
        self.asked: list[object] = []

    def say(self, path: str, body: bytes) -> bytes:
        if path in self.answers:
            return self.answers[path]
        if path != "/v1/querybatch":
            return json.dumps(self.known[path.removeprefix("/v1/vulns/")]).encode()
        questions = json.loads(body)["queries"]
        self.asked += questions
        return json.dumps({"results": [self.result(q) for q in questions]}).encode()

    def result(self, question):
        page = int(question.get("page_token", "0"))
        hits = [
            {"id": i}
            for i, r in self.known.items()
            if r["affected"][0]["package"]["name"] == question["package"]["name"]
        ]
        more = {"next_page_token": str(page + 1)} if page + 1 < self.pages else {}
        return {"vulns": hits[page : page + 1] if self.pages > 1 else hits, **more} if hits else {}


@pytest.fixture
def osv() -> Iterator[Osv]:
    held = Osv()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = held.say(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            with contextlib.suppress(OSError):
                self.send_response(held.status)
                self.send_header("Content-Length", str(len(body)))
                if held.location:
                    self.send_header("Location", held.location)
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/querybatch"])
def test_a_server_is_asked(osv, tail):
    osv.known = {"GHSA-1": advisory(), "GHSA-2": advisory(identity="GHSA-2", withdrawn="2025-01-01T00:00:00Z")}
    known = check_known([package("2.5.0+cpu"), package("1.0", "other")], osv.url + tail)
    assert [(f.rule, f.severity) for f in known.findings] == [("deps-vulnerable", Severity.CRITICAL)]
    assert osv.asked[0] == {"package": {"name": "torch", "ecosystem": "PyPI"}, "version": "2.5.0"}
    assert not known.unread


def test_all_pages_are_asked_for(osv):
    osv.known = {f"GHSA-{i}": advisory(identity=f"GHSA-{i}") for i in range(3)}
    osv.pages = 3
    assert len(check_known([package()], osv.url).findings) == 3
    osv.pages = 1000
    assert "deps-osv-unread" in found(osv.url)


def test_an_advisory_without_details_still_counts(osv):
    osv.known = {"GHSA-1": advisory()}
    osv.answers["/v1/vulns/GHSA-1"] = json.dumps(advisory(identity="GHSA-OTHER")).encode()
    assert set(found(osv.url)) == {"deps-vulnerable", "deps-osv-unread"}


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"results": []}', b'{"results": [{}, {}]}', b'{"results": [1]}', b'{"results": [{"vulns": [{}]}]}', b'{"results": [{"vulns": [{"id": "../../x"}]}]}', b'{"results": [{}], "results": [{}]}'],
)  # fmt: skip
def test_a_server_that_answers_otherwise_is_never_clean(osv, answer):
    osv.answers["/v1/querybatch"] = answer
    assert set(found(osv.url)) == {"deps-osv-unread"}


@pytest.mark.parametrize(
    ("status", "location"), [(500, ""), (404, ""), (302, "file:///etc/passwd"), (307, "http://127.0.0.1:9/")]
)
def test_errors_and_redirects_are_not_followed(osv, status, location):
    osv.status, osv.location = status, location
    assert set(found(osv.url)) == {"deps-osv-unread"}


def test_a_server_without_tls_elsewhere_is_told():
    findings = found("http://127.0.0.2:9")
    assert set(findings) == {"deps-osv-unread", "deps-osv-plain-http"}


def test_a_silent_server_is_left(osv):
    limits = SourceLimits(seconds=0.3, silence=0.2)
    stop = threading.Event()
    osv.say = lambda *_: (stop.wait(5) and b"{}") or b"{}"
    with pytest.raises(AssayError):
        ask_server(osv.url, {("torch", "1.0"): package()}, limits)
    stop.set()
