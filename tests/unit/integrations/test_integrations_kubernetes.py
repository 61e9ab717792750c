"""The manifests are well formed, hold no hole that we know, and their policies admit what they render and no more."""

from __future__ import annotations

import copy
import warnings

import pytest
import yaml
from click.testing import CliRunner

from assay.core.errors import SettingError
from assay.core.finding import Severity
from assay.integrations.admission import pod_policy, policies, service_policy
from assay.integrations.kubernetes import (
    Place,
    deployment_patch,
    inference_service,
    rendered,
    storage_container,
    write_manifests,
)
from assay.supply.pipeline.scan import check_pipeline

IMAGE = "registry.example/team/assay@sha256:" + "a" * 64
SERVER = "registry.example/team/server@sha256:" + "b" * 64
PLACE = Place(IMAGE)


def documents(part="all"):
    return [d for text in rendered(part, PLACE).values() for d in yaml.safe_load_all(text)]


def test_the_manifests_parse_and_are_the_same_every_time():
    assert rendered("all", PLACE) == rendered("all", Place(IMAGE))
    kinds = [d["kind"] for d in documents()]
    assert kinds == [
        "Deployment", "ClusterStorageContainer", "InferenceService", "ValidatingAdmissionPolicy",
        *["ValidatingAdmissionPolicyBinding"] * 3, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
        "NetworkPolicy",
    ]  # fmt: skip
    for text in rendered("all", PLACE).values():
        assert "&id" not in text and "!!" not in text
    for found in documents():
        assert set(found) == {"apiVersion", "kind", "metadata", "spec"} and found["metadata"]["name"]


def test_our_own_check_of_pipelines_finds_nothing_at_all(tmp_path):
    paths = write_manifests(tmp_path, rendered("all", PLACE))
    evidence = check_pipeline(paths)
    assert evidence.findings == () and evidence.not_checked == ()
    # The check does look at these files: a hole put into one is found.
    text = paths[0].read_text().replace("emptyDir:\n", "hostPath:\n          path: /\n        emptyDir:\n", 1)
    paths[0].write_text(text)
    assert [f.severity for f in check_pipeline(paths).findings] == [Severity.HIGH]


def containers():
    pod = deployment_patch(PLACE)["spec"]["template"]["spec"]
    yield from (*pod["initContainers"], *pod["containers"])
    yield storage_container(PLACE)["spec"]["container"]


@pytest.mark.parametrize("container", list(containers()), ids=lambda c: c["name"])
def test_containers_are_confined(container):
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True and context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert all(
        m["readOnly"] for m in container["volumeMounts"] if m["name"] != "assay-model" or "image" not in container
    )


def test_names_agree_across_the_manifests():
    pod = deployment_patch(PLACE)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    names = {v["name"] for v in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert {m["name"] for m in container["volumeMounts"]} <= names
    service = inference_service(PLACE)["spec"]["predictor"]
    assert service["volumes"][0]["configMap"]["name"] == "assay-trust" and not service["automountServiceAccountToken"]
    written = policies(PLACE)
    known = {p["metadata"]["name"] for p in written if p["kind"] == "ValidatingAdmissionPolicy"}
    for binding in (p["spec"] for p in written if p["kind"].endswith("Binding")):
        assert binding["policyName"] in known and binding["validationActions"] == ["Deny"]
    for policy in (pod_policy(PLACE), service_policy(PLACE)):
        assert policy["spec"]["failurePolicy"] == "Fail"


def test_the_network_policy_lets_nothing_out():
    (policy,) = documents("network")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Egress"], "egress": []}


@pytest.mark.parametrize(
    "image",
    ["", "assay", "assay:latest", "assay:1.0@sha256:" + "a" * 64, "assay@sha256:" + "a" * 63, "assay@sha256:" + "A" * 64,
     "assay@sha512:" + "a" * 128, "a'b@sha256:" + "a" * 64, IMAGE + "\n", IMAGE + " ", "@sha256:" + "a" * 64],
)  # fmt: skip
def test_images_without_a_digest_are_refused(image):
    with pytest.raises(SettingError):
        Place(image)


@pytest.mark.parametrize("option", ["trust", "namespace", "deployment", "claim"])
@pytest.mark.parametrize("name", ["", "A", "a'b", "-a", "a" * 64, "a\nb", "a) || (true"])
def test_names_that_could_change_an_expression_are_refused(option, name):
    with pytest.raises(SettingError):
        Place(IMAGE, **{option: name})


def test_a_registry_with_a_port_is_fine():
    assert Place("registry.example:5000/assay@sha256:" + "0" * 64).image


def test_the_command_renders(tmp_path):
    from assay.cli.enforce import enforce

    done = CliRunner().invoke(enforce, ["render", "all", "--image", IMAGE])
    assert done.exit_code == 0 and list(yaml.safe_load_all(done.output)) == documents()
    done = CliRunner().invoke(enforce, ["render", "pod", "--image", IMAGE, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0 and [p.name for p in (tmp_path / "out").iterdir()] == ["deployment-patch.yaml"]
    done = CliRunner().invoke(enforce, ["render", "pod", "--image", "assay:latest"])
    assert isinstance(done.exception, SettingError)
    assert CliRunner().invoke(enforce, ["render", "pod"]).exit_code == 2
    assert CliRunner().invoke(enforce, ["render", "pods", "--image", IMAGE]).exit_code == 2


# What the policies let through, evaluated by an implementation of CEL.


@pytest.fixture(scope="module")
def cel():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("celpy")


@pytest.fixture(scope="module")
def judge(cel):
    """Return the messages of the rules that an object fails; one that cannot be evaluated fails, as with the API server."""
    environment, programs = cel.Environment(), {}

    def value(expression, activation):
        if expression not in programs:
            programs[expression] = environment.program(environment.compile(expression))
        return programs[expression].evaluate(activation)

    def failed(policy, thing):
        activation = {"object": cel.json_to_cel(thing), "variables": cel.json_to_cel({})}
        for variable in policy["spec"]["variables"]:
            activation["variables"][cel.celtypes.StringType(variable["name"])] = value(
                variable["expression"], activation
            )
        found = []
        for rule in policy["spec"]["validations"]:
            try:
                good = bool(value(rule["expression"], activation))
            except cel.CELEvalError:
                good = False
            if not good:
                found.append(rule["message"])
        return found

    return failed


def plain_pod():
    spec = copy.deepcopy(deployment_patch(PLACE)["spec"]["template"]["spec"])
    spec["containers"][0]["image"] = SERVER
    token = {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    spec["initContainers"][0]["volumeMounts"].append(token)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def kserve_pod():
    """Return the pod that KServe makes of the sample: its initialiser, merged with our storage container."""
    guard = copy.deepcopy(storage_container(PLACE)["spec"]["container"])
    guard["args"] = ["/mnt/pvc/release", "/mnt/models"]
    guard["volumeMounts"] += [
        {"name": "kserve-provision-location", "mountPath": "/mnt/models"},
        {"name": "kserve-pvc-source", "mountPath": "/mnt/pvc", "readOnly": True},
    ]
    server = {
        "name": "kserve-container", "image": SERVER,
        "volumeMounts": [
            {"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": True},
            {"name": "kserve-pvc-source", "mountPath": "/mnt/pvc", "readOnly": True},
        ],
    }  # fmt: skip
    volumes = [
        *inference_service(PLACE)["spec"]["predictor"]["volumes"],
        {"name": "kserve-provision-location", "emptyDir": {}},
        {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": "model-releases"}},
    ]
    spec = {"initContainers": [guard], "containers": [server], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


PODS = {"plain": plain_pod, "kserve": kserve_pod}


@pytest.mark.parametrize("kind", PODS)
def test_pods_as_rendered_are_admitted(judge, kind):
    assert judge(pod_policy(PLACE), PODS[kind]()) == []


def _guard(pod):
    return pod["spec"]["initContainers"][0]


def _server(pod):
    return pod["spec"]["containers"][0]


def _model(pod):
    return next(v for v in pod["spec"]["volumes"] if "emptyDir" in v)


def _writer(pod):
    mounts = [{"name": _model(pod)["name"], "mountPath": "/x"}]
    return {"name": "more", "image": SERVER, "volumeMounts": mounts}


def _mount(pod, path):
    return next(m for m in _guard(pod)["volumeMounts"] if m["mountPath"] == path)


def _over(path):
    return {"name": "other", "mountPath": path, "readOnly": True}


WAYS_AROUND = {
    "no init container": lambda p: p["spec"].pop("initContainers"),
    "another init container": lambda p: _guard(p).update(name="download"),
    "two guards": lambda p: p["spec"]["initContainers"].append(copy.deepcopy(_guard(p))),
    "another image": lambda p: _guard(p).update(image="registry.example/team/assay@sha256:" + "c" * 64),
    "a tag": lambda p: _guard(p).update(image="registry.example/team/assay:latest"),
    "no image": lambda p: _guard(p).pop("image"),
    "another command": lambda p: _guard(p).update(command=["true"]),
    "no command": lambda p: _guard(p).pop("command"),
    "no arguments": lambda p: _guard(p).pop("args"),
    "another destination": lambda p: _guard(p)["args"].__setitem__(1, "/tmp"),
    "one argument more": lambda p: _guard(p)["args"].append("--help"),
    "does not wait": lambda p: _guard(p).update(restartPolicy="Always"),
    "another working folder": lambda p: _guard(p).update(workingDir="/mnt/pvc"),
    "library injected": lambda p: _guard(p).setdefault("env", []).append({"name": "LD_PRELOAD", "value": "/x.so"}),
    "path of modules": lambda p: _guard(p).setdefault("env", []).append({"name": "PYTHONPATH", "value": "/x"}),
    "search path": lambda p: _guard(p).setdefault("env", []).append({"name": "PATH", "value": "/x"}),
    "other keys": lambda p: _guard(p).setdefault("env", []).append({"name": "ASSAY_TRUST", "value": "/mnt/pvc/t"}),
    "keys from a secret": lambda p: _guard(p).setdefault("env", []).append({"name": "ASSAY_TRUST", "valueFrom": {}}),
    "variables from elsewhere": lambda p: _guard(p).update(envFrom=[{"configMapRef": {"name": "x"}}]),
    "program hidden": lambda p: _guard(p)["volumeMounts"].append({"name": "x", "mountPath": "/usr/local/lib"}),
    "keys hidden": lambda p: _guard(p)["volumeMounts"].append({"name": "x", "mountPath": "/etc/assay/trust.json"}),
    "no keys": lambda p: _guard(p)["volumeMounts"].remove(_mount(p, "/etc/assay")),
    "keys from a part": lambda p: _mount(p, "/etc/assay").update(subPath="x"),
    "keys of another volume": lambda p: _mount(p, "/etc/assay").update(name=_model(p)["name"]),
    "keys of another map": lambda p: [
        v["configMap"].update(name="mine") for v in p["spec"]["volumes"] if "configMap" in v
    ],
    "keys in no map": lambda p: [
        (v.pop("configMap"), v.update(emptyDir={})) for v in p["spec"]["volumes"] if v["name"] == "assay-trust"
    ],
    "model elsewhere": lambda p: _mount(p, "/mnt/models").update(name="other"),
    "model on a volume": lambda p: _model(p).update(persistentVolumeClaim=_model(p).pop("emptyDir")),
    "the node's folders": lambda p: p["spec"]["volumes"].append({"name": "node", "hostPath": {"path": "/var"}}),
    "the node's processes": lambda p: p["spec"].update(hostPID=True),
    "the node's memory": lambda p: p["spec"].update(hostIPC=True),
    "a privileged server": lambda p: _server(p).update(securityContext={"privileged": True}),
    "a privileged guard": lambda p: _guard(p).update(securityContext={"privileged": True}),
    "a privileged debug container": lambda p: p["spec"].update(
        ephemeralContainers=[{"name": "d", "image": SERVER, "securityContext": {"privileged": True}}]
    ),
    "no volumes": lambda p: p["spec"].pop("volumes"),
    "server writes": lambda p: [m.pop("readOnly") for m in _server(p)["volumeMounts"]],
    "server may write": lambda p: [m.update(readOnly=False) for m in _server(p)["volumeMounts"]],
    "server reads another": lambda p: _server(p).pop("volumeMounts"),
    "server reads a part": lambda p: [m.update(subPath="x") for m in _server(p)["volumeMounts"]],
    "another container writes": lambda p: p["spec"]["containers"].append(_writer(p)),
    "a later init container writes": lambda p: p["spec"]["initContainers"].append(_writer(p)),
    "a debug container writes": lambda p: p["spec"].update(ephemeralContainers=[_writer(p)]),
    "server by tag": lambda p: _server(p).update(image="registry.example/server:latest"),
    "debug by tag": lambda p: p["spec"].update(ephemeralContainers=[{"name": "d", "image": "busybox"}]),
    "server's model hidden": lambda p: _server(p)["volumeMounts"].append(_over("/mnt/models/model.onnx")),
    "server's model hidden crookedly": lambda p: _server(p)["volumeMounts"].append(_over("/mnt/x/../models/m")),
    "server's model hidden with more slashes": lambda p: _server(p)["volumeMounts"].append(_over("/mnt//models/m")),
    "program hidden crookedly": lambda p: _guard(p)["volumeMounts"].append(_over("/var/run/secrets/../../../usr")),
    "sees the source": lambda p: _server(p)["volumeMounts"].append(
        {"name": "assay-release", "mountPath": "/r", "readOnly": True}
    ),
}


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize("way", WAYS_AROUND)
def test_pods_that_go_around_are_refused(judge, kind, way):
    pod = PODS[kind]()
    WAYS_AROUND[way](pod)
    assert judge(pod_policy(PLACE), pod)


def test_an_option_as_source_is_refused(judge):
    pod = plain_pod()
    _guard(pod)["args"][0] = "--help"
    assert judge(pod_policy(PLACE), pod) == ["refused unless the init container runs as rendered"]


def test_a_guard_cannot_borrow_the_others_command(judge):
    pod = plain_pod()
    _guard(pod).update(command=_guard(kserve_pod())["command"], args=_guard(kserve_pod())["args"])
    assert judge(pod_policy(PLACE), pod)


def test_the_sample_service_is_admitted(judge):
    assert judge(service_policy(PLACE), inference_service(PLACE)) == []


SERVICES = {
    "no predictor": lambda s: s["spec"].pop("predictor"),
    "no model": lambda s: s["spec"]["predictor"].pop("model"),
    "no source": lambda s: s["spec"]["predictor"]["model"].pop("storageUri"),
    "bucket": lambda s: s["spec"]["predictor"]["model"].update(storageUri="s3://bucket/model"),
    "image": lambda s: s["spec"]["predictor"]["model"].update(storageUri="oci://registry/model"),
    "several": lambda s: s["spec"]["predictor"].update(storageUris=[{"uri": "s3://x"}]),
    "storage": lambda s: s["spec"]["predictor"]["model"].update(storage={"key": "x"}),
    "old form": lambda s: s["spec"]["predictor"].update(sklearn=s["spec"]["predictor"].pop("model")),
    "own container": lambda s: s["spec"]["predictor"].update(containers=[{"name": "kserve-container"}]),
    "own init container": lambda s: s["spec"]["predictor"].update(initContainers=[{"name": "storage-initializer"}]),
    "workers": lambda s: s["spec"]["predictor"].update(workerSpec={}),
    "no keys": lambda s: s["spec"]["predictor"].pop("volumes"),
    "other keys": lambda s: s["spec"]["predictor"]["volumes"][0]["configMap"].update(name="mine"),
    "transformer": lambda s: s["spec"].update(transformer={"containers": []}),
    "explainer": lambda s: s["spec"].update(explainer={}),
}


@pytest.mark.parametrize("way", SERVICES)
def test_services_that_go_around_are_refused(judge, way):
    service = copy.deepcopy(inference_service(PLACE))
    SERVICES[way](service)
    assert judge(service_policy(PLACE), service)


def test_what_is_not_privileged_in_so_many_words_is_admitted(judge):
    pod = plain_pod()
    _server(pod)["securityContext"]["privileged"] = False
    pod["spec"].update(hostPID=False, hostIPC=False)
    assert judge(pod_policy(PLACE), pod) == []


def test_the_namespace_needs_no_label_and_others_are_held_where_models_are_served():
    """Bindings select by the label that the API server itself sets; no request or pod can opt out."""
    made = yaml.safe_load_all(rendered("admission", PLACE)["admission.yaml"])
    bindings = [m["spec"] for m in made if m["kind"] == "ValidatingAdmissionPolicyBinding"]
    whole = [b["policyName"] for b in bindings if "objectSelector" not in b["matchResources"]]
    assert sorted(whole) == ["assay-verified-pods", "assay-verified-services"]
    for binding in bindings:
        if binding["policyName"] in whole and "objectSelector" not in binding["matchResources"]:
            labels = binding["matchResources"]["namespaceSelector"]["matchLabels"]
            assert labels == {"kubernetes.io/metadata.name": PLACE.namespace}
        assert "excludeResourceRules" not in binding["matchResources"]
    for policy in (pod_policy(PLACE), service_policy(PLACE)):
        assert "matchConditions" not in policy["spec"] and policy["spec"]["failurePolicy"] == "Fail"
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        assert all({"CREATE", "UPDATE"} <= set(r["operations"]) for r in rules)


@pytest.mark.parametrize("kind", PODS)
def test_no_rule_can_be_left_out(judge, kind):
    told = []
    for harm in WAYS_AROUND.values():
        pod = PODS[kind]()
        harm(pod)
        told.append(judge(pod_policy(PLACE), pod))
    rules = {rule["message"] for rule in pod_policy(PLACE)["spec"]["validations"]}
    alone = {messages[0] for messages in told if len(messages) == 1}
    assert rules - alone == set()
