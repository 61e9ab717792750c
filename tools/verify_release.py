"""Verify a release folder offline: ``python verify_release.py RELEASE [--trust trust.json]``.

One file, the standard library and ``cryptography`` only; it shares no code with Assay and was written from
docs/reference/release-format.md, so that whoever receives a model need not trust the program that made it.
Exit 0: everything holds; 1: something does not, in one line; 2: bad usage.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

Key = Ed25519PublicKey | EllipticCurvePublicKey
Record = Mapping[str, Any]

INTOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
WEIGHT = ("fail", "void", "not_checked", "uncertain", "pass")
NAMED = ("release.json", "release.tlog-proof")


class NotHeld(Exception):
    """Something about the release does not hold."""


def main() -> int:
    """Verify the release that the command line names, and say how it went."""
    parser = argparse.ArgumentParser(description="Verify a release folder offline.")
    parser.add_argument("release", type=Path)
    parser.add_argument("--trust", type=Path, help="trusted keys (default: trust.json beside the folder)")
    given = parser.parse_args()
    trust = given.trust or given.release.absolute().parent / "trust.json"
    try:
        believed = json.loads(trust.read_bytes())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{trust}: cannot be read ({error})\n")
        return 2
    try:
        told = verify(given.release, believed, datetime.now(timezone.utc))
    except NotHeld as error:
        sys.stdout.write(f"refused: {error}\n")
        return 1
    sys.stdout.write(f"ok: {told}\n")
    return 0


def verify(folder: Path, trust: Record, now: datetime) -> str:
    """Return one line about a release that holds in every respect. Raises NotHeld."""
    try:
        return _verify(folder, trust, now)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OSError, UnsupportedAlgorithm) as error:
        raise NotHeld(f"something is not in its form ({type(error).__name__}: {str(error)[:80]})") from error


def _verify(folder: Path, trust: Record, now: datetime) -> str:
    files = read_folder(folder)
    pipeline = [load_pem_public_key(pem.encode()) for pem in trust["pipeline"]]
    people = {name: load_pem_public_key(p["key"].encode()) for name, p in trust["people"].items()}
    release = statement("release.json", files.get("release.json", b""), pipeline)
    manifest = release["predicate"]
    if release["predicateType"] != "https://assay.dev/release/v1":
        raise NotHeld("release.json is no statement about a release")
    model = hashlib.sha256(files.get("model/model.onnx", b"")).hexdigest()
    if model not in subjects(release):
        raise NotHeld("model/model.onnx is not the model that was released")
    same_files(files, manifest["files"])
    names = [p for p in files if PurePosixPath(p).parent == PurePosixPath("statements") and p.endswith(".json")]
    opened = {p: statement(p, files[p], pipeline) for p in names if not p.startswith("statements/approval-")}
    for path, held in opened.items():
        if model not in subjects(held):
            raise NotHeld(f"{path} speaks about another model")
    report, policy = gate(files, opened, model)
    approved = [
        approval(path, files[path], people, trust["people"], report, manifest["author"], model)
        for path in names
        if path.startswith("statements/approval-")
    ]
    persons = {key_id(people[name]) for name in approved}
    if len(persons) < policy["approvals"]:
        raise NotHeld(f"{len(persons)} of {policy['approvals']} approvals are here")
    signature(files, pipeline)
    for path in ("release.json", *names):
        logged(path, files, trust["log"])
    if now > datetime.fromisoformat(manifest["expires"]):
        raise NotHeld(f"the release expired on {manifest['expires']}")
    who = ", ".join(sorted(approved))
    return f"{manifest['name']} version {manifest['version']} by {manifest['author']}, approved by {who}"


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return every file by its path inside the folder; links and devices are refused."""
    if not folder.is_dir():
        raise NotHeld(f"{folder} is no folder")
    found: dict[str, bytes] = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise NotHeld(f"{path} is a link or a device")
            if stat.S_ISREG(mode):
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def strict(data: bytes) -> Any:
    """Return the JSON value in bytes. A repeated key, NaN or infinity is refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key is repeated")
        return dict(pairs)

    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no number")

    return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number)


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of a value: sorted keys, no spaces, whole numbers without a point."""

    def plain(item: Any) -> Any:
        if isinstance(item, float) and item.is_integer() and abs(item) <= 2**53:
            return int(item)
        if isinstance(item, dict):
            return {k: plain(v) for k, v in item.items()}
        return [plain(v) for v in item] if isinstance(item, list) else item

    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def exact64(text: str) -> bytes:
    """Return the bytes in base64 text that is written in its one right form."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise ValueError("not base64 in its one right form")
    return data


def key_id(key: Key) -> str:
    """Return the SHA-256 of a key's DER form, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signs(key: Key, sig: bytes, message: bytes) -> bool:
    """Return whether a key made a signature of a message."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(sig, message)
        else:
            kind = {256: hashes.SHA256(), 384: hashes.SHA384()}.get(key.curve.key_size, hashes.SHA512())
            key.verify(sig, message, ECDSA(kind))
    except InvalidSignature:
        return False
    return True


def pae(kind: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature is over."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)


def statement(path: str, data: bytes, keys: Iterable[Key]) -> Record:
    """Return the in-toto statement in a DSSE file that one of the keys signed and that is canonical to the byte."""
    envelope = strict(data)
    payload = exact64(envelope["payload"])
    if canonical(envelope) != data or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise NotHeld(f"{path} is not in canonical form: it was changed")
    known = {key_id(key): key for key in keys}
    message = pae(envelope["payloadType"], payload)
    for held in envelope["signatures"]:
        if set(held) != {"keyid", "sig"} or held["keyid"] not in known:
            raise NotHeld(f"{path} names a key that is not trusted")
    if not any(signs(key, exact64(s["sig"]), message) for s in envelope["signatures"] for key in known.values()):
        raise NotHeld(f"{path} was changed, or nobody who is trusted signed it")
    record = strict(payload)
    if envelope["payloadType"] != INTOTO or record["_type"] != "https://in-toto.io/Statement/v1":
        raise NotHeld(f"{path} holds no in-toto statement")
    return record  # type: ignore[no-any-return]


def subjects(held: Record) -> set[str]:
    """Return the SHA-256 digests that a statement is about."""
    return {s["digest"]["sha256"] for s in held["subject"] if "sha256" in s["digest"]}


def same_files(files: Mapping[str, bytes], listed: Mapping[str, str]) -> None:
    """Refuse a file that is missing, added or changed."""
    for path in sorted(set(files) - set(listed) - set(NAMED)):
        raise NotHeld(f"{path} does not belong to the release")
    for path, digest in sorted(listed.items()):
        if path not in files:
            raise NotHeld(f"{path} is missing")
        if f"sha256:{hashlib.sha256(files[path]).hexdigest()}" != digest:
            raise NotHeld(f"{path} was changed")


def gate(files: Mapping[str, bytes], opened: Mapping[str, Record], model: str) -> tuple[Record, Record]:
    """Return the gate's report and its policy, when it let this model through on just these statements."""
    if "statements/gate.json" not in opened:
        raise NotHeld("the model met no gate")
    held = opened["statements/gate.json"]["predicate"]
    report, policy = held["gate"], held["policy"]
    names = {p.removeprefix("statements/").removesuffix(".json"): p for p in opened if p != "statements/gate.json"}
    if held["statements"] != {n: f"sha256:{hashlib.sha256(files[p]).hexdigest()}" for n, p in names.items()}:
        raise NotHeld("the gate was made of other statements")
    if report["digest"] != f"sha256:{model}":
        raise NotHeld("the gate judged another model")
    if report["policy"] != f"sha256:{hashlib.sha256(canonical(policy)).hexdigest()}":
        raise NotHeld("the gate was held against another policy")
    verdict = min((row["verdict"] for row in report["rows"]), key=WEIGHT.index, default="not_checked")
    if report["verdict"] != verdict or verdict not in {"pass", "uncertain"}:
        raise NotHeld(f"the gate says {verdict}")
    return report, policy


def approval(
    path: str, data: bytes, people: Mapping[str, Key], known: Record, report: Record, author: str, model: str
) -> str:
    """Return who approved, when it was theirs to approve: an approver, not the author, about this report and model."""
    claim = statement(path, data, people.values())
    said = claim["predicate"]
    person = said["person"]
    if claim["predicateType"] != "https://assay.dev/approval/v1" or person not in people:
        raise NotHeld(f"{path}: {person!r} is not known")
    statement(path, data, [people[person]])
    if "approver" not in known[person]["roles"]:
        raise NotHeld(f"{path}: {person!r} is no approver")
    if said["decision"] != "approve":
        raise NotHeld(f"{path}: {person!r} decided to {said['decision']}")
    if person == author or (author in people and key_id(people[author]) == key_id(people[person])):
        raise NotHeld(f"{path}: {person!r} made this model")
    if model not in subjects(claim) or said["gate"] != f"sha256:{hashlib.sha256(canonical(report)).hexdigest()}":
        raise NotHeld(f"{path} is about another model or another report")
    if report["verdict"] == "uncertain" and said.get("accepts_uncertain") is not True:
        raise NotHeld(f"{path} does not accept what is uncertain")
    return str(person)


def signature(files: Mapping[str, bytes], keys: Iterable[Key]) -> None:
    """Check the OpenSSF model signature over everything in model/."""
    bundle = strict(files["model.sig"])
    envelope = bundle["dsseEnvelope"]
    payload = exact64(envelope["payload"])
    message = pae(envelope["payloadType"], payload)
    hint = bundle["verificationMaterial"]["publicKey"].get("hint")
    pems = {
        hashlib.sha256(k.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest(): k for k in keys
    }
    able = [pems[hint]] if hint in pems else [] if hint else list(pems.values())
    if bundle["mediaType"] != BUNDLE or not any(
        signs(key, exact64(s["sig"]), message) for key in able for s in envelope["signatures"]
    ):
        raise NotHeld("model.sig is not signed by a trusted key")
    held = strict(payload)
    if held["predicateType"] != "https://model_signing/signature/v1.0":
        raise NotHeld("model.sig is no model signature")
    signed = {r["name"]: r["digest"] for r in held["predicate"]["resources"]}
    here = {p.removeprefix("model/"): d for p, d in files.items() if p.startswith("model/")}
    if signed != {name: hashlib.sha256(data).hexdigest() for name, data in here.items()}:
        raise NotHeld("model/ is not what model.sig signs")


def logged(path: str, files: Mapping[str, bytes], verifier: str) -> None:
    """Check that a file is in the transparency log, by its inclusion proof and the log's signed checkpoint."""
    where = path.removesuffix(".json") + ".tlog-proof"
    head, _, note = files.get(where, b"").decode("utf-8").partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise NotHeld(f"{where} is no proof")
    size, root = checkpoint(note, verifier, where)
    index, siblings = int(lines[1].removeprefix("index ")), [exact64(line) for line in lines[2:]]
    if (
        "\n".join([lines[0], f"index {index}", *(base64.b64encode(s).decode() for s in siblings), "", note]).encode()
        != files[where]
    ):
        raise NotHeld(f"{where} is not in its one right form")
    entry = files[path]
    if len(entry) > 0xFFFF:
        blob = {"blob": f"sha256:{hashlib.sha256(entry).hexdigest()}", "size": len(entry)}
        entry = canonical(blob)
    if not 0 <= index < size or climb(entry, index, size, siblings) != root:
        raise NotHeld(f"{where} does not prove that {path} was logged")


def checkpoint(note: str, verifier: str, where: str) -> tuple[int, bytes]:
    """Return size and root of the log, from a checkpoint that its key signed."""
    name, _, rest = verifier.partition("+")
    raw = exact64(rest.partition("+")[2])
    own = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    body, _, tail = note.rpartition("\n\n")
    origin, size, root = body.split("\n")
    key = Ed25519PublicKey.from_public_bytes(raw[1:])
    for line in tail.removesuffix("\n").split("\n"):
        signer, _, encoded = line.removeprefix("— ").partition(" ")
        data = exact64(encoded)
        if (signer, data[:4]) == (name, own) and signs(key, data[4:], f"{body}\n".encode()) and origin == name:
            return int(size), exact64(root)
    raise NotHeld(f"{where}: the checkpoint is not signed by the log's key")


def climb(entry: bytes, index: int, size: int, siblings: list[bytes]) -> bytes:
    """Return the root that an entry and its siblings give (RFC 9162, section 2.1.3.2)."""
    node, first, last = hashlib.sha256(b"\0" + entry).digest(), index, size - 1
    for sibling in siblings:
        if last == 0:
            return b""
        if first & 1 or first == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        first, last = first >> 1, last >> 1
    return node if last == 0 else b""


if __name__ == "__main__":
    sys.exit(main())
