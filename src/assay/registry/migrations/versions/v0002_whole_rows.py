"""A version can be neither deleted nor renumbered, and no frozen row can be replaced by inserting it again."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_SAME_VERSION = "id = NEW.id OR (name = NEW.name AND (number = NEW.number OR digest = NEW.digest))"
_WHAT_IS_SAME = {"versions": _SAME_VERSION, **dict.fromkeys(("statements", "approvals", "happened"), "id = NEW.id")}


def upgrade() -> None:
    """Freeze what the first step left open."""
    dialect = op.get_bind().dialect.name
    if dialect == "sqlite":
        op.execute(_sqlite("frozen_version_delete", "BEFORE DELETE ON versions", "a registered version stays"))
        op.execute(
            _sqlite("frozen_version_id", "BEFORE UPDATE ON versions WHEN OLD.id <> NEW.id", "a version keeps its id")
        )
        for table, same in _WHAT_IS_SAME.items():
            # INSERT OR REPLACE removes the row that is in the way without asking the triggers on DELETE.
            when = f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - of the tables above  # noqa: S608 - names of ours
            op.execute(_sqlite(f"frozen_{table}_replace", when, f"{table} are only added"))
    elif dialect == "postgresql":
        for name, act in (("delete", "BEFORE DELETE"), ("id", "BEFORE UPDATE OF id")):
            op.execute(
                f"CREATE TRIGGER frozen_version_{name} {act} ON versions FOR EACH ROW EXECUTE FUNCTION assay_frozen()"
            )


def _sqlite(name: str, when: str, why: str) -> str:
    return f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{why}'); END"
