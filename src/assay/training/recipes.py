"""The recipe that a new project starts from: text, written beside the user's data for them to edit."""

from __future__ import annotations

RECIPE_FILE = "recipe.py"

DEFAULT_RECIPE = '''"""How the model of this project is made. `assay run` calls build() inside a sandbox without network.

The estimator is fitted on the table as numbers, one column a feature of contract.yaml in its order: categories
as their position in the contract (-1 for one that it does not list), dates as days since 1970, missing values
as NaN. Edit it as you like: any scikit-learn classifier with predict_proba.
"""

from sklearn.ensemble import HistGradientBoostingClassifier


def build(seed=0, categorical=()):
    """Return the unfitted classifier. categorical: positions of the columns that hold categories."""
    return HistGradientBoostingClassifier(
        categorical_features=list(categorical) or None,
        learning_rate=0.1,
        max_iter=150,
        max_leaf_nodes=15,
        # Large leaves and a ridge keep single persons out of the model: less to find for membership attacks.
        min_samples_leaf=40,
        l2_regularization=1.0,
        random_state=seed,
    )
'''
