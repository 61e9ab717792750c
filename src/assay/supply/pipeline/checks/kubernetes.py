"""Kubernetes, Istio, Kubeflow and KServe objects that run pipelines and serve models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from assay.supply.pipeline.check import (
    Check,
    Checklist,
    Document,
    Hit,
    Severity,
    called,
    deployed,
    either,
    setting,
)  # fmt: skip
from assay.supply.pipeline.document import Call, Manifest, Setting

_WORKLOADS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Workflow")
_DEFAULTS = {"default", "default-editor", "pipeline-runner"}
_META = (
    "metadata.annotations",
    "metadata.labels",
    "spec.template.metadata.annotations",
    "spec.template.metadata.labels",
)
_BROAD = {"cluster-admin", "admin", "edit", "pipeline-runner"}
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
_PICKLES = (".pkl", ".pickle", ".joblib")


def _dangerous_pod(item: Manifest) -> str:
    for pod in item.pods:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key) is True:
                return f"{key}: true"
        volumes = pod.get("volumes")
        for volume in volumes if isinstance(volumes, list) else []:
            if isinstance(volume, dict) and "hostPath" in volume:
                return f"hostPath {volume['hostPath'].get('path', '') if isinstance(volume['hostPath'], dict) else ''}"
    for container in item.containers:
        context = container.get("securityContext")
        context = context if isinstance(context, dict) else {}
        added = context.get("capabilities") if isinstance(context.get("capabilities"), dict) else {}
        if context.get("privileged") is True:
            return "privileged: true"
        if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
            return "runs as root"
        if added and added.get("add"):
            return f"adds capabilities {added['add']}"
    return ""


def _token(item: Manifest) -> str:
    for pod in item.pods:
        if pod.get("containers") and pod.get("automountServiceAccountToken") is not False:
            return "mounts the service account's token"
    return ""


def _no_limits(item: Manifest) -> str:
    for container in item.containers:
        held = container.get("resources")
        limits = held.get("limits") if isinstance(held, dict) else None
        if not isinstance(limits, dict) or "memory" not in limits:
            return f"container {container.get('name', '')} has no memory limit"
    return ""


def _no_default_deny(document: Document) -> Iterator[Hit]:
    spaces = [m for m in document.manifests if m.kind == "Namespace"]
    denied = {m.namespace for m in document.manifests if m.kind == "NetworkPolicy" and _denies_egress(m)}
    for space in spaces:
        if space.name not in denied:
            yield Hit(space.line, f"Namespace/{space.name}: no NetworkPolicy denies egress by default")


def _denies_egress(item: Manifest) -> bool:
    types = item.get("spec.policyTypes")
    return item.get("spec.podSelector") in ({}, None) and isinstance(types, list) and "Egress" in types


def _broad_binding(item: Manifest) -> str:
    role, subjects = str(item.get("roleRef.name", "")), item.get("subjects")
    names = [s.get("name") for s in subjects if isinstance(s, dict)] if isinstance(subjects, list) else []
    defaults = [n for n in names if n in _DEFAULTS]
    return f"gives {role} to {defaults[0]}" if defaults and role in _BROAD else ""


def _no_sidecar(item: Manifest) -> str:
    for path in _META:
        held = item.get(path)
        if isinstance(held, dict) and str(held.get("sidecar.istio.io/inject", "")).lower() == "false":
            return "sidecar.istio.io/inject: false"
    return ""


def _permissive(item: Manifest) -> str:
    mode = str(item.get("spec.mtls.mode", "")).upper()
    return f"mtls mode {mode}" if mode in {"PERMISSIVE", "DISABLE"} else ""


def _open_authorization(item: Manifest) -> str:
    rules = item.get("spec.rules")
    open_rule = isinstance(rules, list) and any(r in ({}, None) for r in rules)
    return "lets everyone in" if open_rule and str(item.get("spec.action", "ALLOW")) == "ALLOW" else ""


def _kfam(document: Document) -> Iterator[Hit]:
    exposed = [m for m in document.manifests if m.kind == "VirtualService" and "/kfam" in str(m.body)]
    policies = [m for m in document.manifests if m.kind == "AuthorizationPolicy"]
    guarded = any("kfam" in f"{m.name}{m.get('spec.selector')}" for m in policies)
    for item in [] if guarded else exposed:
        yield Hit(item.line, f"VirtualService/{item.name}: reaches KFAM without an AuthorizationPolicy")


def _model_source(item: Manifest) -> str:
    for framework in ("model", "sklearn", "xgboost", "lightgbm", "pytorch", "tensorflow", "onnx", "pmml"):
        uri = str(item.get(f"spec.predictor.{framework}.storageUri", ""))
        if uri.startswith("http://"):
            return f"storageUri {uri[:60]} is not encrypted"
        if uri.endswith(_PICKLES):
            return f"storageUri {uri[-60:]} is a pickle"
        if re.search(r"(:latest|/latest)/?$", uri):
            return f"storageUri {uri[-60:]} changes under it"
    return ""


def _unbounded_service(item: Manifest) -> str:
    lacking = [key for key in ("maxReplicas", "timeout") if item.get(f"spec.predictor.{key}") is None]
    return f"no {' and no '.join(lacking)}" if lacking else ""


def _unpinned_image(item: Setting) -> bool:
    return bool(item.text) and not _DIGEST.search(item.text)


def _is_pipeline(item: Setting) -> bool:
    return item.key == "sdkVersion" or item.key.startswith("deploymentSpec.")


def _installs(call: Call) -> bool:
    return bool(call.keywords.get("packages_to_install"))


def _installs_at_start(document: Document) -> Iterator[Hit]:
    if not any(_is_pipeline(s) for s in document.settings):
        return
    for item in document.settings:
        if ".container.command" in item.key and "pip install" in item.text:
            yield Hit(item.line, "a step installs packages when it starts")


class Kubernetes(Checklist, name="kubernetes", techniques=("AML.T0105", "AML.T0029")):
    """Pods, permissions and networks of training and serving."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "k8s-dangerous-pod",
            Severity.HIGH,
            "the pod can take over its node",
            "no privileges, host namespaces, host paths or root",
            "AML.T0105",
            deployed(_WORKLOADS, _dangerous_pod),
        ),
        Check(
            "k8s-token",
            Severity.MEDIUM,
            "code of the job can call the cluster's API",
            "automountServiceAccountToken: false",
            "AML.T0055",
            deployed(("Job", "CronJob", "Pod", "Workflow"), _token),
        ),
        Check(
            "k8s-egress",
            Severity.MEDIUM,
            "what trains here can send data anywhere",
            "a NetworkPolicy for all pods with policyTypes: [Egress]",
            "AML.T0025",
            _no_default_deny,
        ),
        Check(
            "k8s-no-limits",
            Severity.MEDIUM,
            "one request can take all memory of the node",
            "resources.limits",
            "AML.T0029",
            deployed(("Deployment", "StatefulSet", "InferenceService"), _no_limits),
        ),
    )


class Istio(Checklist, name="istio", techniques=("AML.T0049",)):
    """Istio's encryption and permissions."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "istio-permissive",
            Severity.HIGH,
            "traffic in clear is accepted",
            "mtls: {mode: STRICT}",
            "AML.T0049",
            deployed(("PeerAuthentication",), _permissive),
        ),
        Check(
            "istio-open-policy",
            Severity.HIGH,
            "an authorization policy lets everyone in",
            "rules that name who and what",
            "AML.T0012",
            deployed(("AuthorizationPolicy",), _open_authorization),
        ),
    )


class Kubeflow(Checklist, name="kubeflow", techniques=("AML.T0010.001", "AML.T0012")):
    """Kubeflow Pipelines and the platform around it."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "kfp-installs",
            Severity.MEDIUM,
            "a step installs packages each time it starts",
            "an image that holds them, by digest",
            "AML.T0010.001",
            either(called("*component", "*create_component_from_func", bad=_installs), _installs_at_start),
        ),
        Check(
            "kfp-image",
            Severity.MEDIUM,
            "the image of a step can change under it",
            "image: NAME@sha256:...",
            "AML.T0010.004",
            setting("deploymentSpec.executors.*.container.image", _unpinned_image, where=_is_pipeline),
        ),
        Check(
            "kfp-broad-role",
            Severity.HIGH,
            "every pipeline step may do almost anything in the cluster",
            "a role with what steps need",
            "AML.T0012",
            deployed(("RoleBinding", "ClusterRoleBinding"), _broad_binding),
        ),
        Check(
            "kfp-no-sidecar",
            Severity.MEDIUM,
            "the pod stands outside the mesh, its policies and its encryption",
            "leave the sidecar in, or add a NetworkPolicy",
            "AML.T0049",
            deployed(_WORKLOADS, _no_sidecar),
        ),
        Check(
            "kubeflow-kfam",
            Severity.HIGH,
            "access management can be reached by every pod",
            "an AuthorizationPolicy that allows the dashboard only",
            "AML.T0012",
            _kfam,
        ),
        Check(
            "kubeflow-static-user",
            Severity.HIGH,
            "a user with a published password can log in",
            "no staticPasswords; an identity provider",
            "AML.T0012",
            either(
                setting("staticPasswords*", lambda s: "hash" in s.key),
                deployed(
                    ("ConfigMap",), lambda m: "staticPasswords" if "staticPasswords" in str(m.get("data", "")) else ""
                ),
            ),
        ),
        Check(
            "kfp-artifacts",
            Severity.MEDIUM,
            "the pipelines' interface serves artifacts of other namespaces",
            "ALLOWED_ARTIFACT_DOMAIN_REGEX, and a NetworkPolicy",
            "AML.T0035",
            deployed(
                ("Deployment",),
                lambda m: (
                    "ARTIFACTS_SERVICE_PROXY_ENABLED is not true"
                    if m.name == "ml-pipeline-ui"
                    and not re.search(r"ARTIFACTS_SERVICE_PROXY_ENABLED.{0,20}true", str(m.body))
                    else ""
                ),
            ),
        ),
    )


class KServe(Checklist, name="kserve", techniques=("AML.T0010.003", "AML.T0029")):
    """KServe's inference services."""

    rows: ClassVar[tuple[Check, ...]] = (
        Check(
            "kserve-source",
            Severity.HIGH,
            "the model comes in clear, can change, or runs code when it is loaded",
            "https or object storage, a fixed version, ONNX or skops",
            "AML.T0010.003",
            deployed(("InferenceService",), _model_source),
        ),
        Check(
            "kserve-unbounded",
            Severity.MEDIUM,
            "nothing bounds what an attacker can make it cost",
            "maxReplicas and timeout",
            "AML.T0034",
            deployed(("InferenceService",), _unbounded_service),
        ),
    )
