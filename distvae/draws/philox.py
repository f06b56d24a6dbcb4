"""The one definition of chance: random words by counter, in numpy. No torch.

The words are those of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"), as Random123 publishes it and numpy draws it:

- the key is (seed, stream), two words;
- four words come of each counter, which is four words, too: the words 4 b to 4 b + 3 of a part of a
  step are those of (b + 1, step, part, 0). numpy counts on before it draws, hence the 1.

What an example needs is padded to whole words, and the examples of a batch follow each other. So
the words of any positions are drawn alone, in one call, and neither the number of processes nor
the size of a micro-batch can change them. ``distvae/draws/tensors.py`` draws the same words on
other devices, ``export/page/noise.js`` in a browser.
"""

import threading
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CHANCE = 2
"""Number of this definition. In 1 the steps of training drew from torch's generators."""
WORDS = 4
"""Those of a counter."""
LATENTS, INPUTS = 0, 1
"""Parts of a step."""
NORMALS, UNIFORMS = 2, 4
"""Numbers that are made of a word: of the latents, of 16 bits for the inputs."""
LOW = 2**64 - 1
Words = NDArray[np.uint64]


class Stream(IntEnum):
    """What random numbers are for; each draws others from one seed.

    Samples have no stream: their key is the whole seed of 128 bits, their step 0. The streams count
    down from the last word, so no seed of samples below 2^127 meets one.
    """

    HELD_OUT = 2**64 - 1
    """Which rows are held out for the test, by --split-seed."""
    VALIDATION = 2**64 - 2
    """Which rows are held out for validation, by --split-seed."""
    ORDER = 2**64 - 3
    """Order of the examples of an epoch, which is the step."""
    SHARDS = 2**64 - 4
    """Order of the shards of a streamed epoch, which is the step."""
    BUFFER = 2**64 - 5
    """Order of a buffer of streamed examples; the step is the epoch, the part counts buffers."""
    TRAINING = 2**64 - 6
    """Noise of the steps of training."""
    EVALUATION = 2**64 - 7
    """Noise of passes over a split."""
    EVALUATION_OF_TRAINING = 2**64 - 8
    """Noise of passes over the training split that stand beside one over the test split."""
    IMPORTANCE = 2**64 - 9
    """Noise of importance sampling; the step counts groups of draws."""
    CHOICE = 2**64 - 10
    """Which images a metric looks at; the step counts its repetitions."""
    GIVEN = 2**64 - 11
    """What bundled examples are given; the step counts splits and attributes."""
    JUDGE_ORDER = 2**64 - 12
    """Order of the images of a judge's training; the step counts passes."""
    JUDGE_SHIFTS = 2**64 - 13
    """By how much a judge sees images shifted."""
    SWAPS = 2**64 - 14
    """Which other label a test image is decoded with."""
    GROUPS = 2**64 - 15
    """Parts of a set, for standard errors; the step is 0."""
    BOOTSTRAP = 2**64 - 16
    """Redrawn figures, for standard errors."""
    CLUSTERS = 2**64 - 17
    """Redrawn images and starts of clusterings."""
    VOTES = 2**64 - 18
    """Images of the FactorVAE score; the step counts its repetitions."""
    ROUNDING = 2**64 - 19
    """By which way weights are moved to see what rounding does to an exported file."""

    KEPT = 2**64 - 20
    """Which labels are kept by --keep-labels."""
    VIEWS = 2**64 - 21
    """Which part of a picture is seen, and how, by --augment; the step is the epoch."""
    PICTURES = 2**64 - 22
    """Which pictures an epoch of few views sees; the step is the epoch."""


class _Samples(threading.local):
    """One generator for each thread; to set its state takes a fifth of the time of a new one."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=0)
        self.state = self.bits.state
        self.counter = self.state["state"]["counter"]
        self.key = self.state["state"]["key"]


_samples = _Samples()


def words_of_samples(seed: int, block: int, blocks: int) -> Words:
    """The words of the counters ``block`` and following of samples ``[blocks * WORDS]``.

    Args:
        seed: 0 or more, less than 2^128; the whole key.
        block: number of the first counter, less than 2^128.
        blocks: how many counters.
    """
    own = _samples
    own.key[:] = seed & LOW, seed >> 64
    own.counter[:] = block & LOW, block >> 64, 0, 0
    own.bits.state = own.state
    words: Words = own.bits.random_raw(blocks * WORDS)
    return words


class Source:
    """The words of one stream of a seed.

    Args:
        seed: a whole number, of which 64 bits count.
        stream: what they are for.
    """

    def __init__(self, seed: int, stream: Stream) -> None:
        self._bits = np.random.Philox(key=np.array([seed % 2**64, stream], np.uint64))
        # to set its counter takes a tenth of the time of a new generator
        self._state = self._bits.state
        self._counter = self._state["state"]["counter"]

    def words(self, count: int, step: int = 0, part: int = 0, first: int = 0) -> Words:
        """So many words ``[count]`` of a part of a step, from the one numbered ``first`` on."""
        block, before = divmod(first, WORDS)
        self._counter[:] = block, step, part, 0
        self._bits.state = self._state
        words: Words = self._bits.random_raw(before + count)
        return words[before:]
