"""Noise without PyTorch is PyTorch's noise."""

import numpy as np
import pytest
import torch

from services.models.serving.noise import Generator, torch_noise

SEEDS = (0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**40 + 3, 2**63 - 1, 2**63 + 11, 2**64 - 1)
SHAPES = (
    *((1,), (2,), (3, 3), (15,)),  # pair by pair
    *((16,), (4, 4, 3), (2, 4, 64, 64)),  # whole blocks
    *((17,), (31,), (1, 4, 9, 9), (1, 14, 4, 9, 5)),  # the last block drawn again
    *((0,), (2, 0, 3)),
)
# PyTorch's AVX2 logarithm and cosine are within 2 of the last bits: 4.8e-7 was the most seen over 5e5 numbers.
TOLERANCE = 1e-6


def theirs(seed):
    # manual_seed takes a signed number and reads the negative ones as what they are in 64 bits.
    return torch.Generator("cpu").manual_seed(seed if seed < 2**63 else seed - 2**64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_equals_torch_randn(seed, shape):
    ours = torch_noise(seed, shape)
    assert ours.dtype == np.float32
    assert ours.shape == shape
    np.testing.assert_allclose(
        ours, torch.randn(shape, generator=theirs(seed)).numpy(), rtol=0, atol=TOLERANCE
    )


def test_draws_follow_one_another_as_in_torch():
    """With a number left over from a pair in between, which the next small draw begins with."""
    ours, reference = Generator(5), theirs(5)
    for shape in [(3,), (4,), (20,), (1,), (2,), (33,), (5,), (1, 3, 8, 8), (7,)]:
        expected = torch.randn(shape, generator=reference).numpy()
        np.testing.assert_allclose(ours.randn(shape), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_refuses_a_seed_that_torch_has_not(seed):
    with pytest.raises(ValueError, match=f"seed: must be 0 to 18446744073709551615; {seed} given"):
        torch_noise(seed, (4,))
