"""What a run works on: the project's tables, encoded once, and the places where its results lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.core.digest import Digest, digest_file
from assay.core.evidence import Subject
from assay.data.sources import dataset_digest, read_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.flows.project import Project

    Pair = tuple[NDArray[np.float64], NDArray[np.intp]]


@dataclass(frozen=True)
class Work:
    """One project at work. engine: of the sandbox; profile: how hard to attack."""

    project: Project
    engine: str
    profile: str

    @cached_property
    def contract(self) -> Contract:
        """The contract of the project."""
        return Contract.read(self.project.contract)

    @cached_property
    def tables(self) -> tuple[Any, Any]:
        """The training and the test table."""
        return read_table(self.project.train), read_table(self.project.test)

    @cached_property
    def train(self) -> Pair:
        """Training rows (n, d) in model space and their labels (n,)."""
        return encode(self.contract, self.tables[0]), labels(self.contract, self.tables[0])

    @cached_property
    def test(self) -> Pair:
        """Test rows (n, d) in model space and their labels (n,)."""
        return encode(self.contract, self.tables[1]), labels(self.contract, self.tables[1])

    @cached_property
    def digests(self) -> dict[str, Digest]:
        """Digests of the data files, the contract and what the model is made of."""
        found = {
            "train": dataset_digest(self.project.train),
            "test": dataset_digest(self.project.test),
            "contract": self.contract.digest(),
        }
        if self.project.recipe:
            found["recipe"] = digest_file(self.project.recipe.rpartition(":")[0])
        if self.project.artifact:
            found["artifact"] = digest_file(self.project.artifact)
        return found

    @property
    def data(self) -> dict[str, Digest]:
        """Digests of the data and the contract, on which every stage depends."""
        return {k: v for k, v in self.digests.items() if k in {"train", "test", "contract"}}

    @property
    def data_subjects(self) -> tuple[Subject, ...]:
        """The data files, as evidence names them."""
        return tuple(
            Subject(p.name, self.digests[k]) for k, p in (("train", self.project.train), ("test", self.project.test))
        )

    def place(self, *names: str) -> Path:
        """Return a path below the state folder."""
        return self.project.state.joinpath(*names)

    @property
    def model_folder(self) -> Path:
        """What is signed and served: model.onnx, contract.yaml, guards.json, baseline.json."""
        return self.place("model")

    @property
    def signature(self) -> Path:
        """The model's signature."""
        return self.place("model.sig")
