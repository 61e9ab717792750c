"""Every check finds its hole, and keeps quiet about the secure form beside it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.cli.main import app
from assay.core.clock import system_clock
from assay.core.discovery import discover
from assay.core.errors import AssayError, DataError
from assay.core.sarif import sarif_of
from assay.supply.pipeline.check import Checklist
from assay.supply.pipeline.reading import read_document
from assay.supply.pipeline.scan import check_pipeline

SHA = "a" * 40
POD = """apiVersion: v1
kind: {kind}
metadata: {{name: t, namespace: ml}}
spec: {spec}
"""
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  template:
    metadata: {{annotations: {{{notes}}}}}
    spec:
      containers:
        - {{name: c, image: a, {more}}}
"""
SERVICE = """apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: m}}
spec:
  predictor:
    {bounds}
    sklearn: {{storageUri: "{uri}"}}
"""

# id -> (file, bad content, secure content of the same kind)
CASES = {
    "mlflow-no-login": ("start.sh", "mlflow server --port 5000\n", "mlflow server --app-name basic-auth\n"),
    "mlflow-open-host": ("Dockerfile", 'CMD ["mlflow", "server", "--host", "0.0.0.0"]\n', 'CMD ["mlflow", "server", "--host", "0.0.0.0", "--app-name", "basic-auth"]\n'),
    "mlflow-no-middleware": ("start.sh", "mlflow server --app-name basic-auth --disable-security-middleware\n", "# mlflow server --disable-security-middleware\nmlflow server --app-name basic-auth\n"),
    "mlflow-any-host": ("start.sh", "mlflow server --app-name basic-auth --allowed-hosts '*'\n", "mlflow server --app-name basic-auth --allowed-hosts ml.example\n"),
    "mlflow-any-origin": ("compose.yaml", "services:\n  m:\n    command: mlflow server --app-name basic-auth --cors-allowed-origins=*\n", "services:\n  m:\n    command: mlflow server --app-name basic-auth --cors-allowed-origins=https://a.example\n"),
    "mlflow-frames": ("start.sh", "mlflow server --app-name basic-auth --x-frame-options NONE\n", "mlflow server --app-name basic-auth --x-frame-options DENY\n"),
    "mlflow-pickle": (".env", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true\n", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false\n"),
    "mlflow-insecure-tls": ("Dockerfile", "ENV MLFLOW_TRACKING_INSECURE_TLS=true\n", "ENV MLFLOW_TRACKING_INSECURE_TLS=false\n"),
    "mlflow-default-permission": ("basic_auth.ini", "[mlflow]\ndefault_permission = READ\n", "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"),
    "mlflow-admin-password": ("basic_auth.ini", "[mlflow]\nadmin_password = hunter2hunter2\ndefault_permission = NO_PERMISSIONS\n", "[mlflow]\nadmin_password = ${ADMIN}\ndefault_permission = NO_PERMISSIONS\n"),
    "mlflow-uri-password": ("start.sh", "mlflow server --app-name basic-auth --backend-store-uri postgresql://u:pw@db/m\n", "mlflow server --app-name basic-auth --backend-store-uri $STORE\n"),
    "mlflow-webhook-private": (".env", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=1\n", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=0\n"),
    "mlflow-floating-model": ("serve.py", "import mlflow\nm = mlflow.pyfunc.load_model('models:/fraud/latest')\n", "import mlflow\nm = mlflow.pyfunc.load_model('models:/fraud/7')\n"),
    "mlflow-skops-types": ("MLmodel", "flavors:\n  sklearn:\n    skops_trusted_types: [posix.system]\n", "flavors:\n  sklearn:\n    skops_trusted_types: [numpy.dtype]\n"),
    "mlflow-code-paths": ("MLmodel", "flavors:\n  python_function:\n    loader_module: mymodule\n", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"),
    "dvc-unverified": (".dvc/config", "['remote \"s\"']\n    url = s3://b\n", "['remote \"s\"']\n    url = s3://b\n    verify = true\n"),
    "dvc-plain-remote": (".dvc/config", "['remote \"s\"']\n    url = http://b\n    verify = true\n", "['remote \"s\"']\n    url = https://b\n    verify = true\n"),
    "dvc-secret": (".dvc/config", "['remote \"s\"']\n    url = s3://b\n    verify = true\n    secret_access_key = abcdef\n", "['remote \"s\"']\n    url = s3://b\n    verify = true\n"),
    "airflow-all-admins": ("airflow.cfg", "[core]\nfernet_key = abc\nsimple_auth_manager_all_admins = True\n", "[core]\nfernet_key = abc\nsimple_auth_manager_all_admins = False\n"),
    "airflow-simple-auth": ("airflow.cfg", "[core]\nfernet_key = abc\nauth_manager = airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager\n", "[core]\nfernet_key = abc\nauth_manager = airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager\n"),
    "airflow-no-fernet": ("airflow.cfg", "[core]\nfernet_key =\n", "[core]\nfernet_key = abc\n"),
    "airflow-weak-secret": ("airflow.cfg", "[core]\nfernet_key = abc\n[api]\nsecret_key = short\n", "[core]\nfernet_key = abc\n[api]\nsecret_key_cmd = cat /run/key\n"),
    "airflow-expose-config": ("airflow.cfg", "[core]\nfernet_key = abc\n[api]\nexpose_config = True\n", "[core]\nfernet_key = abc\n[api]\nexpose_config = False\n"),
    "airflow-expose-stacktrace": ("airflow.cfg", "[core]\nfernet_key = abc\n[api]\nexpose_stacktrace = True\n", "[core]\nfernet_key = abc\n[api]\nexpose_stacktrace = False\n"),
    "airflow-open-host": ("airflow.cfg", "[core]\nfernet_key = abc\n[api]\nhost = 0.0.0.0\n", "[core]\nfernet_key = abc\n[api]\nhost = 0.0.0.0\nssl_cert = /c.pem\n"),
    "airflow-any-origin": ("compose.yaml", "services:\n  a:\n    environment:\n      AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS: '*'\n", "services:\n  a:\n    environment:\n      AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS: https://a.example\n"),
    "airflow-test-connection": ("airflow.cfg", "[core]\nfernet_key = abc\ntest_connection = Enabled\n", "[core]\nfernet_key = abc\ntest_connection = Disabled\n"),
    "airflow-any-class": ("airflow.cfg", "[core]\nfernet_key = abc\nallowed_deserialization_classes = .*\n", "[core]\nfernet_key = abc\nallowed_deserialization_classes = airflow.*\n"),
    "airflow-examples": ("airflow.cfg", "[core]\nfernet_key = abc\nload_examples = True\n", "[core]\nfernet_key = abc\nload_examples = False\n"),
    "airflow-flower": ("airflow.cfg", "[core]\nfernet_key = abc\n[celery]\nflower_host = 0.0.0.0\nflower_basic_auth =\n", "[core]\nfernet_key = abc\n[celery]\nflower_host = 127.0.0.1\nflower_basic_auth =\n"),
    "airflow-no-secret-backend": ("airflow.cfg", "[core]\nfernet_key = abc\n[secrets]\nbackend =\n", "[core]\nfernet_key = abc\n[secrets]\nbackend = airflow.providers.hashicorp.secrets.vault.VaultBackend\n"),
    "airflow-root": ("airflow.cfg", "[core]\nfernet_key = abc\ndefault_impersonation = root\n", "[core]\nfernet_key = abc\ndefault_impersonation = fraud\n"),
    "airflow-conf-in-shell": ("dag.py", "from airflow.operators.bash import BashOperator\nBashOperator(task_id='a', bash_command='echo {{ dag_run.conf.x }}')\n", "from airflow.operators.bash import BashOperator\nBashOperator(task_id='a', bash_command='echo done')\n"),
    "airflow-unpinned-task": ("dag.py", "from airflow.operators.python import PythonVirtualenvOperator\nPythonVirtualenvOperator(task_id='a', requirements=['pandas'])\n", "from airflow.operators.python import PythonVirtualenvOperator\nPythonVirtualenvOperator(task_id='a', requirements=['pandas==3.0.0'])\n"),
    "airflow-database": ("airflow.cfg", "[core]\nfernet_key = abc\n[database]\nsql_alchemy_conn = postgresql://u:pw@db/a\n", "[core]\nfernet_key = abc\n[database]\nsql_alchemy_conn_cmd = cat /run/db\n"),
    "kfp-installs": ("component.py", "from kfp import dsl\n@dsl.component(packages_to_install=['pandas'])\ndef f():\n    pass\n", "from kfp import dsl\n@dsl.component(base_image='a@sha256:b')\ndef f():\n    pass\n"),
    "kfp-image": ("pipeline.yaml", "sdkVersion: kfp-2\ndeploymentSpec:\n  executors:\n    e:\n      container: {image: 'python:3.11'}\n", f"sdkVersion: kfp-2\ndeploymentSpec:\n  executors:\n    e:\n      container: {{image: 'python@sha256:{'b' * 64}'}}\n"),
    "kfp-broad-role": ("rb.yaml", "apiVersion: v1\nkind: ClusterRoleBinding\nmetadata: {name: r}\nroleRef: {name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: default}]\n", "apiVersion: v1\nkind: ClusterRoleBinding\nmetadata: {name: r}\nroleRef: {name: view}\nsubjects: [{kind: ServiceAccount, name: default}]\n"),
    "kfp-no-sidecar": ("d.yaml", DEPLOYMENT.format(name="d", notes='sidecar.istio.io/inject: "false"', more="resources: {limits: {memory: 1Gi}}"), DEPLOYMENT.format(name="d", notes="", more="resources: {limits: {memory: 1Gi}}")),
    "kfp-artifacts": ("ui.yaml", DEPLOYMENT.format(name="ml-pipeline-ui", notes="", more="resources: {limits: {memory: 1Gi}}"), DEPLOYMENT.format(name="ml-pipeline-ui", notes="", more="env: [{name: ARTIFACTS_SERVICE_PROXY_ENABLED, value: 'true'}], resources: {limits: {memory: 1Gi}}")),
    "kubeflow-kfam": ("vs.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: profiles}\nspec: {http: [{match: [{uri: {prefix: /kfam/}}]}]}\n", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: profiles}\nspec: {http: [{match: [{uri: {prefix: /kfam/}}]}]}\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: kfam}\nspec: {rules: [{from: [{source: {principals: [dashboard]}}]}]}\n"),
    "kubeflow-static-user": ("dex.yaml", "staticPasswords:\n  - email: user@example.com\n    hash: $2y$12$abc\n", "connectors: [{type: oidc}]\n"),
    "istio-permissive": ("pa.yaml", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d}\nspec: {mtls: {mode: PERMISSIVE}}\n", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d}\nspec: {mtls: {mode: STRICT}}\n"),
    "istio-open-policy": ("ap.yaml", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\nspec: {rules: [{}]}\n", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\nspec: {rules: [{from: [{source: {principals: [a]}}]}]}\n"),
    "kserve-source": ("is.yaml", SERVICE.format(bounds="maxReplicas: 3\n    timeout: 5", uri="s3://b/model.joblib"), SERVICE.format(bounds="maxReplicas: 3\n    timeout: 5", uri="s3://b/7/model.onnx")),
    "kserve-unbounded": ("is.yaml", SERVICE.format(bounds="timeout: 5", uri="s3://b/7/model.onnx"), SERVICE.format(bounds="maxReplicas: 3\n    timeout: 5", uri="s3://b/7/model.onnx")),
    "k8s-dangerous-pod": ("p.yaml", POD.format(kind="Pod", spec="{automountServiceAccountToken: false, hostNetwork: true, containers: [{name: a}]}"), POD.format(kind="Pod", spec="{automountServiceAccountToken: false, containers: [{name: a, securityContext: {runAsNonRoot: true}}]}")),
    "k8s-token": ("p.yaml", POD.format(kind="Pod", spec="{containers: [{name: a}]}"), POD.format(kind="Pod", spec="{automountServiceAccountToken: false, containers: [{name: a}]}")),
    "k8s-egress": ("n.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: train}\n", "apiVersion: v1\nkind: Namespace\nmetadata: {name: train}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: d, namespace: train}\nspec: {podSelector: {}, policyTypes: [Egress]}\n"),
    "k8s-no-limits": ("d.yaml", DEPLOYMENT.format(name="d", notes="", more="ports: []"), DEPLOYMENT.format(name="d", notes="", more="resources: {limits: {memory: 1Gi}}")),
    "ray-open": ("start.sh", "ray start --head --dashboard-host=0.0.0.0\n", "ray start --head --dashboard-host=127.0.0.1\n"),
    "jupyter-open": ("start.sh", "jupyter lab --ServerApp.token=''\n", "jupyter lab --no-browser\n"),
    "tensorboard-open": ("start.sh", "tensorboard --logdir x --bind_all\n", "tensorboard --logdir x\n"),
    "feast-no-auth": ("feature_store.yaml", "project: p\nonline_store: {type: remote}\nauth: {type: no_auth}\n", "project: p\nonline_store: {type: remote}\nauth: {type: oidc}\n"),
    "cors-any-origin": ("service.yaml", "cors:\n  allow_origins: ['*']\n", "cors:\n  allow_origins: ['https://a.example']\n"),
    "debug-on": ("app.py", "app.run(debug=True)\n", "app.run(debug=False)\n"),
    "ci-untrusted-checkout": (".github/workflows/a.yml", "on:\n  pull_request_target:\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@" + SHA + "\n        with: {ref: '${{ github.event.pull_request.head.sha }}'}\n", "on:\n  pull_request:\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@" + SHA + "\n"),
    "ci-unpinned-action": (".github/workflows/a.yml", "on: push\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@v4\n", f"on: push\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@{SHA}\n"),
    "ci-cloud-key": (".github/workflows/a.yml", "on: push\nenv:\n  AWS_SECRET_ACCESS_KEY: ${{ secrets.KEY }}\njobs: {}\n", "on: push\npermissions: {id-token: write}\njobs: {}\n"),
    "pip-extra-index": ("pip.conf", "[global]\nextra-index-url = https://a.example\n", "[global]\nindex-url = https://a.example\n"),
    "pip-trusted-host": ("requirements.txt", "--trusted-host a.example\nnumpy==2.0.0\n", "numpy==2.0.0\n"),
    "pip-plain-index": ("Dockerfile", "RUN pip install --index-url http://a.example numpy\n", "RUN pip install --index-url https://a.example numpy\n"),
    "pip-no-hashes": ("Dockerfile", "RUN pip install -r requirements.txt\n", "RUN pip install --require-hashes -r requirements.txt\n"),
    "secret-in-file": (".env", "AWS_SECRET_ACCESS_KEY=abcdefgh\n", "AWS_SECRET_ACCESS_KEY=${KEY}\n"),
    "py-torch-load": ("load.py", "import torch\ntorch.load('m.pt', weights_only=False)\n", "import torch\ntorch.load('m.pt', weights_only=True)\n"),
    "py-pickle-load": ("load.py", "from joblib import load as read\nread('m.joblib')\n", "# joblib.load('m.joblib')\nx = 'joblib.load(1)'\n"),
    "py-remote-code": ("load.py", "AutoModel.from_pretrained(path, trust_remote_code=True)\n", "AutoModel.from_pretrained(path, trust_remote_code=False)\n"),
    "py-numpy-pickle": ("load.py", "import numpy as np\nnp.load('a.npy', allow_pickle=True)\n", "import numpy as np\nnp.load('a.npy', allow_pickle=False)\n"),
    "py-yaml-load": ("load.py", "import yaml\nyaml.load(f, Loader=yaml.Loader)\n", "import yaml\nyaml.load(f, Loader=yaml.SafeLoader)\nyaml.safe_load(f)\n"),
    "py-unpinned-model": ("load.py", "hf_hub_download('org/model', 'm.bin')\n", f"hf_hub_download('org/model', 'm.bin', revision='{SHA}')\n"),
}  # fmt: skip


def found(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return check_pipeline([path], clock=system_clock)


def rows():
    return {row.id: row for checklist in discover(Checklist).values() for row in checklist.rows}


def test_every_check_has_its_case():
    assert set(CASES) == set(rows())


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_hole_is_found_where_it_stands(tmp_path, name):
    file, bad, _ = CASES[name]
    evidence = found(tmp_path, file, bad)
    hits = [f for f in evidence.findings if f.rule == name]
    assert hits, [f.rule for f in evidence.findings]
    assert hits[0].remedy == rows()[name].secure
    assert hits[0].technique.startswith("AML.")
    line = int(hits[0].location.rpartition(":")[2])
    assert 1 <= line <= bad.count("\n") + 1


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_secure_form_is_quiet(tmp_path, name):
    file, _, good = CASES[name]
    assert name not in {f.rule for f in found(tmp_path, file, good).findings}


@pytest.mark.parametrize(
    ("name", "quiet"),
    [("null", True), ("sklearn.tree._tree.Tree", True), ("numpy.dtype", True), ("xgboost.sklearn.XGBClassifier", True),
     ("builtins.set", True), ("scipy.sparse._csr.csr_matrix", True), ("builtins.eval", False), ("numpy.load", False),
     ("numpy.f2py.crackfortran.getlincoef", False), ("sklearn.datasets._base.load_files", False), ("posix.system", False),
     ("sklearnevil.Tree", False), ("my_package.Scorer", False)],
)  # fmt: skip
def test_types_that_a_model_folder_trusts_are_classes_of_known_libraries(tmp_path, name, quiet):
    text = f"flavors:\n  sklearn:\n    skops_trusted_types: {name if quiet and name == 'null' else f'[{name}]'}\n"
    assert ("mlflow-skops-types" not in {f.rule for f in found(tmp_path, "MLmodel", text).findings}) is quiet


def test_a_secret_is_not_repeated(tmp_path):
    evidence = found(tmp_path, "basic_auth.ini", "[mlflow]\nadmin_password = hunter2hunter2\n")
    assert "hunter2" not in json.dumps(evidence.to_json())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.yaml", "a: [1\n"),
        ("bad.toml", "a = \n"),
        ("bad.json", "{"),
        ("bad.py", "def ("),
        ("airflow.cfg", "[core\nx"),
        ("bomb.yaml", "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True))),
        ("deep.yaml", "[" * 5000),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path, name, content):
    evidence = found(tmp_path, name, content)
    assert evidence.not_checked
    assert not evidence.complete


def test_bytes_that_are_no_text_are_said(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x01")
    assert check_pipeline([tmp_path]).not_checked


def test_nothing_to_check_is_refused(tmp_path):
    with pytest.raises(DataError):
        check_pipeline([tmp_path])
    with pytest.raises(DataError):
        check_pipeline([tmp_path / "missing"])


def test_a_folder_is_walked_and_sarif_names_lines(tmp_path):
    found(tmp_path, "a/start.sh", "echo\nray start --dashboard-host 0.0.0.0\n")
    found(tmp_path, ".git/hooks/start.sh", "ray start --dashboard-host 0.0.0.0\n")
    evidence = check_pipeline([tmp_path])
    assert [f.rule for f in evidence.findings] == ["ray-open"]
    region = sarif_of(evidence.findings)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 2}


def test_the_command_exits_by_severity(tmp_path):
    path = tmp_path / "start.sh"
    path.write_text("ray start --dashboard-host 0.0.0.0\n")
    done = CliRunner().invoke(app, ["pipeline", "check", str(path), "--json", "--sarif", str(tmp_path / "o.sarif")])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"][0]["rule"] == "ray-open"
    assert json.loads((tmp_path / "o.sarif").read_text())["version"] == "2.1.0"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["x.yaml", "airflow.cfg", "x.toml", "x.json", "x.py", "x.sh", "Dockerfile", "requirements.txt", "MLmodel"]
    ),
    st.text(max_size=300),
)
def test_no_text_breaks_a_reader(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_text(content, encoding="utf-8", errors="replace")
    try:
        document = read_document(path)
    except AssayError:
        return
    for row in rows().values():
        list(row.find(document))
