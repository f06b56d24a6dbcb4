"""What comes back of pictures, and for how many bits."""

from typing import ClassVar

from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import pictures
from distvae.evaluation.reconstruction import PICTURES, reconstruction_metrics
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class ReconstructionPart(MetricPart):
    """PSNR and SSIM of reconstructed images, and bits a pixel of their latents."""

    name = "reconstruction"
    builds = "Reconstruction"
    usual = True
    meanings: ClassVar[dict[str, str]] = {
        "psnr": "PSNR of reconstructions, dB",
        "ssim": "SSIM of reconstructions",
        "rate_bits_per_pixel": "rate, bits per pixel",
    }


class Reconstruction(Metric):
    """See :mod:`distvae.evaluation.reconstruction`."""

    needs = (pictures,)
    unlabelled = True

    def measure(self, subject: Subject) -> Values:
        """Of test images."""
        count = min(PICTURES, len(subject.images))
        with progress_bar("reconstructions", count) as advance:
            yield from reconstruction_metrics(subject.model, subject.images, subject.seed, advance)

    def images(self, subject: Subject) -> str:
        """At most so many."""
        told = super().images(subject)
        return told if len(subject.data.test) <= PICTURES else f"{PICTURES:,} of {told}"
