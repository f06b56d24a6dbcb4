"""The random words: as Random123 publishes them, and equal in numpy and in torch."""

import itertools
import shutil

import numpy as np
import pytest
import torch

from distvae.draws import tensors
from distvae.draws.philox import WORDS, Source, Stream

CPU = torch.device("cpu")
WORD = (1 << 64) - 1
# counter, key, words: kat_vectors of Random123 1.14, philox4x64 with 10 rounds
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    )),
    ((WORD,) * 4, (WORD,) * 2, (
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    )),
    ((0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
     (0x452821E638D01377, 0xBE5466CF34E90C6C), (
        0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6,
    )),
]  # fmt: skip


def plain(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x64-10 as the paper has it, in whole numbers without end."""
    a, b, c, d = counter
    left, right = key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (
            (second >> 64) ^ b ^ left,
            second & WORD,
            (first >> 64) ^ d ^ right,
            first & WORD,
        )
        left, right = (left + 0x9E3779B97F4A7C15) & WORD, (right + 0xBB67AE8584CAA73B) & WORD
    return a, b, c, d


def as_tensors(counter: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.array([word], np.uint64).view(np.int64)) for word in counter)


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_words(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert plain(counter, key) == expected
    found = tensors.philox(as_tensors(counter), key)  # type: ignore[arg-type]
    assert found.numpy().view(np.uint64).tolist() == [list(expected)]


@pytest.mark.parametrize("seed", [0, 5, 2**53 + 1, 2**63 - 1, WORD])
@pytest.mark.parametrize("stream", [Stream.HELD_OUT, Stream.TRAINING, Stream.CHOICE])
def test_words_of_a_step(seed: int, stream: Stream) -> None:
    step, part, block = 123_456, 1, 10**12
    counters = [(block + 1 + i, step, part, 0) for i in range(4)]
    whole = [word for counter in counters for word in plain(counter, (seed, stream))]
    for before, count in itertools.product(range(WORDS), (0, 1, 3, 4, 5, 12)):
        place = count, step, part, block * WORDS + before
        expected = whole[before : before + count]
        assert Source(seed, stream).words(*place).tolist() == expected
        made = tensors.words(seed, stream, *place, CPU)
        assert made.numpy().view(np.uint64).tolist() == expected


def test_words_do_not_depend_on_what_was_drawn_before() -> None:
    source, other = Source(3, Stream.TRAINING), Source(3, Stream.TRAINING)
    whole = source.words(400, 7)
    for first in (60, 0, 97):
        assert other.words(1, 8, 1).shape == (1,)
        assert other.words(5, 7, 0, first).tolist() == whole[first : first + 5].tolist()
    assert source.words(3, 7).tolist() == whole[:3].tolist()


def test_streams_steps_and_parts_have_words_of_their_own() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream)
    firsts = {
        int(Source(seed, stream).words(1, step, part)[0])
        for seed in (0, 1, 2**63 - 1)
        for stream in Stream
        for step in (0, 1, 2**40)
        for part in (0, 1)
    }
    assert len(firsts) == 3 * len(Stream) * 3 * 2
    # a seed of samples is the whole key
    assert int(np.random.Philox(key=5).random_raw()) not in firsts


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, of its compiler
def test_a_compiled_graph_takes_the_step_from_the_device() -> None:
    @torch.compile(fullgraph=True, dynamic=False)
    def drawn(step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = tensors.words(5, Stream.TRAINING, 4000, step, 1, 17, CPU)
        return words, tensors.quick_normals(words)

    for step in (0, 9, 2**40):
        words, normals = drawn(torch.tensor(step))
        expected = Source(5, Stream.TRAINING).words(4000, step, 1, 17)
        assert (words.numpy().view(np.uint64) == expected).all()
        plainly = tensors.quick_normals(torch.from_numpy(expected.view(np.int64)))
        torch.testing.assert_close(normals, plainly, rtol=1e-6, atol=1e-6)
