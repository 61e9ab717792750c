"""Draws the pictures of `docs/tutorial-privacy.md` from a real run, in a folder in which its steps were walked.

    python tools/tutorial_pictures.py FOLDER

FOLDER holds train.csv, test.csv, contract.yaml, recipe.py with the forest as it was first, careful.py with the one that
was chosen, and their models in converted/ and careful/. Writes docs/images/privacy-roc.png and privacy-fix.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from assay.flows.assess import assess_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from assay.assessment.assessment import Assessment
    from assay.flows.fix import Fix, Trial

IMAGES = Path(__file__).parents[1] / "docs" / "images"
INK, QUIET, MARK = "#1b2733", "#9aa7b3", "#c4452d"
_NEAR = 0.15


def attacked(folder: Path, model: str, recipe: str, *, fix: bool) -> tuple[Assessment, Fix | None]:
    """Return what the tutorial's command measures."""
    return assess_files(
        str(folder / model / "model.onnx"), folder / "train.csv", folder / "test.csv", folder / "contract.yaml",
        recipe=f"{folder / recipe}:build", goals=["membership"], fix=fix,
    )  # fmt: skip


def axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return an empty plot in the tutorial's style."""
    figure, drawn = plt.subplots(figsize=(5.6, 3.9), dpi=110)
    drawn.set_title(title, loc="left", fontsize=10, color=INK)
    drawn.set_xlabel(x, fontsize=9, color=INK)
    drawn.set_ylabel(y, fontsize=9, color=INK)
    drawn.tick_params(labelsize=8, colors=INK)
    drawn.spines[["top", "right"]].set_visible(False)
    return figure, drawn


def roc(before: Assessment, after: Assessment) -> None:
    """Draw the curves of RMIA against both models."""
    figure, drawn = axes("Who was trained on: RMIA", "false accusations", "members found")
    ends = np.array([1e-3, 1.0])
    drawn.plot(ends, ends, "--", color=QUIET, lw=1, label="guessing")
    for found, name, colour in ((before, "default forest", MARK), (after, "at least 20 rows in a leaf", INK)):
        series = next(s for c in found.curves if c.goal == "membership" for s in c.series if s.name == "RMIA")
        drawn.plot(np.maximum(series.x, 1e-9), np.maximum(series.y, 1e-9), color=colour, lw=1.8, label=name)
    drawn.set(xscale="log", yscale="log", xlim=(7e-4, 1), ylim=(7e-4, 1.1))
    drawn.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(IMAGES / "privacy-roc.png", bbox_inches="tight")


def trade(fix: Fix) -> None:
    """Draw each remedy as a point with its interval."""
    figure, drawn = axes("What each remedy costs", "AUC on test patients", "members found at 1 % false accusations")
    points: dict[tuple[float, float], list[Trial]] = {}
    for trial in fix.trials:
        if trial.leak is not None:
            points.setdefault((round(trial.auc, 3), round(trial.leak.estimate, 3)), []).append(trial)
    for (at, share), same in points.items():
        leak = same[0].leak
        assert leak is not None
        colour = MARK if fix.trials[0] in same else INK if fix.chosen in same else QUIET
        drawn.plot([at, at], [max(leak.low, 1e-3), leak.high], color=colour, lw=1)
        drawn.plot(at, max(share, 1e-3), "o", color=colour, ms=5)
        crowded = any(0 < x - at < _NEAR * (max(p[0] for p in points) - min(p[0] for p in points))
                      and 0.7 < y / share < 1.4 for x, y in points)  # fmt: skip
        drawn.annotate(
            ", ".join(t.remedy.name for t in same), (at, share), (-6 if crowded else 6, 3), textcoords="offset points",
            fontsize=7, color=INK, ha="right" if crowded else "left",
        )  # fmt: skip
    drawn.set(yscale="log")
    drawn.axhline(0.01, ls="--", color=QUIET, lw=1)
    drawn.annotate("guessing", (drawn.get_xlim()[0], 0.01), (3, 3), textcoords="offset points", fontsize=7, color=INK)
    figure.savefig(IMAGES / "privacy-fix.png", bbox_inches="tight")


def main() -> None:
    """Attack both models and draw."""
    folder = Path(sys.argv[1])
    before, fix = attacked(folder, "converted", "recipe.py", fix=True)
    after, _ = attacked(folder, "careful", "careful.py", fix=False)
    roc(before, after)
    if fix is not None:
        trade(fix)


if __name__ == "__main__":
    main()
