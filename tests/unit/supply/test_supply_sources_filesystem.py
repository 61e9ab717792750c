"""Object stores through fsspec, played by its store in memory."""

from __future__ import annotations

import pytest

from assay.core.digest import digest_bytes, digest_tree
from assay.core.errors import BudgetError, DataError, DependencyError, MissingError, VerificationError
from assay.supply.sources.limits import SourceLimits
from assay.supply.sources.source import open_source, peek


@pytest.fixture
def store():
    fsspec = pytest.importorskip("fsspec")
    made = fsspec.filesystem("memory")
    made.store.clear()
    made.pseudo_dirs[:] = [""]
    yield made
    made.store.clear()
    made.pseudo_dirs[:] = [""]


def test_a_file_and_its_parts(store, tmp_path):
    store.pipe("/box/m.pkl", b"N." * 100_000)
    fetched = open_source("memory://box/m.pkl", tmp_path)
    assert fetched.digest == digest_bytes(b"N." * 100_000)
    assert fetched.url.startswith("memory://box/m.pkl#etag=")
    stream = peek("memory://box/m.pkl")
    stream.seek(-2, 2)
    assert stream.read() == b"N." and stream.bytes_read <= 65536


def test_a_folder(store, tmp_path):
    store.pipe("/box/a", b"1")
    store.pipe("/box/deep/b", b"22")
    fetched = open_source("memory://box", tmp_path)
    assert fetched.bytes == 3 and fetched.digest == digest_tree(fetched.path)
    assert (fetched.path / "deep/b").read_bytes() == b"22"


def test_what_is_not_there(store, tmp_path):
    with pytest.raises(DataError):
        open_source("memory://box/none", tmp_path)
    with pytest.raises(DataError):
        peek("memory://box/none")


def test_a_store_without_its_library(tmp_path):
    with pytest.raises(DependencyError):
        open_source("gs://box/m", tmp_path)


@pytest.mark.parametrize("limits", [SourceLimits(bytes=5), SourceLimits(file_bytes=5), SourceLimits(files=1)])
def test_limits(store, tmp_path, limits):
    store.pipe("/box/a", b"123456")
    store.pipe("/box/b", b"123456")
    with pytest.raises(BudgetError):
        open_source("memory://box", tmp_path, limits=limits)
    assert not list(tmp_path.iterdir())


def test_a_size_that_is_a_lie(store, tmp_path, monkeypatch):
    store.pipe("/box/a", b"123456")
    honest = type(store).info
    monkeypatch.setattr(type(store), "info", lambda *a, **k: {**honest(*a, **k), "size": 4})
    with pytest.raises(VerificationError):
        open_source("memory://box/a", tmp_path)


def test_a_file_that_changes_meanwhile(store, tmp_path, monkeypatch):
    store.pipe("/box/a", b"123456")
    honest, count = type(store).info, [0]

    def moving(*args, **options):
        count[0] += 1
        return {**honest(*args, **options), "ETag": str(count[0])}

    monkeypatch.setattr(type(store), "info", moving)
    with pytest.raises(VerificationError, match="changed"):
        open_source("memory://box/a", tmp_path)


def test_errors_of_a_store_tell_no_secret(store, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("https://x?signature=hush")

    monkeypatch.setattr(type(store), "info", fail)
    with pytest.raises(MissingError) as caught:
        open_source("memory://box/a", tmp_path)
    assert "hush" not in caught.value.line()


def test_a_store_that_says_nothing(store, tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(type(store), "info", lambda *_, **__: time.sleep(1))
    with pytest.raises(BudgetError):
        open_source("memory://box/a", tmp_path, limits=SourceLimits(silence=0.2))
