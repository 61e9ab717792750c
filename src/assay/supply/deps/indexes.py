"""Which indexes are asked for a package: dependency confusion, indexes without TLS, hosts trusted without proof."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.core.finding import Finding, Severity
from assay.supply.deps.declared import TECHNIQUE, Declared, Option, Package, canonical, host_of, redacted
from assay.supply.deps.pinning import is_hashed

_PYPI = Option("index-url", "https://pypi.org/simple", "")
# Anyone may publish a name here.
_OPEN = {"pypi.org", "pypi.python.org", "test.pypi.org", "files.pythonhosted.org"}
_MIRRORS = {
    "pypi.tuna.tsinghua.edu.cn", "mirrors.aliyun.com", "pypi.mirrors.ustc.edu.cn", "mirrors.cloud.tencent.com",
    "pypi.douban.com", "repo.huaweicloud.com", "mirror.baidu.com",
}  # fmt: skip
# Public, but one publisher decides what is in it.
_CURATED = {
    "download.pytorch.org", "pypi.nvidia.com", "pypi.ngc.nvidia.com", "data.pyg.org", "storage.googleapis.com",
    "wheels.vllm.ai", "abetlen.github.io", "pypi.anaconda.org",
}  # fmt: skip
# In December 2022 a stranger's torchtriton on PyPI won over the one of PyTorch's own index.
_ONLY_THERE = {
    "torchtriton",
    "pytorch-triton",
    "pytorch-triton-rocm",
    "pytorch-triton-xpu",
    "torch-model-archiver-nightly",
}
_ADDRESSES = {"index-url", "extra-index-url", "find-links", "source", "lock-index"}
_SECRET = re.compile(r"https?://[^/@\s:]*:(?!\$\{|\$[A-Z(]|%\()[^/@\s]+@")
_BIND = "Ask one index only, or bind the name to its index (uv, poetry, pipenv), or pin it with hashes"


@dataclass(frozen=True, slots=True)
class Search:
    """The indexes that a tool asks, in order. together: the newest of all wins, else the first that has the name."""

    sources: tuple[Option, ...]
    together: bool


def check_indexes(files: Sequence[Declared], private: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Yield what lets a stranger's package take the place of the intended one.

    private: names, in normal form, that only the user's own index may answer. Options of settings files count for all.
    """
    shared = [option for file in files if file.kind == "settings" for option in file.options]
    for file in files:
        for option in file.options:
            yield from _transport(option)
        for tool in sorted(_tools(file, ())):
            yield from _mixed(search_of(file.options, tool), file)
        if file.kind == "lock":
            yield from _locked(file, private)
            continue
        for tool in sorted(_tools(file, shared) if file.packages else ()):
            search = search_of([*shared, *file.options], tool)
            for package in file.packages:
                yield from _confused(package, search, file, private)


def search_of(options: Sequence[Option], tool: str) -> Search:
    """Return the indexes that pip, uv, poetry or pipenv asks with these options."""
    own = [o for o in options if o.tool == tool]
    return {"poetry": _poetry, "pipenv": _pipenv, "uv": _uv}.get(tool, _pip)(own)


def is_open(url: str) -> bool:
    """Return whether anyone may publish a new name where this URL points."""
    return host_of(url) in _OPEN | _MIRRORS


def _pip(own: Sequence[Option]) -> Search:
    links = [o for o in own if o.name == "find-links" and "://" in o.value]
    if any(o.name == "no-index" for o in own):
        return Search(tuple(links), together=True)
    return Search((_default(own), *(o for o in own if o.name == "extra-index-url"), *links), together=True)


def _uv(own: Sequence[Option]) -> Search:
    named = [o for o in own if o.name == "source" and o.rank != "explicit"]
    last = next((o for o in named if o.rank == "default"), _default(own))
    strategy = next((o.value for o in reversed(own) if o.name == "index-strategy"), "first-index")
    before = [o for o in named if o.rank != "default"] + [o for o in own if o.name == "extra-index-url"]
    return Search((*before, last), strategy.startswith("unsafe"))


def _poetry(own: Sequence[Option]) -> Search:
    named = [o for o in own if o.name == "source" and o.rank != "explicit"]
    first = [o for o in named if o.rank != "supplemental"]
    # The secondary ones are asked beside the others, PyPI among them when nothing else is primary.
    first = first if any(o.rank != "secondary" for o in first) else [_PYPI, *first]
    return Search((*first, *(o for o in named if o.rank == "supplemental")), len(first) > 1)


def _pipenv(own: Sequence[Option]) -> Search:
    # A name that is not bound to another source is asked of the first one only.
    return Search(tuple(o for o in own if o.name == "source")[:1] or (_PYPI,), together=False)


def _default(own: Sequence[Option]) -> Option:
    return next((o for o in reversed(own) if o.name == "index-url"), _PYPI)


def _tools(file: Declared, shared: Sequence[Option]) -> set[str]:
    own = {o.tool for o in file.options} & {"pip", "uv", "poetry", "pipenv"}
    if file.kind in {"requirements", "constraints", "input"}:
        return own | {"pip"} | {o.tool for o in shared if o.tool == "uv"}
    if file.kind == "project":
        return own or {"pip"}
    return own


def _transport(option: Option) -> Iterator[Finding]:
    shown, host = redacted(option.value), host_of(option.value)
    if option.name == "trusted-host":
        what = f"the certificate of {shown} is not checked"
        yield _found(
            "deps-trusted-host", Severity.HIGH, what, option.place, "Remove it, and install the index's own CA"
        )
    if option.name == "index-strategy" and option.value.startswith("unsafe"):
        what = f"index-strategy {shown} lets any index answer for any name"
        yield _found("deps-index-strategy", Severity.HIGH, what, option.place, "Use first-index")
    if option.name not in _ADDRESSES:
        return
    if option.value.lower().startswith(("http://", "ftp://")) and not _is_local(host):
        yield _found(
            "deps-plain-index", Severity.HIGH, f"packages come without TLS from {shown}", option.place, "Use https://"
        )
    if _SECRET.search(option.value):
        what = f"a password for {host or shown} stands in the file"
        yield _found(
            "deps-index-secret", Severity.HIGH, what, option.place, "Take it from the environment or a keyring"
        )
    if host == "test.pypi.org":
        what = "packages come from test.pypi.org, where nothing is kept or watched"
        yield _found("deps-test-index", Severity.MEDIUM, what, option.place, "Use the index of the release")


def _mixed(search: Search, file: Declared) -> Iterator[Finding]:
    places = {o.value.rstrip("/"): o for o in search.sources}
    if not search.together or len(places) < 2:
        return
    settled = bool(file.packages) and all(is_hashed(p) for p in file.packages if p.kind == "registry")
    main = next((o for o in search.sources if o.name == "index-url"), search.sources[0])
    for option in places.values():
        if option is main or not option.place:
            continue
        known = host_of(option.value) in _CURATED | _OPEN | _MIRRORS
        severity = Severity.NOTE if settled else Severity.MEDIUM if known else Severity.HIGH
        what = f"{redacted(option.value)} is asked beside {redacted(main.value)}, and the higher version wins"
        yield _found("deps-extra-index", severity, what, option.place, _BIND)


def _locked(file: Declared, private: frozenset[str]) -> Iterator[Finding]:
    for package in file.packages:
        if package.name in private and package.kind == "registry" and is_open(package.source):
            what = f"the private name {package.name} is locked to {host_of(package.source)}"
            yield _found("deps-private-public", Severity.CRITICAL, what, package.place, "Lock it from your own index")


def _confused(package: Package, search: Search, file: Declared, private: frozenset[str]) -> Iterator[Finding]:
    if package.kind != "registry" or is_hashed(package):
        return
    bound = [o for o in file.options if package.index and canonical(o.label) == canonical(package.index)]
    asked = bound or list(search.sources)
    hosts = [host_of(o.value) for o in asked]
    public = [o for o in asked if is_open(o.value)]
    if package.name in private and public:
        first = host_of(public[0].value)
        if len(public) == len(asked):
            what = f"the private name {package.name} is asked of {first} only, as far as these files say"
            yield _found("deps-private-public", Severity.HIGH, what, package.place, _BIND)
        elif search.together or asked[0] is public[0]:
            how = "where a higher version wins" if search.together else "before your own index"
            what = f"the private name {package.name} is asked of {first} too, {how}"
            yield _found("deps-confusion", Severity.CRITICAL, what, package.place, _BIND)
    elif package.name in _ONLY_THERE and public and search.together and "download.pytorch.org" in hosts:
        what = f"{package.name} is meant from download.pytorch.org, and PyPI may answer for it (as in December 2022)"
        yield _found("deps-confusion", Severity.HIGH, what, package.place, _BIND)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _found(rule: str, severity: Severity, message: str, place: str, remedy: str) -> Finding:
    return Finding(rule, severity, message, place, remedy, TECHNIQUE)
