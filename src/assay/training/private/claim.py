"""What a private training claims: its mechanism, what it spends, and on which conditions; as plain data and measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assay.core.errors import FormatError
from assay.core.measure import Measure
from assay.stats.privacy.accountant import Bracket, Events, epsilon
from assay.stats.privacy.rdp import rdp_epsilon
from assay.training.private.noise import FROM_SEED

STATEMENT_TYPE = "https://assay.dev/privacy/v1"


@dataclass(frozen=True, slots=True)
class Claim:
    """(epsilon, delta)-differential privacy of a model for neighbours that differ by one row, added or removed.

    mechanism: in words; events: what is spent; entropy: where the noise came from; assumptions: what the claim rests
    on beside the mathematics; details: sigma, rate, steps and the like, as plain data.
    """

    mechanism: str
    delta: float
    epsilon: Bracket
    renyi: float
    entropy: str
    unit: str = "row"
    assumptions: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def void(self) -> str:
        """Why the claim does not hold, "" when it does."""
        return (
            "the noise came from a seed, and who knows it can take the noise off" if self.entropy == FROM_SEED else ""
        )

    def measures(self, n: int) -> tuple[Measure, ...]:
        """Return the claimed epsilon as a measure, void when the claim does not hold."""
        model = f"knows all other {self.unit}s and sees every intermediate model"
        claimed = self.epsilon.measure(f"epsilon@delta{self.delta:g}", n, threat_model=model)
        return (claimed.voided(self.void) if self.void else claimed,)

    def to_json(self) -> dict[str, object]:
        """Return the statement as plain JSON."""
        return {
            "type": STATEMENT_TYPE,
            "mechanism": self.mechanism,
            "neighbours": f"one {self.unit} added or removed",
            "epsilon": {"low": self.epsilon.low, "high": self.epsilon.high, "errors": dict(self.epsilon.errors)},
            "epsilon_renyi": self.renyi,
            "delta": self.delta,
            "noise_entropy": self.entropy,
            "holds": not self.void,
            "why_not": self.void,
            "assumptions": list(self.assumptions),
            **self.details,
        }


def measures_of(statement: object, n: int) -> tuple[Measure, ...]:
    """Return the claimed epsilon of a statement that came out of a sandbox; void when it says that it does not hold.

    Raises FormatError for what is no privacy statement: a job may have written anything.
    """
    if not isinstance(statement, Mapping) or statement.get("type") != STATEMENT_TYPE:
        raise FormatError("the model's privacy statement is of no known type")
    ends, delta, holds = statement.get("epsilon"), statement.get("delta"), statement.get("holds")
    if not isinstance(ends, Mapping) or not isinstance(delta, (int, float)) or not isinstance(holds, bool):
        raise FormatError("the model's privacy statement lacks epsilon, delta or whether it holds")
    low, high = ends.get("low"), ends.get("high")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        raise FormatError("the model's privacy statement has no bracket of epsilon")
    said = Measure(
        f"epsilon@delta{delta:g}", float(high), float(low), float(high), n, unit="epsilon", confidence=1 - 1e-12,
        method="privacy-loss bracket, as the training says", threat_model=str(statement.get("neighbours", "")),
    )  # fmt: skip
    why = str(statement.get("why_not") or "the training says that its claim does not hold")
    return (said if holds else said.voided(why),)


def trained_epsilon(statement: object) -> float:
    """Return the epsilon of one training, which an audit is held against; of a search it is less than what it claims.

    Raises FormatError for what is no privacy statement.
    """
    claimed = measures_of(statement, 0)[0].high
    own = statement.get("epsilon_trained") if isinstance(statement, Mapping) else None
    return float(own) if isinstance(own, (int, float)) and 0 <= own <= claimed else claimed


def claim(
    events: Events,
    delta: float,
    *,
    mechanism: str,
    entropy: str,
    unit: str = "row",
    assumptions: tuple[str, ...] = (),
    details: Mapping[str, object] | None = None,
) -> Claim:
    """Return the claim for what was spent. Raises SettingError for events or a delta that make no sense."""
    return Claim(
        mechanism, delta, epsilon(events, delta), rdp_epsilon(events, delta), entropy, unit, assumptions, details or {}
    )
