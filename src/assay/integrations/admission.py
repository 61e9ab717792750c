"""Admission policies in CEL: pods and inference services that go around the verifying init container are refused.

Default deny: what an expression does not know fails it, and an expression that cannot be evaluated refuses the
request (``failurePolicy: Fail``). https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from assay.integrations.kubernetes import (
    COMMAND,
    GUARD,
    KSERVE_COMMAND,
    KSERVE_GUARD,
    KSERVE_MODEL_VOLUME,
    KSERVE_SOURCE_PATH,
    LABEL,
    MODEL_PATH,
    MODEL_VOLUME,
    SOURCE_PATH,
    SOURCE_VOLUME,
    TRUST_FILE,
    TRUST_PATH,
    TRUST_VOLUME,
    Manifest,
    Place,
)

_POD_POLICY, _SERVICE_POLICY = "assay-verified-pods", "assay-verified-services"
_KSERVE_LABEL = "serving.kserve.io/inferenceservice"
# What may be mounted into the guard: nothing that could hide its program, its keys or its libraries.
_GUARD_MOUNTS = (MODEL_PATH, TRUST_PATH, SOURCE_PATH, KSERVE_SOURCE_PATH, "/etc/ssl/custom-certs")
# KServe adds these itself. PATH, LD_PRELOAD, PYTHONPATH and the like are not among them.
_GUARD_VARIABLES = "^(ASSAY_TRUST|(AWS|S3|CA_BUNDLE)_[A-Z_]+)$"
# A path that is written in another way than it is read.
_CROOKED = "(//|/[.]+(/|$))"
_DIGEST = "@sha256:[0-9a-f]{64}$"


def policies(place: Place) -> list[Manifest]:
    """Return the policies and their bindings.

    Every pod and inference service of the namespace is held to them, labelled or not; elsewhere in the cluster,
    pods that are labelled as model servers and those that KServe makes.
    """
    bound = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}}
    labelled = {"objectSelector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}}
    served = {"objectSelector": {"matchExpressions": [{"key": _KSERVE_LABEL, "operator": "Exists"}]}}
    return [
        pod_policy(place),
        _binding(f"{_POD_POLICY}-{place.namespace}", _POD_POLICY, bound),
        _binding(f"{_POD_POLICY}-labelled", _POD_POLICY, labelled),
        _binding(f"{_POD_POLICY}-kserve", _POD_POLICY, served),
        service_policy(place),
        _binding(f"{_SERVICE_POLICY}-{place.namespace}", _SERVICE_POLICY, bound),
    ]


def pod_policy(place: Place) -> Manifest:
    """Return the policy on pods: one guard, run as rendered, before a server that reads only what it let through."""
    resources = ["pods", "pods/ephemeralcontainers"]
    return _policy(_POD_POLICY, ("", "v1", resources), _pod_variables(), _pod_rules(place))


def _pod_variables() -> list[tuple[str, str]]:
    spec, names = "object.spec", _list((GUARD, KSERVE_GUARD))
    temporary = f"(has({spec}.ephemeralContainers) ? {spec}.ephemeralContainers : [])"
    rest = f"variables.inits.filter(c, !(c.name in {names}))"
    is_kserve = f"variables.guards.exists(c, c.name == '{KSERVE_GUARD}')"
    return [
        ("inits", f"has({spec}.initContainers) ? {spec}.initContainers : []"),
        ("guards", f"variables.inits.filter(c, c.name in {names})"),
        ("others", f"{spec}.containers + {rest} + {temporary}"),
        ("volumes", f"has({spec}.volumes) ? {spec}.volumes : []"),
        ("model", f"{is_kserve} ? '{KSERVE_MODEL_VOLUME}' : '{MODEL_VOLUME}'"),
    ]


def _pod_rules(place: Place) -> list[tuple[str, str]]:
    return [*_guard_rules(place), *_server_rules(place)]


def _guard_rules(place: Place) -> list[tuple[str, str]]:
    """Return what holds for the init container: its image, what it runs, and what could change that."""
    pod = _all(
        f"c.name == '{GUARD}'", f"c.command == {_list(COMMAND)}", "c.args.size() == 4", "!c.args[0].startsWith('-')",
        f"c.args[1] == '{MODEL_PATH}'", "c.args[2] == '--trust'", f"c.args[3] == '{TRUST_FILE}'",
    )  # fmt: skip
    kserve = _all(
        f"c.name == '{KSERVE_GUARD}'", f"c.command == {_list(KSERVE_COMMAND)}", "c.args.size() == 2",
        f"c.args[1] == '{MODEL_PATH}'", "has(c.env)", "c.env.exists(e, e.name == 'ASSAY_TRUST')",
    )  # fmt: skip
    variable = _all(
        f"e.name.matches('{_GUARD_VARIABLES}')",
        f"(e.name != 'ASSAY_TRUST' || (has(e.value) && e.value == '{TRUST_FILE}'))",
    )
    alone = _all(
        "!has(c.restartPolicy)", "!has(c.workingDir)", "!has(c.envFrom)", f"(!has(c.env) || c.env.all(e, {variable}))"
    )
    mounts = _all(
        "has(c.volumeMounts)",
        f"c.volumeMounts.all(m, !m.mountPath.matches('{_CROOKED}'))",
        f"c.volumeMounts.all(m, m.mountPath in {_list(_GUARD_MOUNTS)} || m.mountPath.startsWith('/var/run/secrets/'))",
        f"c.volumeMounts.exists(m, {_mounted(repr(TRUST_VOLUME), TRUST_PATH)})",
        f"c.volumeMounts.exists(m, {_mounted('variables.model', MODEL_PATH)})",
    )
    return [
        ("variables.guards.size() == 1", "one init container of Assay verifies the release"),
        _guard(f"c.image == '{place.image}'", f"the init container's image is {place.image}"),
        _guard(f"has(c.command) && has(c.args) && (({pod}) || ({kserve}))", "the init container runs as rendered"),
        _guard(alone, "the server waits for the init container, and no variable changes what that does"),
        _guard(mounts, "the init container has the keys, the model's folder, and nothing that hides its program"),
    ]


def _server_rules(place: Place) -> list[tuple[str, str]]:
    """Return what holds for the volumes and all other containers: they read only what was let through."""
    read_only = "m.name != variables.model || (has(m.readOnly) && m.readOnly)"
    covers = f"m.name == variables.model || !m.mountPath.matches('^{MODEL_PATH}(/|$)')"
    straight = f"!m.mountPath.matches('{_CROOKED}') && ({covers})"
    reads = f"c.volumeMounts.exists(m, {_mounted('variables.model', MODEL_PATH)})"
    host = _all(*(f"(!has(object.spec.{key}) || !object.spec.{key})" for key in ("hostPID", "hostIPC")))
    confined = "!has(c.securityContext) || !has(c.securityContext.privileged) || !c.securityContext.privileged"
    return [
        _trusted("variables.volumes", place),
        ("variables.volumes.all(v, !has(v.hostPath))", "no volume is a folder of the node, where every model lies"),
        (
            f"{host} && variables.others.all(c, {confined}) && variables.guards.all(c, {confined})",
            "no container reaches the node and what runs on it",
        ),
        (
            "variables.volumes.exists(v, v.name == variables.model && has(v.emptyDir))",
            "the model's folder is empty when the pod starts",
        ),
        (_others(straight), "nothing is mounted over the model's folder"),
        (_others(read_only), "only the init container writes the model's folder"),
        (_others(f"m.name != '{SOURCE_VOLUME}'"), "only the init container sees the release before it is verified"),
        (f"object.spec.containers.exists(c, has(c.volumeMounts) && {reads})", "the server reads the verified model"),
        (
            f"variables.others.all(c, has(c.image) && c.image.matches('{_DIGEST}'))",
            "every image is named by digest",
        ),
    ]


def service_policy(place: Place) -> Manifest:
    """Return the policy on KServe's inference services: one model, from a volume, with the trusted keys beside it."""
    predictor = "object.spec.predictor"
    model = f"{predictor}.model"
    from_volume = _all(f"has({model})", f"has({model}.storageUri)", f"{model}.storageUri.startsWith('pvc://')")
    elsewhere = ("containers", "initContainers", "workerSpec", "storageUris")
    nowhere_else = _all(*(f"!has({predictor}.{key})" for key in elsewhere), f"(!has({model}) || !has({model}.storage))")
    volumes = f"(has({predictor}.volumes) ? {predictor}.volumes : [])"
    rules = [
        (from_volume, "predictor.model.storageUri names a release on a volume: pvc://CLAIM/PATH"),
        (nowhere_else, "the model comes from nowhere else, and KServe alone adds containers"),
        ("!has(object.spec.transformer) && !has(object.spec.explainer)", "nothing else runs beside the model"),
        _trusted(volumes, place),
    ]
    return _policy(_SERVICE_POLICY, ("serving.kserve.io", "*", ["inferenceservices"]), [], rules)


def _all(*terms: str) -> str:
    return " && ".join(terms)


def _guard(term: str, message: str) -> tuple[str, str]:
    return f"variables.guards.all(c, {term})", message


def _others(term: str) -> str:
    return f"variables.others.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, {term}))"


def _mounted(volume: str, path: str) -> str:
    """Return the test of a mount ``m``: this volume, whole, at this path."""
    return _all(f"m.name == {volume}", f"m.mountPath == '{path}'", "!has(m.subPath)", "!has(m.subPathExpr)")


def _trusted(volumes: str, place: Place) -> tuple[str, str]:
    keys = _all(f"v.name == '{TRUST_VOLUME}'", "has(v.configMap)", f"v.configMap.name == '{place.trust}'")
    return f"{volumes}.exists(v, {keys})", f"the trusted keys come from ConfigMap {place.trust}"


def _policy(
    name: str,
    matched: tuple[str, str, list[str]],
    variables: Iterable[tuple[str, str]],
    rules: Iterable[tuple[str, str]],
) -> Manifest:
    group, version, resources = matched
    rule = {
        "apiGroups": [group], "apiVersions": [version], "operations": ["CREATE", "UPDATE"], "resources": resources,
    }  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [rule]},
            "variables": [{"name": n, "expression": e} for n, e in variables],
            "validations": [
                {"expression": e, "message": f"refused unless {m}", "reason": "Forbidden"} for e, m in rules
            ],
        },
    }


def _binding(name: str, policy: str, matched: Manifest) -> Manifest:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": policy, "validationActions": ["Deny"], "matchResources": matched},
    }


def _list(words: Iterable[str]) -> str:
    """Return a CEL list of texts that hold no quotes."""
    return json.dumps(list(words)).replace('"', "'")
