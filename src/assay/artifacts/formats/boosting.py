"""XGBoost's binary JSON (UBJSON): data without a way to name code, checked for its frame."""

from __future__ import annotations

from assay.artifacts.reader import Data, FormatReader, Inspection

_HEADS = (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner", b"{L\x00\x00\x00\x00\x00\x00\x00\x06Config")


class UbjReader(FormatReader, name="xgboost-ubj"):
    """Recognise an XGBoost model in UBJSON."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as such a model."""
        return data[:24].startswith(_HEADS)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Check that the model is closed; its numbers cannot run anything."""
        if data[-1] != 0x7D:
            inspection.error(where, "the model ends early")
        return "xgboost-ubj"
