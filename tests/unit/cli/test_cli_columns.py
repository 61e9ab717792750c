"""Tables in plain text: they fit, they fold, and no cell steers a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.cli.columns import columns_of, printable, render


def test_columns_are_aligned_and_lines_have_no_tail():
    shown = render(("verdict", "file"), [("clean", "a"), ("malicious", "b c")], 80)
    assert shown.split("\n") == ["verdict    file", "clean      a", "malicious  b c"]


def test_long_cells_are_folded_between_words_and_the_first_column_never():
    rows = [("name-that-is-long", "one two three four five six seven eight nine ten")]
    lines = render(("name", "what"), rows, 40).split("\n")
    assert lines[1].startswith("name-that-is-long  one two three")
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(line[19:].strip() for line in lines[1:]) == rows[0][1]


def test_a_column_that_says_nothing_is_left_out():
    assert render(["a", "b", "c"], [["1", "", "3"], ["", "", "4"]], 80).split("\n") == ["a  c", "1  3", "   4"]
    assert render(["a", "b"], [], 80) == "a  b"


def test_a_word_longer_than_its_column_is_cut_and_not_lost():
    lines = render(("a", "b"), [("x", "y" * 50)], 20).split("\n")
    assert "".join(line[3:] for line in lines[1:]) == "y" * 50


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\rb", "a\nb", "\u202eexe.txt", "\x9b1m", "\x07"])
def test_what_steers_a_terminal_is_written_out(text):
    assert printable(text).isprintable()
    assert printable(text).isascii()
    assert "\x1b" not in render(("h",), [(text,)], 80)


def test_words_of_judgement_are_coloured_only_where_asked():
    assert "\x1b[31mmalicious\x1b[0m" in render(("v",), [("malicious",)], 80, {"malicious": "red"})
    assert "\x1b" not in render(("v",), [("malicious",)], 80)


def test_wide_characters_count_twice():
    assert columns_of("模型") == 4
    assert columns_of("e\u0301") == 1


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=200), st.text(max_size=90)), max_size=5))
def test_any_text_fits_and_is_kept(rows):
    shown = render(("a", "b", "c"), rows, 80)
    assert all(
        columns_of(line) <= 80 + max((columns_of(printable(r[0])) for r in rows), default=0)
        for line in shown.split("\n")
    )
    assert len(shown.split("\n")) >= len(rows) + 1
    assert shown.replace("\n", "").isprintable()
