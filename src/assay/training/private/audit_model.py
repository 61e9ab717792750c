"""The audit of whatever private model there is: by its kind, or by the audit that it brings along."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from assay.core.errors import UnsupportedError
from assay.training.private import audit_dense, audit_trees, audit_votes
from assay.training.private.audit import Audited
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import check_steps
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.private.votes import PrivateVotes

_TRAINER = "assay.training.private.torch_trainer"
_KINDS: tuple[tuple[tuple[type, ...], Any], ...] = (
    ((DPLogisticRegression, DPMLPClassifier), audit_dense.audit),
    ((DPBoostedTreesClassifier,), audit_trees.audit),
    ((PrivateVotes,), audit_votes.audit),
)


def audit(model: Any, X: Any, y: Any, *, canaries: int = 200, seed: int = 0, confidence: float = 0.95) -> Audited:
    """Train a fresh copy of a private estimator, or of a pipeline that ends in one, with canaries; return what it shows.

    An estimator of another kind is asked for its own method ``privacy_audit(X, y, *, canaries, seed, confidence)``; one
    that trains with a ``PrivateTrainer`` is audited from within. Neither ``model`` nor what it has spent is touched; the
    copy is thrown away. Raises UnsupportedError for a model that cannot be audited, Refused for a pipeline whose steps
    learn from the rows.
    """
    last = _last(model)
    if isinstance(model, Pipeline) and len(model.steps) > 1:
        # What comes before learns nothing and turns each row by itself: a row there is a row here.
        X = clone(model[:-1]).fit_transform(X, y)
    options = {"canaries": canaries, "seed": seed, "confidence": confidence}
    run = last.privacy_audit if hasattr(last, "privacy_audit") else None
    for kinds, own in _KINDS:
        if run is None and isinstance(last, kinds):
            run = partial(own, last)
    if run is None and _TRAINER in sys.modules:
        from assay.training.private.audit_torch import audit_inside

        run = partial(audit_inside, last)
    if run is None:
        raise UnsupportedError(
            f"there is no audit of a {type(last).__name__}",
            remedy="Give it a method privacy_audit(X, y, *, canaries, seed, confidence)",
        )
    found: Audited = run(X, y, **options)
    return found


def statement(model: Any) -> Mapping[str, object]:
    """Return what a fitted model claims: by its own statement, or by that of the one ``PrivateTrainer`` that it holds.

    {}: it claims nothing. Raises Refused for a pipeline whose steps learn from the rows.
    """
    last = model[-1] if isinstance(model, Pipeline) else model
    if not hasattr(last, "privacy_statement"):
        if _TRAINER not in sys.modules:
            return {}
        from assay.training.private.torch_trainer import PrivateTrainer

        held = [value for value in vars(last).values() if isinstance(value, PrivateTrainer)]
        if len(held) != 1:
            # What several trainings spend together, only their author can say.
            return {}
        last = held[0]
    _last(model)
    said: Mapping[str, object] = last.privacy_statement()
    return said


def _last(model: Any) -> Any:
    """Return the last step of a pipeline, else the model. Raises Refused for a step before it that learns from the rows."""
    if not isinstance(model, Pipeline):
        return model
    check_steps([step for _, step in model.steps[:-1]])
    return model[-1]
