"""MLflow: the tracking server, its clients, and the files it saves beside a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from assay.supply.pipeline.check import (
    Check,
    Checklist,
    Command,
    Finder,
    Hit,
    Severity,
    called,
    command,
    either,
    flag,
    has_password,
    is_on,
    is_open,
    is_secret,
    setting,
    variable,
)  # fmt: skip
from assay.supply.pipeline.document import Document, Setting

_SERVERS = (("mlflow", "server"), ("mlflow", "ui"))
# Classes of known libraries, and the few other names that hold plain data. A module's functions are not among them:
# `builtins.eval` and `numpy.load` are names of known libraries too.
_SKOPS = re.compile(
    r"(?:sklearn|lightgbm|xgboost)\.(?!externals\.|datasets\.)(?:\w+\.)*_?[A-Z]\w*"
    r"|numpy\.(?:dtype|ndarray|bool_?|str_|u?int\d*|float\d+|random\.(?:\w+\.)*[A-Z]\w*)"
    r"|scipy\.(?:sparse|stats|interpolate|spatial)\.(?:\w+\.)*\w+"
    r"|collections\.(?:OrderedDict|defaultdict|Counter|deque)"
    r"|builtins\.(?:slice|range|complex|bytes|bytearray|set|frozenset|tuple|list|dict|int|float|str|bool)"
)


def _server(bad: Callable[[Command], str]) -> Finder:
    """Return a finder of tracking servers; ``mlflow ui`` starts the same one."""
    return either(*(command(*words, bad=bad) for words in _SERVERS))


def _server_flag(option: str, bad: Callable[[str], bool]) -> Finder:
    return either(*(flag(*words, option=option, bad=bad) for words in _SERVERS))


def _no_login(item: Command) -> str:
    return "" if item.has("--app-name") else "a server without --app-name"


def _open_without_login(item: Command) -> str:
    hosts = (host for option in ("--host", "-h") for host in item.values(option))
    open_host = next((host for host in hosts if is_open(host)), "")
    return f"--host {open_host} without --app-name" if open_host and not item.has("--app-name") else ""


def _pickles_allowed(item: Command) -> str:
    words = " ".join(item.words)
    return "" if "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=" in words else "MLFLOW_ALLOW_PICKLE_DESERIALIZATION is not set"


def _untrusted_types(item: Setting) -> bool:
    return bool(item.text) and _SKOPS.fullmatch(item.text) is None


def _floating_model(text: str) -> bool:
    return bool(re.match(r"models:/[^/@]+(/(latest|Production|Staging|None|Archived)$|@|$)", text))


def _floating_call(call: object) -> bool:
    values = [*getattr(call, "arguments", ()), *getattr(call, "keywords", {}).values()]
    return any(isinstance(v, str) and _floating_model(v) for v in values)


def _old_release(document: Document) -> bool:
    for item in document.settings:
        found = re.match(r"mlflow\s*==\s*(\d+)\.(\d+)", item.text)
        if found and (int(found.group(1)), int(found.group(2))) <= (3, 16):
            return True
    return False


def _old(document: Document) -> Iterator[Hit]:
    if document.kind == "requirements" and _old_release(document):
        line = next(s.line for s in document.settings if s.text.startswith("mlflow"))
        yield Hit(line, next(s.text for s in document.settings if s.line == line))


class MLflow(Checklist, name="mlflow", techniques=("AML.T0010.003", "AML.T0049")):
    """MLflow's server, clients and model folders."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "mlflow-no-login",
            Severity.HIGH,
            "anyone who reaches the server can overwrite models",
            "--app-name basic-auth, or a proxy that asks for a login",
            "AML.T0049",
            _server(_no_login),
        ),
        Check(
            "mlflow-open-host",
            Severity.HIGH,
            "the server answers other machines without a login",
            "--host 127.0.0.1 behind a proxy",
            "AML.T0049",
            _server(_open_without_login),
        ),
        Check(
            "mlflow-no-middleware",
            Severity.HIGH,
            "the security middleware is off",
            "leave out --disable-security-middleware",
            "AML.T0049",
            either(
                _server_flag("--disable-security-middleware", lambda _: True),
                variable("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", is_on),
            ),
        ),
        Check(
            "mlflow-any-host",
            Severity.MEDIUM,
            "any Host header is accepted, which lets a web page rebind to the server",
            "--allowed-hosts with the names it is reached by",
            "AML.T0049",
            either(
                _server_flag("--allowed-hosts", lambda v: "*" in v.split(",")),
                variable("MLFLOW_SERVER_ALLOWED_HOSTS", lambda s: s.text == "*"),
            ),
        ),
        Check(
            "mlflow-any-origin",
            Severity.HIGH,
            "any web page may call the server from a browser",
            "--cors-allowed-origins with your own pages",
            "AML.T0049",
            either(
                _server_flag("--cors-allowed-origins", lambda v: "*" in v.split(",")),
                variable("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", lambda s: s.text == "*"),
            ),
        ),
        Check(
            "mlflow-frames",
            Severity.LOW,
            "other pages may frame the user interface",
            "--x-frame-options SAMEORIGIN",
            "AML.T0049",
            either(
                _server_flag("--x-frame-options", lambda v: v.upper() == "NONE"),
                variable("MLFLOW_SERVER_X_FRAME_OPTIONS", lambda s: s.text.upper() == "NONE"),
            ),
        ),
        Check(
            "mlflow-pickle",
            Severity.HIGH,
            "loading a model may run code from its pickle",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false",
            "AML.T0011.000",
            either(
                variable("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", is_on),
                command("mlflow", "models", "serve", bad=_pickles_allowed),
            ),
        ),
        Check(
            "mlflow-insecure-tls",
            Severity.HIGH,
            "the server's certificate is not checked",
            "unset MLFLOW_TRACKING_INSECURE_TLS",
            "AML.T0010.003",
            variable("MLFLOW_TRACKING_INSECURE_TLS", is_on),
        ),
        Check(
            "mlflow-default-permission",
            Severity.MEDIUM,
            "every user can read every model by default",
            "default_permission = NO_PERMISSIONS",
            "AML.T0035",
            setting("*default_permission", lambda s: s.text.upper() != "NO_PERMISSIONS", named="*auth*.ini"),
        ),
        Check(
            "mlflow-admin-password",
            Severity.HIGH,
            "the administrator's password stands in a file, or is the published default",
            "a secret in MLFLOW_AUTH_ADMIN_PASSWORD, mlflow >= 3.16.1",
            "AML.T0055",
            either(setting("*admin_password", is_secret), variable("MLFLOW_AUTH_ADMIN_PASSWORD", is_secret), _old),
        ),
        Check(
            "mlflow-uri-password",
            Severity.HIGH,
            "the data base's password stands in the command",
            "take the URI from a secret",
            "AML.T0055",
            either(
                _server_flag("--backend-store-uri", has_password),
                _server_flag("--registry-store-uri", has_password),
                variable("MLFLOW_BACKEND_STORE_URI", lambda s: has_password(s.text)),
            ),
        ),
        Check(
            "mlflow-webhook-private",
            Severity.MEDIUM,
            "webhooks may reach private addresses",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=false",
            "AML.T0049",
            variable("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", is_on),
        ),
        Check(
            "mlflow-floating-model",
            Severity.MEDIUM,
            "what is loaded changes when somebody moves a tag",
            "models:/NAME/NUMBER, and verify its digest",
            "AML.T0010.003",
            either(
                called("mlflow.*load_model", bad=_floating_call),
                command("mlflow", "models", bad=lambda c: next((w for w in c.words if _floating_model(w)), "")),
                setting("*model_uri", lambda s: _floating_model(s.text)),
                variable("*MODEL_URI", lambda s: _floating_model(s.text)),
            ),
        ),
        Check(
            "mlflow-skops-types",
            Severity.HIGH,
            "the model itself says which types are trusted",
            "types of known libraries only",
            "AML.T0011.000",
            setting("*skops_trusted_types*", _untrusted_types, named="MLmodel"),
        ),
        Check(
            "mlflow-code-paths",
            Severity.MEDIUM,
            "the model folder brings code that loading it imports",
            "sign the folder, and verify it before loading",
            "AML.T0010.001",
            either(
                setting("*.code", lambda s: bool(s.text), named="MLmodel"),
                setting("*loader_module", lambda s: bool(s.text) and not s.text.startswith("mlflow."), named="MLmodel"),
            ),
        ),
    )
