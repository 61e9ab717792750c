"""The load guard: a model file is opened with just the names that its scan admitted.

Every unpickler of the process, whichever library owns it, asks the interpreter before it imports a name
(``pickle.find_class``, PEP 578). While a guarded load runs, a name that the scan did not report as allowed is refused
there, and so is starting a process or reaching for the network. ``open_model`` belongs inside the sandbox.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from assay.artifacts.pickle.opcodes import OPENERS
from assay.core.errors import Refused, UnsupportedError

_EFFECTS = frozenset(
    "os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty os.startfile subprocess.Popen pty.spawn "
    "socket.connect socket.bind socket.sendto socket.getaddrinfo urllib.Request ftplib.connect smtplib.connect "
    "os.remove os.rmdir os.rename os.chmod os.link os.symlink os.truncate shutil.rmtree shutil.move "
    "ctypes.dlopen code.__new__ marshal.loads sys.addaudithook".split()
)


class _Loads(threading.local):
    """The names that the load of this thread may import; None while there is none."""

    names: frozenset[tuple[str, str]] | None = None


_loads = _Loads()
_OPENERS = frozenset(bytes((code,)) for code in OPENERS)
# bz2 and lzma begin as an opcode does.
_COMPRESSED = (b"BZh", b"]\0\0")


class LoadRefused(Refused):
    """A load reached for something that its scan did not report; nothing of it was run."""

    code = "load-refused"


@contextmanager
def guarded(admitted: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Refuse, for this thread, every name outside ``admitted`` that an unpickler asks for, and every effect.

    admitted: (module, name) as they stand in the file. The modules are imported first, unguarded: they are
    installed code. Raises LoadRefused from inside of the load.
    """
    names = frozenset(admitted)
    for module, _ in sorted(names):
        _import(module)
    _install()
    before, _loads.names = _loads.names, names
    try:
        yield
    finally:
        _loads.names = before


def open_model(path: Path, kind: str, admitted: Iterable[tuple[str, str]]) -> Any:
    """Return what the file holds, loaded by its own library under the guard.

    kind: the format that the scan told. Raises LoadRefused, or UnsupportedError for a format that is not opened.
    """
    loader = LOADERS.get(kind)
    if loader is None:
        raise UnsupportedError(
            f"files of the format {kind} are not opened", where=path.name, remedy=f"Opened are {', '.join(LOADERS)}"
        )
    load = loader()
    with guarded(admitted):
        return load(path)


@cache
def _install() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    names = _loads.names
    if names is None:
        return
    if event == "pickle.find_class":
        if (arguments[0], arguments[1]) not in names:
            _loads.names = frozenset()  # whoever swallows the refusal gets nothing more
            raise LoadRefused(
                f"the load asks for {arguments[0]!s:.100}.{arguments[1]!s:.100}, which the scan did not report",
                remedy="Do not load the file",
            )
    elif event in _EFFECTS and not _importing():
        raise LoadRefused(f"the load tries {event}", remedy="Do not load the file")


def _importing() -> bool:
    """Whether the event comes from an import of installed code (``torch`` opens its libraries when first used)."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the interpreter has no other way to walk the stack without objects
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>" and frame.f_code.co_name == "_load_unlocked":
            return True
        frame = frame.f_back
    return False


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError:
        return  # the load itself says which name it lacks, after its own renaming of Python 2's modules


def _pickle() -> Callable[[Path], Any]:
    import pickle

    def load(path: Path) -> Any:
        with path.open("rb") as stream:
            head = stream.read(3)
            if head[:1] in _OPENERS and head not in _COMPRESSED:
                stream.seek(0)
                return pickle.load(stream)  # noqa: S301 - under the guard, after a clean scan
        return _joblib()(path)  # it knows the compressions

    return load


def _joblib() -> Callable[[Path], Any]:
    import joblib

    load: Callable[[Path], Any] = joblib.load
    return load


def _numpy() -> Callable[[Path], Any]:
    import numpy as np

    def load(path: Path) -> Any:
        held = np.load(path, allow_pickle=True)
        return dict(held) if hasattr(held, "files") else held

    return load


def _torch() -> Callable[[Path], Any]:
    import torch

    def load(path: Path) -> Any:
        return torch.load(path, map_location="cpu", weights_only=False)

    return load


def _safetensors() -> Callable[[Path], Any]:
    from safetensors.numpy import load_file

    def load(path: Path) -> Any:
        return load_file(path)

    return load


def _skops() -> Callable[[Path], Any]:
    import skops.io

    def load(path: Path) -> Any:
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

    return load


def _xgboost() -> Callable[[Path], Any]:
    import xgboost

    def load(path: Path) -> Any:
        booster = xgboost.Booster()
        booster.load_model(path)
        return booster

    return load


def _lightgbm() -> Callable[[Path], Any]:
    import lightgbm

    def load(path: Path) -> Any:
        return lightgbm.Booster(model_file=path)

    return load


LOADERS: Mapping[str, Callable[[], Callable[[Path], Any]]] = {
    "pickle": _pickle, "joblib": _joblib, "npy": _numpy, "npz": _numpy, "torch-zip": _torch, "torch-legacy": _torch,
    "safetensors": _safetensors, "skops": _skops, "xgboost-ubj": _xgboost, "xgboost-json": _xgboost,
    "lightgbm-text": _lightgbm,
}  # fmt: skip


def serve_model(
    arguments: Mapping[str, Any],
) -> tuple[Callable[[str, Mapping[str, Any]], dict[str, Any]], dict[str, object]]:
    """Open a model inside a session's sandbox; return the handler of calls on it, and what it is.

    arguments: ``model`` (path), ``kind``, ``admitted`` (pairs). The handler takes the name of a method and ``x``; the
    method ``arrays`` gives the numbers of a file that holds arrays or tensors.
    """
    path, admitted = Path(arguments["model"]), [(str(m), str(n)) for m, n in arguments["admitted"]]
    model = open_model(path, arguments["kind"], admitted)
    kind = type(model)
    about: dict[str, object] = {"type": f"{kind.__module__}.{kind.__qualname__}", "methods": [], "names": []}
    if hasattr(model, "predict"):
        import numpy as np

        about["methods"] = [m for m in METHODS if callable(getattr(model, m, None))]
        about["width"] = int(getattr(model, "n_features_in_", 0) or 0)
        about["names"] = [str(n) for n in getattr(model, "feature_names_in_", ())]
        classes = getattr(model, "classes_", None)
        about["classes"] = None if classes is None else np.asarray(classes).tolist()

    def handle(method: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        if method == "arrays":
            return _arrays_of(model)
        if method not in METHODS or not callable(getattr(model, method, None)):
            raise UnsupportedError(f"the model has no {method[:60]}", remedy="Call what its methods list")
        return {"answer": _dense(getattr(model, method)(_asked(model, arrays["x"])))}

    return handle, about


METHODS = ("predict", "predict_proba", "decision_function", "transform", "apply", "score_samples")


def _asked(model: Any, x: Any) -> Any:
    names = getattr(model, "feature_names_in_", None)
    if type(model).__module__.startswith("xgboost") and type(model).__name__ == "Booster":
        import xgboost

        return xgboost.DMatrix(x)
    if names is None:
        return x
    import pandas as pd

    return pd.DataFrame(x, columns=list(names))


def _dense(answer: Any) -> Any:
    import numpy as np

    found = np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)
    return found.astype(str) if found.dtype.kind == "O" else found


def _arrays_of(value: Any) -> dict[str, Any]:
    """Return the arrays and tensors of a file, by dotted name."""
    import numpy as np

    found: dict[str, Any] = {}
    rest: list[tuple[str, Any]] = [("", value.state_dict() if hasattr(value, "state_dict") else value)]
    while rest:
        name, item = rest.pop()
        if isinstance(item, np.ndarray):
            found[name or "array"] = item
        elif hasattr(item, "detach") and hasattr(item, "numpy"):
            found[name or "tensor"] = item.detach().cpu().numpy()
        elif isinstance(item, Mapping):
            rest += [(f"{name}.{key}" if name else str(key), item[key]) for key in reversed(list(item))]
        elif isinstance(item, (list, tuple)):
            rest += [(f"{name}.{n}" if name else str(n), v) for n, v in reversed(list(enumerate(item)))]
        elif isinstance(item, (bool, int, float)):
            found[name or "number"] = np.asarray(item)
    return found
