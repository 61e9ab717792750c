"""The store keeps what it has: versions by digest, statements that are only added, states that only go on."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest

from assay.core.digest import digest_bytes
from assay.core.errors import AssayError, DataError, DependencyError, InputError, Refused
from assay.core.keys import PrivateKey
from assay.core.statement import Envelope, Statement
from assay.registry.store import Registry

KEY = PrivateKey.generate()


def envelope(value):
    return Envelope.of(Statement((), "t", {"value": value}), KEY)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "assay.sqlite"


@pytest.fixture
def registry(file):
    with closing(Registry(f"sqlite:///{file}")) as opened:
        yield opened


@pytest.fixture
def version(registry):
    return registry.register("m", digest_bytes(b"1"), "ada", {"train": "x"})


def test_the_same_model_is_the_same_version(registry, version):
    assert registry.register("m", digest_bytes(b"1"), "ada", {}).number == 1
    assert registry.register("m", digest_bytes(b"2"), "ada", {}).number == 2
    assert registry.register("other", digest_bytes(b"1"), "ada", {}).number == 1
    assert [v.number for v in registry.versions("m")] == [2, 1]
    assert registry.version("m").number == 2
    assert registry.version("m", 1) == version


def test_another_author_does_not_take_over(registry, version):
    with pytest.raises(Refused) as caught:
        registry.register("m", version.digest, "eve", {})
    assert caught.value.reason == "author"


def test_the_newest_statement_of_a_name_counts(registry, version):
    for value in (1, 2):
        registry.add_statement(version, "gate", envelope(value))
    registry.add_statement(version, "scan", envelope(3))
    held = registry.statements(version)
    assert {n: e.verify([KEY.public]).predicate["value"] for n, e in held.items()} == {"gate": 2, "scan": 3}
    assert registry.history(version)[0][1] == "registered by ada"


def test_missing_versions_are_said(registry):
    with pytest.raises(DataError, match="no version"):
        registry.version("m")


@pytest.mark.parametrize("way", [("rejected", "released"), ("revoked", "released"), ("released", "registered")])
def test_states_do_not_go_back(registry, version, way):
    registry.set_state(version, way[0])
    with pytest.raises(Refused):
        registry.set_state(version, way[1])


def test_a_rejected_model_is_not_registered_again(registry, version):
    registry.set_state(version, "rejected")
    with pytest.raises(Refused):
        registry.register("m", version.digest, "ada", {})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET digest = 'x'", "UPDATE versions SET author = 'eve'", "DELETE FROM versions",
        "UPDATE statements SET envelope = '{}'", "DELETE FROM statements", "DELETE FROM approvals",
        "UPDATE happened SET what = ''", "UPDATE versions SET id = 7",
        "INSERT OR REPLACE INTO versions SELECT id, name, number, 'x', author, lineage, created, state FROM versions",
        "INSERT OR REPLACE INTO statements SELECT id, version, name, digest, '{}', added FROM statements",
    ],
)  # fmt: skip
def test_rows_are_frozen_by_the_data_base_itself(registry, version, file, statement):
    registry.add_statement(version, "gate", envelope(1))
    registry.add_approval(version, envelope(2))
    with closing(sqlite3.connect(file)) as raw, pytest.raises(sqlite3.DatabaseError):
        raw.execute(statement)


def test_opening_again_changes_nothing(registry, version, file):
    registry.close()
    with closing(Registry(f"sqlite:///{file}")) as again:
        assert again.version("m") == version
    assert not list(file.parent.glob("*.bak"))


def test_an_older_file_is_brought_up_to_date_after_a_copy(file):
    with closing(Registry(f"sqlite:///{file}")) as fresh:
        fresh.register("m", digest_bytes(b"1"), "ada", {})
    with closing(sqlite3.connect(file)) as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            if name.endswith("_replace") or name in {"frozen_version_delete", "frozen_version_id"}:
                raw.execute(f"DROP TRIGGER {name}")
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
        raw.commit()
    with closing(Registry(f"sqlite:///{file}")) as again:
        assert again.version("m").number == 1
    assert len(list(file.parent.glob("*.bak"))) == 1


def test_a_newer_file_is_left_alone(registry, version, file):
    registry.close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
    with pytest.raises(DataError, match="newer"):
        Registry(f"sqlite:///{file}")


def test_damage_is_one_line(tmp_path):
    (tmp_path / "x.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(DataError, match="damaged") as caught:
        Registry(f"sqlite:///{tmp_path / 'x.sqlite'}")
    assert "\n" not in caught.value.line()
    with pytest.raises(DataError, match="cannot be used"):
        Registry(f"sqlite:///{tmp_path / 'no' / 'folder' / 'x.sqlite'}")


@pytest.mark.parametrize("url", ["nonsense", "", "nobase://x"])
def test_a_bad_url_is_refused(url):
    with pytest.raises(InputError):
        Registry(url)


def test_a_password_is_not_told():
    try:
        import psycopg  # noqa: F401
    except ImportError:
        with pytest.raises(DependencyError) as caught:
            Registry("postgresql+psycopg://ada:hunter2@localhost/x")
        assert "hunter2" not in caught.value.line()
        return
    with pytest.raises(AssayError) as caught:
        Registry("postgresql+psycopg://ada:hunter2@localhost:1/x")
    assert "hunter2" not in caught.value.line()


def test_two_writers_get_two_numbers(registry, file):
    faults = []

    def add(value):
        try:
            with closing(Registry(f"sqlite:///{file}")) as own:
                own.register("m", digest_bytes(value), "ada", {})
        except AssayError as error:
            faults.append(error)

    threads = [threading.Thread(target=add, args=(bytes([i]),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [v.number for v in registry.versions("m")]
    assert len(set(numbers)) == len(numbers) == 6 - len(faults)
    assert all("\n" not in f.line() for f in faults)
