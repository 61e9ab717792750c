"""Folders under the scanner: order, links that lead out, caches of links, and what cannot be entered."""

import os
import pickle
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bypasses"))
from families.case import EVIL

from assay.artifacts.folder_walk import walk
from assay.artifacts.report import FileVerdict
from assay.artifacts.scan import explain, scan_paths
from assay.core.errors import DataError

GOOD = pickle.dumps([1, 2])


def verdicts(folder):
    return {os.path.relpath(f.path, folder): f.verdict.value for f in scan_paths([folder]).files}


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "model"
    (inside / "b").mkdir(parents=True)
    (inside / "z.pkl").write_bytes(GOOD)
    (inside / "b" / "a.pkl").write_bytes(GOOD)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "good.pkl").write_bytes(GOOD)
    (tmp_path / "elsewhere" / "evil.pkl").write_bytes(EVIL)
    return inside


def test_files_come_before_what_lies_below(folder):
    (folder / "a").mkdir()
    (folder / "a" / "c.pkl").write_bytes(GOOD)
    (folder / "aa.pkl").write_bytes(GOOD)
    names = [os.path.relpath(m.path, folder) for m in walk(str(folder))]
    assert names == ["aa.pkl", "z.pkl", "a/c.pkl", "b/a.pkl"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_link_out_of_the_folder_is_told_and_what_it_names_is_examined(folder, relative):
    for name in ("good.pkl", "evil.pkl"):
        target = folder.parent / "elsewhere" / name
        (folder / name).symlink_to(os.path.relpath(target, folder) if relative else target)
    assert verdicts(folder) == {
        "evil.pkl": "malicious", "good.pkl": "suspicious", "z.pkl": "clean", "b/a.pkl": "clean",
    }  # fmt: skip
    (found,) = [f for f in scan_paths([folder]).files if f.path.endswith("good.pkl")]
    assert [f.rule for f in found.findings] == ["link-outside"]
    assert str(folder.parent.resolve() / "elsewhere" / "good.pkl") in found.findings[0].message


def test_a_link_to_a_folder_outside_is_told_and_not_entered(folder):
    (folder / "more").symlink_to(folder.parent / "elsewhere")
    assert verdicts(folder) == {"more": "suspicious", "z.pkl": "clean", "b/a.pkl": "clean"}
    assert "was not entered" in explain(folder)


def test_a_link_chain_that_ends_outside_is_told(folder):
    (folder / "first").symlink_to("second")
    (folder / "second").symlink_to(folder.parent / "elsewhere" / "good.pkl")
    assert verdicts(folder)["first"] == verdicts(folder)["second"] == "suspicious"


def test_a_neighbour_whose_name_begins_alike_is_outside(folder):
    other = folder.parent / "model-2"
    other.mkdir()
    (other / "good.pkl").write_bytes(GOOD)
    (folder / "good.pkl").symlink_to(other / "good.pkl")
    assert verdicts(folder)["good.pkl"] == "suspicious"


def test_links_inside_the_folder_are_met_as_what_they_name(folder):
    (folder / "again.pkl").symlink_to("b/a.pkl")
    (folder / "also").symlink_to("b")
    (folder / "loop").symlink_to(".")
    assert verdicts(folder) == {"again.pkl": "clean", "z.pkl": "clean", "b/a.pkl": "clean"}


def test_links_that_lead_nowhere_never_pass(folder):
    (folder / "gone").symlink_to("nothing")
    (folder / "circle").symlink_to("circle")
    found = verdicts(folder)
    assert (found["gone"], found["circle"]) == ("error", "error")
    (folder / "lost").symlink_to(folder.parent / "nothing")
    assert verdicts(folder)["lost"] == "suspicious"


def test_a_folder_reached_through_a_link_is_the_root(folder):
    (folder.parent / "latest").symlink_to("model")
    (folder / "again.pkl").symlink_to("b/a.pkl")
    assert set(verdicts(folder.parent / "latest").values()) == {"clean"}


def cache(root, name, content):
    """Write one repository as huggingface_hub keeps it, and return the folder of its revision."""
    repository = root / f"models--{name}"
    snapshot = repository / "snapshots" / "0123abcd"
    (snapshot / "deep").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "f00d").write_bytes(content)
    (snapshot / "model.pkl").symlink_to("../../blobs/f00d")
    (snapshot / "deep" / "model.pkl").symlink_to("../../../blobs/f00d")
    return snapshot


def test_links_within_one_repository_of_a_hub_cache_are_no_links_outside(tmp_path):
    good, evil = cache(tmp_path, "good", GOOD), cache(tmp_path, "evil", EVIL)
    assert verdicts(good) == {"model.pkl": "clean", "deep/model.pkl": "clean"}
    assert set(verdicts(evil).values()) == {"malicious"}
    assert set(verdicts(good.parents[1]).values()) == {"clean"}


def test_a_link_into_another_repository_of_a_hub_cache_is_told(tmp_path):
    good, other = cache(tmp_path, "good", GOOD), cache(tmp_path, "other", GOOD)
    (good / "borrowed").symlink_to(other.parents[1] / "blobs" / "f00d")
    (good / "beside").symlink_to("../../../models--other")
    (good / "refs").symlink_to("../../blobs/../refs-main")
    (good.parents[1] / "refs-main").write_bytes(GOOD)
    found = verdicts(good)
    assert {found[n] for n in ("borrowed", "beside", "refs")} == {"suspicious"}


def test_a_folder_that_cannot_be_listed_never_passes(folder, monkeypatch):
    listed = os.scandir

    def refused(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    (error,) = [f for f in scan_paths([folder]).files if f.verdict is FileVerdict.ERROR]
    assert error.path.endswith("/b")
    assert "Permission denied" in error.not_checked[0].why


def test_a_path_that_does_not_exist_is_an_error_of_the_caller(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        scan_paths([tmp_path / "gone"])
    (tmp_path / "gone").symlink_to("nothing")
    assert scan_paths([tmp_path / "gone"]).verdict is FileVerdict.ERROR
