"""The whole corpus is scanned, and the bars of the scanner are held: what is hostile never passes, what is harmless does.

The hostile files were written from descriptions of techniques, not from the scanner's tables; none is ever loaded.
"""

import collections
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from families import harmless_cases, hostile_cases
from families.case import EVIL

from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import explain, scan_paths

FLAGGED = {FileVerdict.MALICIOUS, FileVerdict.SUSPICIOUS}
FAMILIES = 27


def scanned(cases, folder):
    made = [(c, scan_paths([c.write(folder / str(number))]).files[0]) for number, c in enumerate(cases)]
    assert len({(c.family, c.name) for c, _ in made}) == len(made)
    return made


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return scanned(hostile_cases(), tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return scanned(harmless_cases(), tmp_path_factory.mktemp("harmless"))


def test_the_corpus_is_as_broad_as_the_published_ones(hostile, harmless):
    assert len(hostile) >= 338
    assert len({c.family for c, _ in hostile}) == FAMILIES
    assert len(harmless) >= 106


def test_what_is_hostile_is_flagged_in_every_family(hostile):
    missed = [(c.family, c.name, r.verdict.value) for c, r in hostile if r.verdict not in FLAGGED]
    assert len(missed) <= 0.01 * len(hostile), missed
    sizes, misses = collections.Counter(c.family for c, _ in hostile), collections.Counter(f for f, _, _ in missed)
    assert all(misses[f] <= 0.05 * sizes[f] for f in sizes), missed


def test_nothing_hostile_passes(hostile):
    assert [(c.family, c.name) for c, r in hostile if r.verdict is FileVerdict.CLEAN] == []


def test_what_is_harmless_passes(harmless):
    alarms = [(c.family, c.name, [f.message for f in r.findings]) for c, r in harmless if r.verdict in FLAGGED]
    held = [(c.family, c.name, r.not_checked) for c, r in harmless if r.verdict is not FileVerdict.CLEAN]
    assert len(alarms) <= 0.01 * len(harmless), alarms
    assert len(held) <= 0.01 * len(harmless), held


def test_every_finding_names_rule_place_and_technique(hostile):
    for case, report in hostile:
        for found in report.findings:
            assert found.rule, case
            assert found.location, case
            if found.severity.rank >= FileVerdict.SUSPICIOUS.rank:
                assert re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", found.technique), (case, found)


def test_findings_in_pickles_name_the_offset_of_an_opcode(hostile):
    for case, report in hostile:
        if case.family in {
            "baseline",
            "attr-chain",
            "gadget-ml",
            "gadget-stdlib-exec",
            "gadget-stdlib-filenet",
            "opcode",
        }:
            assert re.search(r"@\d+$", report.findings[0].location), (case, report.findings[0])


def test_the_explanation_tells_the_calls_in_order(tmp_path):
    (tmp_path / "m.pkl").write_bytes(EVIL)
    told = explain(tmp_path / "m.pkl")
    assert told.index("import os.system") < told.index("os.system('true')")
    assert "@" in told
    assert "malicious" in told
