"""The random numbers of a step in one launch of a Triton kernel. Needs triton and a device for it.

Words are equal bit for bit to those of ``philox.py``, normals to 1e-6. The operations of
``tensors.py`` give the same, by more than a hundred launches. The step is read from the device, so
that a captured graph draws anew each time it is replayed.

Legend: B positions of the global batch.
"""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from distvae.draws import normals, philox, tensors

LANES = 256
"""Counters of a program."""
_NORMALS = tl.constexpr(philox.NORMALS)
_UNIFORMS = tl.constexpr(philox.UNIFORMS)
_LATENTS = tl.constexpr(philox.LATENTS)
_INPUTS = tl.constexpr(philox.INPUTS)
_WORDS = tl.constexpr(philox.WORDS)
_ROUNDS = tl.constexpr(tensors.ROUNDS)
_FIRST, _SECOND = (tl.constexpr(factor) for factor in tensors.MULTIPLIERS)
_LEFT, _RIGHT = (tl.constexpr(word) for word in tensors.WEYL)
_HALF_STEP = tl.constexpr(normals.HALF_STEP)
_TURN = tl.constexpr(normals.TURN)


def noise(
    key: Tensor, step: Tensor, positions: slice, latents: int, inputs: int
) -> tuple[Tensor, Tensor]:
    """Normals float32 ``[B, latents]`` and uniforms int16 ``[B, inputs]`` of a step.

    Args:
        key: seed and stream, int64 ``[2]`` on the device.
        step: its number, int64 of one element on the device.
        positions: of the global batch, with a start and a stop.
        latents: normals of a position.
        inputs: uniforms of a position; four of them are a word.
    """
    size = positions.stop - positions.start
    of_latents = torch.empty(size, latents, dtype=torch.float32, device=key.device)
    of_inputs = torch.empty(size, inputs, dtype=torch.int16, device=key.device)
    words = -(-latents // philox.NORMALS), -(-inputs // philox.UNIFORMS)
    # counters do not begin where a position does: one more
    programs = [-(-(size * each // philox.WORDS + 2) // LANES) if each else 0 for each in words]
    if size and sum(programs):
        with torch.cuda.device_of(key):
            _noise[(sum(programs),)](
                *(of_latents, of_inputs, key, step, positions.start, size, programs[0]),
                *(*words, latents, inputs, LANES),
            )
    return of_latents, of_inputs


@triton.jit(do_not_specialize=["first", "size", "programs"])
def _noise(
    of_latents,
    of_inputs,
    key,
    step,
    first,
    size,
    programs,
    latent_words: tl.constexpr,
    input_words: tl.constexpr,
    latents: tl.constexpr,
    inputs: tl.constexpr,
    lanes: tl.constexpr,
):
    """The first ``programs`` draw normals, those after them uniforms."""
    first, size = first.to(tl.int64), size.to(tl.int64)
    if tl.program_id(0) < programs:
        program = tl.program_id(0).to(tl.int64)
        _normals(of_latents, key, step, first, size, program, latent_words, latents, lanes)
    else:
        program = (tl.program_id(0) - programs).to(tl.int64)
        _uniforms(of_inputs, key, step, first, size, program, input_words, inputs, lanes)


@triton.jit
def _normals(
    out,
    key,
    step,
    first,
    size,
    program,
    words: tl.constexpr,
    kept: tl.constexpr,
    lanes: tl.constexpr,
):
    if words > 0:
        start, counter, block = _block(key, step, _LATENTS, first * words, program, lanes)
        for place in tl.static_range(_WORDS):
            number = counter * _WORDS + place - start
            position, column = number // words, number % words * _NORMALS
            inside = (number >= 0) & (position < size)
            cosine, sine = _pair(block[place])
            target = out + position * kept + column
            tl.store(target, cosine, mask=inside)
            tl.store(target + 1, sine, mask=inside & (column + 1 < kept))


@triton.jit
def _uniforms(
    out,
    key,
    step,
    first,
    size,
    program,
    words: tl.constexpr,
    kept: tl.constexpr,
    lanes: tl.constexpr,
):
    if words > 0:
        start, counter, block = _block(key, step, _INPUTS, first * words, program, lanes)
        for place in tl.static_range(_WORDS):
            number = counter * _WORDS + place - start
            position, column = number // words, number % words * _UNIFORMS
            inside = (number >= 0) & (position < size)
            target = out + position * kept + column
            for part in tl.static_range(_UNIFORMS):
                bits = (block[place] >> (16 * part)).to(tl.uint16).to(tl.int16, bitcast=True)
                tl.store(target + part, bits, mask=inside & (column + part < kept))


@triton.jit
def _block(key, step, part: tl.constexpr, start, program, lanes: tl.constexpr):
    """The first word of a part, the counters ``[N]`` of a program and their words."""
    counter = start // _WORDS + program * lanes + tl.arange(0, lanes)
    seed, stream = tl.load(key).to(tl.uint64), tl.load(key + 1).to(tl.uint64)
    turn = tl.load(step).to(tl.uint64)
    return start, counter, philox_words((counter + 1).to(tl.uint64), turn, part, 0, seed, stream)


@triton.jit
def philox_words(a, b, c, d, left, right):
    """Four words of counters, uint64 ``[N]``, as :func:`distvae.draws.tensors.philox` gives them.

    ``b``, ``c``, ``d`` and the key may be scalars.
    """
    zero = a ^ a
    b, c, d = zero + b, zero + c, zero + d
    for _ in tl.static_range(_ROUNDS):
        high_a, low_a = tl.umulhi(a, zero + _FIRST), a * _FIRST
        high_c, low_c = tl.umulhi(c, zero + _SECOND), c * _SECOND
        a, b, c, d = high_c ^ b ^ left, low_c, high_a ^ d ^ right, low_a
        left, right = left + _LEFT, right + _RIGHT
    return a, b, c, d


@triton.jit
def _pair(word):
    """Two normals of a word, as :func:`distvae.draws.normals.quick_normals` makes them."""
    lower, upper = word.to(tl.uint32).to(tl.float32), (word >> 32).to(tl.uint32).to(tl.float32)
    radius = tl.sqrt_rn(tl.log((lower + 0.5) * _HALF_STEP) * -2.0)
    angle = upper * _TURN
    return radius * tl.cos(angle), radius * tl.sin(angle)
