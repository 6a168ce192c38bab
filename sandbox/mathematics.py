"""A fingerprint of the arithmetic that bytes depend on: digests of known values.

Bullet, the worlds and the policies call the C library's sin, cos and their like. How these round
depends on the library and on what it finds in the CPU: glibc has versions with fused multiply-add
(FMA), and versions without. So has OpenBLAS, with which NumPy multiplies matrices, and NumPy itself
for arrays, where there is AVX-512; it also draws the numbers of chance, and Python computes
`hypot`. All are asked for thousands of values; whoever gets
the same values has the same fingerprint.
"""

import ctypes
import functools
import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

COUNT = 4096  # Arguments of each function.
_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR"  # What NumPy calls it.
VARIANTS: tuple[Mapping[str, str], ...] = tuple(  # Environments in which libraries choose others.
    {"GLIBC_TUNABLES": hidden, "OPENBLAS_CORETYPE": kernels, "NPY_DISABLE_CPU_FEATURES": arrays}
    for arrays in ("", _AVX512)
    for kernels in ("", "Haswell", "Prescott")
    for hidden in ("", "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2")
)
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: its multiples spread evenly.
_ANGLES = ("sin", "cos", "tan", "atan", "tanh", "exp")
_PARTS = ("asin", "acos")
_SIZES = ("log", "log1p", "sqrt", "cbrt")
_PAIRS = ("atan2", "fmod", "hypot")
_FLOATS = ("sinf", "cosf", "sqrtf")
_WAIT_S = 60


@functools.cache
def fingerprint() -> str:
    """Return 32 hex digits that stand for the values of this process's mathematics."""
    return _digest(_known_values())


@functools.cache
def of_drawing() -> str:
    """Return 32 hex digits for the functions that Bullet's TinyRenderer uses besides.

    glibc 2.41 rounds them otherwise than 2.36, and no motion depends on them.
    """
    return _digest(_known_angles())


def _digest(known: Iterable[tuple[str, bytes]]) -> str:
    found = hashlib.sha256()
    for name, values in known:
        found.update(f"{name}\n".encode())
        found.update(values)
    return found.hexdigest()[:32]


def variant(wanted: str) -> Mapping[str, str] | None:
    """Return environment variables with which a process has a fingerprint; None if none is known.

    Args:
        wanted: the fingerprint, such as a record names.
    """
    return next((one for one in VARIANTS if elsewhere(one) == wanted), None)


def elsewhere(variables: Mapping[str, str]) -> str:
    """Return the fingerprint of a process with other environment variables; "" if it fails."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from sandbox import mathematics as m; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(m.fingerprint())"],
        env={**os.environ, **variables, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_WAIT_S,
    )
    return done.stdout.strip()


def _spread(low: float, high: float) -> list[float]:
    """Return COUNT numbers that are spread evenly, the same everywhere."""
    places = ((n * _GOLDEN % 2**64) / 2**64 for n in range(1, COUNT + 1))
    return [low + (high - low) * place for place in places]


def _known_values() -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of what each function gives, with its name."""
    angles, parts, sizes = _spread(-10.0, 10.0), _spread(-1.0, 1.0), _spread(1e-6, 1e3)
    for names, arguments in ((_ANGLES, angles), (_PARTS, parts), (_SIZES, sizes)):
        for name in names:
            yield name, _packed(map(getattr(math, name), arguments))
    for name in _PAIRS:
        yield name, _packed(map(getattr(math, name), angles, sizes))
    yield "pow", _packed(map(math.pow, sizes, parts))
    points = [*zip(angles, parts, sizes, strict=True)]
    yield "dist", _packed(map(math.dist, points, reversed(points)))
    for name in _FLOATS:
        yield name, _packed(map(_of_floats(name), sizes))
    yield "powf", _packed(map(_of_floats("powf", 2), sizes, parts))
    yield from _of_numpy()


def _known_angles() -> Iterator[tuple[str, bytes]]:
    parts = _spread(-1.0, 1.0)
    for name in ("asinf", "acosf"):
        yield name, _packed(map(_of_floats(name), parts))
    yield "atan2f", _packed(map(_of_floats("atan2f", 2), _spread(-9.0, 9.0), parts))


def _packed(values: Any) -> bytes:
    return np.fromiter(values, np.float64, COUNT).tobytes()


def _of_floats(name: str, count: int = 1) -> Callable[..., float]:
    """Return a function of the C library that takes and returns floats of 32 bits."""
    found = getattr(ctypes.CDLL("ucrtbase" if os.name == "nt" else None), name)
    found.argtypes, found.restype = (ctypes.c_float,) * count, ctypes.c_float
    return found


def _of_numpy() -> Iterator[tuple[str, bytes]]:
    """Yield what NumPy draws and computes."""
    rng, linear = np.random.default_rng(0), cast(Any, np.linalg)  # Whose types are unknown.
    yield "normal", rng.normal(0.0, 1.0, 16 * COUNT).tobytes()
    yield "uniform", rng.uniform(-1.0, 1.0, COUNT).tobytes()
    yield "random", rng.random(COUNT).tobytes()
    yield "integers", rng.integers(0, 1000, COUNT).tobytes()
    yield "choice", rng.choice(9, COUNT).tobytes() + rng.choice([0.5, 1.5], COUNT).tobytes()
    yield "permutation", rng.permutation(COUNT).tobytes()
    frames, points = rng.uniform(-1.0, 1.0, (COUNT // 32, 4, 4)), rng.uniform(-1.0, 1.0, (300, 3))
    for frame in frames:  # As small as those of cameras and regulators.
        turn, at = frame[:3, :3], frame[:3, 3]
        yield "products", (frame @ frame).tobytes() + (turn @ at).tobytes() + (at @ at).tobytes()
        yield "turned", (points @ turn.T).tobytes()
        yield "norm", linear.norm(at).tobytes()
        yield "solved", linear.inv(frame).tobytes() + linear.solve(turn, at).tobytes()
    angles = np.array(_spread(-4.0, 4.0))
    yield "of arrays", np.concatenate([np.sin(angles), np.cos(angles), np.tan(angles)]).tobytes()
