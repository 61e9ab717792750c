"""A live model behind the Open Inference Protocol v2 as a Predictor: the same attacks run against it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from assay.core.errors import BudgetError, DataError, MissingError, Refused, RowsRefused
from assay.models.function import as_probabilities, classes_of
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.models.predictor import Array

_LIMIT = 1 << 28
_REFUSALS = {401: "the endpoint wants another key", 403: "the key does not open this model"}
_TOO_MANY, _ROWS, _LATER = 413, 422, 429


class Endpoint(Predictor, name="endpoint"):
    """An ``http(s)://HOST/v2/models/NAME`` endpoint, with ``/infer`` or without; answers that are labels only become one-hot rows.

    What is too much for one request is asked in halves. Raises RowsRefused, BudgetError, Refused or MissingError.
    """

    def __init__(self, url: str, classes: int, *, key: str = "", timeout: float = 30.0) -> None:
        super().__init__(classes)
        self.address = url
        parts = urlsplit(url)
        self._host, self._path = parts.netloc, f"{parts.path.rstrip('/').removesuffix('/infer')}/infer"
        self._secure, self._timeout = parts.scheme == "https", timeout
        self._headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
        # In a list, so that limited copies of this predictor share the connection, and its end.
        self._line: list[http.client.HTTPConnection] = []

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return whether ``model`` is a URL."""
        return isinstance(model, str) and model.startswith(("http://", "https://"))

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Endpoint:
        """Return the predictor. options: ``key`` (API key), ``timeout`` in seconds, ``classes``."""
        timeout = options.get("timeout", 30.0)
        seconds = float(timeout) if isinstance(timeout, (int, float)) else 30.0
        return cls(str(model), classes_of(contract, options), key=str(options.get("key", "")), timeout=seconds)

    def apart(self) -> Endpoint:
        """Return a predictor of the same endpoint with a connection of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.limited(None).__dict__)
        other._line = []
        return other

    def close(self) -> None:
        """Close the connection, if one is open."""
        while self._line:
            self._line.pop().close()

    def _probabilities(self, x: Array) -> Array:
        import numpy as np

        rows = x.reshape(len(x), -1).tolist()
        data = [[None if v != v else v for v in row] for row in rows]
        tensor = {"name": "input", "shape": list(x.shape), "datatype": "FP64", "data": data}
        answer = self._ask(json.dumps({"inputs": [tensor]}).encode())
        if answer is None:
            if len(x) == 1:
                raise Refused("one row is more than the endpoint takes", where=self._host)
            half = len(x) // 2
            first = self._probabilities(x[:half])
            try:
                return np.concatenate([first, self._probabilities(x[half:])])
            except RowsRefused as error:
                places = tuple(half + row for row in error.rows)
                raise RowsRefused(error.message, where=error.where, remedy=error.remedy, rows=places) from error
        outputs = {o.get("name"): o for o in answer.get("outputs", []) if isinstance(o, dict)}
        if "probabilities" in outputs:
            values = np.asarray(outputs["probabilities"]["data"], dtype=np.float64)
            return values.reshape(len(x), self.classes)
        if "label" not in outputs:
            raise DataError("the endpoint gave neither probabilities nor labels", where=self._host)
        return as_probabilities(np.asarray(outputs["label"]["data"], dtype=np.intp), self.classes)

    def _ask(self, body: bytes) -> dict[str, Any] | None:
        """Return what was answered, None where the request was too large."""
        try:
            response = self._send(body)
            text = response.read(_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise MissingError(f"no answer ({error})", where=self._host, remedy="Is the endpoint running?") from error
        if response.status == _TOO_MANY:
            return None
        if response.status == _LATER:
            raise BudgetError(
                "the endpoint's own budget for this key is spent", where=self._host, remedy="Wait, or use another key",
                wait=_seconds(response.getheader("retry-after")),
            )  # fmt: skip
        if response.status == _ROWS:
            told = _record(text)
            raise RowsRefused(
                f"the endpoint refused the rows ({response.status}: {_said(told, text)})",
                where=self._host,
                rows=_named(told),
            )
        if response.status != 200:
            said = _REFUSALS.get(response.status, "the endpoint refused")
            raise Refused(f"{said} ({response.status}: {_said(_record(text), text)})", where=self._host)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise DataError("the endpoint did not answer in JSON", where=self._host) from error
        if not isinstance(answer, dict):
            raise DataError("the endpoint did not answer with a record", where=self._host)
        return answer

    def _send(self, body: bytes) -> http.client.HTTPResponse:
        if not self._line:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._line.append(kind(self._host, timeout=self._timeout))
        connection = self._line[0]
        try:
            connection.request("POST", self._path, body, self._headers)
            return connection.getresponse()
        except ConnectionError:
            # A kept connection that the server has closed meanwhile: once more, on a fresh one.
            connection.close()
            connection.request("POST", self._path, body, self._headers)
            return connection.getresponse()


def _seconds(told: str | None) -> float | None:
    return float(told) if told is not None and told.isdecimal() else None


def _record(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _said(told: dict[str, Any], text: bytes) -> str:
    return str(told.get("error", text.decode(errors="replace")))[:200]


def _named(told: dict[str, Any]) -> tuple[int, ...]:
    """Return the rows that a refusal names, as Assay's gateway does."""
    rows = told.get("rows")
    places = [r.get("row") for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []
    return tuple(p for p in places if isinstance(p, int))
