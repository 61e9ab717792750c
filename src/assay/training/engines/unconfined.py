"""No confinement at all, for those who ask for it by name; limits of time and memory still hold."""

from __future__ import annotations

from assay.training.isolation import Engine, Plan


class Unconfined(Engine, name="none"):
    """Run the job as it is. Never chosen by itself, and recorded in the provenance."""

    def available(self) -> str:
        """Return "": it always works."""
        return ""

    def command(self, plan: Plan) -> list[str]:
        """Return the command as it is."""
        return list(plan.command)

    def in_force(self) -> dict[str, object]:
        """Return that nothing is confined."""
        return {"engine": self.name, "network": "open", "inputs": "writable", "writes": "anywhere"}
