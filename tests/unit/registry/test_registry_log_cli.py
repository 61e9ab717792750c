"""``assay log`` as a user meets it: what it prints, its exit codes, and where it finds the key."""

from __future__ import annotations

import base64
import json

import pytest

from assay.cli.main import main
from assay.core.canonical import canonical_bytes
from assay.core.digest import digest_bytes
from assay.core.evidence import Subject
from assay.core.keys import PrivateKey
from assay.core.statement import Envelope, Statement
from assay.registry.log.log import Log

KEY = PrivateKey.generate()


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["log", *map(str, arguments)])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


@pytest.fixture
def log(tmp_path):
    made = Log.create(tmp_path / "log", KEY, "example.com/models")
    statement = Statement(
        (Subject("model.onnx", digest_bytes(b"m")),), "https://example.com/gate/v1", {"verdict": "pass"}
    )
    made.append([canonical_bytes(Envelope.of(statement, KEY).to_json()), b"plain", b'{"payload":1}', b"[1"])
    (tmp_path / "trust.json").write_text(json.dumps({"log": str(made.verifier), "keys": []}))
    return made


def test_a_whole_log_passes(capsys, log):
    code, out, _ = run(capsys, "verify", log.folder)
    assert (code, out) == (0, "example.com/models: 4 entries, whole\n")
    code, out, _ = run(capsys, "verify", log.folder, "--json")
    assert json.loads(out)["checkpoint"] == log.checkpoint().to_json()


def test_the_key_is_taken_as_text_or_from_a_file(capsys, log, tmp_path):
    (tmp_path / "key").write_text(f"{log.verifier}\n")
    for key in (str(log.verifier), tmp_path / "key", tmp_path / "trust.json"):
        assert run(capsys, "verify", log.folder, "--key", key)[0] == 0


def test_another_key_is_refused(capsys, log):
    other = f"example.com/models+{'0' * 8}+{str(log.verifier).split('+', 2)[2]}"
    assert run(capsys, "verify", log.folder, "--key", other)[0] == 2
    stranger = Log.create(log.folder.parent / "other", PrivateKey.generate(), "example.com/models").verifier
    code, out, err = run(capsys, "verify", log.folder, "--key", stranger)
    assert (code, out) == (1, "")
    assert "not signed by the key" in err


def test_a_changed_log_is_refused_in_one_line_and_in_json(capsys, log):
    path = log.folder / "tile/0/000.p/4"
    path.write_bytes(bytes(128))
    code, _, err = run(capsys, "verify", log.folder)
    assert code == 1
    assert err.count("\n") == 1
    assert "000.p/4: a tile was changed" in err
    code, out, _ = run(capsys, "show", log.folder, "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "verification"


def test_since_tells_growth_from_rewriting(capsys, log, tmp_path):
    seen = tmp_path / "seen"
    seen.write_text(log.checkpoint().text)
    log.append([b"later"])
    code, out, _ = run(capsys, "verify", log.folder, "--since", seen)
    assert (code, out) == (0, "example.com/models: 5 entries, whole, extends 4\n")
    forged = Log.create(tmp_path / "forged", KEY, "example.com/models")
    forged.append([b"a", b"b", b"c", b"d", b"e"])
    code, _, err = run(capsys, "verify", forged.folder, "--since", seen)
    assert code == 1
    assert "rewritten" in err
    seen.write_text("nothing")
    assert run(capsys, "verify", log.folder, "--since", seen)[0] == 1


def test_show_lists_the_statements(capsys, log):
    code, out, _ = run(capsys, "show", log.folder, "--json")
    record = json.loads(out)
    assert code == 0
    assert [e["type"] for e in record["entries"]] == ["https://example.com/gate/v1", "", "", ""]
    assert record["entries"][0]["subjects"] == [f"model.onnx {digest_bytes(b'm')}"]
    code, out, _ = run(capsys, "show", log.folder)
    assert code == 0
    assert "4 entries, root " in out
    assert "not a statement" in out


def test_a_statement_cannot_steer_the_terminal(capsys, log):
    statement = Statement((Subject("\x1b[2J\ud800", digest_bytes(b"m")),), "kind\x07", {})
    record = {"payloadType": "application/vnd.in-toto+json", "signatures": []}
    payload = base64.b64encode(json.dumps(statement.to_json()).encode()).decode()
    log.append([json.dumps({**record, "payload": payload}).encode()])
    for form in ((), ("--json",)):
        code, out, _ = run(capsys, "show", log.folder, *form)
        assert code == 0
        assert not {"\x1b", "\x07", "\ud800"} & set(out)


@pytest.mark.parametrize("text", ['{"log": 1}', "{}", "{", "x", "[]", "\udcff", '{"log": "a+b+c"}'])
def test_a_useless_trust_file_is_bad_input(capsys, log, tmp_path, text):
    (tmp_path / "trust.json").write_text(text, errors="surrogateescape")
    code, _, err = run(capsys, "verify", log.folder)
    assert code == 2
    assert "trust.json" in err


def test_no_key_and_no_log_are_bad_input(capsys, log, tmp_path):
    (tmp_path / "trust.json").unlink()
    assert run(capsys, "verify", log.folder)[0] == 2
    assert run(capsys, "verify", tmp_path / "none", "--key", log.verifier)[0] == 2
