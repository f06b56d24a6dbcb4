"""The VampPrior: the posterior of a few images that are learned.

Legend: C channels, H height, W width, Z latent dimensions, L labels, M pseudo-inputs of a label.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.examples import mean_input
from distvae.domains import Domain
from distvae.parts import Need, Part, Trait
from distvae.priors.base import Encode, Prior
from distvae.priors.mixture import COMPONENTS, Mixture
from distvae.values import Within

BEGINNING = 0.05
NOISE = 0.01
"""Mean and standard deviation of pseudo-inputs that nothing was said of, as the authors have it."""


@dataclass(frozen=True)
class VampPart(Part):
    """The mean posterior of learned images, the pseudo-inputs."""

    name = "vamp"
    builds = "VampPrior"
    needs = (
        Need("domain", Trait("levels"), "it begins with images of each label"),
        Need("posterior", ("gaussian",), "it needs the density of posteriors everywhere"),
        Need("streaming", (False,), "it begins with images of each label"),
    )
    traits = ("of_a_label",)
    usual = True

    prior_components: Annotated[int, Within(1, 2**20)] | None = None
    """Pseudo-inputs for each label; left out: 50, or as many as the images are enough for where
    --prior is left out too."""
    pseudo_inputs: Literal["images", "mean"] | None = None
    """What they begin as: training `images`, or the `mean` image with a little noise; left out:
    `images`."""


class VampPrior(Mixture):
    """``p(z|y) = 1/M sum_k q(z|u_yk, y)``: Tomczak and Welling 2018 (arXiv:1705.07120), eq. 9.

    The pseudo-inputs u are learned with the rest and cut to what inputs can be; each label has its
    own, since its aggregate posterior, which they stand for, is its own.

    Args:
        config: of the model.
        given: what contexts hold: a label, or nothing.
        domain: of the examples.
        encode: the model's encoder, a bound method, so that a copy of the model has its own.
    """

    def __init__(
        self,
        config: ModelConfig,
        given: ContextShape,
        domain: Domain,
        encode: Encode,
    ) -> None:
        super().__init__(config.latent_dim)
        self.encode = encode
        self.domain = domain
        self.num_labels = given.rows
        own = config.of(VampPart)
        self.begin_as = own.pseudo_inputs
        self.size = own.prior_components or COMPONENTS
        count = max(1, given.rows) * self.size
        self.pseudo_inputs = nn.Parameter(BEGINNING + NOISE * torch.randn(count, *domain.shape))

    @classmethod
    def build(
        cls, config: ModelConfig, given: ContextShape, domain: Domain, encode: Encode
    ) -> Prior:
        """With what it needs of the examples."""
        return cls(config, given, domain, encode)

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance ``[L, M, Z]``, logits of the weights ``[1, M]``."""
        device = self.pseudo_inputs.device
        context = None
        if self.num_labels:
            labels = torch.arange(self.num_labels, device=device)
            context = Context(labels.repeat_interleave(self.size))
        base = self.encode(self.domain.cut(self.pseudo_inputs), context).base
        mean, log_variance = (part.view(-1, self.size, part.shape[1]) for part in base)
        return mean, log_variance, torch.zeros(1, self.size, device=device)

    def rows(self, labels: Tensor | None, count: int) -> Tensor:
        """Which of ``count`` images the pseudo-inputs begin as ``[L * M]``: own label, evenly."""
        everything = torch.arange(count)
        chosen = []
        for label in range(max(1, self.num_labels)):
            own = everything
            if self.num_labels and labels is not None and (labels == label).any():
                own = everything[labels.cpu() == label]
            chosen.append(own[torch.arange(self.size) * len(own) // self.size])
        return torch.cat(chosen)

    def prepare(self, images: ResidentImages) -> None:
        """Begin as training images, an image for each pseudo-input or the mean image for all."""
        if self.begin_as == "mean":
            self.set_pseudo_inputs(mean_input(self.domain, images))
        else:
            rows = self.rows(images.labels, len(images))
            self.set_pseudo_inputs(self.domain.to_values(images.gather(rows)[0]))

    @torch.no_grad()
    def set_pseudo_inputs(self, images: Tensor) -> None:
        """Let the pseudo-inputs begin as ``images [L * M, C, H, W]`` in [0, 1], or near one image.

        One ``[C, H, W]`` is varied a little, or all would stay alike.
        """
        noise = NOISE * torch.randn_like(self.pseudo_inputs) if images.dim() == 3 else 0.0
        self.pseudo_inputs.copy_(images + noise)
