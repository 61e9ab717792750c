"""Pipeline checks on configurations that the real tools write: their defaults, hardened ones, and holes put into both.

The tools are used when they are on the PATH: airflow, mlflow, dvc, feast, jupyter-server.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from assay.supply.pipeline.scan import check_pipeline


def rules(*paths):
    evidence = check_pipeline(paths)
    assert evidence.complete, evidence.not_checked
    return {f.rule for f in evidence.findings}


def tool(name, *words, cwd, python=False, **environment):
    """Run a tool, or Python beside it; skip when it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    program = str(Path(found).parent / "python") if python else found
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MLFLOW", "PYTHON", "PYTEST"))}
    done = subprocess.run(
        [program, *words],
        cwd=cwd,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
        env={**clean, "HOME": str(cwd), **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def with_option(text, section, key, value):
    """Return an INI text with one option set, in the place where the tool wrote it."""
    head, mark, tail = f"\n{text.lstrip()}".partition(f"\n[{section}]\n")
    assert mark, section
    body, rest = [*tail.split("\n[", 1), ""][:2]
    line = f"{key} = {value}"
    body, count = re.subn(rf"(?m)^#?\s*{re.escape(key)}\s*=.*$", lambda _: line, body, count=1)
    body = body if count else f"{line}\n{body}"
    return head + mark + body + (f"\n[{rest}" if rest else "")


# ---- Airflow -------------------------------------------------------------------------------------------------------------

AIRFLOW_DEFAULTS = {
    "airflow-weak-secret", "airflow-flower", "airflow-database", "airflow-open-host", "airflow-simple-auth",
    "airflow-no-secret-backend", "airflow-examples",
}  # fmt: skip
AIRFLOW_SECURE = {
    ("core", "auth_manager"): "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    ("core", "load_examples"): "False", ("core", "default_impersonation"): "tasks", ("api", "secret_key"): "",
    ("api", "secret_key_cmd"): "cat /run/secrets/api", ("api", "host"): "127.0.0.1", ("api_auth", "jwt_secret"): "",
    ("api_auth", "jwt_secret_cmd"): "cat /run/secrets/jwt", ("celery", "flower_host"): "127.0.0.1",
    ("database", "sql_alchemy_conn"): "", ("database", "sql_alchemy_conn_cmd"): "cat /run/secrets/database",
    ("secrets", "backend"): "airflow.providers.hashicorp.secrets.vault.VaultBackend",
}  # fmt: skip
AIRFLOW_HOLES = {
    "airflow-all-admins": ("core", "simple_auth_manager_all_admins", "True"),
    "airflow-simple-auth": ("core", "auth_manager", "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"),
    "airflow-no-fernet": ("core", "fernet_key", ""),
    "airflow-weak-secret": ("api", "secret_key", "temporary_key"),
    "airflow-expose-config": ("api", "expose_config", "True"),
    "airflow-expose-stacktrace": ("api", "expose_stacktrace", "True"),
    "airflow-open-host": ("api", "host", "0.0.0.0"),
    "airflow-any-origin": ("api", "access_control_allow_origins", "*"),
    "airflow-test-connection": ("core", "test_connection", "Enabled"),
    "airflow-any-class": ("core", "allowed_deserialization_classes", ".*"),
    "airflow-examples": ("core", "load_examples", "True"),
    "airflow-flower": ("celery", "flower_host", "0.0.0.0"),
    "airflow-no-secret-backend": ("secrets", "backend", ""),
    "airflow-root": ("core", "default_impersonation", "root"),
    "airflow-database": ("database", "sql_alchemy_conn", "postgresql://airflow:airflow@db/airflow"),
}  # fmt: skip


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    tool("airflow", "config", "get-value", "core", "load_examples", cwd=home, AIRFLOW_HOME=str(home))
    return (home / "airflow.cfg").read_text()


@pytest.fixture(scope="module")
def hardened(airflow):
    for (section, key), value in AIRFLOW_SECURE.items():
        airflow = with_option(airflow, section, key, value)
    return airflow


@pytest.mark.long
def test_airflow_as_it_writes_itself(tmp_path, airflow):
    (tmp_path / "airflow.cfg").write_text(airflow)
    assert rules(tmp_path) == AIRFLOW_DEFAULTS


@pytest.mark.long
def test_a_hardened_airflow_is_quiet(tmp_path, hardened):
    (tmp_path / "airflow.cfg").write_text(hardened)
    assert rules(tmp_path) == set()


@pytest.mark.long
@pytest.mark.parametrize("name", AIRFLOW_HOLES)
def test_a_hole_in_a_hardened_airflow_is_the_one_found(tmp_path, hardened, name):
    (tmp_path / "airflow.cfg").write_text(with_option(hardened, *AIRFLOW_HOLES[name]))
    assert rules(tmp_path) == {name}


# ---- DVC, Feast, Jupyter, MLflow -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_dvc_remotes(tmp_path):
    tool("git", "init", "-q", ".", cwd=tmp_path)
    tool("dvc", "init", "-q", cwd=tmp_path)
    assert rules(tmp_path / ".dvc") == set()
    tool("dvc", "remote", "add", "-d", "store", "s3://bucket/data", cwd=tmp_path)
    assert rules(tmp_path / ".dvc") == {"dvc-unverified"}
    tool("dvc", "remote", "modify", "store", "verify", "true", cwd=tmp_path)
    assert rules(tmp_path / ".dvc") == set()
    tool("dvc", "remote", "modify", "--local", "store", "secret_access_key", "abcdefghijkl", cwd=tmp_path)
    assert "dvc-secret" not in rules(tmp_path / ".dvc" / "config")
    tool("dvc", "remote", "modify", "store", "secret_access_key", "abcdefghijkl", cwd=tmp_path)
    tool("dvc", "remote", "add", "plain", "http://store.example/data", cwd=tmp_path)
    assert rules(tmp_path / ".dvc" / "config") == {"dvc-secret", "dvc-plain-remote", "dvc-unverified"}


@pytest.mark.long
def test_feast_as_it_writes_itself_and_hardened(tmp_path):
    tool("feast", "init", "demo", cwd=tmp_path, FEAST_USAGE="False")
    path = next(tmp_path.rglob("feature_store.yaml"))
    assert rules(path) == {"feast-no-auth"}
    oidc = "type: oidc\n    client_id: feast\n    auth_discovery_url: https://login.example/.well-known/openid-configuration"
    path.write_text(path.read_text().replace("type: no_auth", oidc))
    assert rules(path.parent) == set()


@pytest.mark.long
def test_jupyter_as_it_writes_itself_and_opened(tmp_path):
    tool("jupyter-server", "--generate-config", "-y", f"--config={tmp_path}/jupyter_server_config.py", cwd=tmp_path)
    path = tmp_path / "jupyter_server_config.py"
    assert rules(path) == set()
    text = path.read_text()
    for line in ("c.ServerApp.token = ''", "c.ServerApp.allow_origin = '*'", "c.ServerApp.disable_check_xsrf = True",
                 'c.IdentityProvider.token = ""'):  # fmt: skip
        path.write_text(f"{text}\n{line}\n")
        assert rules(path) == {"jupyter-open"}, line


@pytest.mark.long
def test_mlflow_permissions_and_model_folders(tmp_path):
    find = "import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec('mlflow').origin).parent)"
    home = Path(tool("mlflow", "-c", find, cwd=tmp_path, python=True).strip().splitlines()[-1])
    path = tmp_path / "basic_auth.ini"
    path.write_text((home / "server" / "auth" / "basic_auth.ini").read_text())
    assert rules(path) == {"mlflow-default-permission"}
    hard = re.sub(r"(?m)^default_permission = READ$", "default_permission = NO_PERMISSIONS", path.read_text())
    path.write_text(hard)
    assert rules(path) == set()
    path.write_text(hard.replace("# admin_password =", "admin_password = correct horse"))
    assert rules(path) == {"mlflow-admin-password"}


@pytest.mark.long
def test_a_model_that_mlflow_saves_is_quiet_until_its_types_are_widened(tmp_path):
    save = (
        "import mlflow.sklearn, numpy as np; from sklearn.linear_model import LogisticRegression as M; "
        "mlflow.sklearn.save_model(M().fit(np.eye(4), [0, 1, 0, 1]), 'model', pip_requirements=['scikit-learn'])"
    )
    tool("mlflow", "-c", save, cwd=tmp_path, python=True, MLFLOW_DISABLE_TELEMETRY="true", GIT_PYTHON_REFRESH="quiet")
    path = tmp_path / "model" / "MLmodel"
    assert not {r for r in rules(tmp_path / "model") if r.startswith("mlflow")}
    text = path.read_text()
    widened = re.sub(
        r"(?m)^    skops_trusted_types:.*(\n    - .*)*$", "    skops_trusted_types:\n    - posix.system", text
    )
    if widened == text:
        widened = text.replace("  sklearn:\n", "  sklearn:\n    skops_trusted_types:\n    - posix.system\n")
    path.write_text(widened)
    assert "mlflow-skops-types" in rules(path)


# ---- the same hole in every form in which it is written --------------------------------------------------------------------

ENVIRONMENTS = {
    "Dockerfile": "FROM a@sha256:b\nENV {k}={v}\n",
    ".env": "{k}='{v}'\n",
    "start.sh": "export {k}='{v}'\nexec server\n",
    "compose.yaml": "services:\n  a:\n    environment:\n      {k}: '{v}'\n",
    "list/compose.yaml": "services:\n  a:\n    environment:\n      - {k}={v}\n",
    "deployment.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  automountServiceAccountToken: false\n"
                       "  containers:\n    - name: a\n      securityContext: {{runAsNonRoot: true}}\n"
                       "      resources: {{limits: {{memory: 1Gi}}}}\n      env:\n        - name: {k}\n          value: '{v}'\n",
    "pod.json": '{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "p"}}, "spec": {{"containers": '
                '[{{"name": "a", "env": [{{"name": "{k}", "value": "{v}"}}]}}]}}}}\n',
}  # fmt: skip
VARIABLES = {
    ("airflow-all-admins", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True"),
    ("airflow-expose-config", "AIRFLOW__API__EXPOSE_CONFIG", "True"),
    ("airflow-expose-stacktrace", "AIRFLOW__API__EXPOSE_STACKTRACE", "True"),
    ("airflow-any-origin", "AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "*"),
    ("airflow-test-connection", "AIRFLOW__CORE__TEST_CONNECTION", "Enabled"),
    ("airflow-any-class", "AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES", ".*"),
    ("airflow-examples", "AIRFLOW__CORE__LOAD_EXAMPLES", "True"),
    ("airflow-weak-secret", "AIRFLOW__API_AUTH__JWT_SECRET", "short"),
    ("airflow-database", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://u:pw@db/a"),
    ("mlflow-pickle", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true"),
    ("mlflow-insecure-tls", "MLFLOW_TRACKING_INSECURE_TLS", "true"),
    ("mlflow-webhook-private", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true"),
    ("mlflow-no-middleware", "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true"),
    ("mlflow-any-host", "MLFLOW_SERVER_ALLOWED_HOSTS", "*"),
    ("mlflow-any-origin", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*"),
    ("pip-extra-index", "PIP_EXTRA_INDEX_URL", "https://other.example/simple"),
    ("pip-trusted-host", "PIP_TRUSTED_HOST", "other.example"),
    ("ray-open", "RAY_DASHBOARD_HOST", "0.0.0.0"),
    ("secret-in-file", "AWS_SECRET_ACCESS_KEY", "abcdefghijklmnop"),
}

COMMANDS = {
    "start.sh": "#!/bin/sh\nset -e\nexec {line}\n",
    "wrapped.sh": "poetry run {line} &\nwait\n",
    "Dockerfile": "FROM a@sha256:b\nCMD {line}\n",
    "json/Dockerfile": "FROM a@sha256:b\nENTRYPOINT [{quoted}]\n",
    "unit.service": "[Service]\nExecStart=/usr/local/bin/{line}\n",
    "compose.yaml": "services:\n  a:\n    command: {line}\n",
    "list/compose.yaml": "services:\n  a:\n    command: [{quoted}]\n",
    "pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{automountServiceAccountToken: false, containers: "
                "[{{name: a, command: [{quoted}]}}]}}\n",
}  # fmt: skip
LINES = {
    ("mlflow-no-login", "mlflow server --host 127.0.0.1"),
    ("mlflow-open-host", "mlflow server --host=0.0.0.0"),
    ("mlflow-no-middleware", "mlflow server --app-name basic-auth --disable-security-middleware"),
    ("mlflow-any-host", "mlflow server --app-name basic-auth --allowed-hosts '*'"),
    ("mlflow-any-origin", "mlflow server --app-name basic-auth --cors-allowed-origins '*'"),
    ("mlflow-frames", "mlflow server --app-name basic-auth --x-frame-options NONE"),
    ("mlflow-uri-password", "mlflow server --app-name basic-auth --backend-store-uri postgresql://u:pw@db/m"),
    ("mlflow-floating-model", "mlflow models serve -m models:/fraud/latest"),
    ("ray-open", "ray start --head --dashboard-host 0.0.0.0"),
    ("jupyter-open", "jupyter lab --ServerApp.allow_origin='*'"),
    ("tensorboard-open", "tensorboard --logdir runs --bind_all"),
}


@pytest.mark.parametrize("file", ENVIRONMENTS)
@pytest.mark.parametrize(("name", "key", "value"), sorted(VARIABLES))
def test_an_environment_variable_is_found_however_it_is_given(tmp_path, file, name, key, value):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(ENVIRONMENTS[file].format(k=key, v=value))
    assert name in rules(path)


@pytest.mark.parametrize("file", COMMANDS)
@pytest.mark.parametrize(("name", "line"), sorted(LINES))
def test_a_command_is_found_however_it_is_started(tmp_path, file, name, line):
    words = [w.replace("'", "") for w in line.split()]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(COMMANDS[file].format(line=line, quoted=", ".join(f'"{w}"' for w in words)))
    assert name in rules(path)


OTHER_FORMS = {
    "a step that installs": ("dag.py", "from airflow.operators.bash import BashOperator\nBashOperator(task_id='x', bash_command='pip install pandas && run')\n", {("airflow-unpinned-task", 2)}),
    "a Ray cluster": ("ray.yaml", "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: r}\nspec:\n  headGroupSpec:\n    rayStartParams:\n      dashboard-host: '0.0.0.0'\n", {("ray-open", 7)}),
    "a rendered chart": ("rendered.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: airflow}\ndata:\n  airflow.cfg: |\n    [core]\n    fernet_key = x\n    load_examples = True\n  start.sh: |\n    set -e\n    ray start --dashboard-host 0.0.0.0\n", {("airflow-examples", 8), ("ray-open", 11)}),
    "the values of a chart": ("values.yaml", "config:\n  core:\n    simple_auth_manager_all_admins: 'True'\n", {("airflow-all-admins", 3)}),
    "a shell in a shell": ("compose.yaml", 'services:\n  a:\n    command: bash -lc "cd /srv && mlflow server --host 0.0.0.0"\n', {("mlflow-no-login", 3), ("mlflow-open-host", 3)}),
    "another name of the server": ("start.sh", "mlflow ui -h 0.0.0.0\n", {("mlflow-no-login", 1), ("mlflow-open-host", 1)}),
    "a module": ("start.sh", "\npython3 -m mlflow server\n", {("mlflow-no-login", 2)}),
}  # fmt: skip


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_of_a_hole_are_found_where_they_stand(tmp_path, form):
    name, text, wanted = OTHER_FORMS[form]
    (tmp_path / name).write_text(text)
    findings = check_pipeline([tmp_path]).findings
    assert {(f.rule, int(f.location.rpartition(":")[2])) for f in findings} == wanted


def test_a_file_inside_a_rendered_chart_that_cannot_be_read_is_said(tmp_path):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  airflow.cfg: '[core'\n"
    (tmp_path / "rendered.yaml").write_text(text)
    assert check_pipeline([tmp_path]).not_checked


def test_a_shell_handed_on_without_end_is_bounded(tmp_path):
    (tmp_path / "start.sh").write_text("sh -c 'sh -c \"sh -c x\"'\n" + "bash -c " * 2000 + "\n")
    assert rules(tmp_path) == set()


# ---- hardened references that no tool here writes --------------------------------------------------------------------------

HARDENED = {
    "kserve.yaml": """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: credit, namespace: models, annotations: {serving.kserve.io/enable-auth: "true"}}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 4
    timeout: 30
    serviceAccountName: credit
    automountServiceAccountToken: false
    model:
      modelFormat: {name: onnx}
      storageUri: oci://registry.example/credit@sha256:%(digest)s
      resources: {limits: {cpu: "2", memory: 2Gi}}
      securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
    "mesh.yaml": """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: credit, namespace: models}
spec:
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/gateway/sa/gateway]}}]}]
""",
    "training.yaml": """\
apiVersion: v1
kind: Namespace
metadata: {name: training}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: none-out, namespace: training}
spec: {podSelector: {}, policyTypes: [Egress]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: train, namespace: training}
spec:
  template:
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      restartPolicy: Never
      containers:
        - name: train
          image: registry.example/train@sha256:%(digest)s
          resources: {limits: {cpu: "4", memory: 8Gi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
""",
    "Dockerfile": """\
FROM registry.example/python@sha256:%(digest)s
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
ENV MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false
USER 10001
CMD ["mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--allowed-hosts", "ml.example", \
"--cors-allowed-origins", "https://ml.example", "--x-frame-options", "DENY"]
""",
    "pyproject.toml": """\
[project]
name = "credit"
dependencies = ["scikit-learn==1.9.1"]
[[tool.uv.index]]
name = "own"
url = "https://packages.example/simple"
default = true
""",
    "pip.conf": "[global]\nindex-url = https://packages.example/simple\nrequire-hashes = true\n",
    "start.sh": "#!/bin/sh\nset -eu\nray start --head --dashboard-host 127.0.0.1\ntensorboard --logdir runs --host 127.0.0.1\n"
                "exec jupyter lab --no-browser --ip 127.0.0.1\n",
    "load.py": "import numpy as np\nimport torch\nimport yaml\nimport onnxruntime\n\n\ndef load(path, text):\n"
               "    torch.load(path, weights_only=True)\n    np.load(path, allow_pickle=False)\n    yaml.safe_load(text)\n"
               "    yaml.load(text, Loader=yaml.SafeLoader)\n    return onnxruntime.InferenceSession(path)\n",
    ".github/workflows/test.yml": "on: pull_request\npermissions: {contents: read, id-token: write}\njobs:\n  test:\n"
                                  "    runs-on: ubuntu-24.04\n    steps:\n      - uses: actions/checkout@%(commit)s\n"
                                  "      - run: pip install --require-hashes -r requirements.lock\n",
}  # fmt: skip


def test_hardened_references_are_quiet(tmp_path):
    for name, text in HARDENED.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text % {"digest": "1" * 64, "commit": "2" * 40})
    assert rules(tmp_path) == set()


@pytest.mark.parametrize(
    ("file", "secure", "insecure", "name"),
    [
        ("kserve.yaml", "oci://registry.example/credit@sha256:%(digest)s", "http://store.example/credit.joblib", "kserve-source"),
        ("kserve.yaml", "    maxReplicas: 4\n", "", "kserve-unbounded"),
        ("mesh.yaml", "STRICT", "PERMISSIVE", "istio-permissive"),
        ("mesh.yaml", "[{from: [{source: {principals: [cluster.local/ns/gateway/sa/gateway]}}]}]", "[{}]", "istio-open-policy"),
        ("training.yaml", "policyTypes: [Egress]", "policyTypes: [Ingress]", "k8s-egress"),
        ("training.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "k8s-token"),
        ("training.yaml", "restartPolicy: Never", "hostNetwork: true", "k8s-dangerous-pod"),
        ("Dockerfile", '"--app-name", "basic-auth", ', "", "mlflow-no-login"),
        ("Dockerfile", "--require-hashes ", "", "pip-no-hashes"),
        ("pip.conf", "require-hashes = true", "extra-index-url = https://other.example", "pip-extra-index"),
        ("start.sh", "--host 127.0.0.1\nexec", "--bind_all\nexec", "tensorboard-open"),
        ("load.py", "weights_only=True", "weights_only=False", "py-torch-load"),
        ("load.py", "yaml.SafeLoader", "yaml.Loader", "py-yaml-load"),
        (".github/workflows/test.yml", "checkout@%(commit)s", "checkout@v4", "ci-unpinned-action"),
    ],
)  # fmt: skip
def test_one_loosened_value_is_found(tmp_path, file, secure, insecure, name):
    assert secure in HARDENED[file]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HARDENED[file].replace(secure, insecure) % {"digest": "1" * 64, "commit": "2" * 40})
    assert name in rules(path)
