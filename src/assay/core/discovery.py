"""Discovery of controls: whatever subclasses a room's base class takes part, nothing lists it by hand.

Assay's own parts are found by importing the modules of their package; those of others by the entry
point group of the same name, so that a plugin and a core part use one hook::

    class RMIA(MembershipAttack, name="rmia", techniques=("AML.T0024.000",)): ...

    discover(MembershipAttack)["rmia"] is RMIA
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from typing import ClassVar, TypeVar

from assay.core.errors import SettingError


class Control:
    """Base of everything that is discovered: attacks, readers, guards, adapters, checks, engines.

    A room's base class names the package that its parts live in::

        class Guard(Control, package="assay.gateway.guards"): ...

    A part gives its name: ``class Rounding(Guard, name="rounding")``. Classes without a name are
    abstract and are not discovered. techniques and mitigations: the ATLAS ids that it speaks to.
    """

    package: ClassVar[str] = ""
    name: ClassVar[str] = ""
    techniques: ClassVar[tuple[str, ...]] = ()
    mitigations: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        *,
        package: str = "",
        name: str = "",
        techniques: tuple[str, ...] = (),
        mitigations: tuple[str, ...] = (),
        **rest: object,
    ) -> None:
        super().__init_subclass__(**rest)
        # dataclass(slots=True) makes the class anew, without these arguments: what is set stays.
        if name or "name" not in cls.__dict__:
            cls.name = name
        if package:
            cls.package = package
        if techniques:
            cls.techniques = techniques
        if mitigations:
            cls.mitigations = mitigations

    @classmethod
    def summary(cls) -> str:
        """Return the first sentence of the class's docstring."""
        return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")


C = TypeVar("C", bound=Control)


def discover(base: type[C]) -> dict[str, type[C]]:
    """Return every named subclass of ``base`` by name, sorted; plugins included.

    Raises SettingError when two parts claim one name.
    """
    if base.package:
        package = importlib.import_module(base.package)
        for module in pkgutil.walk_packages(package.__path__, f"{base.package}."):
            importlib.import_module(module.name)
        _load_plugins(base.package)
    found: dict[str, type[C]] = {}
    for part in _subclasses(base):
        if not part.name:
            continue
        other = found.get(part.name)
        # A slotted dataclass is made twice under one module and name; the later class object is the real one.
        if other is not None and (other.__module__, other.__qualname__) != (part.__module__, part.__qualname__):
            raise SettingError(f"{part.__module__} and {other.__module__} both define {part.name!r}")
        found[part.name] = part
    return dict(sorted(found.items()))


def named(base: type[C], name: str) -> type[C]:
    """Return the part of that name. Raises SettingError that lists the names there are."""
    parts = discover(base)
    if name not in parts:
        raise SettingError(f"there is no {base.__name__} called {name!r}", remedy=f"Use one of: {', '.join(parts)}")
    return parts[name]


def _load_plugins(group: str) -> None:
    """Import the parts of others that are installed under an entry point group."""
    declared = _declared(tuple(sys.path), tuple(sys.meta_path))
    if declared is not None and group.encode() not in declared:
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=group):
        point.load()


@cache
def _declared(folders: tuple[str, ...], finders: tuple[object, ...]) -> bytes | None:
    """Return the entry points of all that is installed, as text to search in; None where it cannot be told.

    importlib.metadata takes longer to import than a small model takes to scan, and most groups have no plugin.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in finders):
        return None
    texts = []
    for folder in folders:
        if os.path.isfile(folder):
            return None
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        if any(name.endswith(".egg") for name in names):
            return None
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                with suppress(OSError), open(os.path.join(folder, name, "entry_points.txt"), "rb") as stream:
                    texts.append(stream.read())
    return b"\n".join(texts)


def _subclasses(base: type[C]) -> list[type[C]]:
    below = [*base.__subclasses__()]
    return below + [part for child in below for part in _subclasses(child)]


__all__ = ["Control", "discover", "named"]
