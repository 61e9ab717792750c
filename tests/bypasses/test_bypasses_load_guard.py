"""The load guard admits what the scan reported and nothing else, on every harmless model of the corpus."""

import importlib.util
import pickle
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from families import harmless_cases

from assay.artifacts.load_guard import LoadRefused, open_model
from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import scan_paths

# Formats whose load asks for names.
ASKING = {"pickle", "joblib", "npy", "npz", "torch-zip", "torch-legacy", "skops"}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(file, report) of every harmless model whose libraries are here."""
    folder = tmp_path_factory.mktemp("guard")
    made = []
    for number, case in enumerate(harmless_cases()):
        path = case.write(folder / str(number))
        report = scan_paths([path]).files[0]
        here = all(
            importlib.util.find_spec(m.partition(".")[0]) for m, _ in report.admitted if m[:2] not in {"__", "co"}
        )
        if report.format in ASKING and here and case.family != "other-library":
            made.append((path, report))
    return made


def test_every_clean_model_opens_with_the_names_of_its_scan(opened):
    assert len(opened) > 150
    assert {r.verdict for _, r in opened} == {FileVerdict.CLEAN}
    refused = []
    for path, report in opened:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                open_model(path, report.format, report.admitted)
            except LoadRefused as error:
                refused.append((path.name, str(error)))
    assert refused == []


def test_without_one_of_its_names_a_model_does_not_open(opened):
    asked = 0
    for path, report in opened:
        if report.format != "pickle" or not report.admitted or path.suffix != ".pkl":
            continue
        # torch knows its own types of storage and asks nobody for them.
        for missing in sorted(n for n in report.admitted if n[0] != "torch")[:3]:
            asked += 1
            with pytest.raises((LoadRefused, pickle.UnpicklingError)):
                open_model(path, report.format, report.admitted - {missing})
    assert asked > 60
