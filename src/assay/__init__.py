"""Assay: the security of classical machine learning, from raw data to a guarded endpoint.

The short way in; everything else is reachable by its room's name::

    contract = assay.Contract.infer(frame, target="default")
    assay.check(batch, contract)                      # -> Evidence
    assay.scan("model.joblib")                        # -> Evidence
    assay.load("model.joblib")                        # -> the model, in a sandbox, after a clean scan
    assay.predictor(model, budget=2000)               # -> Predictor
    assay.verify("release/", policy="policy.yaml")     # -> VerifiedRelease, or raises Refused
    assay.assess(model, train=(X, y), test=(Xt, yt), contract=contract)               # -> Assessment
    assay.HopSkipJump(max_queries=500)(predictor, X, y, assay.Region.of(contract))    # -> AttackResult

Importing this package reads no file, starts no thread and loads no heavy library: every name below is
fetched from its room when it is first used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOME = {
    "Assessment": "assay.assessment.assessment",
    "AssayError": "assay.core.errors",
    "Contract": "assay.contract.contract",
    "Digest": "assay.core.digest",
    "Evidence": "assay.core.evidence",
    "Finding": "assay.core.finding",
    "HopSkipJump": "assay.assessment.evasion.hopskipjump",
    "Measure": "assay.core.measure",
    "Refused": "assay.core.errors",
    "Region": "assay.contract.region",
    "assess": "assay.flows.assess",
    "check": "assay.contract.validate",
    "load": "assay.flows.load",
    "predictor": "assay.models.predictor",
    "scan": "assay.artifacts.scan",
    "verify": "assay.flows.release",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names are text


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
