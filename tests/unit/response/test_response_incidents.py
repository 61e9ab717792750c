import pytest

from assay.core.alert import Alert
from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import parse_time
from assay.core.errors import DataError, FormatError, SettingError
from assay.core.finding import Severity
from assay.response.incidents import Incident, Incidents
from assay.response.playbooks import PLAYBOOKS, cacao_steps, playbook

NOW = parse_time("2026-01-01T00:00:00Z")


def _alert(**changes):
    return Alert(
        **{
            "rule": "drift",
            "subject": "m@r",
            "severity": Severity.MEDIUM,
            "message": "a moved",
            "playbook": "drift",
            "time": NOW,
            **changes,
        }
    )


@pytest.fixture
def incidents(tmp_path):
    return Incidents(tmp_path, clock=lambda: NOW)


def test_one_incident_for_one_trouble(incidents):
    first = incidents.raised(_alert())
    again = incidents.raised(_alert(severity=Severity.HIGH))
    other = incidents.raised(_alert(subject="n@r"))
    assert (first.id, again.id, other.id) == ("INC-0001", "INC-0001", "INC-0002")
    assert (again.seen, again.severity) == (2, Severity.HIGH)
    incidents.close("INC-0001", by="bob", reason="source repaired")
    assert incidents.raised(_alert()).id == "INC-0003"
    assert [i.id for i in incidents.list(only_open=True)] == ["INC-0002", "INC-0003"]


def test_steps_are_done_by_someone_once(incidents):
    incident = incidents.open("look", "leak", by="ann")
    step = incident.steps[0].name
    done = incidents.done(incident.id, step, by="bob", note="two tables")
    assert done == incidents.show(incident.id)
    assert len(done.todo) == len(incident.steps) - 1
    assert Incident.from_json(parse(canonical_bytes(done.to_json()))) == done
    for bad in (
        {"step": step, "by": "bob"},
        {"step": "nothing", "by": "bob"},
        {"step": incident.steps[1].name, "by": ""},
    ):
        with pytest.raises(SettingError):
            incidents.done(incident.id, **bad)


def test_closed_stays_closed(incidents):
    incident = incidents.open("look", "drift")
    for bad in ({"by": "", "reason": "x"}, {"by": "bob", "reason": " "}):
        with pytest.raises(SettingError):
            incidents.close(incident.id, **bad)
    incidents.close(incident.id, by="bob", reason="false alarm")
    with pytest.raises(SettingError):
        incidents.close(incident.id, by="bob", reason="again")
    with pytest.raises(SettingError):
        incidents.done(incident.id, incident.steps[0].name, by="bob")


def test_bad_names_are_refused(incidents, tmp_path):
    with pytest.raises(DataError):
        incidents.show("INC-0009")
    with pytest.raises(SettingError):
        incidents.show("../../etc/passwd")
    with pytest.raises(SettingError):
        incidents.open("x", "no-such-playbook")
    (tmp_path / "INC-0001.json").write_text('{"id":"INC-0001"}')
    with pytest.raises(FormatError):
        incidents.list()


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbooks_are_cacao_and_lead_to_their_end(name):
    record = playbook(name).to_cacao()
    assert record["spec_version"] == "cacao-2.0"
    assert cacao_steps(parse(canonical_bytes(record))) == playbook(name).steps
    assert record == playbook(name).to_cacao()


def test_playbook_that_leads_nowhere_is_refused():
    record = playbook("drift").to_cacao()
    loop = {
        **record,
        "workflow": {k: {**v, "on_completion": k} for k, v in record["workflow"].items() if v["type"] != "end"},
    }
    for bad in (loop, {}, None, {**record, "workflow_start": "x"}):
        with pytest.raises(FormatError):
            cacao_steps(bad)
