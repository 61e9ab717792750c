"""How the gateway says no: a status, a stable word for the reason, and a line for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from assay.core.errors import Refused


class Rejected(Refused):
    """A request that is not answered.

    status: HTTP status in 400..599. reason: stable word, such as ``contract`` or ``rate``.
    retry_after: whole seconds for the header of that name (None: not sent). rows: per refused row its
    index and reasons, for the caller.
    """

    code: ClassVar[str] = "rejected"

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after: int | None = None,
        rows: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.rows = rows
