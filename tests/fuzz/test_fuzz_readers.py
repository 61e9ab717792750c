"""Every discovered reader, under mutations of real files and under content made for its format: nothing leaves the scanner.

Laws: scanning returns a report whatever the bytes; it takes no longer than the budget and no more memory than a multiple of the
file; the same bytes give the same report; and what is damaged behind a hostile beginning does not become clean.
"""

import json
import resource
import struct
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "bypasses"))
from families import hostile_cases
from families.case import EVIL, field, zipped

from assay.artifacts.pickle.opcodes import CODES, FRAMING, Operand
from assay.artifacts.reader import Limits, readers
from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import scan_bytes

LONGEST_S, LARGEST_SEED, GROWTH_MB = 3.0, 1 << 16, 300
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def claimed():
    """The small hostile files that each reader claims."""
    found = {r.name: [] for group in readers() for r in group}
    for case in hostile_cases():
        if case.family != "bomb" and isinstance(case.content, bytes) and len(case.content) <= LARGEST_SEED:
            for group in readers():
                for reader in group:
                    if reader.claims(case.content):
                        found[reader.name].append(case.content)
    harmless = Path(__file__).parents[1] / "bypasses" / "data" / "harmless"
    for file in sorted(harmless.iterdir()):
        for group in readers():
            for reader in group:
                if reader.claims(file.read_bytes()):
                    found[reader.name].append(file.read_bytes())
    return found


SEEDS = claimed()


def examined(data):
    """Scan within the bars; returns the report."""
    begun = time.thread_time()
    report = scan_bytes(data, "fuzzed")
    assert time.thread_time() - begun < LONGEST_S
    return report


@st.composite
def mutated(draw, seeds):
    """A seed with bytes changed, removed, repeated, inserted, or joined to another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        at, size = draw(st.integers(0, len(data))), draw(st.sampled_from((1, 2, 4, 8, 40)))
        what = draw(st.sampled_from(("flip", "cut", "repeat", "insert", "number", "join", "end")))
        if what == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif what == "cut":
            del data[at : at + size]
        elif what == "repeat":
            data[at:at] = data[at : at + size] * draw(st.integers(1, 50))
        elif what == "insert":
            data[at:at] = draw(st.binary(max_size=size))
        elif what == "number":
            data[at : at + size] = draw(st.sampled_from((b"\xff", b"\0", b"\x7f", b"\x80"))) * size
        elif what == "join":
            data += draw(st.sampled_from(seeds))[:4096]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_no_mutation_of_real_files_breaks_a_reader(name):
    seeds = SEEDS[name] or [EVIL]

    @QUICK
    @given(mutated(seeds))
    def hold(data):
        report = examined(data)
        assert report.verdict in FileVerdict
        assert report == scan_bytes(data, "fuzzed")

    hold()


def test_every_reader_has_seeds():
    assert [n for n, seeds in SEEDS.items() if not seeds and n not in {"rar", "7z", "media", "tf-checkpoint"}] == []


NAMES = st.sampled_from(
    ("os", "system", "builtins", "eval", "numpy", "dtype", "collections", "OrderedDict", "a", "", "é", "x" * 300)
)


@st.composite
def opcode(draw):
    """One opcode with an operand of its form."""
    name = draw(st.sampled_from(sorted(CODES)))
    form, size = FRAMING[name]
    code = bytes([CODES[name]])
    if form is Operand.LINE:
        return code + draw(st.sampled_from((b"1", b"0x1", b"'os'", b"system", b"-9", b"", b"1L", b"\xff"))) + b"\n"
    if form is Operand.TWO_LINES:
        return code + draw(NAMES).encode() + b"\n" + draw(NAMES).encode() + b"\n"
    if form is Operand.FIXED:
        return code + draw(st.binary(min_size=size, max_size=size))
    if form is Operand.COUNTED:
        raw = draw(NAMES).encode()
        return (
            code + len(raw).to_bytes(size, "little")[:size] + raw
            if size > 1
            else code + bytes([min(255, len(raw))]) + raw[:255]
        )
    return code


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(opcode(), max_size=40), st.sampled_from((b"", b"\x80\x04", b"\x80\x02")))
def test_no_stream_of_opcodes_breaks_the_machine(codes, head):
    examined(head + b"".join(codes) + b".")


@QUICK
@given(st.lists(opcode(), max_size=12))
def test_what_comes_first_is_seen_whatever_follows(codes):
    assert scan_bytes(EVIL[:-1] + b"".join(codes), "m.pkl").verdict is FileVerdict.MALICIOUS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(("os", "system", "Lambda", "function", "FunctionNode")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(("class_name", "config", "module", "__loader__", "__class__", "__module__", "content", "learner", "version", "auto_map",
                         "chat_template", "_target_", "py/reduce", "features_info", "trees", "model", "registered_name", "vocabulary")), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON)
def test_no_document_breaks_a_check(document):
    text = json.dumps(document).encode()
    examined(text)
    examined(zipped(("config.json", text), ("metadata.json", b"{}")))
    examined(zipped(("schema.json", text)))
    examined(struct.pack("<Q", len(text)) + text + bytes(8))


@st.composite
def message(draw, depth=3):
    """Protobuf fields of any number, nested."""
    out = b""
    for _ in range(draw(st.integers(0, 5))):
        number = draw(st.sampled_from((1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 20, 22, 25, 26, 64)))
        body = draw(message(depth - 1)) if depth and draw(st.booleans()) else draw(st.binary(max_size=8))
        out += field(number, body)
    return out


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(message())
def test_no_message_breaks_a_graph_reader(body):
    for head in (b"\x08\x08", b"\x08\x01", b"\x0a"):
        examined(head + body)
    examined(field(1, 8) + field(2, "maker") + field(7, body))
    examined(field(1, 1) + field(2, field(2, body)))


HEADS = (
    b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", b"\x89HDF\r\n\x1a\n\x02\x08\x08\0", b"\x93NUMPY\x01\0", b"CBM1", b"GGUF\x03\0\0\0",
    b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"x\x9c", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c\0\x04", b"Rar!\x1a\x07\x01\0", b"Rar!\x1a\x07\0",
    b"{L\0\0\0\0\0\0\0\x07learner", b"tree\nversion=v4\n", b"X\n\0\0\0\x03", b"RDX3\nX\n\0\0\0\x02", b"\x18\0\0\0TFL3", b"<?xml version='1.0'?><PMML ", b"\x80\x04", b"\x80\x05\x95",
    b"RIFF", b"PAR1", b"\x7fELF", b"!!python/", b"- {", b'{"', b"[", b"%TAG ! x\n---\n", b"ZF0x", b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(HEADS), st.binary(max_size=300), st.integers(0, 40))
def test_no_content_behind_a_known_beginning_breaks_a_reader(head, body, zeros):
    examined(head + body)
    examined(head + bytes(zeros) + body)


def test_floods_stay_within_time_and_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for unit in (b"{", b"[", b"(", b"{% ", b"a: &a [*a,", b"- ", b"\x80", b"N", b"]", b"x\x9c", b"PK\x01\x02", b"PK\x05\x06",
                 b"\x0a\x02\x0a\x00", b"<a ", b"<!--", b"cos\nsystem\n", b"!!python/x ", b"\x8c\x02os", b"self._{{", b"X\n", b"\0\0\0\x06"):  # fmt: skip
        for size in (1 << 12, 1 << 18):
            examined(unit * (size // len(unit)))
    for head in HEADS:
        for byte in (b"\0", b"\xff", b"{", b"\n", b"\x01"):
            examined(head + byte * (1 << 17))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH_MB


def test_a_small_budget_ends_every_scan():
    for seeds in SEEDS.values():
        for data in seeds[:3]:
            report = scan_bytes(
                data * 3, "m", limits=Limits(seconds=0.001, opcodes=10, members=1, unpacked=64, depth=1)
            )
            assert report.verdict in FileVerdict
