"""Airflow: ``airflow.cfg``, its environment variables, and code of DAGs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from assay.supply.pipeline.check import (
    Check,
    Checklist,
    Document,
    Finder,
    Hit,
    Setting,
    Severity,
    called,
    either,
    has_password,
    is_on,
    is_open,
    is_secret,
    is_star,
    missing,
    setting,
    variable,
)  # fmt: skip
from assay.supply.pipeline.document import Call

_FILE = "airflow*.cfg"
_SHORTEST = 32
_PIP = re.compile(r"\b(?:pip3?|uv(?: pip)?)\s+install\b")


def _option(section: str, key: str, bad: object) -> Finder:
    """Return a finder of an option: in the file, in ``AIRFLOW__SECTION__KEY``, in the values of the Helm chart."""
    judge = bad if callable(bad) else is_on
    return either(
        setting(f"{section}.{key}", judge, named=_FILE),
        variable(f"AIRFLOW__{section.upper()}__{key.upper()}", judge),
        setting(f"*config.{section}.{key}", judge, named="*values*.y*ml"),
    )


def _in_airflow(item: Setting) -> bool:
    return item.key.startswith(("core.", "api.", "database."))


def _weak(item: Setting) -> bool:
    return is_secret(item) and (len(item.text) < _SHORTEST or "temporary" in item.text.lower())


def _host_without_tls(document: Document) -> Iterator[Hit]:
    held = {s.key: s for s in document.settings}
    host = held.get("api.host")
    cert = held.get("api.ssl_cert")
    if document.name.startswith("airflow") and host and is_open(host.text) and not (cert and cert.text):
        yield Hit(host.line, f"api.host = {host.text} without ssl_cert")


def _flower(document: Document) -> Iterator[Hit]:
    held = {s.key: s for s in document.settings}
    host, login = held.get("celery.flower_host"), held.get("celery.flower_basic_auth")
    if document.name.startswith("airflow") and host and is_open(host.text) and not (login and login.text):
        yield Hit(host.line, f"celery.flower_host = {host.text} without flower_basic_auth")


def _shell_templating(call: Call) -> bool:
    text = call.keywords.get("bash_command")
    return isinstance(text, str) and "dag_run.conf" in text


def _installs(call: Call) -> bool:
    text = call.keywords.get("bash_command")
    return isinstance(text, str) and bool(_PIP.search(text)) and "--require-hashes" not in text


def _unpinned(call: Call) -> bool:
    found = call.keywords.get("requirements")
    return isinstance(found, list) and any(isinstance(r, str) and "==" not in r and "@" not in r for r in found)


def _sqlite_or_password(item: Setting) -> bool:
    return item.text.startswith("sqlite") or has_password(item.text)


class Airflow(Checklist, name="airflow", techniques=("AML.T0049", "AML.T0055")):
    """Airflow's configuration and DAG code."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "airflow-all-admins",
            Severity.CRITICAL,
            "everybody is an administrator, without a login",
            "simple_auth_manager_all_admins = False",
            "AML.T0012",
            _option("core", "simple_auth_manager_all_admins", is_on),
        ),
        Check(
            "airflow-simple-auth",
            Severity.MEDIUM,
            "the simple login is for development",
            "the FAB or Keycloak auth manager",
            "AML.T0012",
            _option("core", "auth_manager", lambda s: "SimpleAuthManager" in s.text),
        ),
        Check(
            "airflow-no-fernet",
            Severity.HIGH,
            "connections and variables are stored in clear",
            "a fernet_key from a secret",
            "AML.T0055",
            either(
                _option("core", "fernet_key", lambda s: not s.text),
                missing("core.fernet_key*", when=_in_airflow, named=_FILE),
            ),
        ),
        Check(
            "airflow-weak-secret",
            Severity.HIGH,
            "the key that signs sessions and tokens is short, published or in the file",
            "at least 32 random bytes, from *_cmd or a secret backend",
            "AML.T0055",
            either(
                _option("api", "secret_key", _weak),
                _option("webserver", "secret_key", _weak),
                _option("api_auth", "jwt_secret", _weak),
            ),
        ),
        Check(
            "airflow-expose-config",
            Severity.MEDIUM,
            "the configuration, secrets among it, can be read",
            "expose_config = False",
            "AML.T0055",
            either(
                _option("api", "expose_config", lambda s: s.text.lower() == "true"),
                _option("webserver", "expose_config", lambda s: s.text.lower() == "true"),
            ),
        ),
        Check(
            "airflow-expose-stacktrace",
            Severity.LOW,
            "errors show the inside of the server",
            "expose_stacktrace = False",
            "AML.T0007",
            either(_option("api", "expose_stacktrace", is_on), _option("webserver", "expose_stacktrace", is_on)),
        ),
        Check(
            "airflow-open-host",
            Severity.MEDIUM,
            "the API answers other machines in clear",
            "ssl_cert and ssl_key, or host = 127.0.0.1",
            "AML.T0049",
            _host_without_tls,
        ),
        Check(
            "airflow-any-origin",
            Severity.MEDIUM,
            "any web page may call the API",
            "a list of your own pages",
            "AML.T0049",
            _option("api", "access_control_allow_origins", is_star),
        ),
        Check(
            "airflow-test-connection",
            Severity.MEDIUM,
            "users can make the server connect anywhere",
            "test_connection = Disabled",
            "AML.T0049",
            _option(
                "core",
                "test_connection",
                lambda s: s.text.lower() in {"enabled", "hidden"} and s.text.lower() != "hidden",
            ),
        ),
        Check(
            "airflow-any-class",
            Severity.HIGH,
            "any class is built from what tasks hand over",
            "allowed_deserialization_classes = airflow.*",
            "AML.T0011.000",
            _option(
                "core",
                "allowed_deserialization_classes*",
                lambda s: any(p.strip() in {".*", "*", ".+"} for p in s.text.split()),
            ),
        ),
        Check(
            "airflow-examples",
            Severity.LOW,
            "example DAGs run here",
            "load_examples = False",
            "AML.T0049",
            _option("core", "load_examples", is_on),
        ),
        Check(
            "airflow-flower",
            Severity.HIGH,
            "the worker console is open without a login",
            "flower_basic_auth, or flower_host = 127.0.0.1",
            "AML.T0049",
            _flower,
        ),
        Check(
            "airflow-no-secret-backend",
            Severity.LOW,
            "secrets lie in the data base, not in a secret store",
            "backend of your secret store",
            "AML.T0055",
            setting("secrets.backend", lambda s: not s.text, named=_FILE),
        ),
        Check(
            "airflow-root",
            Severity.MEDIUM,
            "tasks run as root, or all as one user",
            "default_impersonation with a user a team",
            "AML.T0105",
            either(
                _option("core", "default_impersonation", lambda s: s.text == "root"),
                called("*", bad=lambda c: c.keywords.get("run_as_user") == "root"),
            ),
        ),
        Check(
            "airflow-conf-in-shell",
            Severity.HIGH,
            "whoever starts a run writes part of a shell command",
            "pass it as an environment variable, or forbid overrides",
            "AML.T0049",
            called("*BashOperator", bad=_shell_templating),
        ),
        Check(
            "airflow-unpinned-task",
            Severity.MEDIUM,
            "what a task installs can change under it",
            "an image with a digest, or pinned requirements",
            "AML.T0010.001",
            either(
                called("*PythonVirtualenvOperator", "*task.virtualenv", bad=_unpinned),
                called("*BashOperator", bad=_installs),
            ),
        ),
        Check(
            "airflow-database",
            Severity.HIGH,
            "the data base's password stands in the file, or it is SQLite",
            "sql_alchemy_conn_cmd or a secret backend",
            "AML.T0055",
            _option("database", "sql_alchemy_conn", _sqlite_or_password),
        ),
    )
