"""Look-alike names are told, the names themselves are not; the index asked for a private name is the user's own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.finding import Severity
from assay.supply.deps.declared import Declared, Option, Package
from assay.supply.deps.indexes import check_indexes, search_of
from assay.supply.deps.spelling import distance
from assay.supply.deps.typosquat import LookAlikes, check_names, popular

KNOWN = LookAlikes()
LOOKS = {
    "reqeusts": "requests", "request": "requests", "requestss": "requests", "requesys": "requests", "nunpy": "numpy", "numpyy": "numpy",
    "pandsa": "pandas", "tensorfl0w": "tensorflow", "tensorfIow": "tensorflow", "scikitlearn": "scikit-learn", "learn-scikit": "scikit-learn",
    "scikit-leam": "scikit-learn", "python-requests": "requests", "requests-python": "requests", "requests3": "requests", "dateutil": "python-dateutil",
    "phyton-dateutil": "python-dateutil", "torchvison": "torchvision", "xgbost": "xgboost", "matplotib": "matplotlib",
    "huggingface-hud": "huggingface-hub", "beautifulsup4": "beautifulsoup4", "tensrflow-datasts": "tensorflow-datasets",
    "rеquests": "requests", "pytorch": "torch", "sklearn": "scikit-learn", "lightgbm-py": "lightgbm", "onnxruntlme": "onnxruntime",
}  # fmt: skip


@pytest.mark.parametrize(("name", "target"), LOOKS.items())
def test_a_look_alike_is_told(name, target):
    like = KNOWN.of(name)
    assert like is not None and like.target == target


@pytest.mark.parametrize(
    "name",
    ["acme-fraud", "my-company-tool", "zq", "", "azure-mgmt-dns", "google-cloud-sms", "nvidia-cublas-cu13", "x" * 5000],
)
def test_other_names_are_not(name):
    assert KNOWN.of(name) is None


def test_no_well_known_name_is_a_look_alike_not_even_of_a_private_one():
    known = LookAlikes(["requestz", "numpi", "torchh"])
    assert len(popular()) > 1000
    assert [n for n in popular() if known.of(n)] == []


@pytest.mark.parametrize(
    "name", ["acme-frauds", "acme-fruad", "acmefraud", "python-acme-fraud", "acme_fruad", "acme-fraud-py"]
)
def test_a_private_name_has_look_alikes_too(name):
    assert LookAlikes(["Acme_Fraud"]).of(name).target == "acme-fraud"
    assert KNOWN.of(name) is None


def test_it_is_fast():
    names = [f"{n}x{i}" for i, n in enumerate(sorted(popular()))]
    KNOWN.of("warm-up-name")
    start = time.perf_counter()
    for name in names:
        KNOWN.of(name)
    assert time.perf_counter() - start < 3


@given(st.text(max_size=60))
def test_any_text_is_a_name(name):
    LookAlikes().of(name)


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_the_distance_is_a_distance(a, b):
    assert distance(a, b, 8) == distance(b, a, 8)
    assert (distance(a, b, 8) == 0) == (a == b)
    assert distance(a, b, 1) == min(distance(a, b, 8), 2)


def test_only_packages_from_an_index_are_compared():
    packages = (
        Package("reqeusts", "r:1"),
        Package("reqeusts", "r:2"),
        Package("nunpy", "r:3", kind="vcs"),
        Package("пакет", "r:4"),
    )
    found = list(check_names(Declared("r", "requirements", packages), KNOWN))
    assert [(f.location, f.severity) for f in found] == [("r:1", Severity.HIGH), ("r:4", Severity.HIGH)]


PRIVATE = frozenset({"acme"})
OWN, EXTRA = "https://pypi.acme.example/simple", "https://pypi.org/simple"


def rules(options=(), packages=(), kind="requirements", private=PRIVATE, shared=()):
    files = [Declared("f", kind, tuple(packages), tuple(options))]
    if shared:
        files.append(Declared("pip.conf", "settings", (), tuple(shared)))
    return {f.rule: f.severity for f in check_indexes(files, private)}


def wanted(name="acme", **more):
    return Package(name, "f:1", **more)


def opt(name, value, tool="pip", label="", rank=""):
    return Option(name, value, "f:2", tool, label, rank)


HASH = ("sha256:" + "a" * 64,)
CONFUSED = {
    "pip extra": ([opt("extra-index-url", OWN)], "deps-confusion"),
    "pip own and public": ([opt("index-url", OWN), opt("extra-index-url", EXTRA)], "deps-confusion"),
    "pip find-links": ([opt("find-links", OWN)], "deps-confusion"),
    "pip nothing said": ([], "deps-private-public"),
    "mirror": (
        [opt("index-url", OWN), opt("extra-index-url", "https://mirrors.aliyun.com/pypi/simple")],
        "deps-confusion",
    ),
    "uv unsafe": (
        [opt("extra-index-url", OWN, "uv"), opt("index-strategy", "unsafe-best-match", "uv")],
        "deps-confusion",
    ),
    "uv public first": ([opt("source", EXTRA, "uv", "p"), opt("source", OWN, "uv", "o", "default")], "deps-confusion"),
    "poetry supplemental": ([opt("source", OWN, "poetry", "o", "supplemental")], "deps-confusion"),
    "poetry secondary": ([opt("source", OWN, "poetry", "o", "secondary")], "deps-confusion"),
    "poetry two": ([opt("source", OWN, "poetry", "o"), opt("source", EXTRA, "poetry", "pypi")], "deps-confusion"),
    "pipenv public first": (
        [opt("source", EXTRA, "pipenv", "pypi"), opt("source", OWN, "pipenv", "o")],
        "deps-private-public",
    ),
}
SAFE = {
    "pip own only": [opt("index-url", OWN)],
    "pip no index": [opt("no-index", "true"), opt("find-links", OWN)],
    "uv own first": [opt("source", OWN, "uv", "o")],
    "uv extra is first": [opt("extra-index-url", OWN, "uv")],
    "poetry own": [opt("source", OWN, "poetry", "o", "primary")],
    "pipenv own first": [opt("source", OWN, "pipenv", "o"), opt("source", EXTRA, "pipenv", "p")],
}


@pytest.mark.parametrize(("options", "rule"), CONFUSED.values(), ids=CONFUSED)
def test_a_private_name_that_a_public_index_may_answer(options, rule):
    kind = "requirements" if not options or options[0].tool == "pip" else "project"
    assert rules(options, [wanted()], kind)[rule] in {Severity.HIGH, Severity.CRITICAL}
    assert "deps-confusion" not in rules(options, [wanted("other")], kind)


@pytest.mark.parametrize("options", SAFE.values(), ids=SAFE)
def test_a_private_name_that_only_the_own_index_answers(options):
    assert rules(options, [wanted()], "requirements" if options[0].tool == "pip" else "project") == {}


def test_a_hash_or_a_bound_index_settles_it():
    extra = [opt("extra-index-url", OWN)]
    assert rules(extra, [wanted(version="1", hashes=HASH)]) == {"deps-extra-index": Severity.NOTE}
    bound = [opt("source", OWN, "uv", "Own", "explicit")]
    assert rules(bound, [wanted(index="own")], "project") == {}
    assert rules([opt("source", EXTRA, "uv", "own", "explicit")], [wanted(index="own")], "project")[
        "deps-private-public"
    ]


def test_settings_count_for_the_requirements():
    assert rules((), [wanted()], shared=[opt("extra-index-url", OWN)])["deps-confusion"] is Severity.CRITICAL
    assert rules((), [wanted()], shared=[opt("index-url", OWN)]) == {}


def test_torchtriton():
    nightly = [opt("extra-index-url", "https://download.pytorch.org/whl/nightly/cpu")]
    assert rules(nightly, [wanted("torchtriton")], private=frozenset())["deps-confusion"] is Severity.HIGH
    assert rules(nightly, [wanted("torch")], private=frozenset()) == {"deps-extra-index": Severity.MEDIUM}
    only = [opt("index-url", "https://download.pytorch.org/whl/nightly/cpu")]
    assert rules(only, [wanted("torchtriton")], private=frozenset()) == {}


def test_a_lock_that_took_a_private_name_from_pypi():
    assert rules((), [wanted(source=EXTRA, hashes=HASH)], "lock") == {"deps-private-public": Severity.CRITICAL}
    assert rules((), [wanted(source=OWN)], "lock") == {}


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        (opt("index-url", "http://pypi.acme.example/simple"), "deps-plain-index"),
        (opt("lock-index", "http://pypi.acme.example/simple", "lock"), "deps-plain-index"),
        (opt("trusted-host", "pypi.acme.example"), "deps-trusted-host"),
        (opt("index-url", "https://u:hunter2@pypi.acme.example/simple"), "deps-index-secret"),
        (opt("index-url", "https://test.pypi.org/simple"), "deps-test-index"),
        (opt("index-strategy", "unsafe-first-match", "uv"), "deps-index-strategy"),
    ],
)
def test_an_index_that_cannot_be_trusted(option, rule):
    found = [f for f in check_indexes([Declared("f", "settings", (), (option,))]) if f.rule == rule]
    assert found and "hunter2" not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:3141/simple",
        "http://127.0.0.1/x",
        "https://${USER}:${PASSWORD}@a.example/s",
        "https://u@a.example",
    ],
)
def test_an_index_that_can(url):
    assert rules([opt("index-url", url)]) == {}


@given(
    st.text(max_size=40),
    st.sampled_from(["index-url", "extra-index-url", "source", "trusted-host", "index-strategy"]),
    st.sampled_from(["pip", "uv", "poetry", "pipenv"]),
)
def test_no_option_breaks_it(value, name, tool):
    search_of([opt(name, value, tool)], tool)
    for kind in ("requirements", "project", "lock", "settings"):
        rules([opt(name, value, tool)], [wanted(), wanted(source=value)], kind)
