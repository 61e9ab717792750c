"""What a command prints: progress on standard error, and on standard output either text or one JSON document."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from assay.core.errors import AssayError

_STYLES = {
    "pass": "green",
    "done": "green",
    "clean": "green",
    "ok": "green",
    "skipped": "cyan",
    "fail": "red",
    "failed": "red",
    "malicious": "red",
    "refused": "red",
    "error": "red",
    "uncertain": "yellow",
    "suspicious": "yellow",
    "not_checked": "yellow",
    "void": "yellow",
    "unsupported": "yellow",
}

_FILE_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command says things. as_json: print one document on standard output and nothing else."""

    as_json: bool = False

    def note(self, text: str) -> None:
        """Say how far the work is, on standard error."""
        click.echo(plain(text), err=True)

    def stage(self, name: str, status: str, detail: str = "") -> None:
        """Say how one stage of a longer run ended, on standard error."""
        mark = click.style(f"{status:<9}", fg=_STYLES.get(status, "white"), bold=True)
        click.echo(f"  {mark} {name:<22} {detail}".rstrip(), err=True)

    def text(self, text: str) -> None:
        """Print lines of the answer, unless JSON was asked for; what steers a terminal is spelt out."""
        if not self.as_json:
            click.echo(plain(text))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """Print rows under headings, words of judgement coloured, unless JSON was asked for."""
        if self.as_json:
            return
        from assay.cli.columns import render

        # A file has no width to keep to.
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else _FILE_WIDTH
        styles = _STYLES if terminal and "NO_COLOR" not in os.environ else None
        text = render(headings, [[str(cell) for cell in row] for row in rows], width, styles)
        click.echo(f"{title}\n{text}" if title else text)

    def document(self, record: object) -> None:
        """Print the answer as one JSON document, if JSON was asked for."""
        if self.as_json:
            text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
            if not _encodes(text):
                # Names of files that are no UTF-8, or of a hostile pickle, are half characters; escaped, they are JSON.
                text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False)
            click.echo(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(text: str) -> str:
    """Return lines in which what a person cannot see, or a terminal obeys, is spelt out."""
    if text.replace("\n", "").isprintable():
        return text
    from assay.cli.columns import printable

    return "\n".join(part if part.isprintable() else printable(part.expandtabs()) for part in text.split("\n"))


Command = Callable[..., int | None]


def command(name: str, **settings: Any) -> Callable[[Command], click.Command]:
    """Make a function ``(output, **options) -> exit code`` a command with ``--json``; its docstring is the help."""

    def wrap(function: Command) -> click.Command:
        # functools.wraps brings along the options that decorate `function`; --json comes last in the help.
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output only.")
        @functools.wraps(function)
        def run(as_json: bool, **options: object) -> None:
            output = Output(as_json)
            try:
                code = function(output, **options)
            except AssayError as error:
                output.document({"error": error.to_json()})
                raise
            click.get_current_context().exit(code or 0)

        declare: Callable[[Any], click.Command] = click.command(name, **settings)
        return declare(run)

    return wrap
