"""Stages are remembered by what they depend on and by what they wrote."""

from __future__ import annotations

import pytest

from assay.core.errors import DataError
from assay.flows.stages import Memory


@pytest.fixture
def memory(tmp_path):
    said = []
    return Memory(tmp_path, lambda *words: said.append(words)), said


def test_skips_what_has_not_changed(memory, tmp_path):
    kept, said = memory
    output = tmp_path / "out.txt"

    def work():
        output.write_text("made")
        return "made it", {"n": 1}

    for depends in ({"x": 1}, {"x": 1}, {"x": 2}):
        kept.run("one", depends, work, outputs=(output,))
    assert [word[1] for word in said] == ["done", "skipped", "done"]
    assert kept.stages[1].result == {"n": 1}


def test_makes_again_what_was_edited(memory, tmp_path):
    kept, said = memory
    output = tmp_path / "out.txt"

    def work():
        output.write_text("made")
        return "made it", {}

    kept.run("one", {}, work, outputs=(output,))
    output.write_text("edited by hand")
    kept.run("one", {}, work, outputs=(output,))
    assert [word[1] for word in said] == ["done", "done"]
    assert output.read_text() == "made"


def test_a_failed_stage_is_reported_and_not_remembered(memory):
    kept, said = memory

    def fails():
        raise DataError("is empty", where="t.csv")

    for _ in range(2):
        with pytest.raises(DataError):
            kept.run("one", {}, fails)
    assert [word[1] for word in said] == ["failed", "failed"]
    assert said[0][2] == "t.csv: is empty"
