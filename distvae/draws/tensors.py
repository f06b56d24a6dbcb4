"""The random words of ``philox.py`` and normals of them as tensors, on any device.

A word is an int64 with the same bits. All operations are plain ones on int64, which wrap around, so
that the words are equal to numpy's bit for bit on every device, and also in a compiled graph. On a
CPU numpy draws them some fifty times as fast.

Legend: N blocks.
"""

import torch
from torch import Tensor

from distvae.draws.normals import HALF_STEP, TURN
from distvae.draws.philox import WORDS, Stream

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
"""What is added to the two words of the key after each round."""
_LOWER = 0xFFFFFFFF


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> Tensor:
    """The words of some blocks, int64 ``[N, 4]``.

    Args:
        counter: four words of each block, int64 of shapes that broadcast to ``[N]``.
        key: two words.
    """
    a, b, c, d = counter
    for turn in range(ROUNDS):
        left, right = (_signed(word + turn * weyl) for word, weyl in zip(key, WEYL, strict=True))
        above_a, below_a = _product(a, MULTIPLIERS[0])
        above_c, below_c = _product(c, MULTIPLIERS[1])
        a, b, c, d = above_c ^ b ^ left, below_c, above_a ^ d ^ right, below_a
    return torch.stack(torch.broadcast_tensors(a, b, c, d), dim=-1)  # type: ignore[no-untyped-call]


def words(
    seed: int,
    stream: Stream,
    count: int,
    step: int | Tensor,
    part: int,
    first: int,
    device: torch.device,
) -> Tensor:
    """So many words of a part of a step, int64 ``[count]``.

    Args:
        seed: 0 or more, less than 2^64.
        stream: what they are for.
        count: how many words.
        step: number of the step, or that number on the device, int64 [].
        part: of the step.
        first: number of the first word.
        device: where they are made.
    """
    block, before = divmod(first, WORDS)
    end = block - (-(before + count) // WORDS)
    blocks = torch.arange(block + 1, end + 1, device=device)
    step = torch.as_tensor(step, dtype=torch.int64, device=device)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    return philox((blocks, step, zero + part, zero), (seed, int(stream))).flatten()[
        before : before + count
    ]


def key_of(seed: int, stream: Stream, device: torch.device) -> Tensor:
    """Seed and stream as two words on a device, int64 ``[2]``."""
    return torch.tensor([_signed(seed), _signed(int(stream))], device=device)


def quick_normals(words: Tensor) -> Tensor:
    """What :func:`distvae.draws.normals.quick_normals` gives, to 1e-6: float32 ``[2 N]``."""
    radius = ((words & _LOWER).float() + 0.5) * HALF_STEP
    radius = (radius.log() * -2.0).sqrt()
    angle = ((words >> 32) & _LOWER).float() * TURN
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten()


def _product(value: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower word of a product of two words, by halves of 32 bits.

    The lower word, too: the compiler takes ``value`` times 64 bits for an index that overflows.
    """
    upper, lower = (value >> 32) & _LOWER, value & _LOWER
    above, below = factor >> 32, factor & _LOWER
    least = lower * below
    middle = upper * below + ((least >> 32) & _LOWER)
    other = lower * above + (middle & _LOWER)
    high = upper * above + ((middle >> 32) & _LOWER) + ((other >> 32) & _LOWER)
    return high, (other << 32) | (least & _LOWER)


def _signed(word: int) -> int:
    """The int64 with the bits of a word; what is above 64 bits is left out."""
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >= 1 << 63 else word
