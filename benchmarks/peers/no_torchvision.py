"""A stand-in for torchvision, whose wheels do not load beside a CPU build of torch.

Some peers import it at the top for transforms that are not used here; any name is there, and using
one fails.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

__all__ = ["stand_in"]


class _Absent:
    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("torchvision is a stand-in here")


class _Module(types.ModuleType):
    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Absent,), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)  # a package, as its spec says

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def stand_in() -> None:
    """Have `import torchvision` succeed."""
    sys.meta_path.insert(0, _Finder())
