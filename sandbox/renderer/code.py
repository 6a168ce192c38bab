"""The machine code of kernels: kept in files, loaded by LLVM."""

import ctypes
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from sandbox import content, simulator

with simulator.required():
    from llvmlite import binding  # pyright: ignore[reportMissingTypeStubs]

_LLVM = cast(Any, binding)
with suppress(RuntimeError):  # Since 0.45 it is not needed, and refuses.
    _LLVM.initialize()
_LLVM.initialize_native_target()
_LLVM.initialize_native_asmprinter()
_TYPE = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3)  # As Numba calls a function.
_ENGINES = list[Any]()  # Code lives as long as its engine does.
Kind = tuple[str, int]  # Type and dimensions of an array: ("d", 2).

# What a kernel calls may stand in any file of the renderer.
SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).digest()


@dataclass(frozen=True)
class Code:
    """A kernel as it was compiled.

    Attributes:
        name: name of the compiled function.
        kinds: of the arrays that it takes.
        machine: the object file.
    """

    name: str
    kinds: tuple[Kind, ...]
    machine: bytes

    @functools.cached_property
    def function(self) -> Callable[..., int]:
        """The function: it takes where a result and an error shall be, and the row of integers."""
        target: Any = _LLVM.Target.from_default_triple()
        engine: Any = _LLVM.create_mcjit_compiler(
            _LLVM.parse_assembly(""), target.create_target_machine(codemodel="jitdefault")
        )
        engine.add_object_file(_LLVM.ObjectFileRef.from_data(self.machine))
        engine.finalize_object()
        _ENGINES.append(engine)
        return _TYPE(engine.get_function_address(self.name))


def find(kernel: str) -> Code | None:
    """Return the code of a kernel that is kept here; None if there is none, or it is damaged."""
    for folder in _folders():
        with suppress(OSError, ValueError):
            digest, head, machine = (folder / _name(kernel)).read_bytes().split(b"\n", 2)
            if hashlib.sha256(head + b"\n" + machine).hexdigest().encode() == digest:
                name, kinds = json.loads(head)
                return Code(name, tuple((kind, dimensions) for kind, dimensions in kinds), machine)
    return None


def keep(kernel: str, code: Code) -> None:
    """Write the code of a kernel to the first folder that takes it, whole or not at all.

    Warns:
        UserWarning: no folder can be written; each process compiles again (half a minute).
    """
    body = json.dumps((code.name, code.kinds)).encode() + b"\n" + code.machine
    text, refusal = hashlib.sha256(body).hexdigest().encode() + b"\n" + body, ""
    for folder in _folders():
        path = folder / _name(kernel)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(text)
            temporary.replace(path)
        except OSError as error:
            refusal = refusal or f"{folder}: {error.strerror}"
            with suppress(OSError):
                temporary.unlink()
        else:
            return
    warnings.warn(
        f"the renderer's compiled code cannot be kept ({refusal}): every process compiles it "
        "again, which takes half a minute. Point NUMBA_CACHE_DIR at a folder that can be written.",
        stacklevel=2,
    )


def _folders() -> Iterator[Path]:
    """Yield where code may be kept: where the user says; or beside the source, or with meshes."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
        return
    yield Path(__file__).parent / "__pycache__"
    yield content.cache() / "code"


def _name(kernel: str) -> str:
    """Return the name of the file of a kernel, for this processor, compiler and source."""
    return f"{kernel}.{_key(SOURCES)}.code"


@functools.cache
def _key(sources: bytes) -> str:
    """Return what compiled code depends on besides its kernel, as a digest."""
    features = _LLVM.get_host_cpu_features().flatten()
    host = (_LLVM.get_default_triple(), _LLVM.get_host_cpu_name(), features)
    chosen = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("NUMBA_"))
    chosen = [one for one in chosen if not one.startswith("NUMBA_CACHE_DIR=")]
    facts = [sources.hex(), version("numba"), version("llvmlite"), *host, *chosen]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
