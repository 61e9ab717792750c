"""Write the rules of the CycloneDX 1.7 schema, without its prose, for ``assay.artifacts.bom.schema``.

``python tools/make_bom_schema.py FOLDER``: FOLDER holds the schema files as the CycloneDX project publishes them
(Apache-2.0): ``bom-1.7*.schema.json``, ``spdx*``, ``jsf*`` and ``cryptography-defs*``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/assay/artifacts/bom/cyclonedx-1.7.json"
FILES = {"bom": "bom-1.7", "spdx": "spdx", "jsf": "jsf-", "cryptography": "cryptography-defs"}
RULES = {
    "type", "$ref", "items", "properties", "additionalProperties", "required", "format", "enum", "uniqueItems", "oneOf",
    "anyOf", "allOf", "not", "pattern", "minimum", "maximum", "if", "then", "else", "const", "definitions", "minLength",
    "maxLength", "minItems",
}  # fmt: skip
PROSE = {
    "title", "description", "examples", "meta:enum", "$comment", "default", "deprecated", "meta:deprecated", "$schema",
    "$id",
}  # fmt: skip


def rules(value: object, *, names: bool = False) -> object:
    """Return a schema without prose; names: the keys are of the document that is described. Unknown rules stop it."""
    if isinstance(value, list):
        return [rules(item) for item in value]
    if not isinstance(value, dict):
        return value
    unknown = set() if names else set(value) - RULES - PROSE
    if unknown:
        raise SystemExit(f"the schema uses {sorted(unknown)}, which schema.py does not hold")
    kept = value if names else {k: v for k, v in value.items() if k in RULES}
    plain = {"enum", "const"} if not names else set()
    return {
        k: v if k in plain else rules(v, names=k in {"properties", "definitions"} and not names)
        for k, v in kept.items()
    }


def main() -> None:
    """Write the file."""
    folder = Path(sys.argv[1])
    made = {}
    for name, start in FILES.items():
        (path,) = folder.glob(f"{start}*.schema.json")
        text = json.dumps(rules(json.loads(path.read_bytes())))
        for other, begin in FILES.items():
            text = re.sub(rf'"\$ref": "{re.escape(begin)}[^"#]*(#[^"]*)?"', rf'"$ref": "{other}\1"', text)
        made[name] = json.loads(text)
    TARGET.write_text(json.dumps(made, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
