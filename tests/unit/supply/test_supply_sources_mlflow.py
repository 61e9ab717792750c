"""MLflow's registry, played by a server in this process: honest once, then not."""

from __future__ import annotations

import json

import pytest

from assay.core.errors import (
    BudgetError,
    FormatError,
    InputError,
    MissingError,
    Refused,
    UnsupportedError,
    VerificationError,
)
from assay.supply.sources.limits import SourceLimits
from assay.supply.sources.source import open_source

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
URL = "mlflow://models/credit/3"


def record(value):
    return json.dumps(value).encode()


@pytest.fixture
def registry(script, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", script.url)
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    version = {"name": "credit", "version": "3", "status": "READY", "source": "models:/m-1", "run_id": "r1"}
    script.answers |= {
        f"{API}/model-versions/get": record({"model_version": version}),
        f"{API}/model-versions/get-download-uri": record({"artifact_uri": "mlflow-artifacts:/1/models/m-1"}),
        f"{PROXY}?path=1%2Fmodels%2Fm-1": record(
            {"files": [{"path": "MLmodel", "is_dir": False, "file_size": 4}, {"path": "data", "is_dir": True}]}
        ),
        f"{PROXY}?path=1%2Fmodels%2Fm-1%2Fdata": record({"files": [{"path": "model.pkl", "file_size": "3"}]}),
        f"{PROXY}/1/models/m-1/MLmodel": b"a: 1",
        f"{PROXY}/1/models/m-1/data/model.pkl": b"N.\n",
    }
    return script


def test_a_version_arrives_with_all_its_files(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush")
    fetched = open_source(URL, tmp_path)
    assert fetched.url == URL and fetched.bytes == 7 and fetched.path == tmp_path / "credit-3"
    assert (fetched.path / "data/model.pkl").read_bytes() == b"N.\n"
    assert {fields["authorization"] for _, fields in registry.asked} == {"Bearer hush"}


def test_a_run_is_read_through_the_server(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush")
    version = {"name": "credit", "version": "3", "status": "READY", "source": "runs:/r1/model"}
    registry.answers |= {
        f"{API}/model-versions/get": record({"model_version": version}),
        f"{API}/model-versions/get-download-uri": record({"artifact_uri": "s3://box/1/r1/artifacts/model"}),
        f"{API}/artifacts/list": record({"files": [{"path": "model/m.pkl", "file_size": 2}]}),
        "/get-artifact?path=model%2Fm.pkl&run_uuid=r1": b"N.",
    }
    fetched = open_source(URL, tmp_path)
    assert (fetched.path / "m.pkl").read_bytes() == b"N."
    assert all(fields["authorization"].startswith("Basic ") for _, fields in registry.asked)


def test_an_alias_is_resolved_only_when_allowed(registry, tmp_path):
    registry.answers[f"{API}/registered-models/alias"] = record({"model_version": {"version": "3"}})
    with pytest.raises(Refused, match="mlflow://models/credit/3") as caught:
        open_source("mlflow://models/credit@prod", tmp_path)
    assert caught.value.reason == "unpinned"
    assert open_source("mlflow://models/credit@prod", tmp_path, allow_unpinned=True).url == URL


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "../../x", "file_size": 1}]}, Refused),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "..", "is_dir": True}]}, Refused),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "a\\..\\x"}]}, Refused),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "MLmodel"}, {"path": "mlmodel"}]}, Exception),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "MLmodel", "file_size": 5}]}, VerificationError),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": "MLmodel", "file_size": 1 << 50}]}, BudgetError),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": [{"path": f"f{i}"} for i in range(9000)]}, Refused),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": "all"}, FormatError),
        (f"{PROXY}?path=1%2Fmodels%2Fm-1", {"files": []}, FormatError),
        (PROXY, {"files": [{"path": "d", "is_dir": True}]}, Refused),
        (f"{API}/model-versions/get-download-uri", {"artifact_uri": "s3://other/x"}, UnsupportedError),
        (f"{API}/model-versions/get-download-uri", {"artifact_uri": "file:///etc"}, UnsupportedError),
        (f"{API}/model-versions/get-download-uri", {"artifact_uri": "mlflow-artifacts://evil/x"}, UnsupportedError),
        (f"{API}/model-versions/get-download-uri", {"artifact_uri": "mlflow-artifacts:/a/%2e%2e/x"}, Refused),
        (f"{API}/model-versions/get", {"model_version": {"name": "credit", "version": "4"}}, Refused),
        (f"{API}/model-versions/get", {"model_version": {"name": "credit", "version": "3", "status": "F"}}, Refused),
        (f"{API}/model-versions/get", {}, FormatError),
    ],
)
def test_a_hostile_registry_is_refused(registry, tmp_path, path, answer, error):
    if path == PROXY:
        registry.answers = {k: v for k, v in registry.answers.items() if not k.startswith(f"{PROXY}?")}
    registry.answers[path] = record(answer)
    with pytest.raises(error):
        open_source(URL, tmp_path, limits=SourceLimits(seconds=8))
    assert not list(tmp_path.iterdir())


def test_no_more_files_than_allowed(registry, tmp_path):
    with pytest.raises(BudgetError):
        open_source(URL, tmp_path, limits=SourceLimits(files=1))


@pytest.mark.parametrize(
    "url", ["mlflow://models/x", "mlflow://models/x/latest", "mlflow://runs/x/1", "mlflow://models/a/b/1"]
)
def test_urls_that_name_no_version_are_refused(registry, tmp_path, url):
    with pytest.raises(FormatError):
        open_source(url, tmp_path)


@pytest.mark.parametrize(
    ("uri", "error"),
    [("", MissingError), ("http://example.org", Refused), ("https://me:hush@h", InputError), ("sqlite:///x", Refused)],
)
def test_servers_that_are_not_spoken_to(monkeypatch, tmp_path, uri, error):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(error) as caught:
        open_source(URL, tmp_path)
    assert "hush" not in caught.value.line()
