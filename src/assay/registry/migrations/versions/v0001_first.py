"""Versions, their statements, approvals, and an append-only record of what happened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_FROZEN = ("name", "number", "digest", "author", "lineage", "created")


def upgrade() -> None:
    """Make the tables; a version's identity, a statement and an event can never be changed afterwards."""
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(140), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("created", sa.String(30), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.UniqueConstraint("name", "number"),
        sa.UniqueConstraint("name", "digest"),
    )
    for table in ("statements", "approvals"):
        op.create_table(
            table,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("version", sa.Integer, sa.ForeignKey("versions.id"), nullable=False, index=True),
            sa.Column("name", sa.String(200), nullable=False),
            sa.Column("digest", sa.String(140), nullable=False),
            sa.Column("envelope", sa.Text, nullable=False),
            sa.Column("added", sa.String(30), nullable=False),
        )
    op.create_table(
        "happened",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.Column("time", sa.String(30), nullable=False),
    )
    _freeze(op.get_bind().dialect.name)


def _freeze(dialect: str) -> None:
    changed = " OR ".join(f"OLD.{c} <> NEW.{c}" for c in _FROZEN)
    if dialect == "sqlite":
        op.execute(
            f"CREATE TRIGGER frozen_version BEFORE UPDATE ON versions WHEN {changed} "
            "BEGIN SELECT RAISE(ABORT, 'a registered version cannot be changed'); END"
        )
        for table in ("statements", "approvals", "happened"):
            for act in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER frozen_{table}_{act} BEFORE {act} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} are only added'); END"
                )
    elif dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION assay_frozen() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'a registered record cannot be changed'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER frozen_version BEFORE UPDATE ON versions FOR EACH ROW WHEN ({changed}) "
            "EXECUTE FUNCTION assay_frozen()"
        )
        for table in ("statements", "approvals", "happened"):
            op.execute(
                f"CREATE TRIGGER frozen_{table} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW "
                "EXECUTE FUNCTION assay_frozen()"
            )
