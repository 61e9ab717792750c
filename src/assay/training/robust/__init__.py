"""Robust estimators: adversarial training of torch modules, and smoothed classifiers, with scikit-learn's API."""
