"""Whether an exported file draws what the trained model draws, by running both.

Legend: B batch, S the axes of an example, Z latent dimensions.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.domains import Domain
from distvae.domains.levels import LEVELS
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export.convert import MEAN
from distvae.export.encoder import Encoder
from distvae.export.inputs import given_of_rows
from distvae.export.manifest import DECODER, ENCODER, LATENT_DECODER, LATENT_ENCODER, SCORER
from distvae.export.parity import (
    REPORT,
    SEED,
    TOLERANCE,
    Advance,
    Exact,
    Parity,
    limit,
    on_device,
    torch_means,
    with_mean,
)
from distvae.export.sampler import Sampler
from distvae.export.session import read_manifest
from distvae.export.ties import Ties, ties_of
from distvae.export.turns import NOISES, Given, given_in, turns
from distvae.export.verify_maps import map_decoder, map_encoder
from distvae.export.verify_scores import scorer
from distvae.latents.codes import CodeSpace
from distvae.models import VAE
from distvae.posteriors import Posterior
from distvae.tensors import checksum

BATCHES = (1, 7, 256)
NOISE_TOLERANCE = 1e-2
"""Largest error of latents that are drawn from an encoder's noise, relative where one exceeds 1:
there and back, rounding is amplified by what the prior scales."""


def verify(path: Path, model: VAE, advance: Advance = lambda count: None) -> Parity:
    """Compare what a file gives with what the model gives, for the same inputs.

    Args:
        path: an exported file.
        model: what it was made from, on any device.
        advance: told how many more images are done, of ``rounds * NOISES``.

    Raises:
        DistvaeError: the file is of other weights, gives an image in one batch that it does not
            give in another, or is float32 and differs by more than rounding.
    """
    manifest = read_manifest(path)
    if manifest.weights_sha256 != checksum(model.state_dict()):
        raise DistvaeError(
            f"{path} was not made from these weights",
            f"its manifest names weights {manifest.weights_sha256[:12]}",
            "Export anew, or name the run or checkpoint that it came from.",
        )
    of_graph = {
        DECODER: _decoder,
        ENCODER: _encoder,
        SCORER: scorer,
        LATENT_DECODER: map_decoder,
        LATENT_ENCODER: map_encoder,
    }[manifest.graph]
    parities = list(of_graph(path, model.eval(), advance))
    return Parity(
        max(one.error for one in parities),
        sum(one.mean_error for one in parities) / len(parities),
        max((one.grey_levels for one in parities if one.grey_levels is not None), default=None),
        sum(one.images for one in parities),
    )


def _decoder(path: Path, model: VAE, advance: Advance) -> Iterator[Parity]:
    """Every noise with every label, then one label's turn in batches of other sizes."""
    sampler, exact = Sampler(path, verify=True), Exact(model)
    noise = standard_normal(SEED, 0, NOISES, sampler.manifest.noise_dim)
    with with_mean(path) as session:
        for turn in range(turns(model)):
            given = given_in(model, turn)
            expected = torch_means(model, noise, given)
            inputs = given_of_rows(given.asked(), NOISES, sampler.manifest)
            found = session.run([MEAN], {"noise": noise, **inputs})[0]
            drawn = sampler.decode(noise, given.asked())
            means = expected, found
            exactly = functools.partial(exact.means, noise, given)
            yield _compared(path, sampler, model.domain, means, exactly, drawn, given)
            advance(NOISES)
    given = given_in(model, 0)
    whole = sampler.decode(noise, given.asked())
    for batch, start in ((size, at) for size in BATCHES for at in range(0, NOISES, size)):
        part = slice(start, start + batch)
        alone = sampler.decode(noise[part], given.asked(part))
        if not _same(alone, whole[part], model.domain):
            raise DistvaeError(
                f"{path} draws another image for noise {start} in a batch of {batch}",
                f"expected the image that it draws in a batch of {NOISES}",
                REPORT,
            )


def _encoder(path: Path, model: VAE, advance: Advance) -> Iterator[Parity]:
    """Posteriors of what the model draws; errors are relative where values exceed one.

    Of the noise it is compared what the model draws from it: another one may do the same.
    """
    encoder, exact = Encoder(path, verify=True), Exact(model)
    noise, ties = standard_normal(SEED, 0, NOISES, model.latents.noise_dim), ties_of(model)
    for turn in range(turns(model)):
        given = given_in(model, turn)
        stored = model.domain.to_stored(torch.from_numpy(torch_means(model, noise, given)))
        images, inputs = stored.numpy(), model.domain.to_expected_input(stored)
        with torch.no_grad():
            posteriors = model.posteriors(*on_device(model, inputs, given))
        parts = _parts(encoder, posteriors, images, given)
        for number, (name, expected, found) in enumerate(parts):
            off = _off(found, expected, ties)
            error, most = float(off.max()), TOLERANCE
            judged = encoder.manifest.precision == "fp32"
            if judged and not error <= most:
                most = limit(_off(expected, exact.posteriors(inputs, given)[number], ties))
            if judged and not error <= most:
                worst = tuple(map(int, np.unravel_index(int(np.argmax(off)), off.shape)))
                raise DistvaeError(
                    f"{path} does not encode as the model does: {name} "
                    f"{', '.join(map(str, worst[1:]))} of image {worst[0]} "
                    f"is {found[worst]:.6f} and {expected[worst]:.6f} in torch",
                    f"at most {most:.0e} of difference was expected, found {error:.1e}",
                    REPORT,
                )
            yield Parity(error, float(off.mean()), None, 0 if number else len(images))
        if encoder.manifest.codes is not None:
            _check_codes(path, model, encoder, images, given)
        if encoder.manifest.gives_noise:
            _check_noise(path, model, encoder.noise(images, given.asked()), posteriors, given)
        advance(NOISES)


def _off(found: NDArray[Any], expected: NDArray[Any], ties: Ties | None) -> NDArray[Any]:
    """Errors ``[B, *S]``, relative where a value exceeds one, but for codes that are ties."""
    off: NDArray[Any] = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return ties.but_for_values(off, TOLERANCE) if ties else off


def _check_noise(
    path: Path,
    model: VAE,
    noise: NDArray[np.float32],
    posteriors: tuple[Posterior, ...],
    given: Given,
) -> None:
    """That the model turns the noise ``[B, D]`` of a file into the means of the posteriors."""
    with torch.no_grad():
        latents = model.latents.draw(*on_device(model, torch.from_numpy(noise), given))
        off = max(
            float(((z - each.mean).abs() / each.mean.abs().clamp_min(1.0)).max())
            for z, each in zip(latents, posteriors, strict=True)
        )
    if not off <= NOISE_TOLERANCE:
        raise DistvaeError(
            f"{path} gives a noise that the model does not turn into the posterior's mean",
            f"at most {NOISE_TOLERANCE:.0e} of difference was expected, found {off:.1e}",
            REPORT,
        )


def _check_codes(
    path: Path, model: VAE, encoder: Encoder, images: NDArray[Any], given: Given
) -> None:
    """That the codes of a file are those of its means, which were compared, in the model's book."""
    space = model.latents
    assert isinstance(space, CodeSpace)
    codes = torch.from_numpy(encoder.codes(images, given.asked())).flatten(1).to(model.device)
    with torch.no_grad():
        (stood_for,) = space.posteriors_of(codes)
        book = space.book_values.cpu().numpy()
    means = encoder.encode(images, given.asked()).mean
    off = max(
        float(np.abs(stood_for.mean.cpu().numpy() - means).max()),
        float(np.abs(encoder.book - book).max()),
    )
    if encoder.manifest.precision == "fp32" and not off <= TOLERANCE:
        raise DistvaeError(
            f"{path} gives codes that do not stand for its means in the model's book",
            f"at most {TOLERANCE:.0e} of difference was expected, found {off:.1e}",
            REPORT,
        )


def _parts(
    encoder: Encoder,
    posteriors: tuple[Posterior, ...],
    images: NDArray[Any],
    given: Given,
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Name of each output, what torch gives and what the file gives ``[B, *S]``."""
    found = encoder.encode_levels(images, given.asked()).values()
    names = encoder.manifest.posteriors.values()
    for of_level, expected, gives in zip(names, posteriors, found, strict=True):
        tensors = (expected.mean, expected.log_variance)
        for name, tensor, array in zip(of_level, tensors, gives, strict=True):
            yield name, tensor.detach().cpu().numpy(), array


def _compared(
    path: Path,
    sampler: Sampler,
    domain: Domain,
    means: tuple[NDArray[np.float32], NDArray[np.float32]],
    exactly: Callable[[], NDArray[np.float64]],
    drawn: NDArray[Any],
    given: Given,
) -> Parity:
    """What torch and the file give before rounding ``[B, *S]``, and what is drawn after it."""
    expected, found = means
    off, most = _apart(expected, found, domain), TOLERANCE
    error, step = float(off.max()), _step(domain, expected, drawn, most)
    judged = sampler.manifest.precision == "fp32"
    if judged and not (error <= most and step <= 1):
        most = limit(_apart(exactly(), expected, domain))
        step = _step(domain, expected, drawn, most)
    if judged and not (error <= most and step <= 1):
        worst = np.unravel_index(int(np.argmax(off)), off.shape)
        label = given.told(int(worst[0]))
        where = domain.place([int(at) for at in worst[1:]])
        unit = "one grey level" if domain.levels else "what that is of a stored number"
        raise DistvaeError(
            f"{path} does not draw what the model draws: noise {worst[0]}{label}, {where} is "
            f"{found[worst]:.6f}, in torch {expected[worst]:.6f}",
            f"at most {most:.0e} of difference and {unit} was expected, found "
            f"{error:.1e} and {step:g} times it",
            REPORT,
        )
    return Parity(error, float(off.mean()), int(step) if domain.levels else None, len(drawn))


def _apart(expected: NDArray[Any], found: NDArray[Any], domain: Domain) -> NDArray[Any]:
    """Errors ``[B, *S]`` in the unit of a likelihood's mean, relative where that has no bounds."""
    off: NDArray[Any] = np.abs(expected - found)
    return off if domain.levels else off / np.maximum(1.0, np.abs(expected))


def _same(alone: NDArray[Any], together: NDArray[Any], domain: Domain) -> bool:
    """Whether examples are those that are drawn in another batch.

    The last bit of a sum may depend on the batch, which 256 levels hide and finer ones show.
    """
    if (domain.levels or 0) <= LEVELS:
        return np.array_equal(alone, together)
    return int(np.abs(alone.astype(np.int64) - together).max()) <= 1


def _step(
    domain: Domain, expected: NDArray[np.float32], drawn: NDArray[Any], tolerance: float
) -> float:
    """How many times what is allowed drawn examples ``[B, *S]`` are from torch's at most.

    Allowed is what the domain makes of the tolerance.
    """
    stored = domain.to_stored(torch.from_numpy(np.nan_to_num(expected))).numpy()
    off = np.abs(stored.astype(np.float64) - drawn)
    return float((off / domain.slack(expected, stored, tolerance)).max())
