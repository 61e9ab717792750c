"""Command lines out of shell scripts, Dockerfiles and lists of words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from assay.supply.pipeline.document import Command, Setting

_ENDS = {"&&", "||", ";", "|", "&", "then", "do", "else", "fi", "done", "{", "}"}
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_RUNNERS = {"sudo", "exec", "env", "nohup", "time", "export", "-m"}
_SHELLS = {"sh", "bash", "zsh", "dash", "ash"}
_MOST_LINES = 20_000
_DEEPEST = 5


def commands_of(text: str, line: int = 1) -> Iterator[Command]:
    """Yield the commands of a piece of shell, one a simple command; comments and quoting as a shell has them.

    What a command hands to another shell, as in ``bash -c "..."``, follows it.
    """
    waiting = [(text, line, 0)]
    while waiting:
        text, line, depth = waiting.pop(0)
        for found in _simple(text, line):
            yield found
            inner = _handed_on(found)
            if inner and depth < _DEEPEST:
                waiting.append((inner, found.line, depth + 1))


def _handed_on(command: Command) -> str:
    """Return what a command hands to a shell as text, "" for nothing."""
    names = [word.rpartition("/")[2] for word in command.words]
    shell = next((i for i, name in enumerate(names) if name in _SHELLS), None)
    if shell is None:
        return ""
    # `-c` may stand among other short options, as in `-lc`.
    rest = command.words[shell + 1 :]
    given = next((i for i, word in enumerate(rest) if re.fullmatch(r"-[a-z]*c", word)), None)
    return rest[given + 1] if given is not None and given + 1 < len(rest) else ""


def _simple(text: str, line: int) -> Iterator[Command]:
    for number, logical in _logical(text, line):
        words: list[str] = []
        for word in _words(logical):
            if word in _ENDS or word.endswith(";"):
                words += [word.rstrip(";")] if word not in _ENDS and word.rstrip(";") else []
                if words:
                    yield Command(tuple(words), number)
                words = []
            else:
                words.append(word)
        if words:
            yield Command(tuple(words), number)


def variables_of(commands: Sequence[Command]) -> Iterator[Setting]:
    """Yield the environment variables that commands set, as in ``export A=1`` or ``A=1 program``."""
    for command in commands:
        for word in command.words:
            if not _ASSIGNED.match(word):
                if word in _RUNNERS:
                    continue
                break
            name, _, value = word.partition("=")
            yield Setting(name, value, command.line)


def words_of(value: object) -> tuple[str, ...]:
    """Return the words of a command that is given as text or as a list."""
    if isinstance(value, str):
        return tuple(_words(value))
    return tuple(str(v) for v in value) if isinstance(value, list) else ()


def _words(text: str) -> list[str]:
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        return list(lexer)
    except ValueError:
        return text.split()


def _logical(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of lines with their continuations joined and their heredocs left out."""
    held, start, end = "", line, ""
    for number, raw in enumerate(text.splitlines()[:_MOST_LINES], start=line):
        if end:
            end = "" if raw.strip() == end else end
            continue
        if not held and raw.lstrip().startswith("#"):
            continue
        start = start if held else number
        if raw.rstrip().endswith("\\"):
            held += raw.rstrip()[:-1] + " "
            continue
        found = re.search(r"<<-?\s*['\"]?([A-Za-z_]+)", raw)
        end = found.group(1) if found else ""
        yield start, held + raw
        held = ""
    if held:
        yield start, held
