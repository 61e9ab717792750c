"""The Contract: the one description of a table or tensor input and its target.

The same object validates a batch and a request, bounds what an attack may do, is the baseline of
drift, and names the sensitive attributes and the slices. Nothing describes the data twice.

Model space. Attacks, guards and models see a table as a float64 matrix ``(n, d)``, one column a model
feature in contract order: numbers and integers as they are, booleans as 0/1, categories as the index
into ``Feature.categories`` (-1 for an unseen one), dates as days since 1970-01-01, missing values as NaN.
``assay.contract.encode`` goes there and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from assay.contract.relations import Implication, OneHot, Owed, Relation, values_of
from assay.core.digest import Digest, digest_record
from assay.core.errors import ContractError

if TYPE_CHECKING:
    import os

CONTRACT_VERSION = 1


class Kind(str, Enum):
    """What the values of a feature are."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    DATE = "date"
    TEXT = "text"


class Role(str, Enum):
    """What a column is used for: only ``FEATURE`` columns reach the model."""

    FEATURE = "feature"
    ID = "id"
    GROUP = "group"
    TIME = "time"
    IGNORE = "ignore"


class Mutable(str, Enum):
    """In which direction the person who is described can change the feature."""

    NO = "no"
    UP = "up"
    DOWN = "down"
    FREE = "free"


class Identifier(str, Enum):
    """Whether a column tells who is described: by itself, together with others, or not."""

    NO = "no"
    QUASI = "quasi"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column. low, high: allowed range (None: unbounded), dates as ISO text in YAML, days in memory.

    categories: allowed values of a category, as text, in the order of their codes. max_null: largest
    allowed share of missing values (0: none may be missing). step: smallest change an attacker can make
    (0: any); cost: of changing it by one ``scale`` (the spread of the training data). constant: inference
    saw one value only. ordered: the order of the categories means something, so that a change counts the steps
    between two of them, each one ``scale``. identifier: whether others know the value and can find the person by it.
    extra: fields of the YAML that this version does not know; they survive a round trip.
    """

    name: str
    kind: Kind
    role: Role = Role.FEATURE
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()
    max_null: float = 0.0
    unique: bool = False
    constant: bool = False
    ordered: bool = False
    mutable: Mutable = Mutable.FREE
    step: float = 0.0
    cost: float = 1.0
    scale: float = 1.0
    sensitive: bool = False
    slice: bool = False
    identifier: Identifier = Identifier.NO
    description: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ContractError("a feature needs a name")
        numbers = (self.low or 0.0, self.high or 0.0, self.max_null, self.step, self.cost, self.scale)
        if not all(math.isfinite(v) for v in numbers):
            raise ContractError(
                "a bound, share, step, cost or scale is not finite", where=self.name, remedy="Leave it out"
            )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ContractError(f"low {self.low:g} is above high {self.high:g}", where=self.name, remedy="Swap them")
        if self.kind is Kind.CATEGORY and self.role is Role.FEATURE and not self.categories:
            raise ContractError("a category needs its categories", where=self.name, remedy="List the allowed values")
        if self.ordered and self.kind is not Kind.CATEGORY:
            raise ContractError("only a category can be ordered", where=self.name, remedy="Leave ordered out")
        if len(set(self.categories)) != len(self.categories):
            raise ContractError("a category is listed twice", where=self.name)
        if not 0.0 <= self.max_null <= 1.0:
            raise ContractError(f"max_null {self.max_null:g} is not a share", where=self.name, remedy="Give 0 to 1")
        if self.step < 0 or self.cost < 0 or not self.scale > 0:
            raise ContractError("step and cost must be >= 0 and scale > 0", where=self.name)

    @property
    def discrete(self) -> bool:
        """Whether only whole numbers are valid in model space."""
        return self.kind not in (Kind.NUMBER, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted. classes: values in the order of the model's outputs, as text; positive: of interest."""

    name: str
    classes: tuple[str, ...]
    positive: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ContractError("a target needs two or more different classes", where=self.name)
        if self.positive and self.positive not in self.classes:
            raise ContractError(f"positive {self.positive!r} is not among the classes", where=self.name)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An image or other tensor input. shape: of one sample; low, high: range of every element."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1 or not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise ContractError("a tensor needs a shape of positive sizes and low < high")


@dataclass(frozen=True, slots=True)
class Contract:
    """The description of one input and its target. Exactly one of ``columns`` and ``tensor`` is given.

    columns: all columns of the table but the target. max_age_days: how old the newest ``TIME`` value may
    be (None: not checked). relations, implications, one_hot: what columns owe to one another.
    Round trip: ``Contract.from_yaml(c.to_yaml()) == c``.
    """

    target: Target | None = None
    columns: tuple[Feature, ...] = ()
    tensor: Tensor | None = None
    relations: tuple[Relation, ...] = ()
    implications: tuple[Implication, ...] = ()
    one_hot: tuple[OneHot, ...] = ()
    max_age_days: float | None = None
    name: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.columns) == (self.tensor is not None):
            raise ContractError("give either columns or a tensor", where=self.name)
        seen: set[str] = set()
        for name in [c.name for c in self.columns] + ([self.target.name] if self.target else []):
            if name in seen:
                raise ContractError("the column is described twice", where=name)
            seen.add(name)
        self._check_relations()

    def _check_relations(self) -> None:
        known = {f.name: f for f in self.features}
        for part in self.owed:
            for name in part.columns:
                if name not in known:
                    raise ContractError("a relation names a column that is no feature", where=name)
        conditions = [c for r in self.relations for c in r.when]
        conditions += [c for i in self.implications for c in (*i.when, *i.then)]
        for condition in conditions:
            feature = known[condition.column]
            values_of(condition, feature)
            if feature.kind is Kind.CATEGORY and not feature.ordered and condition.bounded:
                remedy = "Use one_of, or say ordered: true"
                raise ContractError("a category without order has no bounds", where=feature.name, remedy=remedy)
        grouped = [name for group in self.one_hot for name in group.columns]
        for name in grouped:
            if known[name].kind not in (Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER):
                raise ContractError("a column of a one-hot group must hold 0 and 1", where=name)
            if grouped.count(name) > 1:
                raise ContractError("the column is in two one-hot groups", where=name)

    @property
    def owed(self) -> tuple[Owed, ...]:
        """Everything that columns owe to one another: relations, then implications, then one-hot groups."""
        return (*self.relations, *self.implications, *self.one_hot)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The columns that reach the model, in model-space order."""
        return tuple(c for c in self.columns if c.role is Role.FEATURE)

    @property
    def width(self) -> int:
        """Number of values of one sample in model space."""
        if self.tensor is None:
            return len(self.features)
        size = 1
        for length in self.tensor.shape:
            size *= length
        return size

    def column(self, name: str) -> Feature:
        """Return the column of that name. Raises ContractError."""
        for candidate in self.columns:
            if candidate.name == name:
                return candidate
        raise ContractError("the contract has no such column", where=name, remedy="See contract.yaml")

    def with_column(self, name: str, **changes: object) -> Contract:
        """Return the contract with fields of one column changed, as in ``with_column("age", mutable=Mutable.NO)``."""
        self.column(name)
        columns = tuple(replace(c, **changes) if c.name == name else c for c in self.columns)  # type: ignore[arg-type]
        return replace(self, columns=columns)

    def digest(self) -> Digest:
        """Return the digest of the contract's record."""
        return digest_record(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Return the contract as plain data."""
        from assay.contract.record import to_record

        return to_record(self)

    @classmethod
    def from_json(cls, record: object, *, where: str = "") -> Contract:
        """Return the contract from plain data. Raises ContractError that names the place."""
        from assay.contract.record import from_record

        return from_record(record, where=where)

    def to_yaml(self) -> str:
        """Return the contract as YAML, for people to review and edit."""
        from assay.contract.record import to_yaml

        return to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "") -> Contract:
        """Return the contract in YAML text. Raises ContractError with the line."""
        from assay.contract.record import from_yaml

        return from_yaml(text, where=where)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Contract:
        """Return the contract in a YAML file. Raises DataError or ContractError."""
        from assay.core.files import read_bytes

        return cls.from_yaml(read_bytes(path, limit=1 << 26).decode("utf-8", "replace"), where=str(path))

    @classmethod
    def infer(cls, table: object, target: str, **options: Any) -> Contract:
        """Return a first contract for a data frame, Arrow table, array or table file; see ``assay.contract.infer``."""
        from assay.contract.infer import infer

        return infer(table, target, **options)
