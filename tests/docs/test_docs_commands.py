"""What the pages tell a reader to type exists, what they link to is there, and CI runs what the README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from assay.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TYPED = [page for page in PAGES if "reference" not in page.parts and "adr" not in page.parts]
END = {"|", "||", "&&", ";", ">", ">>", "2>", "&", "#"}


def name(page):
    return str(page.relative_to(ROOT))


def typed_lines(text):
    """Return the lines that a reader types: after `$ ` in a block, and whole lines of indented or inline code."""
    for _, body in re.findall(r"^```(console|bash|sh)\n(.*?)^```", text, flags=re.M | re.S):
        yield from (line[2:] for line in body.splitlines() if line.startswith("$ "))
    yield from (line.strip() for line in re.findall(r"^(?:    .+\n)+", without_blocks(text), flags=re.M))
    yield from re.findall(r"`(assay [^`\n]+)`", without_blocks(text))


def without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def assay_calls(line):
    """Return the arguments of each call of assay in one shell line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    calls, current = [], None
    for word in lexer:
        if set(word) <= set("|&;>"):
            current = None
        elif current is None and word == "assay":
            current = []
            calls.append(current)
        elif current is None:
            current = ["not assay"]
        else:
            current.append(word)
    return calls


def mistake(arguments):
    """Return what is wrong with a call, "" when its command and options exist and all that is needed is given."""
    command, context, rest = app, click.Context(app, info_name="assay"), list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        try:
            # As the program does it: a group may have a command that need not be named.
            word, found, rest = command.resolve_command(context, rest)
        except click.UsageError as error:
            return error.format_message()
        command, context = found, click.Context(found, info_name=word, parent=context)
    if "--help" in rest or "--version" in rest:
        return ""
    if isinstance(command, click.Group):
        return f"{command.name} needs a command" if rest else ""
    try:
        command.parse_args(click.Context(command, info_name=command.name), rest)
    except click.UsageError as error:
        return error.format_message()
    return ""


def calls_of(page):
    text = page.read_text(encoding="utf-8")
    return [(line, call) for line in typed_lines(text) if "assay" in line for call in assay_calls(line)]


@pytest.mark.parametrize("page", TYPED, ids=name)
def test_commands_on_the_pages_exist(page):
    # A command named in passing (`assay approve`) need not have its options; a line to type must have them.
    wrong = {
        line: why
        for line, call in calls_of(page)
        if (why := mistake(call)) and not (len(call) <= 2 and "Missing" in why)
    }
    assert not wrong


def test_there_are_commands_to_check():
    seen = {tuple(call[:1]) for page in TYPED for _, call in calls_of(page)}
    named = {(command,) for command in app.list_commands(click.Context(app))}
    assert named <= seen, f"no page shows {sorted(named - seen)}"


@pytest.mark.parametrize(
    "call",
    [
        "assay scann model.joblib",
        "assay scan",
        "assay scan model.joblib --sarf x",
        "assay log prune",
        "assay approve --as grace",
        "assay run --profile hard",
        "assay serve --port many",
    ],
)
def test_a_wrong_command_is_found(call):
    assert mistake(assay_calls(call)[0])


def test_calls_are_found_inside_shell_lines():
    line = "pip install -e '.[dev]' && assay demo  # 15 s"
    assert assay_calls(line) == [["demo"]]
    assert assay_calls("echo assay nothing; assay log verify log > out.txt") == [["log", "verify", "log"]]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=name)
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.is_file() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text(encoding="utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [p for p in (ROOT / "docs").rglob("*.md") if p.relative_to(ROOT / "docs").as_posix() not in nav]


def two_commands():
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Two commands")[2].partition("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def test_the_readme_has_two_commands_and_ci_runs_them():
    first, second = two_commands()
    assert first.endswith("&& assay demo")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [line.strip().replace("install -q ", "install ") for line in script.splitlines()]
    for part in (*first.split(" && ")[:-1], second):
        assert part in lines
    assert "PIP_EXTRA_INDEX_URL" not in script


def test_pages_do_not_name_folders_of_one_machine():
    for page in TYPED:
        text = page.read_text(encoding="utf-8")
        assert str(Path.home()) + "/" not in text
        assert not re.search(r"/(tmp|work|home)/\w", text), name(page)
