"""Examples drawn from a model, batch by batch.

Legend: B batch, S shape of an example.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from distvae.blocks import in_blocks
from distvae.checks import Asked
from distvae.composition import Composition
from distvae.draws.samples import noise_of_samples
from distvae.latents import only_vector
from distvae.priors import Prior
from distvae.ranges import checked_temperature, whole_number

SAMPLE_BATCH = 256
"""Examples together on a CPU."""


@torch.no_grad()
def drawn(
    model: Composition,
    total: int,
    asked: Asked,
    seed: int = 0,
    temperature: float = 1.0,
    prior: Prior | None = None,
) -> Iterator[Tensor]:
    """Means of the likelihood ``[B, *S]``, given latents drawn from the prior, on its device.

    Args:
        model: what draws.
        total: how many.
        asked: numbers of examples ``[B]`` to what they are given.
        seed: of the noise.
        temperature: factor of the noise.
        prior: where the latents come from; None for the model's own.

    Raises:
        DistvaeError: seed or temperature is out of range, or another prior does not fit.
    """
    seed = whole_number(seed, "seed", 0, bits=128)
    temperature = checked_temperature(temperature)
    device, dtype = model.device, torch.promote_types(model.dtype, torch.float32)
    if prior is not None:
        only_vector(model.latents.levels, "another prior")
        prior.to(device, dtype)
    noise_dim = model.latents.noise_dim if prior is None else prior.noise_dim

    def draw(part: slice) -> Tensor:
        count = part.stop - part.start
        noise = noise_of_samples(seed, part.start, count, noise_dim, device)
        conditions = asked(torch.arange(part.start, part.stop))
        given = model.conditioner(None if conditions is None else conditions.to(device))
        noise = temperature * noise.to(dtype)
        latents = (prior.transform(noise, given),) if prior else model.latents.draw(noise, given)
        return model.render(latents, given)

    yield from in_blocks(draw, range(total), SAMPLE_BATCH, device)
