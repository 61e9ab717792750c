"""The threats to a classical model in plain words, each tied to ATLAS techniques."""

from __future__ import annotations

from dataclasses import dataclass

from assay.atlas.data import ATLAS
from assay.atlas.matrix import Atlas, Mitigation, Technique
from assay.core.errors import SettingError


@dataclass(frozen=True, slots=True)
class Threat:
    """A family of attacks. techniques: ATLAS ids; question: what a team has to be able to answer."""

    name: str
    question: str
    techniques: tuple[str, ...]


def _threat(name: str, question: str, numbers: str) -> Threat:
    return Threat(name, question, tuple(f"AML.T{number}" for number in numbers.split()))


THREATS = (
    _threat("poisoning", "Could training rows have been planted or altered?", "0020 0019 0010.002 0059 0031"),
    _threat(
        "backdoor",
        "Does the model obey a hidden trigger, or carry code?",
        "0018 0018.000 0018.001 0018.002 0043.004 0058",
    ),
    _threat(
        "evasion",
        "How far must a row be changed to change the answer?",
        "0015 0043 0043.000 0043.001 0043.002 0043.003 0042 0005 0005.000 0005.001 0005.002 0041",
    ),
    _threat(
        "extraction",
        "Can the model be copied through its answers?",
        "0024 0024.002 0005.001 0040 0047 0013 0014 0063 0048.004",
    ),
    _threat("inversion", "Do the answers give training values away?", "0024.001 0040 0044"),
    _threat("membership", "Do the answers tell who was in the training data?", "0024.000 0040"),
    _threat(
        "supply-chain",
        "Are the files, packages and data those that were meant?",
        "0010 0010.000 0010.001 0010.003 0010.004 0011 0011.000 0011.001 0058 0074 0076 0109 0111",
    ),
    _threat(
        "pipeline",
        "Can someone reach the machines and accounts that make the model?",
        "0012 0049 0055 0105 0112 0112.001 0035 0025 0036 0037 0007",
    ),
    _threat("availability", "Can the endpoint be exhausted or buried?", "0029 0034 0034.000 0034.001 0046"),
)


def threat(name: str) -> Threat:
    """Return the threat of that name. Raises SettingError that lists the names there are."""
    for found in THREATS:
        if found.name == name:
            return found
    names = ", ".join(known.name for known in THREATS)
    raise SettingError(f"there is no threat called {name!r}", remedy=f"Use one of: {names}")


def threats_of(technique: str) -> tuple[Threat, ...]:
    """Return the threats that a technique belongs to; none for an id outside them."""
    return tuple(found for found in THREATS if technique in found.techniques)


def mitigations(of: Threat, atlas: Atlas = ATLAS) -> tuple[Mitigation, ...]:
    """Return the mitigations that ATLAS links to any technique of a threat, in order of id."""
    found = {m.id: m for technique in of.techniques for m in atlas.mitigations_of(technique)}
    return tuple(found[key] for key in sorted(found))


def unmitigated(of: Threat, atlas: Atlas = ATLAS) -> tuple[Technique, ...]:
    """Return the techniques of a threat to which ATLAS links no mitigation, so that the gap is seen."""
    return tuple(atlas.technique(key) for key in of.techniques if not atlas.mitigations_of(key))
