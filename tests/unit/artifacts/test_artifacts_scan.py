"""What the scanner says of hostile, harmless and damaged content. Nothing here is ever loaded."""

import datetime
import gzip
import io
import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bypasses"))
from families import graphs, harmless
from families.case import EVIL, GOOD, call, zipped

from assay.artifacts.formats.archive_zip import ZipReader
from assay.artifacts.formats.numpy_array import NpyReader
from assay.artifacts.formats.onnx import OnnxReader
from assay.artifacts.formats.pickle_stream import PickleReader
from assay.artifacts.formats.safetensors import SafetensorsReader
from assay.artifacts.formats.text import TextReader
from assay.artifacts.reader import Limits, readers
from assay.artifacts.scan import FileVerdict, explain, scan, scan_bytes, scan_paths
from assay.core.errors import DataError
from assay.core.evidence import Evidence
from assay.testing.scanners import check_scanner

FLAGGED = {FileVerdict.MALICIOUS, FileVerdict.SUSPICIOUS}
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def test_known_commands_are_malicious_with_technique_and_offset():
    report = scan_bytes(EVIL, "m.pkl")
    assert report.verdict is FileVerdict.MALICIOUS
    finding = report.findings[0]
    assert finding.technique == "AML.T0011.000"
    assert finding.location == f"m.pkl@{EVIL.index(b'R')}"
    assert "os.system('true')" in finding.message


def test_an_unknown_name_is_suspicious_and_never_clean():
    report = scan_bytes(call("my_package.models", "Thing"))
    assert report.verdict is FileVerdict.SUSPICIOUS


def test_a_name_as_text_alone_is_no_finding():
    assert scan_bytes(pickle.dumps({"os": "system", "note": "cos\nsystem\n(S'x'\ntR."})).verdict is FileVerdict.CLEAN


@pytest.mark.parametrize("tail", [b"", b"\xff.", b"\x8c\x20ab"])
def test_broken_without_payload_is_an_error(tail):
    report = scan_bytes(b"\x80\x04K\x01" + tail)
    assert report.verdict is FileVerdict.ERROR
    assert report.not_checked


def test_budget_of_opcodes_is_an_error_not_a_pass():
    data = b"\x80\x04" + b"N0" * 50_000 + b"N."
    assert scan_bytes(data, limits=Limits(opcodes=10_000)).verdict is FileVerdict.ERROR


def test_unknown_binary_content_and_empty_files_are_unsupported():
    assert scan_bytes(b"\x00\x01\x02\x03" * 9).verdict is FileVerdict.UNSUPPORTED
    assert scan_bytes(b"").verdict is FileVerdict.UNSUPPORTED
    assert scan_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99).format == "hdf5"


def test_extension_plays_no_part(tmp_path):
    for name in ("m.onnx", "m.safetensors", "m.txt", "m.npy", "m"):
        (tmp_path / name).write_bytes(EVIL)
    assert all(f.verdict is FileVerdict.MALICIOUS for f in scan_paths([tmp_path]).files)


def test_a_folder_gives_evidence_and_a_round_trip(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "b.bin").write_bytes(b"\x00\x01\x02")
    evidence = scan(tmp_path, clock=lambda: NOW)
    assert evidence.control == "scan"
    assert evidence.parameters["verdict"] == "unsupported"
    assert not evidence.clean()
    assert not evidence.complete
    assert Evidence.from_json(evidence.to_json()).findings == evidence.findings


def test_missing_paths_and_odd_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        scan(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    assert scan_paths([tmp_path]).verdict is FileVerdict.UNSUPPORTED
    (tmp_path / "pipe").unlink()
    assert scan_paths([tmp_path]).verdict is FileVerdict.UNSUPPORTED  # nothing looked at is no pass


def test_json_and_sarif_have_their_shapes(tmp_path):
    (tmp_path / "m.pkl").write_bytes(EVIL)
    report = scan_paths([tmp_path / "m.pkl"])
    record = report.to_json()
    assert record["summary"]["malicious"] == 1 and record["files"][0]["verdict"] == "malicious"
    assert {"rule", "severity", "message", "location", "technique"} <= set(record["files"][0]["findings"][0])
    log = report.to_sarif()
    result = log["runs"][0]["results"][0]
    assert log["version"] == "2.1.0" and result["level"] == "error"
    assert log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    json.dumps(log)


def test_explain_tells_the_chain_with_offsets(tmp_path):
    (tmp_path / "m.pkl").write_bytes(EVIL)
    text = explain(tmp_path / "m.pkl")
    assert "import os.system" in text and "reduce os.system('true')" in text and "dangerous" in text


def test_readers_hold_the_laws_of_scanners():
    good = {c.filename: c.content for c in harmless.cases()}
    torch_zip = zipped(("m/data.pkl", GOOD), ("m/data/0", b"\x80\x04junk"), ("m/version", b"3\n"))
    check_scanner(PickleReader(), [good["values-4.pkl"], good["containers-2.pkl"], good["plain.joblib"]])
    check_scanner(ZipReader(), [torch_zip, good["pair.npz"]])
    check_scanner(NpyReader(), [good["float.npy"], good["structured.npy"]])
    check_scanner(SafetensorsReader(), [good["two.safetensors"]])
    check_scanner(OnnxReader(), [graphs.model(), graphs.model(tensors=(graphs.outside("model.data"),))])
    check_scanner(TextReader(), [good["table.csv"], good["config.json"], good["conda.yaml"]])
    assert len(readers()[0]) >= 10


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x08\x08\x3a", b"\x1f\x8b\x08", b"{"]),
)
def test_no_content_makes_a_reader_raise(body, head):
    scan_bytes(head + body)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9) | st.binary(max_size=20) | st.floats(),
        lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=4), c, max_size=3),
        max_leaves=12,
    ),
    st.integers(0, 5),
)
def test_plain_values_are_clean_under_every_protocol(value, protocol):
    assert scan_bytes(pickle.dumps({"value": value}, protocol)).verdict is FileVerdict.CLEAN


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.lists(st.integers(0, 99), max_size=5), st.integers(0, 3))
def test_a_payload_is_found_wherever_it_lies(protocol, filler, depth):
    class Evil:
        def __reduce__(self):
            return os.getcwd, ()

    value = [*filler, Evil()]
    for _ in range(depth):
        value = {"x": value}
    assert scan_bytes(pickle.dumps(value, protocol)).verdict is FileVerdict.MALICIOUS


def test_hostile_sizes_stay_within_memory(tmp_path):
    zeros = gzip.compress(b"\x80\x04" + b"\x00" * (96 << 20), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert scan_bytes(zeros).verdict is not FileVerdict.CLEAN
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_scanner_needs_nothing_but_the_standard_library():
    code = (
        "import sys, pickle\nfrom assay.artifacts.scan import scan_bytes\nscan_bytes(pickle.dumps([1]))\n"
        "bad = {'numpy', 'torch', 'sklearn', 'joblib', 'click', 'msgspec', 'cryptography'} & set(sys.modules)\nassert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_stream_in_memory_equals_the_file(tmp_path):
    data = io.BytesIO(EVIL).getvalue() + b"\0" * (2 << 20)
    (tmp_path / "big").write_bytes(data)
    assert scan_paths([tmp_path / "big"]).files[0].verdict is scan_bytes(data).verdict is FileVerdict.MALICIOUS
