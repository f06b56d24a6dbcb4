"""Speed of the log-likelihood by importance sampling, here and by pythae's ``get_nll``.

    pip install pythae
    python tests/benchmarks/likelihood.py --run runs/burda-vae --draws 5000

Both measure one trained model: pythae is given its very encoder and decoder, and takes its own way
round them, an image at a time in batches of 100 draws. They take turns, each in a process of its
own. The mean over the images that both saw must agree, but for the draws.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

PART = 5


def ours(folder: str, images: int, draws: int) -> tuple[float, float]:
    """Images/s; mean log-likelihood, nats, of those test images that pythae has too."""
    from distvae.evaluation.likelihood import log_likelihood

    model, split = opened(folder, images)
    log_likelihood(model, split, 0, 50)
    started = time.perf_counter()
    estimate = log_likelihood(model, split, 0, draws)
    seconds = time.perf_counter() - started
    return images / seconds, float(estimate.log_likelihood[: images // PART].mean())


def pythaes(folder: str, images: int, draws: int) -> tuple[float, float]:
    """The same by pythae."""
    import torch
    from pythae.models import VAE, VAEConfig  # type: ignore[import-not-found]
    from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
    from pythae.models.nn import BaseDecoder, BaseEncoder  # type: ignore[import-not-found]

    model, split = opened(folder, images)

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            posterior = model.encode(x, None)
            return ModelOutput(embedding=posterior.mean, log_covariance=posterior.base.log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=model.decode(z, None))

    shape = model.image_shape
    settings = VAEConfig(
        input_dim=shape, latent_dim=model.config.latent_dim, reconstruction_loss="bce"
    )
    peer = VAE(settings, Encoder(), Decoder()).eval()
    pixels = model.domain.to_input(split.gather(torch.arange(images))[0], None)
    with torch.no_grad():
        peer.get_nll(pixels[:1], 100, 100)
        started = time.perf_counter()
        mean = peer.get_nll(pixels, draws, 100)
    return images / (time.perf_counter() - started), float(mean)


def opened(folder: str, images: int) -> tuple[Any, Any]:
    """A run's model and its first test images."""
    import torch

    from distvae.data.batches import ResidentImages
    from distvae.data.store import open_data
    from distvae.domains import Images
    from distvae.models import VAE
    from distvae.platform import prepare
    from distvae.runs import find_run

    prepare(None)
    run = find_run(folder)
    split = ResidentImages.from_split(open_data(run.config().data).test)
    model = VAE.from_pretrained(run.model)
    model.domain = Images(model.image_shape, "threshold")
    return model, ResidentImages(*split.gather(torch.arange(images))[:2], split.device)


SIDES = {"distvae": ours, "pythae": pythaes}


def main() -> None:
    """Measure both in turn, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="of an unconditional model, gaussian q(z|x)")
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument(
        "--images", type=int, default=200, help="for distvae; pythae gets a fifth of them"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as", dest="side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.run, options.images, options.draws)))
        return
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, images in (("distvae", options.images), ("pythae", options.images // PART)):
            words = [sys.executable, __file__, "--as", side, "--run", options.run]
            words += ["--draws", str(options.draws), "--images", str(images)]
            out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            speed, mean = json.loads(out.splitlines()[-1])
            speeds[side].append(speed)
            print(f"{side}: {speed:.2f} images/s, {mean:.3f} nats", flush=True)
    median = {side: statistics.median(values) for side, values in speeds.items()}
    print(f"ratio of medians: {median['distvae'] / median['pythae']:.1f}")


if __name__ == "__main__":
    main()
