"""Services beside the model: DVC, Ray, Jupyter, TensorBoard, Feast."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from assay.supply.pipeline.check import (
    Bad,
    Check,
    Checklist,
    Command,
    Document,
    Finder,
    Hit,
    Severity,
    called,
    command,
    either,
    flag,
    is_on,
    is_open,
    is_secret,
    is_star,
    setting,
    variable,
)  # fmt: skip
from assay.supply.pipeline.document import Call

_JUPYTER = re.compile(
    r"^\s*c\.(?:ServerApp|NotebookApp|IdentityProvider)\."
    r"(token|password|allow_origin|disable_check_xsrf)\s*=\s*(.+?)\s*(?:#.*)?$"
)
_SECRET = re.compile(r"(password|secret_access_key|sas_token|account_key|token|connection_string)$")


def _dvc_unverified(document: Document) -> Iterator[Hit]:
    if document.name != "config" or ".dvc" not in document.path:
        return
    for item in document.settings:
        section = item.key.rpartition(".")[0]
        verified = any(s.key == f"{section}.verify" and s.on for s in document.settings)
        if item.key.endswith(".url") and section.startswith("'remote") and not verified:
            yield Hit(item.line, f"{section} has no verify = true")


def _dvc(bad: Bad) -> Finder:
    def find(document: Document) -> Iterator[Hit]:
        if document.name == "config" and ".dvc" in document.path:
            for item in document.settings:
                if bad(item):
                    yield Hit(item.line, item.key)

    return find


def _ray_open(item: Command) -> str:
    return next((f"--dashboard-host {h}" for h in item.values("--dashboard-host") if is_open(h)), "")


def _ray_call(call: Call) -> bool:
    return is_open(str(call.keywords.get("dashboard_host", "")))


def _jupyter(item: Command) -> str:
    for name in ("ServerApp", "NotebookApp", "IdentityProvider"):
        for key in ("token", "password"):
            if any(value.strip("'\"") == "" for value in item.values(f"--{name}.{key}")) and item.has(
                f"--{name}.{key}"
            ):
                return f"--{name}.{key} is empty"
        if any(value.strip("'\"") == "*" for value in item.values(f"--{name}.allow_origin")):
            return f"--{name}.allow_origin is *"
        if any(value.lower() in {"true", ""} for value in item.values(f"--{name}.disable_check_xsrf")):
            return f"--{name}.disable_check_xsrf"
    return ""


def _jupyter_file(document: Document) -> Iterator[Hit]:
    if not document.name.startswith(("jupyter_", "jupyter-")):
        return
    for number, line in enumerate(document.text.splitlines(), start=1):
        found = _JUPYTER.match(line)
        if found and (found.group(1), found.group(2).strip("'\"")) in {
            ("token", ""), ("password", ""), ("allow_origin", "*"), ("disable_check_xsrf", "True"),
        }:  # fmt: skip
            yield Hit(number, line.strip()[:80])


def _feast_open(document: Document) -> Iterator[Hit]:
    if not document.name.startswith("feature_store"):
        return
    held = {s.key: s for s in document.settings}
    remote = any(s.key.endswith("type") and s.text == "remote" for s in document.settings)
    auth = held.get("auth.type")
    if auth and auth.text == "no_auth":
        yield Hit(auth.line, "auth.type: no_auth")
    elif remote and auth is None:
        line = next(s.line for s in document.settings if s.text == "remote")
        yield Hit(line, "a remote store without auth")


class DVC(Checklist, name="dvc", techniques=("AML.T0010.002",)):
    """DVC's remotes."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "dvc-unverified",
            Severity.HIGH,
            "a file exchanged in the remote is taken as it is",
            "verify = true",
            "AML.T0010.002",
            _dvc_unverified,
        ),
        Check(
            "dvc-plain-remote",
            Severity.HIGH,
            "data travels in clear",
            "an https or object storage remote",
            "AML.T0010.002",
            _dvc(lambda s: s.key.endswith(".url") and s.text.startswith("http://")),
        ),
        Check(
            "dvc-secret",
            Severity.HIGH,
            "a secret stands in a file that is committed",
            "config.local, or a credential helper",
            "AML.T0055",
            _dvc(lambda s: bool(_SECRET.search(s.key)) and is_secret(s)),
        ),
    )


class Services(Checklist, name="services", techniques=("AML.T0049",)):
    """Dashboards, notebooks and feature stores that must not be open to others."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "ray-open",
            Severity.CRITICAL,
            "anyone who reaches the dashboard runs code on the cluster",
            "--dashboard-host 127.0.0.1 and token authentication",
            "AML.T0049",
            either(
                command("ray", "start", bad=_ray_open),
                called("ray.init", bad=_ray_call),
                variable("RAY_DASHBOARD_HOST", lambda s: is_open(s.text)),
                setting("*rayStartParams.dashboard-host", lambda s: is_open(s.text)),
            ),
        ),
        Check(
            "jupyter-open",
            Severity.CRITICAL,
            "anyone who reaches the notebook runs code as its user",
            "leave token, origin and XSRF checks at their defaults",
            "AML.T0049",
            either(
                command("jupyter", bad=_jupyter),
                command("jupyter-lab", bad=_jupyter),
                command("start-notebook.sh", bad=_jupyter),
                _jupyter_file,
            ),
        ),
        Check(
            "tensorboard-open",
            Severity.MEDIUM,
            "anyone on the network reads the experiments",
            "leave out --bind_all; bind to 127.0.0.1",
            "AML.T0035",
            either(
                flag("tensorboard", option="--bind_all", bad=lambda v: v.lower() != "false"),
                flag("tensorboard", option="--host", bad=is_open),
            ),
        ),
        Check(
            "feast-no-auth",
            Severity.HIGH,
            "anyone who reaches the feature server reads and writes features",
            "auth: {type: oidc} or kubernetes",
            "AML.T0035",
            _feast_open,
        ),
        Check(
            "cors-any-origin",
            Severity.MEDIUM,
            "any web page may call the service",
            "a list of your own pages",
            "AML.T0049",
            setting("*allow_origins*", lambda s: is_star(s) and not s.key.startswith("api.")),
        ),
        Check(
            "debug-on",
            Severity.MEDIUM,
            "a debug server runs code for whoever asks",
            "no debug mode in deployments",
            "AML.T0049",
            either(variable("FLASK_DEBUG", is_on), called("*.run", bad=lambda c: c.keywords.get("debug") is True)),
        ),
    )
