"""The noise that PyTorch draws on a CPU, without PyTorch: equal seeds give diffusers' own pictures.

`torch.randn` draws uniform numbers from MT19937 (Matsumoto and Nishimura 1998) and turns pairs of them into
normal ones (Box and Muller 1958). From 16 numbers on it does so in blocks of 16, with 24-bit uniforms; below,
pair by pair with 53-bit uniforms, of which a number left over waits for the next draw. Both are written out
here as ATen's `normal_fill` and `normal_distribution` do them, so the last bit may differ (its AVX2 logarithm
and cosine are approximations) but nothing else.
"""

import math

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
MAX_SEED = 2**64 - 1


class Generator:
    """A `torch.Generator("cpu").manual_seed(seed)`: draws follow one another in one sequence.

    `seed` is 0 to 2**64 - 1, of which, as in PyTorch, the low 32 bits count. Raises ValueError beyond that.
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed: must be 0 to {MAX_SEED}; {seed} given")
        self._twister = np.random.MT19937()
        # Of numpy's seedings, the legacy one is the twister's own, which PyTorch uses.
        self._twister.state = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)  # type: ignore[assignment]
        self._left_over: float | None = None

    def randn(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """FP32 of that shape, standard normal: `torch.randn(shape, generator=self)`."""
        size = math.prod(shape)
        drawn = self._blocks(size) if size >= BLOCK else self._singles(size)
        return drawn.reshape(shape)

    def _blocks(self, size: int) -> NDArray[np.float32]:
        uniform = self._uniform24(size)
        whole = size // BLOCK * BLOCK
        normal = np.empty(size, np.float32)
        normal[:whole] = _box_muller(uniform[:whole])
        if whole < size:
            # The last block is drawn again, over numbers that were already there.
            normal[-BLOCK:] = _box_muller(self._uniform24(BLOCK))
        return normal

    def _singles(self, size: int) -> NDArray[np.float32]:
        return np.array([self._single() for _ in range(size)], np.float32)

    def _single(self) -> float:
        if self._left_over is not None:
            value, self._left_over = self._left_over, None
            return value
        angle, radius = 2 * math.pi * self._uniform53(), math.sqrt(-2 * math.log1p(-self._uniform53()))
        self._left_over = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _uniform24(self, count: int) -> NDArray[np.float32]:
        bits = self._twister.random_raw(count) & 0xFFFFFF
        return np.asarray(bits.astype(np.float32) * np.float32(2**-24))

    def _uniform53(self) -> float:
        high, low = (int(word) for word in self._twister.random_raw(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """In every block of 16, the first eight give the radius and the last eight the angle."""
    first, second = uniform.reshape(-1, 2, BLOCK // 2).swapaxes(0, 1)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - first))
    angle = np.float32(2 * math.pi) * second
    return np.asarray(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel())


def torch_noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """FP32 of that shape: `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`.

    Raises ValueError for a seed outside 0 to 2**64 - 1.
    """
    return Generator(seed).randn(shape)
