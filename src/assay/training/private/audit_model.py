"""The audit of whatever private model there is: by its kind, or by the audit that it brings along."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

from assay.core.errors import UnsupportedError
from assay.training.private import audit_dense, audit_trees, audit_votes
from assay.training.private.audit import Audited
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import private_part
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.private.votes import PrivateVotes

_KINDS: tuple[tuple[tuple[type, ...], Any], ...] = (
    ((DPLogisticRegression, DPMLPClassifier), audit_dense.audit),
    ((DPBoostedTreesClassifier,), audit_trees.audit),
    ((PrivateVotes,), audit_votes.audit),
)


def audit(model: Any, X: Any, y: Any, *, canaries: int = 200, seed: int = 0, confidence: float = 0.95) -> Audited:
    """Train a fresh copy of a private estimator, or of a pipeline that ends in one, with canaries; return what it shows.

    An estimator of another kind is asked for its own method ``privacy_audit(X, y, canaries=, seed=, confidence=)``.
    Neither ``model`` nor what it has spent is touched; the copy is thrown away. Raises UnsupportedError for a model that
    makes no privacy claim or cannot be audited, Refused for a pipeline whose steps learn from the rows.
    """
    last = private_part(model)
    if last is None:
        raise UnsupportedError(f"{type(model).__name__} makes no claim of privacy", remedy="Audit a private estimator")
    if isinstance(model, Pipeline) and len(model.steps) > 1:
        # What comes before learns nothing and turns each row by itself: a row there is a row here.
        X = model[:-1].fit_transform(X, y)
    options = {"canaries": canaries, "seed": seed, "confidence": confidence}
    if hasattr(last, "privacy_audit"):
        found: Audited = last.privacy_audit(X, y, **options)
        return found
    for kinds, run in _KINDS:
        if isinstance(last, kinds):
            return run(last, X, y, **options)  # type: ignore[no-any-return]
    raise UnsupportedError(
        f"there is no audit of a {type(last).__name__}",
        remedy="Give it a method privacy_audit(X, y, *, canaries, seed, confidence); for torch, `audit_torch` makes one",
    )
