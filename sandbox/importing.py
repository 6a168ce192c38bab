"""Do something as soon as a library is imported, without importing it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def after(library: str, module: str, function: str) -> None:
    """Call a function of a module once a library is imported; now, if it is already.

    The command line starts three times as fast if it need not import Gymnasium.
    """
    if library in sys.modules:
        getattr(import_module(module), function)()
    else:
        sys.meta_path.insert(0, _Finder(library, module, function))  # type: ignore[arg-type]


class _Finder:
    """Finds one library where others find it, and adds a call after its import.

    Finder and loader have the methods that importlib calls; its base classes cost 15 ms to import.
    """

    def __init__(self, library: str, module: str, function: str) -> None:
        self._library, self._call = library, (module, function)
        self._found = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the library's spec with a loader that calls the function; None for others."""
        if fullname != self._library or self._found:
            return None
        self._found = True  # It stays: a list that shrinks makes imports of other threads fail.
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader, self._call)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads as another loader does, then calls a function."""

    def __init__(self, loader: Any, call: tuple[str, str]) -> None:
        self._loader, self._call = loader, call

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that the other loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then call the function."""
        assert module.__spec__ is not None, "a module that is loaded has a spec"
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        name, function = self._call
        getattr(import_module(name), function)()

    def __getattr__(self, name: str) -> Any:
        """Return the other loader's attribute, such as `get_source`."""
        return getattr(self._loader, name)
