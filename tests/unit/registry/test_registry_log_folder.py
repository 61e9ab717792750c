"""The log on disk: what it promises to its owner, and what a stranger with the key finds out."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import AssayError, DataError, FormatError, VerificationError
from assay.core.keys import PrivateKey
from assay.registry.log import log as log_module
from assay.registry.log import merkle
from assay.registry.log.log import Log, consistent, verified_entries, verify_log
from assay.registry.log.note import VerifierKey, sign_checkpoint
from assay.registry.log.proof import Proof
from assay.registry.log.tiles import SMALL_LIMIT, log_tiles

NAME = "example.com/models"
KEY = PrivateKey.generate()
OTHER = PrivateKey.generate()
TRUSTED = VerifierKey.of(NAME, KEY.public)
LARGE = b"large" * 20_000


def entries(count: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % i for i in range(start, start + count)]


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.fixture
def log(tmp_path):
    return Log.create(tmp_path / "log", KEY, NAME)


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def test_an_empty_log_is_a_log(log):
    assert verify_log(log.folder, TRUSTED).size == 0
    assert log.checkpoint().root == merkle.EMPTY_ROOT
    assert files(log.folder) == {"checkpoint"}
    with pytest.raises(DataError, match="no entry 0"):
        log.proof(0)


@pytest.mark.parametrize("sizes", [(1,), (3, 4), (255, 1), (256,), (257,), (100, 200, 300), (256, 256, 1), (1, 600)])
def test_appends_give_the_tree_of_all_entries_and_only_its_files(log, sizes):
    total = 0
    for count in sizes:
        assert log.append(entries(count, total)) == list(range(total, total + count))
        total += count
    found = verify_log(log.folder, TRUSTED)
    assert (found.size, found) == (total, log.checkpoint())
    assert found.root == merkle.root([merkle.leaf_hash(e) for e in entries(total)])
    assert files(log.folder) == {"checkpoint", *(t.path for t in log_tiles(total))}
    for index in {0, total // 2, total - 1}:
        assert log.entry(index) == entries(total)[index]
        assert Proof.parse(log.proof(index).text()).verify(entries(total)[index], TRUSTED) == found


@settings(max_examples=15, deadline=None)
@given(parts=st.lists(st.lists(st.binary(max_size=5), max_size=120), max_size=6))
def test_an_entry_is_logged_once_and_keeps_its_index(tmp_path_factory, parts):
    log = Log.create(tmp_path_factory.mktemp("x") / "log", KEY, NAME)
    index: dict[bytes, int] = {}
    for part in parts:
        for entry in part:
            index.setdefault(entry, len(index))
        assert log.append(part) == [index[e] for e in part]
        assert Log.open(log.folder, KEY, NAME).append(part) == [index[e] for e in part]
    assert verified_entries(log.folder, TRUSTED)[1] == tuple(index)


def test_three_levels_of_tiles(log):
    log.append(entries(65_537))
    assert (log.folder / "tile/2/000.p/1").is_file()
    assert log.proof(65_536).verify(b"entry 65536", TRUSTED) == verify_log(log.folder, TRUSTED)
    assert log.append([b"entry 300", b"new"]) == [300, 65_537]


def test_a_large_entry_is_kept_beside_the_tiles(log):
    assert log.append([b"a", LARGE, b"b"]) == [0, 1, 2]
    assert log.append([LARGE]) == [1]
    assert log.entry(1) == LARGE
    assert log.proof(1).verify(LARGE, TRUSTED) == verify_log(log.folder, TRUSTED)
    assert verified_entries(log.folder, TRUSTED)[1] == (b"a", LARGE, b"b")


def test_the_largest_small_entry_is_in_its_bundle(log):
    log.append([b"x" * SMALL_LIMIT])
    assert not (log.folder / "blob").exists()
    assert log.entry(0) == b"x" * SMALL_LIMIT


def test_nothing_is_added_when_one_entry_cannot_be_logged(log):
    with pytest.raises(DataError, match="cannot be told"):
        log.append([b"good", b'{"blob":"sha256:' + b"0" * 64 + b'","size":70000}'])
    assert log.checkpoint().size == 0


def test_two_writers_take_turns(log):
    writers = [Log.open(log.folder, KEY, NAME) for _ in range(4)]
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for i in range(15):
                (index,) = writers[number].append([b"%d by %d" % (i, number)])
                writers[number].proof(index).verify(b"%d by %d" % (i, number), TRUSTED)
        except (OSError, AssayError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert verify_log(log.folder, TRUSTED).size == 60


def test_a_folder_with_anything_in_it_does_not_become_a_log(log, tmp_path):
    with pytest.raises(DataError, match="not empty"):
        Log.create(log.folder, KEY, NAME)
    with pytest.raises(DataError, match="there is no log"):
        Log.open(tmp_path, KEY, NAME)
    with pytest.raises(DataError, match="not the folder"):
        Log.open(tmp_path / "none", KEY, NAME)
    with pytest.raises(DataError, match="not the folder"):
        verify_log(tmp_path / "none", TRUSTED)
    with pytest.raises(FormatError):
        Log.create(tmp_path / "bad", KEY, "two words")
    assert not (tmp_path / "bad").exists()


def test_another_key_neither_opens_nor_verifies(log):
    with pytest.raises(VerificationError, match="not signed by the key"):
        Log.open(log.folder, OTHER, NAME)
    with pytest.raises(VerificationError, match="not signed by the key"):
        verify_log(log.folder, VerifierKey.of(NAME, OTHER.public))
    other = sign_checkpoint(NAME, 0, merkle.EMPTY_ROOT, OTHER)
    (log.folder / "checkpoint").write_text(other.text)
    with pytest.raises(VerificationError, match="not signed by the key"):
        verify_log(log.folder, TRUSTED)


def test_every_flipped_byte_in_every_file_is_refused(log):
    log.append([b"first", b"", LARGE[: SMALL_LIMIT + 1]])
    log.append([b"last"])
    whole = verify_log(log.folder, TRUSTED)
    for name in sorted(files(log.folder)):
        path = log.folder / name
        data = path.read_bytes()
        for at in range(0, len(data), 1 if len(data) < 1000 else 997):
            flip(path, at, at % 8)
            with pytest.raises(VerificationError):
                verify_log(log.folder, TRUSTED)
            path.write_bytes(data)
    assert verify_log(log.folder, TRUSTED) == whole


def test_every_missing_truncated_or_longer_file_is_refused(log):
    log.append([*entries(300), LARGE])
    for name in sorted(files(log.folder)):
        path = log.folder / name
        data = path.read_bytes()
        for wrong in (data[:-1], data + b"\0", b"", data + data):
            path.write_bytes(wrong)
            with pytest.raises(VerificationError):
                verify_log(log.folder, TRUSTED)
        path.unlink()
        with pytest.raises(VerificationError, match="missing"):
            verify_log(log.folder, TRUSTED)
        path.write_bytes(data)
    assert verify_log(log.folder, TRUSTED).size == 301


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tile/0/000", "a tile was changed"),
        ("tile/1/000.p/1", "a tile was changed"),
        ("tile/entries/001.p/44", "entry 256 is not the one"),
        ("checkpoint", "signature does not match"),
    ],
)
def test_the_reason_names_what_was_changed(log, name, says):
    log.append(entries(300))
    flip(log.folder / name, 9)
    with pytest.raises(VerificationError, match=says) as raised:
        verify_log(log.folder, TRUSTED)
    assert raised.value.where == str(log.folder / name)


def test_a_bundle_whose_lengths_were_changed_is_refused(log):
    log.append(entries(3))
    flip(log.folder / "tile/entries/000.p/3", 1, 3)
    with pytest.raises(VerificationError, match="entry bundle"):
        verify_log(log.folder, TRUSTED)


@pytest.mark.parametrize(
    "name", ["readme", "tile/0/junk", "tile/0/001", "tile/0/000.p/2", "blob/" + "0" * 64, ".x", "tile/8/000"]
)
def test_a_file_that_does_not_belong_is_refused(log, name):
    log.append(entries(3))
    path = log.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 64)
    with pytest.raises(VerificationError, match="does not belong"):
        verify_log(log.folder, TRUSTED)


def test_links_and_special_files_are_refused(log, tmp_path):
    log.append(entries(3))
    tile = log.folder / "tile/0/000.p/3"
    moved = tmp_path / "outside"
    shutil.move(tile, moved)
    tile.symlink_to(moved)
    with pytest.raises(VerificationError, match="link"):
        verify_log(log.folder, TRUSTED)
    with pytest.raises(VerificationError):
        log.proof(0)
    tile.unlink()
    os.mkfifo(tile)
    with pytest.raises(VerificationError, match="special"):
        verify_log(log.folder, TRUSTED)
    with pytest.raises(VerificationError):
        log.proof(0)


@pytest.mark.parametrize("size", [0, 2, 4, 300, 10**17])
def test_a_signed_size_that_does_not_fit_is_refused(log, size):
    log.append(entries(3))
    wrong = sign_checkpoint(NAME, size, log.checkpoint().root, KEY)
    (log.folder / "checkpoint").write_text(wrong.text)
    with pytest.raises(VerificationError, match=r"missing|root|does not belong"):
        verify_log(log.folder, TRUSTED)


def test_a_signed_root_that_does_not_fit_is_refused(log):
    log.append(entries(3))
    (log.folder / "checkpoint").write_text(sign_checkpoint(NAME, 3, bytes(32), KEY).text)
    with pytest.raises(VerificationError, match="root is not that of the entries"):
        verify_log(log.folder, TRUSTED)
    with pytest.raises(VerificationError):
        Log.open(log.folder, KEY, NAME)


@pytest.mark.parametrize("size", [3, 256])
def test_an_old_checkpoint_put_back_is_refused(log, size):
    log.append(entries(size))
    old = log.checkpoint()
    log.append(entries(50, size))
    (log.folder / "checkpoint").write_text(old.text)
    with pytest.raises(VerificationError, match=r"missing|does not belong"):
        verify_log(log.folder, TRUSTED)
    with pytest.raises(VerificationError, match="shorter"):
        log.append([b"more"])


def test_a_log_that_only_grew_is_consistent(log):
    remembered = []
    for start in (0, 1, 200, 300):
        log.append(entries(100, start))
        remembered.append(log.checkpoint())
    for old in remembered:
        assert consistent(old, log.folder, TRUSTED) == remembered[-1]
        path = log.consistency(old.size)
        merkle.verify_consistency(old.size, old.root, remembered[-1].size, remembered[-1].root, path)


def test_a_rewritten_history_is_found_out_though_signed(log, tmp_path):
    log.append(entries(5))
    old = log.checkpoint()
    forged = Log.create(tmp_path / "forged", KEY, NAME)
    forged.append([b"forged", *entries(9, 1)])
    assert verify_log(forged.folder, TRUSTED).size == 10
    with pytest.raises(VerificationError, match="history was rewritten"):
        consistent(old, forged.folder, TRUSTED)
    shutil.rmtree(log.folder)
    shutil.copytree(forged.folder, log.folder)
    with pytest.raises(VerificationError, match="does not extend"):
        log.append([b"more"])


def test_a_shortened_or_exchanged_log_is_found_out(log, tmp_path):
    log.append(entries(5))
    short = Log.create(tmp_path / "short", KEY, NAME)
    short.append(entries(4))
    with pytest.raises(VerificationError, match="fewer than the 5"):
        consistent(log.checkpoint(), short.folder, TRUSTED)
    other = Log.create(tmp_path / "other", KEY, "example.com/other")
    with pytest.raises(VerificationError, match="another log"):
        consistent(log.checkpoint(), other.folder, other.verifier)


@pytest.mark.parametrize("name", ["tile/0/001.p/44", "tile/0/000", "tile/1/000.p/1", "tile/entries/001.p/44"])
def test_a_damaged_log_is_not_extended(log, name):
    log.append(entries(300))
    flip(log.folder / name, 9)
    before = (log.folder / "checkpoint").read_bytes()
    with pytest.raises(VerificationError):
        Log.open(log.folder, KEY, NAME).append([b"more"])
    assert (log.folder / "checkpoint").read_bytes() == before


def test_a_changed_entry_is_not_handed_out(log):
    log.append([b"entry", LARGE])
    flip(log.folder / "tile/entries/000.p/2", 3)
    with pytest.raises(VerificationError, match="not the one"):
        log.entry(0)
    blob = next((log.folder / "blob").iterdir())
    flip(blob, 100)
    with pytest.raises(VerificationError, match="large entry"):
        log.entry(1)


def test_a_changed_bundle_does_not_make_the_owner_remove_a_large_entry(log):
    log.append([b"x" * 80, LARGE])
    bundle = log.folder / "tile/entries/000.p/2"
    bundle.write_bytes(bundle.read_bytes().replace(b'"blob"', b'"blub"'))
    with pytest.raises(VerificationError, match="not the one"):
        Log.open(log.folder, KEY, NAME)
    assert len(list((log.folder / "blob").iterdir())) == 1


def test_a_file_is_no_folder_for_a_log(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot become"):
        Log.create(tmp_path / "file", KEY, NAME)


def test_a_name_cannot_steer_the_terminal(log):
    (log.folder / "\x1b[2J\n").write_text("x")
    with pytest.raises(VerificationError) as raised:
        verify_log(log.folder, TRUSTED)
    assert raised.value.line().isprintable()


class Crash(BaseException):
    """The power goes."""


@pytest.mark.parametrize("first", [3, 250, 256])
def test_a_crash_at_any_write_leaves_the_old_log_whole(tmp_path, monkeypatch, first):
    real = log_module.write_bytes
    for writes in range(20):
        folder = tmp_path / str(writes)
        log = Log.create(folder, KEY, NAME)
        log.append(entries(first))
        old = log.checkpoint()
        left = [writes]

        def failing(path, data, left=left):
            if left[0] == 0:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).with_name(f".{Path(path).name}.0123456789ab.part").write_bytes(data[: len(data) // 2])
                raise Crash
            left[0] -= 1
            real(path, data)

        new = [*entries(10, first), LARGE]
        with monkeypatch.context() as patch:
            patch.setattr(log_module, "write_bytes", failing)
            try:
                log.append(new)
            except Crash:
                crashed = True
            else:
                crashed = False
        if not crashed:
            assert writes > 2
            return
        assert verify_log(folder, TRUSTED, leftovers=True) == old
        with pytest.raises(VerificationError, match="does not belong"):
            verify_log(folder, TRUSTED)
        assert log.proof(first - 1).verify(entries(first)[-1], TRUSTED) == old
        again = Log.open(folder, KEY, NAME)
        assert verify_log(folder, TRUSTED) == old
        assert again.append(new) == list(range(first, first + 11))
        assert consistent(old, folder, TRUSTED).size == first + 11
    pytest.fail("never got through")


def test_a_crash_before_the_old_tiles_are_removed_leaves_the_new_log(log, monkeypatch):
    log.append(entries(3))
    with monkeypatch.context() as patch:
        patch.setattr(log_module, "remove", lambda *_: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            log.append(entries(2, 3))
    assert verify_log(log.folder, TRUSTED, leftovers=True).size == 5
    assert log.append([b"more"]) == [5]
    assert verify_log(log.folder, TRUSTED).size == 6


def test_leftovers_do_not_open_the_door_to_other_files(log):
    log.append(entries(3))
    (log.folder / "notes.txt").write_text("x")
    with pytest.raises(VerificationError, match="does not belong"):
        verify_log(log.folder, TRUSTED, leftovers=True)
    Log.open(log.folder, KEY, NAME)
    assert (log.folder / "notes.txt").exists()
