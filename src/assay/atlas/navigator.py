"""ATLAS Navigator layers: which techniques were examined, and how completely, on the matrix that analysts use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assay.atlas.data import ATLAS
from assay.atlas.matrix import Atlas
from assay.core.errors import SettingError
from assay.core.evidence import Evidence

_PART, _WHOLE = "#FFE0B2", "#C8E6C9"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a layer shows of a technique. score: 0 to 100; comment: where it comes from."""

    score: int
    comment: str = ""

    def __post_init__(self) -> None:
        if type(self.score) is not int or not 0 <= self.score <= 100:
            raise SettingError(f"a score cannot be {self.score!r}", remedy="Give a whole number from 0 to 100")


def marks(evidence: Iterable[Evidence]) -> dict[str, Mark]:
    """Return a mark for each technique that evidence speaks to.

    The score is the share, in percent and rounded down, of the evidence on that technique in which everything
    was checked; it says how completely the technique was examined, not how well the model withstood it.
    """
    found: dict[str, list[Evidence]] = {}
    for item in evidence:
        for technique in dict.fromkeys(item.techniques):
            found.setdefault(technique, []).append(item)
    return {
        technique: Mark(
            100 * sum(item.complete for item in items) // len(items),
            ", ".join(sorted({item.control for item in items})),
        )
        for technique, items in sorted(found.items())
    }


def layer(
    shown: Mapping[str, Mark], *, name: str = "Assay", description: str = "", atlas: Atlas = ATLAS
) -> dict[str, object]:
    """Return a layer (format 4.3, domain ``atlas-atlas``) as plain JSON, in an order that depends on nothing else.

    A technique of several tactics is entered once for each; a sub-technique without tactic, and its parent is
    opened to show it. Raises SettingError for an id that is no technique of ``atlas``.
    """
    parents = {atlas.technique(key).parent for key in shown} - {""}
    rows: list[dict[str, object]] = []
    for key in sorted({*shown, *parents}):
        entry: dict[str, object] = {"techniqueID": key}
        if key in shown:
            mark = shown[key]
            entry |= {"score": mark.score, "comment": mark.comment, "color": _WHOLE if mark.score == 100 else _PART}
        if atlas.technique(key).parent:
            rows.append(entry)
            continue
        rows += [{**entry, "tactic": t.slug, "showSubtechniques": key in parents} for t in atlas.tactics_of(key)]
    return {
        "versions": {"layer": "4.3", "navigator": "4.6.4"},
        "domain": "atlas-atlas",
        "name": name,
        "description": description,
        "metadata": [{"name": "atlas_data_version", "value": atlas.version}],
        "techniques": rows,
        "legendItems": [
            {"label": "examined completely", "color": _WHOLE},
            {"label": "examined in part", "color": _PART},
        ],
    }
