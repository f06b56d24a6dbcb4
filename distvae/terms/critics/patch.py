"""A critic of parts of images, whose word is weighed by what the reconstruction says.

Legend: R rows, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.conditions import NOTHING, ContextShape
from distvae.errors import DistvaeError
from distvae.parts import PICTURES, TAKES_TERMS, Need, Part
from distvae.players import Player, RunFacts
from distvae.terms.base import Added, Term, View
from distvae.terms.critics.discriminator import Judged, PatchDiscriminator, fitting_layers
from distvae.values import LARGEST, Decay, NotNegative, Positive, Within

SMALL = 1e-4
"""Added to a norm that something is divided by."""


@dataclass(frozen=True)
class PatchPart(Part):
    """A network that says of each part of an image whether the model drew it (PatchGAN)."""

    name = "patch"
    builds = "PatchCritic"
    needs: ClassVar[tuple[Need, ...]] = (
        PICTURES,
        TAKES_TERMS,
        Need("compile", ("off", "auto"), "its weight is made of gradients within a step"),
        Need("mixed_precision", ("auto", "no", "bf16"), "norms of gradients may be beyond fp16"),
    )

    critic_weight: NotNegative | None = None
    """How hard it pulls at the last layer of the decoder, as a share of what the reconstruction
    does; left out: 0.5."""
    critic_start: Annotated[int, Within(0, LARGEST)] | None = None
    """Steps of the run before the first in which the model hears it; until then it is trained
    as without. Left out: a quarter of the run. The best weights and --early-stopping are judged
    from there on."""
    critic_lead: Annotated[int, Within(0, LARGEST)] | None = None
    """Steps for which it is trained before the model hears it; left out: 500, or all before
    --critic-start."""
    critic_learning_rate: Positive | None = None
    """Its peak learning rate; left out: --learning-rate."""
    critic_betas: Annotated[tuple[Decay, ...], Within(2, 2)] | None = None
    """Decays of its first and second moment in Adam; left out: `0.5,0.9`."""
    critic_layers: Annotated[int, Within(1, 16)] | None = None
    """Its layers that halve the sides, on which the size of a part depends: 26 pixels with two,
    54 with three; left out: 3, fewer for images of less than 32 pixels."""
    critic_width: Annotated[int, Within(1, 2**12)] | None = None
    """Channels of its first layer; left out: 64."""
    critic_cap: Positive | None = None
    """Most by which its word is multiplied to pull so hard; left out: 10,000."""
    critic_conditional: bool = False
    """Tell it what the model is given of an image, such as its label, by projection."""

    def left_out(self) -> dict[str, Any]:
        """Weight, moments, width and cap."""
        return {
            "critic_weight": 0.5,
            "critic_betas": (0.5, 0.9),
            "critic_width": 64,
            "critic_cap": 1e4,
        }


class PatchCritic(Term):
    """A patch discriminator with the hinge loss, weighed adaptively.

    Its word is -D(mean), the mean over places. It is multiplied by ``critic_weight`` times the norm
    of the gradient of the reconstruction over that of the word, both at the weight of the decoder's
    last layer, of all processes together, in float32 (Esser et al. 2021, arXiv:2012.09841, eq. 7).
    With ``accumulate`` each micro-batch has a factor of its own.

    What is judged is the mean of the likelihood, as samples are shown, beside images with their
    levels. The model hears it from ``critic_start`` on; ``critic_lead`` steps before it begins to
    learn.
    """

    compiles = False  # its factor is made of gradients within the step

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(PatchPart)
        first, second = self.own.critic_betas or (0.5, 0.9)
        self.heard = self.own.critic_start or 0
        lead = self.own.critic_lead or 0
        if lead > self.heard:
            raise DistvaeError(
                f"--critic-lead {lead} is more than --critic-start {self.heard}",
                "it begins to learn so many steps before that, and a run begins at 0",
                "Take a smaller lead, or a later start.",
            )
        self.player = Player(
            learning_rate=self.own.critic_learning_rate,
            betas=(first, second),
            start=max(0, self.heard - lead),
        )
        layers = fitting_layers(facts.shape, self.own.critic_layers)
        assert self.own.critic_width is not None
        self.network = PatchDiscriminator(
            facts.shape, layers, self.own.critic_width, self._told_of(facts)
        )

    def forward(self, view: View) -> Added:
        """The word that the model hears, and the hinge loss that the critic minimizes."""
        if not self.moves:
            return self._silent(view)
        drawn = view.means.detach().requires_grad_()
        real = self.network(view.images, view.given)
        made = self.network(drawn, view.given_of_rows)
        own = 0.5 * (F.relu(1.0 - real.logits).mean() + F.relu(1.0 + made.logits).mean())
        heard = view.pressure.since(self.heard)
        likeness, extras = self.likeness(view, drawn, real, made)
        word = handed_on(-made.logits.mean(), drawn, view.means)
        near = view.reconstruction if likeness is None else view.reconstruction + likeness
        factor = self._factor(near, word, view.last)
        said = factor * word if likeness is None else factor * word + likeness
        told = {
            "critic_loss": own,
            "critic_real": real.logits.mean(),
            "critic_drawn": made.logits.mean(),
            "critic_factor": heard * factor,
            **extras,
        }
        return Added(heard * said, {name: value.detach() for name, value in told.items()}, own)

    def _told_of(self, facts: RunFacts) -> ContextShape:
        """What the critic is told of images."""
        if not self.own.critic_conditional:
            return NOTHING
        if not facts.given.width:
            raise DistvaeError(
                "--critic-conditional does not fit --model vae",
                "it tells the critic what the model is given, and this one is given nothing",
                "Leave it out, or take --model cvae.",
            )
        return facts.given

    def likeness(
        self, view: View, drawn: Tensor, real: Judged, made: Judged
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """What it adds to the reconstruction, and what of that is worth logging.

        Args:
            view: what it looks at.
            drawn: the means, cut off from the model.
            real: what the network says of images.
            made: what it says of ``drawn``.
        """
        return None, {}

    @property
    def logged(self) -> tuple[str, ...]:
        """Names of what it logs."""
        return "critic_loss", "critic_real", "critic_drawn", "critic_factor"

    def _silent(self, view: View) -> Added:
        """Of steps in which it stands still."""
        nothing = torch.zeros((), device=view.means.device)
        return Added(nothing, dict.fromkeys(self.logged, nothing), nothing)

    def _factor(self, near: Tensor, word: Tensor, last: Tensor) -> Tensor:
        """By which the word is multiplied, a scalar."""
        weight, cap = self.own.critic_weight, self.own.critic_cap
        assert weight is not None
        assert cap is not None
        both = [torch.autograd.grad(one, last, retain_graph=True)[0] for one in (near, word)]
        whole = self.facts.average(torch.stack(both).float())
        of_near, of_word = torch.linalg.vector_norm(whole.flatten(1), dim=1).unbind()
        factor: Tensor = (of_near / (of_word + SMALL)).clamp(max=cap)
        return weight * factor


def handed_on(value: Tensor, drawn: Tensor, means: Tensor) -> Tensor:
    """A scalar made of ``drawn``, as one with the same gradient for ``means``.

    So its gradient is taken once, however often it is asked for, and none goes to the network that
    it was made with.
    """
    (gradient,) = torch.autograd.grad(value, drawn, retain_graph=True)
    return value.detach() + (gradient * (means - means.detach())).sum()
