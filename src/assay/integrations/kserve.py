"""KServe's storage initialiser with a gate: ``python -I -m assay.integrations.kserve SOURCE DESTINATION``.

KServe starts the container of a ClusterStorageContainer with the storage URI and the folder that the server reads.
The keys are in the file that ``ASSAY_TRUST`` names. Exit 0 when the release was verified and copied; exit 1 and an
empty folder otherwise. https://kserve.github.io/website/docs/model-serving/storage/storage-containers
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from assay.core.errors import AssayError, InputError, Refused
from assay.flows.enforce import Enforced, Fetch, enforce, fetch_nothing

TRUST_VARIABLE = "ASSAY_TRUST"


def initialise(arguments: Sequence[str], environment: Mapping[str, str], *, fetch: Fetch = fetch_nothing) -> Enforced:
    """Return what was let through to the folder that KServe named. Raises AssayError, and then nothing was."""
    if len(arguments) != 2:
        raise InputError("takes one source and one destination", where="arguments", remedy="Use one storageUri")
    trust = environment.get(TRUST_VARIABLE, "")
    if not trust:
        raise Refused(
            "is not set, so nobody is trusted", where=TRUST_VARIABLE, reason="trust",
            remedy="Mount trust.json and name its path",
        )  # fmt: skip
    source, destination = arguments
    return enforce(source, destination, trust, fetch=fetch)


def main(arguments: Sequence[str] | None = None, *, fetch: Fetch = fetch_nothing) -> int:
    """Run the initialiser and return its exit code, 0 or 1; an image with a store of its own passes ``fetch``."""
    try:
        found = initialise(sys.argv[1:] if arguments is None else arguments, os.environ, fetch=fetch)
    except AssayError as error:
        sys.stderr.write(f"assay: refused: {error.line()}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"assay: refused: the folder could not be filled ({error.strerror})\n")
        return 1
    sys.stdout.write(f"{found.line()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
