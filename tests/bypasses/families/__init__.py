"""Hostile and harmless model files, one module for each group of families; every module has ``cases()``."""

import functools
import importlib
import pkgutil

from .case import Case

HARMLESS = ("harmless", "harmless_models")


@functools.cache
def modules() -> tuple[str, ...]:
    """The modules of the corpus: a new one is found, not listed."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "case"))


@functools.cache
def hostile_cases() -> tuple[Case, ...]:
    """Every file that must never pass."""
    return tuple(c for m in modules() if m not in HARMLESS for c in importlib.import_module(f".{m}", __name__).cases())


@functools.cache
def harmless_cases() -> tuple[Case, ...]:
    """Every file that must be clean."""
    return tuple(c for m in modules() if m in HARMLESS for c in importlib.import_module(f".{m}", __name__).cases())


def all_cases() -> tuple[Case, ...]:
    """Both, the hostile ones first."""
    return hostile_cases() + harmless_cases()
