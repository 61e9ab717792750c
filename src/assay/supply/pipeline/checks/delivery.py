"""How code and packages come in: continuous integration, pip, and Python that loads models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from assay.supply.pipeline.check import (
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
    is_secret,
    setting,
    variable,
)  # fmt: skip
from assay.supply.pipeline.document import Call, Setting
from assay.supply.pipeline.python_calls import UNKNOWN

_SHA = re.compile(r"@[0-9a-f]{40}$")
_WORKFLOW = re.compile(r"(^|/)\.github/workflows/[^/]+$|(^|/)\.gitlab-ci\.yml$")
_KEYS = (
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_CREDENTIALS",
    "GCP_SA_KEY",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
)
_SAFE_LOADERS = ("SafeLoader", "CSafeLoader", "BaseLoader")


def _is_workflow(document: Document) -> bool:
    return bool(_WORKFLOW.search(document.path.replace("\\", "/")))


def _untrusted_checkout(document: Document) -> Iterator[Hit]:
    if not _is_workflow(document) or "pull_request_target" not in document.text:
        return
    keyed = any(re.match(r"(on|True)\b", s.key) and "pull_request_target" in s.key + s.text for s in document.settings)
    triggered = keyed or bool(re.search(r"^\s*pull_request_target\s*:", document.text, re.MULTILINE))
    for item in document.settings:
        if triggered and item.key.endswith("with.ref") and "head" in item.text:
            yield Hit(item.line, f"checks out {item.text} under pull_request_target")


def _unpinned_action(item: Setting) -> bool:
    text = item.text
    return "@" in text and not _SHA.search(text) and not text.startswith("./") and "@sha256:" not in text


def _actions(document: Document) -> Iterator[Hit]:
    for item in document.settings if _is_workflow(document) else ():
        if item.key.endswith(".uses") and _unpinned_action(item):
            yield Hit(item.line, f"uses: {item.text}")


def _cloud_keys(document: Document) -> Iterator[Hit]:
    for item in document.environment if _is_workflow(document) else ():
        if item.key in _KEYS:
            yield Hit(item.line, f"{item.key} is a long-lived key")


def _unhashed(item: Command) -> str:
    if "install" not in item.words or item.has("--require-hashes"):
        return ""
    files = [*item.values("-r"), *item.values("--requirement")]
    return f"pip install -r {files[0]} without --require-hashes" if files else ""


def _option_line(pattern: str) -> Finder:
    found = re.compile(pattern)

    def find(document: Document) -> Iterator[Hit]:
        for item in document.settings if document.kind == "requirements" else ():
            if found.match(item.text):
                yield Hit(item.line, item.text[:80])

    return find


def _weights_only(call: Call) -> bool:
    return call.keywords.get("weights_only") is False


def _unsafe_yaml(call: Call) -> bool:
    loader = call.keywords.get("Loader", call.arguments[1] if len(call.arguments) > 1 else None)
    return not str(loader).endswith(_SAFE_LOADERS)


def _true(name: str) -> Callable[[Call], bool]:
    return lambda call: call.keywords.get(name) is True


_PIP = ("pip", "pip3", "uv")


class Delivery(Checklist, name="delivery", techniques=("AML.T0010.001",)):
    """Continuous integration and package installation."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "ci-untrusted-checkout",
            Severity.CRITICAL,
            "a stranger's pull request runs with the repository's secrets",
            "pull_request, or no checkout of the head",
            "AML.T0010.001",
            _untrusted_checkout,
        ),
        Check(
            "ci-unpinned-action",
            Severity.MEDIUM,
            "what the action does can change under it",
            "uses: OWNER/NAME@<full commit>",
            "AML.T0010.001",
            _actions,
        ),
        Check(
            "ci-cloud-key",
            Severity.MEDIUM,
            "a key that does not expire lies in the pipeline",
            "short-lived credentials through OIDC",
            "AML.T0055",
            _cloud_keys,
        ),
        Check(
            "pip-extra-index",
            Severity.HIGH,
            "a package of the same name in the other index wins by its number",
            "one index, or --require-hashes",
            "AML.T0010.001",
            either(
                *(flag(p, option="--extra-index-url", bad=bool) for p in _PIP),
                setting("*extra-index-url", lambda s: bool(s.text)),
                variable("PIP_EXTRA_INDEX_URL", lambda s: bool(s.text)),
                variable("UV_EXTRA_INDEX_URL", lambda s: bool(s.text)),
                _option_line(r"--extra-index-url"),
            ),
        ),
        Check(
            "pip-trusted-host",
            Severity.HIGH,
            "the index's certificate is not checked",
            "an index with a valid certificate",
            "AML.T0010.001",
            either(
                *(flag(p, option="--trusted-host", bad=bool) for p in _PIP),
                setting("*trusted-host", lambda s: bool(s.text)),
                variable("PIP_TRUSTED_HOST", lambda s: bool(s.text)),
                _option_line(r"--trusted-host"),
            ),
        ),
        Check(
            "pip-plain-index",
            Severity.HIGH,
            "packages travel in clear",
            "an https index",
            "AML.T0010.001",
            either(
                *(
                    flag(p, option=o, bad=lambda v: v.startswith("http://"))
                    for p in _PIP
                    for o in ("--index-url", "-i")
                ),
                setting("*index-url", lambda s: s.text.startswith("http://")),
                variable("PIP_INDEX_URL", lambda s: s.text.startswith("http://")),
                _option_line(r"(--index-url|-i)\s*=?\s*http://"),
            ),
        ),
        Check(
            "pip-no-hashes",
            Severity.LOW,
            "what is installed is not compared with what was reviewed",
            "--require-hashes",
            "AML.T0010.001",
            either(command("pip", bad=_unhashed), command("pip3", bad=_unhashed)),
        ),
        Check(
            "secret-in-file",
            Severity.HIGH,
            "a cloud secret stands in the file",
            "a secret store",
            "AML.T0055",
            either(*(variable(name, lambda s: is_secret(s) and "secrets." not in s.text) for name in _KEYS)),
        ),
    )


class Code(Checklist, name="code", techniques=("AML.T0011.000",)):
    """Python that loads models and data in a way that runs what they hold."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "py-torch-load",
            Severity.HIGH,
            "loading the file runs code that it holds",
            "weights_only=True, or safetensors",
            "AML.T0011.000",
            called("torch.load", bad=_weights_only),
        ),
        Check(
            "py-pickle-load",
            Severity.MEDIUM,
            "loading the file runs code that it holds",
            "scan it first, or use ONNX, skops or safetensors",
            "AML.T0011.000",
            called(
                "joblib.load",
                "pickle.load",
                "pickle.loads",
                "cloudpickle.load*",
                "dill.load*",
                "pandas.read_pickle",
                bad=lambda _: True,
            ),
        ),
        Check(
            "py-remote-code",
            Severity.HIGH,
            "code of the repository runs when the model is loaded",
            "trust_remote_code=False, and a pinned revision",
            "AML.T0010.003",
            called("*", bad=_true("trust_remote_code")),
        ),
        Check(
            "py-numpy-pickle",
            Severity.HIGH,
            "loading the array may run code that it holds",
            "allow_pickle=False",
            "AML.T0011.000",
            called("numpy.load", "np.load", bad=_true("allow_pickle")),
        ),
        Check(
            "py-yaml-load",
            Severity.HIGH,
            "loading the file may build any object",
            "yaml.safe_load",
            "AML.T0011.000",
            either(
                called("yaml.load", "yaml.load_all", bad=_unsafe_yaml),
                called("yaml.unsafe_load*", "yaml.full_load*", bad=lambda _: True),
            ),
        ),
        Check(
            "py-unpinned-model",
            Severity.MEDIUM,
            "what is downloaded can change under it",
            "revision=<full commit>",
            "AML.T0010.003",
            called(
                "*.from_pretrained",
                "*hf_hub_download",
                "*snapshot_download",
                bad=lambda c: (
                    _remote(c)
                    and not re.fullmatch(r"[0-9a-f]{40}", str(c.keywords.get("revision", "")))
                    and not str(c.keywords.get("revision", "")).startswith(UNKNOWN)
                ),
            ),
        ),
    )


def _remote(call: Call) -> bool:
    first = (
        call.arguments[0]
        if call.arguments
        else call.keywords.get("repo_id", call.keywords.get("pretrained_model_name_or_path"))
    )
    return isinstance(first, str) and bool(re.fullmatch(r"[\w.-]+/[\w.-]+", first)) and not first.startswith((".", "/"))
