"""Gaussian noise whose power falls with its frequency."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def coloured(rng: np.random.Generator, shape: tuple[int, ...], exponent: float) -> Array:
    """Return sequences of Gaussian noise with the power spectrum 1 / f^exponent.

    Each part of a spectrum is drawn, and transformed back (Timmer and Koenig 1995, "On generating
    power law noise"). The constant part has the power of the lowest frequency, 1 / steps. Every
    number has mean 0 and variance 1; 0 gives white noise, 1 pink, 2 red.

    Args:
        rng: where chance comes from.
        shape: number of sequences, steps of each, and numbers in a step, which are independent.
        exponent: how fast power falls with frequency.

    Returns:
        float64 of this shape.
    """
    if exponent == 0:
        return rng.standard_normal(shape)
    count, steps, size = shape
    scale = np.array([float(max(k, 1)) ** (-exponent / 2) for k in range(steps // 2 + 1)])
    real, imaginary = rng.standard_normal((2, count, size, len(scale)))
    alone = [0, -1] if steps % 2 == 0 else [0]  # These have no mirror image, and are real.
    real[..., alone] *= math.sqrt(2)
    imaginary[..., alone] = 0
    power = np.full(len(scale), 4.0)
    power[alone] = 2.0
    deviation = math.sqrt(math.fsum(power * scale**2)) / steps
    sequences = np.fft.irfft((real + 1j * imaginary) * scale, n=steps, axis=-1) / deviation
    return np.ascontiguousarray(sequences.transpose(0, 2, 1))
