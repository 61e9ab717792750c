"""Torch pickles to safetensors: the tensors are taken out, and nothing else that the file asks for is done.

The file is unpickled with a closed list of names, those that make tensors. Every other name becomes an inert object
that can be called, filled and built without effect. So the weights of a whole module come out without its class, and a
hostile call is left out, and told.
"""

from __future__ import annotations

import io
import mmap
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from assay.core.errors import FormatError, UnsupportedError

_REBUILD = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"}
_STORAGES = {
    f"{kind}Storage"
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool",
                 "ComplexFloat", "ComplexDouble", "Untyped", "Typed")
}  # fmt: skip
_MOST_TENSORS = 200_000
_MOST_DEPTH = 100
_MOST_DROPPED = 1_000


def convert_torch_weights(arguments: Mapping[str, Any], output: Path) -> dict[str, object]:
    """Write ``model.safetensors`` into ``output``; return what was kept and what was dropped.

    arguments: ``model``, a torch file (zip or legacy) with a state dict, a checkpoint around one, or a whole module.
    Tensors that share memory are written apart, and told. Every tensor is read back and compared bit for bit.
    Raises FormatError when it is no torch file, UnsupportedError when it holds no tensor.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    if _is_torchscript(str(arguments["model"])):
        # Opening one runs code of its own, which a closed list of names does not hold back.
        raise UnsupportedError("is TorchScript, a program", where=str(arguments["model"]), remedy="Use --to onnx")
    left_out: dict[str, int] = {}
    opened = _open(str(arguments["model"]), left_out)
    dropped: list[str] = [f"{name}: not imported, {count} uses left out" for name, count in sorted(left_out.items())]
    tensors: dict[str, Any] = {}
    for name, tensor in _tensors(opened, dropped):
        if name in tensors:
            raise UnsupportedError(f"two tensors would be called {name}", where=str(arguments["model"]))
        tensors[name] = tensor
    if not tensors:
        raise UnsupportedError("holds no tensor that could be kept", where=str(arguments["model"]))
    shared = _shared(tensors)
    target = output / "model.safetensors"
    try:
        kept = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        save_file(kept, target)
    except (RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise UnsupportedError(f"has a tensor that safetensors does not take ({why})") from error
    back = load_file(target)
    differ = [n for n, t in kept.items() if t.dtype != back[n].dtype or not _same_bits(t, back[n])]
    if differ:
        raise FormatError(f"{differ[0]} did not come back as it was written")
    return {
        "tool": "safetensors", "dtype": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in kept.values()})),
        "rows": 0.0, "max_difference": 0.0, "mean_difference": 0.0, "label_agreement": 1.0, "tensors": len(kept),
        "parameters": sum(t.numel() for t in kept.values()), "dropped": [*dropped[:_MOST_DROPPED], *shared],
        "versions": {"torch": str(torch.__version__)},
    }  # fmt: skip


class Inert:
    """Stands for a name that is not admitted: calling, filling and building it has no effect but to keep the state."""

    where = ""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Return an inert object whatever the arguments."""
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        self.state: object = None

    def __call__(self, *_: object, **__: object) -> Inert:
        """Return an inert object: what an inert call gives is inert."""
        return Inert()

    def __setstate__(self, state: object) -> None:
        """Keep the state; its tensors are taken out later."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Take an item, and forget it."""

    def append(self, item: object) -> None:
        """Take an item, and forget it."""

    def extend(self, items: object) -> None:
        """Take items, and forget them."""


def _is_torchscript(path: str) -> bool:
    """Return whether torch could take a file for TorchScript: a zip with the name of such an archive's constants.

    A zip never packs its names, so what torch's reader finds by any of its tables stands in the bytes.
    """
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return view.find(b"constants.pkl") >= 0


def _open(path: str, left_out: dict[str, int]) -> object:
    import torch

    class Closed(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if _admitted(module, name):
                return super().find_class(module, name)
            where = f"{module}.{name}"[:200]
            left_out[where] = left_out.get(where, 0) + 1
            return type("Inert", (Inert,), {"where": where})

    def load(file: Any, **options: Any) -> object:
        return Closed(file, **options).load()

    def loads(data: bytes, **options: Any) -> object:
        return Closed(io.BytesIO(data), **options).load()

    module = SimpleNamespace(__name__="pickle", Unpickler=Closed, load=load, loads=loads)
    try:
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except (RuntimeError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError,
            ImportError, AssertionError, OverflowError, RecursionError) as error:  # fmt: skip
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise FormatError(f"is no torch file that can be read ({why})", where=path) from error


def _admitted(module: str, name: str) -> bool:
    if module == "torch":
        return name in _STORAGES or name in {"Size", "device"} or _is_dtype(name)
    return (
        (module == "torch._utils" and name in _REBUILD)
        or (module == "torch.storage" and name in {"UntypedStorage", "TypedStorage"})
        or (module == "collections" and name == "OrderedDict")
        or (module == "torch.nn.parameter" and name == "Parameter")
    )


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)


def _tensors(value: object, dropped: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors by name. A checkpoint that holds one state dict among other things gives its names bare."""
    import torch

    tree = _plain(value)
    if isinstance(tree, Mapping):
        inner = [key for key, item in tree.items() if isinstance(_plain(item), Mapping) and _holds(item)]
        bare = not any(isinstance(item, torch.Tensor) for item in tree.values())
        if bare and len(inner) == 1 and isinstance(inner[0], str):
            dropped += [f"{key}: {_kind(item)}" for key, item in tree.items() if key != inner[0]]
            value = tree[inner[0]]
    yield from _walk(value, "", dropped, 0, [0])


def _walk(value: object, name: str, dropped: list[str], depth: int, count: list[int]) -> Iterator[tuple[str, Any]]:
    import torch

    count[0] += 1
    if depth > _MOST_DEPTH or count[0] > _MOST_TENSORS:
        raise FormatError("is nested too deep, or holds too much", where=name[:200])
    if isinstance(value, torch.Tensor):
        yield name or "tensor", value
        return
    tree = _plain(value)
    if isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _walk(item, f"{name}.{key}" if name else str(key), dropped, depth + 1, count)
    elif isinstance(tree, list | tuple) and _holds(tree):
        for key, item in enumerate(tree):
            yield from _walk(item, f"{name}.{key}" if name else str(key), dropped, depth + 1, count)
    elif len(dropped) < _MOST_DROPPED:
        dropped.append(f"{name or 'the file'}: {_kind(value)}")


def _plain(value: object) -> object:
    """Return a module's parameters, buffers and submodules as one mapping; anything else as it is."""
    if not isinstance(value, Inert):
        return value
    state = value.state
    if not isinstance(state, Mapping):
        return value
    parts = [state.get(part) for part in ("_parameters", "_buffers", "_modules")]
    if not any(isinstance(part, Mapping) for part in parts):
        return value
    return {k: v for part in parts if isinstance(part, Mapping) for k, v in part.items() if v is not None}


def _holds(value: object, depth: int = 0) -> bool:
    """Return whether a tensor lies anywhere below; looks at bounded depth."""
    import torch

    if isinstance(value, torch.Tensor):
        return True
    tree = _plain(value)
    items = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return depth < 8 and any(_holds(item, depth + 1) for item in items)


def _kind(value: object) -> str:
    return value.where or "inert" if isinstance(value, Inert) else type(value).__name__


def _shared(tensors: Mapping[str, Any]) -> list[str]:
    groups: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            groups.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    return [
        f"{', '.join(names[1:])}: shared memory with {names[0]}, now a copy"
        for names in groups.values()
        if len(names) > 1
    ]


def _same_bits(one: Any, other: Any) -> bool:
    import torch

    flat = (t.contiguous().reshape(-1).view(torch.uint8) if t.numel() else t for t in (one, other))
    return bool(torch.equal(*flat))
