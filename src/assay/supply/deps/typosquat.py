"""Names that look like a well-known or a private package and are not it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from assay.core.finding import Finding, Severity
from assay.supply.deps.declared import TECHNIQUE, Declared, canonical, short
from assay.supply.deps.spelling import distance, skeleton, slip

_LONGEST = 80
_DIGITS = re.compile(r"\d+")
_PREFIXES = ("python-", "python3-", "python", "py-", "py3-", "py", "lib", "the-", "real-", "official-", "new-")
_SUFFIXES = (
    "-python", "-python3", "python", "-py", "-py3", "py", "-lib", "lib", "-dev", "-official", "-latest", "-stable",
    "-new", "-fix", "-fixed", "-pip", "-pypi", "-package", "-release",
)  # fmt: skip
# What one imports, which is not what one installs.
_IMPORTED = {
    "sklearn": "scikit-learn", "cv2": "opencv-python", "pil": "pillow", "yaml": "pyyaml", "skimage": "scikit-image",
    "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "dotenv": "python-dotenv", "jwt": "pyjwt",
    "crypto": "pycryptodome", "openssl": "pyopenssl", "serial": "pyserial", "git": "gitpython", "magic": "python-magic",
    "mysqldb": "mysqlclient", "fitz": "pymupdf", "faiss": "faiss-cpu", "pytorch": "torch", "usb": "pyusb",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Likeness:
    """A name that another one resembles. how: in words; severity: how seldom that is chance."""

    target: str
    how: str
    severity: Severity


class LookAlikes:
    """The well-known names and the user's private ones, indexed so that a name is compared to few of them."""

    def __init__(self, private: Iterable[str] = ()) -> None:
        self._private = frozenset(canonical(n) for n in private)
        self._popular = popular()
        self._indexes = [_popular_index()]
        if self._private:
            self._indexes.append(_Index(self._private))

    def of(self, name: str) -> Likeness | None:
        """Return what a name resembles, None for nothing; an exact well-known or private name resembles nothing."""
        plain = canonical(name)
        if plain in self._popular or plain in self._private or not 3 <= len(plain) <= _LONGEST:
            return None
        if plain in _IMPORTED:
            return Likeness(_IMPORTED[plain], "it is the name that is imported, not the one to install", Severity.LOW)
        found = [like for index in self._indexes if (like := index.of(plain))]
        return max(found, key=lambda like: like.severity.rank, default=None)


def check_names(declared: Declared, known: LookAlikes) -> Iterator[Finding]:
    """Yield the packages of a file whose name resembles a well-known or private one."""
    seen: set[str] = set()
    for package in declared.packages:
        if package.kind != "registry" or package.name in seen:
            continue
        seen.add(package.name)
        like = known.of(package.name)
        if like:
            yield Finding(
                "deps-look-alike", like.severity, f"{short(package.name)} looks like {like.target}: {like.how}",
                package.place, f"Check the name; write {like.target} if that is meant", TECHNIQUE,
            )  # fmt: skip
        elif not package.name.isascii():
            what = f"the name {ascii(package.name)[:80]} holds letters that only look like plain ones"
            yield Finding("deps-look-alike", Severity.HIGH, what, package.place, "Write the name anew", TECHNIQUE)


@cache
def popular() -> frozenset[str]:
    """Return the well-known names in normal form."""
    return frozenset(canonical(word.removeprefix("~")) for word in _listed())


class _Index:
    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(n for n in names if len(n) >= 4)
        self._glyphs = {skeleton(n): n for n in self._names}
        self._joined = {n.replace("-", ""): n for n in self._names}
        self._words = {" ".join(sorted(n.split("-"))): n for n in self._names if "-" in n}
        self._families = Counter(form for n in self._names for form in _families(n))
        self._near: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            for form in _shortened(name):
                self._near[form].append(name)

    def of(self, name: str) -> Likeness | None:
        joined = name.replace("-", "")
        if joined in self._joined:
            return Likeness(self._joined[joined], "only the separators differ", Severity.MEDIUM)
        if target := self._glyphs.get(skeleton(name)):
            return Likeness(target, "some letters are replaced by ones that look the same", Severity.HIGH)
        if target := self._words.get(" ".join(sorted(name.split("-")))):
            return Likeness(target, "the same words stand in another order", Severity.MEDIUM)
        if like := self._affixed(name):
            return like
        near = {target for form in _shortened(name) for target in self._near.get(form, ())}
        found = [like for target in sorted(near) if (like := self._typed(name, target))]
        return max(found, key=lambda like: like.severity.rank, default=None)

    def _affixed(self, name: str) -> Likeness | None:
        cores = [(name[len(p) :], p) for p in _PREFIXES if name.startswith(p)]
        cores += [(name[: -len(s)], s) for s in _SUFFIXES if name.endswith(s)]
        for core, affix in cores:
            if core in self._names and (len(core) >= 5 or "-" in affix):
                return Likeness(core, f'"{affix}" is added', Severity.MEDIUM)
        bare = name.rstrip("0123456789").rstrip("-")
        if bare != name and bare in self._names and len(bare) >= 5:
            return Likeness(bare, "a number is added", Severity.MEDIUM)
        for target in (f"python-{name}", f"{name}-python", f"py{name}", f"py-{name}"):
            if target in self._names and len(name) >= 5:
                return Likeness(target, "a part of the name is left out", Severity.LOW)
        return None

    def _typed(self, name: str, target: str) -> Likeness | None:
        """Return how a name could be a slip of the hand for another one."""
        if _DIGITS.search(target) and _DIGITS.sub("", name) == _DIGITS.sub("", target):
            return None
        words, wanted = name.split("-"), target.split("-")
        if len(words) == len(wanted) > 1:
            apart = [i for i, (w, t) in enumerate(zip(words, wanted, strict=True)) if w != t]
            # In families such as azure-mgmt-dns and azure-mgmt-cdn another short word makes another package.
            if any(len(wanted[i]) < 5 and self._families[_family(wanted, i)] > 1 for i in apart):
                return None
        steps = distance(name, target)
        if steps == 1:
            how = slip(name, target)
            enough = len(target) >= 5 or how.startswith("two")
            return Likeness(target, how, Severity.HIGH if len(target) >= 6 else Severity.MEDIUM) if enough else None
        return Likeness(target, "two letters differ", Severity.MEDIUM) if steps == 2 and len(target) >= 12 else None


def _families(name: str) -> list[str]:
    words = name.split("-")
    return [_family(words, i) for i in range(len(words))] if len(words) > 1 else []


def _family(words: list[str], at: int) -> str:
    return "-".join([*words[:at], "*", *words[at + 1 :]])


@cache
def _popular_index() -> _Index:
    return _Index(canonical(word) for word in _listed() if not word.startswith("~"))


def _listed() -> list[str]:
    text = files("assay.supply.deps").joinpath("popular.txt").read_text(encoding="utf-8")
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _shortened(name: str) -> set[str]:
    """Return a name without any one letter, and without any two when it is long: what near names share."""
    once = {name[:i] + name[i + 1 :] for i in range(len(name))}
    if len(name) < 11:
        return {name, *once}
    return {name, *once, *(form[:i] + form[i + 1 :] for form in once for i in range(len(form)))}
