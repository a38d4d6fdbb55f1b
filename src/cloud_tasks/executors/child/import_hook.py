"""Call a function once a module has been imported, without importing it for that."""

from __future__ import annotations

import sys
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def on_import(name: str, act: Callable[[], object]) -> None:
    """Call *act* as soon as the module *name* has been imported; now, if it has been already.

    For modules that have a loader of their own, as those of files have: not built-in, not frozen.
    """
    if name in sys.modules:
        act()
    else:
        sys.meta_path.insert(0, _Finder(name, act))


class _Finder:
    """Find the module with the other finders, once, and have its loader call *act*."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._name = name
        self._act = act

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec: ModuleSpec | None = finder.find_spec(name, path, target)
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: Any) -> None:
        exec_module = loader.exec_module

        def exec_and_act(module: ModuleType) -> None:
            del loader.exec_module  # of the instance: the method of its class is back
            exec_module(module)
            self._act()

        loader.exec_module = exec_and_act
