"""The registry's store: versions, the statements about them, decisions, and what happened, in a SQL data base.

What is written once stays: a version's digest and every statement are frozen by the data base itself. The
newest statement of a name counts; older ones remain readable. Trust does not rest on the store: statements are
signed, and whoever reads one verifies it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, NoSuchModuleError, OperationalError

from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import Clock, format_time, parse_time, system_clock
from assay.core.digest import Digest, digest_bytes
from assay.core.errors import DataError, DependencyError, InputError, Refused
from assay.core.statement import Envelope

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection, Row

_MIGRATIONS = Path(__file__).parent / "migrations"
_TABLES = sa.MetaData()
_VERSIONS = sa.Table(
    "versions", _TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String),
    sa.Column("number", sa.Integer), sa.Column("digest", sa.String), sa.Column("author", sa.String),
    sa.Column("lineage", sa.Text), sa.Column("created", sa.String), sa.Column("state", sa.String),
)  # fmt: skip
_STATEMENTS, _APPROVALS = (
    sa.Table(
        name, _TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("version", sa.Integer),
        sa.Column("name", sa.String), sa.Column("digest", sa.String), sa.Column("envelope", sa.Text),
        sa.Column("added", sa.String),
    )
    for name in ("statements", "approvals")
)  # fmt: skip
_HAPPENED = sa.Table(
    "happened", _TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("version", sa.Integer),
    sa.Column("what", sa.String), sa.Column("time", sa.String),
)  # fmt: skip

# From each state, the states that may follow; a rejection or a revocation is for good.
_NEXT: Mapping[str, frozenset[str]] = {
    "registered": frozenset({"released", "rejected", "revoked"}),
    "released": frozenset({"released", "retired", "revoked"}),
    "retired": frozenset({"released", "revoked"}),
    "rejected": frozenset(),
    "revoked": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Version:
    """One registered model. number: from 1 up within a name; state: registered, released, retired, rejected, revoked."""

    id: int
    name: str
    number: int
    digest: Digest
    author: str
    lineage: Mapping[str, str]
    created: datetime
    state: str


class Registry:
    """The store behind one URL, as in ``sqlite:///.assay/assay.sqlite`` or ``postgresql+psycopg://HOST/NAME``.

    Opening brings the data base to the present form; a SQLite file is copied to ``<file>.<revision>.bak`` first.
    Raises InputError for a URL that cannot be read, DependencyError without its driver, DataError for a damaged,
    locked or unreachable data base.
    """

    def __init__(self, url: str, clock: Clock = system_clock) -> None:
        self._clock = clock
        try:
            self._engine = sa.create_engine(url)
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            # The URL itself may hold a password: it is not quoted.
            raise InputError("not the URL of a data base", where="ASSAY_DB", remedy="As in sqlite:///file") from error
        except ImportError as error:
            raise DependencyError(f"the driver {error.name} is not installed", where="ASSAY_DB") from error
        # A password may also stand among the settings behind the question mark.
        self._where = self._engine.url.set(query={}).render_as_string(hide_password=True)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _strict_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        with self._begin() as connection:
            present = self._is_present(connection)
        if not present:
            with self._begin(alone=True) as connection:
                self._migrate(connection)

    def close(self) -> None:
        """Let go of the data base."""
        self._engine.dispose()

    def register(self, name: str, digest: Digest, author: str, lineage: Mapping[str, str]) -> Version:
        """Return the version of a model under ``name``; the same digest is the same version, whoever asks.

        Raises Refused when it was rejected or revoked, or registered by another author.
        """
        with self._begin(alone=True) as connection:
            known = self._find(connection, _VERSIONS.c.name == name, _VERSIONS.c.digest == str(digest))
            if known is not None:
                return _registered_before(known, author)
            last = sa.select(sa.func.max(_VERSIONS.c.number)).where(_VERSIONS.c.name == name)
            number = (connection.execute(last).scalar() or 0) + 1
            row = {
                "name": name, "number": number, "digest": str(digest), "author": author, "state": "registered",
                "lineage": canonical_bytes(dict(lineage)).decode(), "created": format_time(self._clock()),
            }  # fmt: skip
            made = connection.execute(sa.insert(_VERSIONS).values(row)).inserted_primary_key
            self._note(connection, made[0] if made else 0, f"registered by {author}")
            found = self._find(connection, _VERSIONS.c.name == name, _VERSIONS.c.number == number)
        assert found is not None
        return found

    def versions(self, name: str | None = None) -> tuple[Version, ...]:
        """Return the versions, newest first; of one name when it is given."""
        wanted = sa.select(_VERSIONS).order_by(_VERSIONS.c.name, _VERSIONS.c.number.desc())
        with self._begin() as connection:
            rows = connection.execute(wanted if name is None else wanted.where(_VERSIONS.c.name == name)).all()
        return tuple(_version(row) for row in rows)

    def version(self, name: str, number: int | None = None) -> Version:
        """Return one version, the newest by default. Raises DataError when there is none."""
        for version in self.versions(name):
            if number in {None, version.number}:
                return version
        what = f"version {number} of {name!r}" if number else f"version of {name!r}"
        raise DataError(f"there is no {what}", where=self._where, remedy="Run `assay run` first")

    def add_statement(self, version: Version, name: str, envelope: Envelope) -> None:
        """Add a signed statement about a version; the newest of a name is the one that counts."""
        self._add(_STATEMENTS, version, name, envelope)

    def statements(self, version: Version) -> dict[str, Envelope]:
        """Return the newest statement of each name, by name."""
        return dict(self._envelopes(_STATEMENTS, version))

    def add_approval(self, version: Version, envelope: Envelope) -> None:
        """Add a person's signed decision about a version."""
        self._add(_APPROVALS, version, "approval", envelope)

    def approvals(self, version: Version) -> tuple[Envelope, ...]:
        """Return every decision about a version, oldest first."""
        return tuple(envelope for _, envelope in self._envelopes(_APPROVALS, version))

    def set_state(self, version: Version, state: str) -> None:
        """Move a version to another state. Raises Refused when that state cannot follow its present one."""
        with self._begin(alone=True) as connection:
            now = self._find(connection, _VERSIONS.c.id == version.id)
            if now is None or state not in _NEXT.get(now.state, frozenset()):
                present = now.state if now else "gone"
                raise Refused(f"version {version.number} is {present} and cannot become {state}", reason="state")
            change = sa.update(_VERSIONS).where(_VERSIONS.c.id == version.id).values(state=state)
            connection.execute(change)
            self._note(connection, version.id, state)

    def history(self, version: Version) -> tuple[tuple[datetime, str], ...]:
        """Return what happened to a version, oldest first."""
        wanted = sa.select(_HAPPENED).where(_HAPPENED.c.version == version.id).order_by(_HAPPENED.c.id)
        with self._begin() as connection:
            return tuple((parse_time(row.time), row.what) for row in connection.execute(wanted))

    def _add(self, table: sa.Table, version: Version, name: str, envelope: Envelope) -> None:
        data = canonical_bytes(envelope.to_json())
        row = {
            "version": version.id, "name": name, "digest": str(digest_bytes(data)), "envelope": data.decode(),
            "added": format_time(self._clock()),
        }  # fmt: skip
        with self._begin(alone=True) as connection:
            connection.execute(sa.insert(table).values(row))
            self._note(connection, version.id, f"{table.name}: {name}")

    def _envelopes(self, table: sa.Table, version: Version) -> Iterator[tuple[str, Envelope]]:
        wanted = sa.select(table).where(table.c.version == version.id).order_by(table.c.id)
        with self._begin() as connection:
            rows = connection.execute(wanted).all()
        for row in rows:
            yield row.name, Envelope.from_json(parse(row.envelope.encode(), where=self._where))

    def _find(self, connection: Connection, *where: sa.ColumnElement[bool]) -> Version | None:
        row = connection.execute(sa.select(_VERSIONS).where(*where)).first()
        return None if row is None else _version(row)

    def _note(self, connection: Connection, version: int, what: str) -> None:
        row = {"version": version, "what": what[:200], "time": format_time(self._clock())}
        connection.execute(sa.insert(_HAPPENED).values(row))

    @contextmanager
    def _begin(self, *, alone: bool = False) -> Iterator[Connection]:
        """Yield a connection inside a transaction; errors of the data base leave as one line.

        alone: nobody else writes to a SQLite file from here to the end, so that what is read stays true.
        """
        try:
            with self._engine.execution_options(sqlite_alone=alone).begin() as connection:
                yield connection
        except IntegrityError as error:
            raise Refused(
                f"the registry keeps what it has ({error.orig})", where=self._where, reason="frozen"
            ) from error
        except OperationalError as error:
            raise DataError(
                f"the data base cannot be used ({error.orig})", where=self._where, remedy="Is it there, and not locked?"
            ) from error
        except DatabaseError as error:
            raise DataError(
                f"the data base is damaged ({error.orig})", where=self._where, remedy="Bring back a copy"
            ) from error

    def _is_present(self, connection: Connection) -> bool:
        """Return whether the data base has the present form."""
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        newest = ScriptDirectory.from_config(self._alembic(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() == newest

    def _migrate(self, connection: Connection) -> None:
        from alembic import command
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        if self._is_present(connection):
            return
        config = self._alembic(connection)
        present = MigrationContext.configure(connection).get_current_revision()
        if present is not None and present not in {
            s.revision for s in ScriptDirectory.from_config(config).walk_revisions()
        }:
            raise DataError(f"was written by a newer Assay ({present})", where=self._where, remedy="Update Assay")
        self._back_up(present)
        command.upgrade(config, "head")

    def _alembic(self, connection: Connection) -> Config:
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        return config

    def _back_up(self, revision: str | None) -> None:
        file = self._engine.url.database
        if revision and self._engine.dialect.name == "sqlite" and file and Path(file).is_file():
            shutil.copy2(file, f"{file}.{revision}.bak")


def _registered_before(known: Version, author: str) -> Version:
    if known.state in {"rejected", "revoked"}:
        raise Refused(f"this model was {known.state} as version {known.number}", reason="state", remedy="Train another")
    if known.author != author:
        raise Refused(
            f"this model is version {known.number} by {known.author}, not by {author}", reason="author",
            remedy=f"Correct `author` in assay.yaml to {known.author}",
        )  # fmt: skip
    return known


def _version(row: Row[Any]) -> Version:
    return Version(
        row.id, row.name, row.number, Digest.parse(row.digest), row.author, json.loads(row.lineage),
        parse_time(row.created), row.state,
    )  # fmt: skip


def _strict_sqlite(connection: Any, _record: object) -> None:
    # Transactions begin where `_begin_sqlite` says so, not at the first row that is written.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    alone = connection.get_execution_options().get("sqlite_alone", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if alone else "BEGIN")
