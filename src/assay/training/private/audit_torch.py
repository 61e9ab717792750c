"""The audit of a torch training: one extra training on the rows and the canaries that coins let in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from sklearn.base import clone
from torch import nn
from torch.func import functional_call, grad, vmap

from assay.core.errors import DataError, SettingError, UnsupportedError
from assay.training.private.audit import Audited, Auditor, Canaries, coins, planted
from assay.training.private.clipping import PerLayer
from assay.training.private.torch_trainer import PrivateTrainer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array: TypeAlias = NDArray[np.floating[Any]]


def audit_torch(
    make: Callable[[], PrivateTrainer],
    x: Tensor,
    y: Tensor,
    canaries: tuple[Tensor, Tensor],
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Audited:
    """Train what ``make`` returns on (x, y) and on canaries by fair coins; return what the run shows about its claim.

    make: a fresh trainer, its module without dropout. canaries: rows (m, ...) and targets (m, ...), best such that their
    gradients are long and unlike each other, as mislabelled or random inputs are. Per-row gradients are computed again by
    ``torch.func``, each by itself. Raises SettingError for fewer than two canaries, DataError for dropout.
    """
    extra_x, extra_y = canaries
    if len(extra_x) < 2 or len(extra_x) != len(extra_y):
        raise SettingError("an audit needs 2 canaries or more, each with a target")
    included = coins(len(extra_x), seed=seed)
    return _watched(
        make(), torch.cat([x, extra_x]), torch.cat([y, extra_y]), included, seed=seed, confidence=confidence
    )


def audit_inside(
    estimator: Any, X: Any, y: Any, *, canaries: int = 200, seed: int = 0, confidence: float = 0.95
) -> Audited:
    """Audit the ``PrivateTrainer`` that an estimator of another hand trains with in its ``fit``.

    The estimator is fitted on rows X (n, d), labels y (n,) and canaries at corners of the rows' ranges, up to the moment at
    which it calls the trainer; from there the trainer is audited on the tensors that it was given. Raises
    UnsupportedError when it calls none, or with other rows than its own in their order.
    """
    rows = np.asarray(X, np.float64)
    trial = planted(rows, y, (rows.min(axis=0), rows.max(axis=0)), canaries, seed=seed)
    trainer, x, targets = _caught(clone(estimator), trial.rows, trial.names[trial.codes])
    if len(x) != len(trial.rows):
        raise UnsupportedError(
            f"the estimator trains on {len(x)} rows where it was given {len(trial.rows)}",
            remedy="Give it a method privacy_audit(X, y, *, canaries, seed, confidence) that calls `audit_torch`",
        )
    return _watched(trainer, x, targets, trial.canaries.included, seed=seed, confidence=confidence)


class _Reached(Exception):
    """No error: it leaves the estimator's fit where the trainer's begins."""

    def __init__(self, trainer: PrivateTrainer, x: Tensor, y: Tensor) -> None:
        self.held = trainer, x, y


def _caught(estimator: Any, X: Any, y: Any) -> tuple[PrivateTrainer, Tensor, Tensor]:
    """Return the trainer that the estimator's fit comes to, before its first step, with its tensors."""
    fit = PrivateTrainer.fit

    def reach(self: PrivateTrainer, x: Any, y: Any, *_: Any, **__: Any) -> Any:
        raise _Reached(self, x, y)

    PrivateTrainer.fit = reach  # type: ignore[method-assign]
    try:
        estimator.fit(X, y)
    except _Reached as reached:
        return reached.held
    finally:
        PrivateTrainer.fit = fit  # type: ignore[method-assign]
    raise UnsupportedError(f"{type(estimator).__name__} does not train with a PrivateTrainer", remedy="Audit by hand")


def _watched(
    trainer: PrivateTrainer, rows: Tensor, targets: Tensor, included: NDArray[np.bool_], *, seed: int, confidence: float
) -> Audited:
    """Train on all rows (n + m, ...) but the canaries, the last m, that their coins leave out, under an auditor."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    if any(isinstance(layer, kinds) for layer in trainer.module.modules()):
        raise DataError("dropout makes gradients that cannot be computed again", remedy="Audit without dropout")
    real = len(rows) - len(included)
    table = np.concatenate([np.arange(real), real + np.flatnonzero(included)])
    sizes = _layer_sizes(trainer) if isinstance(trainer.clip, PerLayer) else []
    auditor = Auditor(
        _reference(trainer, rows, targets), table, Canaries(real + np.arange(len(included)), included),
        sigma=trainer.clip.noise_share(trainer.sigma), rate=trainer.rate, layers=sizes,
    )  # fmt: skip
    trainer.fit(rows[table], targets[table], observer=auditor)
    return auditor.result(trainer.claim.epsilon.high, trainer.delta, confidence=confidence, seed=seed)


def _reference(trainer: PrivateTrainer, rows: Tensor, targets: Tensor) -> Callable[[Array, NDArray[np.intp]], Array]:
    """Return the function that gives every row's whole gradient by torch.func, in float64."""
    shapes = {name: p.shape for name, p in trainer.gradients.parameters.items()}
    module, loss = trainer.module, trainer.loss
    rest = {n: p.detach().double() for n, p in module.named_parameters() if n not in shapes}
    rest |= {n: b.double() for n, b in module.named_buffers() if b.is_floating_point()}
    device = next(iter(trainer.gradients.parameters.values())).device
    rows, targets = rows.to(device), targets.to(device)
    wide = rows.double() if rows.is_floating_point() else rows

    def one(parameters: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        return loss(functional_call(module, {**rest, **parameters}, (a[None],)), b[None]).sum()

    each = vmap(grad(one), in_dims=(None, 0, 0))

    def gradients(weights: Array, chosen: NDArray[np.intp]) -> Array:
        if not len(chosen):
            return np.zeros((0, len(weights)))
        flat, parameters, start = torch.from_numpy(np.asarray(weights, np.float64)).to(device), {}, 0
        for name, shape in shapes.items():
            parameters[name] = flat[start : start + shape.numel()].view(shape)
            start += shape.numel()
        index = torch.from_numpy(chosen).to(device)
        found = each(parameters, wide[index], targets[index])
        made: Array = torch.cat([g.reshape(len(chosen), -1) for g in found.values()], 1).detach().cpu().numpy()
        return made

    return gradients


def _layer_sizes(trainer: PrivateTrainer) -> list[int]:
    """Return the number of weights of each layer, in the order of the parameters."""
    sizes: dict[str, int] = {}
    for name, p in trainer.gradients.parameters.items():
        owner = name.rpartition(".")[0]
        sizes[owner] = sizes.get(owner, 0) + p.numel()
    return list(sizes.values())
