"""The ``assay`` program: finds the command modules, runs one, and turns errors into a line and an exit code."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import click

from assay import __version__
from assay.core.errors import AssayError

_NOT_COMMANDS = {"columns", "main", "output"}
_HELP = """Assay takes a model from raw data to a guarded endpoint, and measures how robust, private and intact it is.

\b
Start here:
  assay demo                               see the whole way, in half a minute
  assay quickstart TABLE --target COLUMN   do it with your own CSV or Parquet file
  assay scan MODEL                         is this model file safe to load?

\b
Exit codes: 0 clean; 1 findings, or refused by a policy or gate;
2 bad usage or input; 3 something needed is missing or could not be checked.
"""


class _Commands(click.Group):
    """Commands found in the modules of ``assay.cli``; listed in the order of the way through."""

    _ORDER = (
        "demo", "quickstart", "init", "run", "status", "data", "train", "convert", "verify-derivation", "scan",
        "assess", "compare", "side-effects", "sign", "keygen", "verify-model", "bom", "register", "gate", "people",
        "approve", "reject", "revoke", "promote", "verify", "log", "serve", "enforce", "monitor", "incident", "deps",
        "pipeline",
    )  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a model meets them, others after."""
        self._find()
        rank = {name: i for i, name in enumerate(self._ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: (rank.get(name, len(rank)), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, None when there is none."""
        # Most commands have a module of their own name: the others need not be imported to run one.
        if not self.commands and cmd_name.isidentifier() and find_spec(f"assay.cli.{cmd_name}") is not None:
            own = {c.name: c for c in _of_module(cmd_name)}
            if cmd_name in own:
                return own[cmd_name]
        self._find()
        return super().get_command(ctx, cmd_name)

    def _find(self) -> None:
        if not self.commands:
            for found in _commands():
                self.add_command(found)


def _commands() -> Iterator[click.Command]:
    package = importlib.import_module("assay.cli")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in _NOT_COMMANDS:
            yield from _of_module(module.name)


def _of_module(name: str) -> Iterator[click.Command]:
    namespace = vars(importlib.import_module(f"assay.cli.{name}"))
    grouped = {id(c) for g in namespace.values() if isinstance(g, click.Group) for c in g.commands.values()}
    yield from (v for v in namespace.values() if isinstance(v, click.Command) and id(v) not in grouped)


@click.group(
    cls=_Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="assay")
def app() -> None:
    """Run one of the commands."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and leave with its exit code; never with a traceback, unless ASSAY_DEBUG is set."""
    atexit.register(_end)
    try:
        code = app.main(args=arguments, prog_name="assay", standalone_mode=False)
    except AssayError as error:
        _say(f"assay: {error.line()}")
        code = error.exit_code
    except click.ClickException as error:
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "assay"
        _say(f"assay: {error.format_message()} (see '{hint} --help')")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        _say("assay: interrupted")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the outermost frame: a user sees a line, never a traceback
        if os.environ.get("ASSAY_DEBUG"):
            import traceback

            traceback.print_exc()
        _say(
            f"assay: internal error, {type(error).__name__}: {' '.join(str(error).split())[:300]}. Set ASSAY_DEBUG=1 and report it"
        )
        code = 3
    sys.exit(code if isinstance(code, int) else 0)


def _end() -> None:
    # The interpreter looks for garbage once more when it ends, which takes as long as a small scan; the program is over.
    # DuckDB counts what is then left of it, and prints pages about that.
    if "duckdb" not in sys.modules:
        gc.freeze()


def _say(line: str) -> None:
    from assay.cli.output import plain

    click.echo(plain(line), err=True)
