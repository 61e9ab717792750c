"""Tree hashes and proofs against the published vectors, and against the definition for every small size."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import DataError, FormatError, VerificationError
from assay.registry.log import merkle
from assay.registry.log.tiles import (
    BUNDLE_LIMIT,
    ENTRIES,
    SMALL_LIMIT,
    Tile,
    blob_of,
    decode_bundle,
    encode_bundle,
    log_tiles,
    logged_form,
    split_hashes,
    subtrees,
    tiles_of,
)

# The test tree of the certificate-transparency project: eight entries and the roots of their first 1 to 8.
CT_ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(b"%d" % i) for i in range(320)]
ROOTS = [merkle.root(LEAVES[:n]) for n in range(len(LEAVES) + 1)]


def defined(leaves):
    """RFC 6962 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_of_the_published_tree(size):
    leaves = [merkle.leaf_hash(e) for e in CT_ENTRIES[:size]]
    assert merkle.root(leaves).hex() == CT_ROOTS[size - 1]
    assert merkle.tree_root(size, merkle.in_memory(leaves)).hex() == CT_ROOTS[size - 1]


def test_the_published_paths():
    tree = merkle.in_memory([merkle.leaf_hash(e) for e in CT_ENTRIES])
    assert [h.hex() for h in merkle.inclusion_path(0, 8, tree)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [h.hex() for h in merkle.consistency_path(6, 8, tree)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_size_follows_the_definition():
    for size in range(301):
        assert merkle.root(LEAVES[:size]) == defined(LEAVES[:size])


def test_every_inclusion_proof_holds_and_only_for_its_entry():
    for size in (*range(1, 40), 64, 65, 127, 128, 129, 255, 256, 257, 300):
        tree = merkle.in_memory(LEAVES[:size])
        for index in range(0, size, max(1, size // 17)):
            path = merkle.inclusion_path(index, size, tree)
            merkle.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])
            with pytest.raises(VerificationError, match="not the one"):
                merkle.verify_inclusion(LEAVES[index + 1], index, size, path, ROOTS[size])
            with pytest.raises(VerificationError, match="too many"):
                merkle.verify_inclusion(LEAVES[index], index, size, (*path, LEAVES[0]), ROOTS[size])
            if path:
                with pytest.raises(VerificationError, match="too few"):
                    merkle.verify_inclusion(LEAVES[index], index, size, path[:-1], ROOTS[size])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_consistency_holds_and_a_rewritten_history_does_not(a, b):
    old, size = sorted((a, b))
    path = merkle.consistency_path(old, size, merkle.in_memory(LEAVES[:size]))
    merkle.verify_consistency(old, ROOTS[old], size, ROOTS[size], path)
    other = hashlib.sha256(b"other").digest()
    with pytest.raises(VerificationError, match="does not extend"):
        merkle.verify_consistency(old, other, size, ROOTS[size], path)
    with pytest.raises(VerificationError, match="too many"):
        merkle.verify_consistency(old, ROOTS[old], size, ROOTS[size], (*path, other))
    if path:
        with pytest.raises(VerificationError, match=r"too few|does not extend"):
            merkle.verify_consistency(old, ROOTS[old], size, ROOTS[size], path[:-1])
        with pytest.raises(VerificationError, match="does not extend"):
            merkle.verify_consistency(old, ROOTS[old], size, other, path)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 300), st.data())
def test_a_flipped_bit_in_a_proof_is_refused(size, data):
    index = data.draw(st.integers(0, size - 1))
    path = list(merkle.inclusion_path(index, size, merkle.in_memory(LEAVES[:size])))
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
        with pytest.raises(VerificationError, match="not the one"):
            merkle.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])
    with pytest.raises(VerificationError):
        merkle.verify_inclusion(LEAVES[index], size, size, path, ROOTS[size])


@pytest.mark.parametrize("bad", [(5, 5), (-1, 5), (0, 0)])
def test_there_is_no_path_outside_the_tree(bad):
    with pytest.raises(DataError, match="no entry"):
        merkle.inclusion_path(*bad, merkle.in_memory(LEAVES))


def test_a_log_that_shrank_is_refused():
    with pytest.raises(VerificationError, match="shorter"):
        merkle.verify_consistency(6, ROOTS[6], 5, ROOTS[5], ())
    with pytest.raises(DataError):
        merkle.consistency_path(6, 5, merkle.in_memory(LEAVES))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(2, 0, 17), "tile/2/000.p/17"),
        (Tile(ENTRIES, 999), "tile/entries/999"),
        (Tile(ENTRIES, 1000, 1), "tile/entries/x001/000.p/1"),
        (Tile(63, 12, 255), "tile/63/012.p/255"),
    ],
)
def test_paths_of_tiles(tile, path):
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/1", "tile/00/001", "tile/64/001", "tile/0/x000/001", "tile/0/001.p/0", "tile/0/001.p/256",
        "tile/0/001.p/01", "tile/0/001/", "tile/0/x001", "tile/-1/001", "tile/0/001\n", "tile/0/٠٠١", "entries/001",
        "tile/0/../001", "/tile/0/001",
    ],
)  # fmt: skip
def test_no_other_path_is_a_tile(path):
    with pytest.raises(FormatError, match="not the path"):
        Tile.parse(path)


@given(st.builds(Tile, st.integers(-1, 63), st.integers(0, 10**15 - 1), st.integers(1, 256)))
def test_paths_round_trip(tile):
    assert Tile.parse(tile.path) == tile


def test_the_tiles_of_the_standards_example():
    tiles = [t for t in log_tiles(70_000) if t.level != ENTRIES]
    assert len([t for t in tiles if t.level == 0]) == 274
    assert [t for t in tiles if t.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [t for t in log_tiles(256) if t.level != ENTRIES] == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(log_tiles(0)) == []


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 65_536, 70_000])
def test_the_tree_in_tiles_is_the_tree(size):
    leaves = [i.to_bytes(32, "big") for i in range(size)]
    stored, values, level = {}, leaves, 0
    while values:
        above = []
        for tile in tiles_of(level, len(values)):
            chunk = values[tile.index * 256 : (tile.index + 1) * 256]
            stored[tile] = b"".join(chunk)
            above += [merkle.root(chunk)] if len(chunk) == 256 else []
        values, level = above, level + 1
    tree = subtrees(size, stored.__getitem__)
    assert merkle.tree_root(size, tree) == merkle.root(leaves)
    index = size * 2 // 3
    path = merkle.inclusion_path(index, size, tree)
    merkle.verify_inclusion(leaves[index], index, size, path, merkle.root(leaves))
    assert split_hashes(stored[Tile(0, 0, min(size, 256))])[0] == leaves[0]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_bundles_round_trip(entries):
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


@given(st.binary(max_size=60), st.integers(0, 9))
def test_a_bundle_that_is_accepted_encodes_to_the_same_bytes(data, count):
    try:
        entries = decode_bundle(data, count)
    except FormatError:
        return
    assert encode_bundle(entries) == data
    assert len(entries) == count


def test_entries_without_bytes_cannot_be_added_to_a_bundle():
    with pytest.raises(FormatError, match="exactly 1"):
        decode_bundle(b"\0\0\0\0", 1)
    with pytest.raises(FormatError, match="inside"):
        decode_bundle(b"\0", 1)
    assert decode_bundle(b"\0\0", 1) == [b""]
    assert BUNDLE_LIMIT == 256 * (SMALL_LIMIT + 2)


def test_a_large_entry_is_logged_by_its_digest():
    small, large = b"x" * SMALL_LIMIT, b"x" * (SMALL_LIMIT + 1)
    assert logged_form(small) is small
    digest, size = blob_of(logged_form(large))
    assert (digest.hex, size) == (hashlib.sha256(large).hexdigest(), len(large))
    assert blob_of(small) is None


def test_an_entry_that_looks_like_a_digest_record_is_refused():
    with pytest.raises(DataError, match="cannot be told"):
        logged_form(logged_form(b"x" * (SMALL_LIMIT + 1)))
