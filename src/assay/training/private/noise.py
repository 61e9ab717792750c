"""Random numbers for privacy: a stream cipher keyed by the operating system, or by a seed in tests.

Both ways run the same code; only the key differs, so that what a test has checked is what trains. Whoever knows the
key can take the noise off again: a model whose noise came from a seed has no privacy, and its statement says so.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from assay.core.clock import derive_seed
from assay.core.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FROM_SYSTEM = "operating system"
FROM_SEED = "seed"
# Numbers made at once: few enough to stay in the processor's cache.
BLOCK = 1 << 14
_ZEROS = bytes(1 << 16)


class Noise:
    """A stream of independent normal and uniform numbers (AES-256 in counter mode).

    seed: None takes the key from the operating system; a number makes the stream repeatable, for tests only.
    name: streams of one seed with different names are independent.
    """

    __slots__ = ("_cipher", "entropy")

    def __init__(self, seed: int | None = None, name: str = "private") -> None:
        key = os.urandom(32) if seed is None else _key(seed, name)
        # A fresh key has one message: the counter may start at zero.
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self.entropy = FROM_SYSTEM if seed is None else FROM_SEED

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return standard normal numbers of the shape, float32.

        Box & Muller 1958 with a radius from 53 bits, so that tails reach 8.6 deviations; the distance of a 24-bit
        number to the real one is not part of any proof here (Mironov 2012).
        """
        out = np.empty(int(np.prod(shape)), np.float32)
        for start in range(0, len(out), BLOCK):
            part = out[start : start + BLOCK]
            half = (len(part) + 1) // 2
            size = self.uniform(half)
            np.multiply(np.log(size, out=size), -2.0, out=size)
            radius = np.sqrt(size.astype(np.float32))
            # An angle does not mind the sign that the first bit becomes.
            turn = self.words(half, np.int32).astype(np.float32)
            turn *= np.float32(2 * np.pi * 2.0**-32)
            np.multiply(radius, np.cos(turn), out=part[:half])
            np.multiply(radius[: len(part) - half], np.sin(turn[: len(part) - half]), out=part[half:])
        return out.reshape(shape)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return numbers (count,) uniform in (0, 1), of 53 bits."""
        words = self.words(count, np.uint64)
        words >>= np.uint64(11)
        made: NDArray[np.float64] = words + 0.5
        made *= 2.0**-53
        return made

    def gaps(self, rate: float, count: int) -> NDArray[np.int64]:
        """Return how many fair-by-``rate`` coins are thrown up to and with each next head: (count,), each >= 1."""
        if not 0 < rate < 1:
            raise SettingError(f"a rate of {rate} has no gaps", remedy="Give a number in (0, 1)")
        steps = np.floor(np.log(self.uniform(count)) / np.log1p(-rate))
        return np.asarray(np.minimum(steps, 2.0**60), np.int64) + 1

    def seed(self) -> int:
        """Return a 63-bit number from the stream, for generators of other libraries."""
        return int(self.words(1, np.uint64)[0] >> 1)

    def words(self, count: int, kind: type[Any]) -> NDArray[Any]:
        """Return whole numbers (count,) of a type of numpy, every bit of them a fair coin; the array is the caller's."""
        out = np.empty(count, kind)
        self.fill(out)
        return out

    def fill(self, out: NDArray[Any]) -> None:
        """Write fair coins to all bits of a contiguous array."""
        held, zeros = out.view(np.uint8), memoryview(_ZEROS)
        for start in range(0, len(held), len(zeros)):
            part = held[start : start + len(zeros)]
            self._cipher.update_into(zeros[: len(part)], part.data)


def _key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"assay-noise\x1f{derive_seed(seed, name)}".encode()).digest()
