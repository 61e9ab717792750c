"""Licences as CycloneDX writes them: an SPDX id, an SPDX expression, or a name where it is neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from assay.artifacts.bom.schema import spdx_ids

# What packages write in their metadata where the list of SPDX has an id.
_ALIASES: Mapping[str, str] = {
    "mit license": "MIT", "the mit license": "MIT", "expat": "MIT", "apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "apache-2": "Apache-2.0",
    "apache software license": "", "apache license version 2.0": "Apache-2.0", "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "new bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause", "bsd-3": "BSD-3-Clause", "modified bsd license": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause", "isc license": "ISC", "psf": "PSF-2.0",
    "psfl": "PSF-2.0", "python software foundation license": "PSF-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0", "isc license (iscl)": "ISC", "the unlicense (unlicense)": "Unlicense",
}  # fmt: skip
_WORD = re.compile(r"\(|\)|[A-Za-z0-9.+-]+")
_LONGEST = 120


def licence_choices(names: Iterable[str]) -> list[object]:
    """Return licences as a licenseChoice, each once and in order: id, expression, or name."""
    found: dict[str, object] = {}
    for text in sorted({" ".join(n.split())[:_LONGEST] for n in names if n.strip()}):
        known = spdx_id(text)
        if known:
            found.setdefault(known, {"license": {"id": known}})
        elif is_expression(text):
            found.setdefault(text, {"expression": text})
        else:
            found.setdefault(text, {"license": {"name": text}})
    # CycloneDX takes several licences, or one expression, but not both.
    expressions = [v for v in found.values() if isinstance(v, dict) and "expression" in v]
    if expressions and len(found) > 1:
        return [{"license": {"name": text}} for text in sorted(found)]
    return list(found.values())


def spdx_id(text: str) -> str:
    """Return the SPDX id of a licence by its id or a usual name, "" when it has none."""
    return _by_id().get(text.lower(), "") or _ALIASES.get(text.lower(), "")


def is_expression(text: str) -> bool:
    """Return whether text is an SPDX expression of known ids with operators, as in ``MIT OR Apache-2.0``."""
    words = _WORD.findall(text)
    if "".join(words) != text.replace(" ", "") or not {"AND", "OR", "WITH"} & set(words):
        return False
    depth, operand_next, exception = 0, True, False
    for word in words:
        if word == "(" and operand_next:
            depth += 1
        elif word == ")" and not operand_next and depth:
            depth -= 1
        elif word in {"AND", "OR", "WITH"} and not operand_next:
            operand_next, exception = True, word == "WITH"
        elif operand_next and word not in {"(", ")"}:
            name = word.removesuffix("+")
            if not exception and name.lower() not in _by_id() and not name.startswith("LicenseRef-"):
                return False
            operand_next = exception = False
        else:
            return False
    return depth == 0 and not operand_next


@cache
def _by_id() -> dict[str, str]:
    return {name.lower(): name for name in spdx_ids()}
