"""Answers of shadow models kept on disk, so that a long audit that was stopped goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.core.digest import digest_bytes, digest_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AnswerStore:
    """A folder of answers, one file for each fit, named by the digest of all that shapes it."""

    folder: Path

    def key(self, model: Any, x: NDArray[Any], y: NDArray[np.intp], queries: NDArray[Any]) -> str:
        """Return the name of one fit: its estimator's settings, seed among them, its rows and what it is asked."""
        import numpy as np

        parts = {
            name: str(digest_bytes(np.ascontiguousarray(a).tobytes()))
            for name, a in (("x", x), ("y", y), ("q", queries))
        }
        settings = {name: repr(value) for name, value in model.get_params().items()}
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        return digest_record({"model": kind, "settings": settings, "shape": list(x.shape), **parts}).hex

    def get(self, key: str) -> NDArray[np.float64] | None:
        """Return the answers kept under a key, None where there are none or the file is not whole."""
        import numpy as np

        path = self.folder / f"{key}.npy"
        if not path.is_file():
            return None
        try:
            found: NDArray[np.float64] = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            return None
        return found

    def put(self, key: str, answers: NDArray[np.float64]) -> None:
        """Keep answers (q, classes), in one step."""
        import io

        import numpy as np

        from assay.core.files import write_bytes

        stream = io.BytesIO()
        np.save(stream, answers, allow_pickle=False)
        write_bytes(self.folder / f"{key}.npy", stream.getvalue())
