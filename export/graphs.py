"""What is exported, as modules: noise to example, example to posterior, and to its scores.

Legend: B batch, S the axes of an example, Z latent dimensions, L labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distvae.attributes import Attribute
from distvae.conditions import Conditions, Context
from distvae.evaluation.anomaly import Scores, scores_of
from distvae.latents.codes import CodeSpace
from distvae.models import VAE


class CheckedLabel(nn.Module):
    """Labels as they are, and an error in the runtime for every number that is none.

    ONNX's Gather takes -1 for the last row, and a one-hot vector of an unknown label is all zeros;
    here both become an index past the end of a table, which Gather refuses.
    """

    numbers: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.register_buffer("numbers", torch.arange(num_labels))

    def forward(self, label: Tensor) -> Tensor:
        """``[B]`` int64."""
        return self.numbers.index_select(0, torch.where(label < 0, self.num_labels, label))


class CheckedAttributes(nn.Module):
    """Inputs of several attributes as conditions, and an error for a label that there is not.

    A label of -1 and a number of NaN are not known.
    """

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        super().__init__()
        self.sizes = [len(each.labels) for each in attributes]
        self.lowest = [-1 if each.missing else 0 for each in attributes]
        self.checked = nn.ModuleList(CheckedLabel(size) for size in self.sizes)

    def forward(self, given: Sequence[Tensor]) -> Conditions:
        """Values ``[B]`` of each attribute, int64 or float32."""
        values, known = [], []
        for column, size, lowest, checked in zip(
            given, self.sizes, self.lowest, self.checked, strict=True
        ):
            if not size:
                known.append(~column.isnan())
                values.append(column)
                continue
            known.append(column >= 0)
            refused = torch.where(column < lowest, size, column.clamp(min=0))
            values.append(checked(refused).to(torch.float32))
        return Conditions(torch.stack(values, dim=1), torch.stack(known, dim=1))


class Contexts(nn.Module):
    """What a graph is given beside noise or example, as the model's parts take it."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.plain = not model.attributes or bool(model.label_names)
        self.checked: nn.Module = (
            CheckedLabel(len(model.label_names))
            if self.plain
            else CheckedAttributes(model.attributes)
        )
        self.conditioner = model.conditioner

    def forward(self, given: Sequence[Tensor]) -> Context | None:
        """One label ``[B]``, a value ``[B]`` of each attribute, or nothing."""
        if not given:
            return None
        if self.plain:
            return Context.of_label(self.checked(given[0]))
        context: Context | None = self.conditioner(self.checked(given))
        return context


class Graph(nn.Module):
    """What is exported of a model."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model
        self.contexts = Contexts(model)


class DecoderGraph(Graph):
    """Noise ``[B, noise_dim]`` and label ``[B]`` to an example, as it is stored and before that."""

    def forward(self, noise: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """The likelihood's mean ``[B, *S]`` as it is stored, and the same as the model sees it."""
        context = self.contexts(given)
        mean = self.model.render(self.model.latents.draw(noise, context), context)
        return self.model.domain.to_stored(mean), mean


class MapDecoderGraph(Graph):
    """Latents at every place ``[B, Z, H, W]`` and label ``[B]`` to an example of these sides."""

    def forward(self, latents: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`DecoderGraph` gives it."""
        mean = self.model.render((latents,), self.contexts(given))
        return self.model.domain.to_stored(mean), mean


class EncoderGraph(Graph):
    """An example as it is stored ``[B, *S]`` and label ``[B]`` to its posterior.

    Of a flow posterior: where the flow carries the mean of its base, and the base's log-variance.
    Of several levels, each is given the means of those before. Latents that are codes have
    :class:`CodesGraph`.

    Args:
        model: what is exported.
        noise: whether a noise that the decoder turns into these means is told last.
    """

    def __init__(self, model: VAE, noise: bool = False) -> None:
        super().__init__(model)
        self.noise = noise

    def forward(self, example: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Mean and log-variance of each level, one after the other, then the noise ``[B, D]``."""
        context = self.contexts(given)
        found = self.model.posteriors(self.model.domain.to_expected_input(example), context)
        parts = [part for each in found for part in (each.mean, each.log_variance)]
        if self.noise:
            latents = tuple(each.mean for each in found)
            parts.append(self.model.latents.noise_for(latents, context))
        return tuple(parts)


class CodesGraph(Graph):
    """An example as it is stored ``[B, *S]`` and label ``[B]`` to its codes."""

    def __init__(self, model: VAE, space: CodeSpace) -> None:
        super().__init__(model)
        self.space = space

    def forward(self, example: Tensor, *given: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and log-variance of the level, codes ``[B, *grid]``, and the book ``[C, D]``."""
        context = self.contexts(given)
        features = self.model.features(self.model.domain.to_expected_input(example), context)
        codes = self.space.codes_of(features, context)
        (found,) = self.space.posteriors_of(codes)
        laid_out = codes.reshape(-1, *self.space.grid)
        return found.mean, found.log_variance, laid_out, self.space.book_values


class ScoreGraph(Graph):
    """An example as it is stored ``[B, *S]`` and label ``[B]`` to how unlike the data it is."""

    def forward(self, example: Tensor, *given: Tensor) -> Scores:
        """The scores ``[B]`` of the posterior's mean."""
        context = self.contexts(given)
        return scores_of(self.model, self.model.domain.to_expected_input(example), context)
