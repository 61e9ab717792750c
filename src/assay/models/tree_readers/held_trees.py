"""Trees of estimators that hold them as a ``TreeEnsemble`` themselves, as Assay's own do."""

from __future__ import annotations

from typing import Any

from assay.models.trees import TreeEnsemble, TreeReader


class HeldTrees(TreeReader, name="held"):
    """The trees under ``trees_``, or an ensemble itself."""

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is an ensemble, or holds one as ``trees_``."""
        return isinstance(model, TreeEnsemble) or isinstance(getattr(model, "trees_", None), TreeEnsemble)

    @classmethod
    def read(cls, model: Any) -> TreeEnsemble:
        """Return the trees."""
        held: TreeEnsemble = model if isinstance(model, TreeEnsemble) else model.trees_
        return held
