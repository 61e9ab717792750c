"""Kubernetes manifests that put a verifying init container before every model server, rendered as YAML.

Deterministic: the same place gives the same bytes. ``assay.integrations.admission`` refuses what goes around them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from assay.core.errors import SettingError
from assay.core.files import write_text

Manifest: TypeAlias = dict[str, Any]

GUARD, KSERVE_GUARD = "assay-verify", "storage-initializer"
MODEL_VOLUME, TRUST_VOLUME, SOURCE_VOLUME = "assay-model", "assay-trust", "assay-release"
KSERVE_MODEL_VOLUME, KSERVE_SOURCE_VOLUME = "kserve-provision-location", "kserve-pvc-source"
MODEL_PATH, TRUST_PATH, SOURCE_PATH, KSERVE_SOURCE_PATH = "/mnt/models", "/etc/assay", "/mnt/release", "/mnt/pvc"
TRUST_FILE = f"{TRUST_PATH}/trust.json"
COMMAND = ("assay", "enforce", "run")
KSERVE_COMMAND = ("python", "-I", "-m", "assay.integrations.kserve")
LABEL = "assay.dev/model-server"
_IMAGE = re.compile(r"[a-z0-9]([a-z0-9._:/-]{0,198}[a-z0-9])?@sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = 65532


@dataclass(frozen=True, slots=True)
class Place:
    """Where enforcement is set up. image: holds Assay, by digest, ``NAME@sha256:...``; tags are refused.

    trust: ConfigMap with ``trust.json``; namespace: of the model servers; deployment: to patch, its server container
    has the same name; claim: volume claim that holds the releases.
    """

    image: str
    trust: str = "assay-trust"
    namespace: str = "models"
    deployment: str = "model-server"
    claim: str = "model-releases"

    def __post_init__(self) -> None:
        name = self.image.partition("@")[0]
        if not _IMAGE.fullmatch(self.image) or ":" in name.rpartition("/")[2]:
            raise SettingError(
                f"{self.image[:80]!r} is no digest, and a tag can change under it", where="--image",
                remedy="Give NAME@sha256:DIGEST without a tag",
            )  # fmt: skip
        for option in ("trust", "namespace", "deployment", "claim"):
            if not _NAME.fullmatch(getattr(self, option)):
                raise SettingError(f"{getattr(self, option)[:80]!r} is no Kubernetes name", where=option)


def deployment_patch(place: Place) -> Manifest:
    """Return a strategic merge patch of a Deployment: verify first, then serve from a read-only copy."""
    guard = {
        **_guard(place, GUARD, COMMAND),
        "args": [f"{SOURCE_PATH}/release", MODEL_PATH, "--trust", TRUST_FILE],
        "volumeMounts": [
            _mount(SOURCE_VOLUME, SOURCE_PATH),
            _mount(TRUST_VOLUME, TRUST_PATH),
            {"name": MODEL_VOLUME, "mountPath": MODEL_PATH},
        ],
    }
    server = {
        "name": place.deployment,
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": _context(),
        "volumeMounts": [_mount(MODEL_VOLUME, MODEL_PATH)],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [guard],
        "containers": [server],
        "volumes": [
            {"name": MODEL_VOLUME, "emptyDir": {"sizeLimit": "2Gi"}},
            _trust_volume(place),
            {"name": SOURCE_VOLUME, "persistentVolumeClaim": {"claimName": place.claim, "readOnly": True}},
        ],
    }  # fmt: skip
    template = {"metadata": {"labels": {LABEL: "true"}}, "spec": pod}
    return _object("apps/v1", "Deployment", place.deployment, {"template": template}, namespace=place.namespace)


def storage_container(place: Place) -> Manifest:
    """Return the ClusterStorageContainer that makes KServe start the verifying initialiser.

    KServe rewrites pvc://CLAIM/PATH to /mnt/pvc/PATH before it looks for a container, so both forms are listed.
    """
    container = {
        **_guard(place, KSERVE_GUARD, KSERVE_COMMAND),
        "env": [{"name": "ASSAY_TRUST", "value": TRUST_FILE}],
        "volumeMounts": [_mount(TRUST_VOLUME, TRUST_PATH)],
    }
    spec = {
        "container": container,
        "supportedUriFormats": [{"prefix": "pvc://"}, {"prefix": f"{KSERVE_SOURCE_PATH}/"}],
        "workloadType": "initContainer",
    }
    return _object("serving.kserve.io/v1alpha1", "ClusterStorageContainer", "assay", spec)


def inference_service(place: Place) -> Manifest:
    """Return a sample InferenceService that the admission policies let through."""
    predictor = {
        "automountServiceAccountToken": False,
        "maxReplicas": 2,
        "timeout": 30,
        "model": {
            "modelFormat": {"name": "onnx"},
            "storageUri": f"pvc://{place.claim}/release",
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "securityContext": _context(),
        },
        "volumes": [_trust_volume(place)],
    }
    spec = {"predictor": predictor}
    return _object("serving.kserve.io/v1beta1", "InferenceService", place.deployment, spec, namespace=place.namespace)


def no_egress(place: Place) -> Manifest:
    """Return the NetworkPolicy that lets no pod of the namespace open a connection."""
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": []}
    return _object("networking.k8s.io/v1", "NetworkPolicy", "assay-no-egress", spec, namespace=place.namespace)


def rendered(part: str, place: Place) -> dict[str, str]:
    """Return the YAML of a part (pod, kserve, admission, network, all) by file name, ready for ``kubectl``."""
    # The policies name the volumes and commands that are rendered here, so they import this module.
    from assay.integrations.admission import policies

    parts: dict[str, dict[str, Callable[[Place], list[Manifest]]]] = {
        "pod": {"deployment-patch.yaml": lambda p: [deployment_patch(p)]},
        "kserve": {
            "storage-container.yaml": lambda p: [storage_container(p)],
            "inference-service.yaml": lambda p: [inference_service(p)],
        },
        "admission": {"admission.yaml": policies},
        "network": {"network-policy.yaml": lambda p: [no_egress(p)]},
    }
    if part not in {*parts, "all"}:
        raise SettingError(f"{part!r} is no part", remedy=f"Use one of {', '.join(parts)}, all")
    chosen = parts if part == "all" else {part: parts[part]}
    return {name: _text(make(place)) for files in chosen.values() for name, make in files.items()}


def write_manifests(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Write rendered manifests into a folder and return their paths."""
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def _guard(place: Place, name: str, command: tuple[str, ...]) -> Manifest:
    return {
        "name": name,
        "image": place.image,
        "command": list(command),
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {**_context(), "runAsUser": _USER},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _context() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _mount(volume: str, path: str) -> Manifest:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _trust_volume(place: Place) -> Manifest:
    return {
        "name": TRUST_VOLUME,
        "configMap": {"name": place.trust, "items": [{"key": "trust.json", "path": "trust.json"}]},
    }


def _object(version: str, kind: str, name: str, spec: Manifest, *, namespace: str = "") -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _text(manifests: list[Manifest]) -> str:
    # Parts that are the same object would be written as YAML references, which people cannot read.
    return "---\n".join(yaml.dump(m, Dumper=_Plain, sort_keys=False, width=10_000) for m in manifests)


class _Plain(yaml.SafeDumper):
    """Writes everything out in full."""

    def ignore_aliases(self, data: object) -> bool:
        """Return True: nothing is written as a reference."""
        return data is not self
