"""What costs a conditional model judge accuracy: its reconstructions, or what its prior draws.

    python -m tests.benchmarks.temperature RUN --temperatures 1,0.95,0.9

The judge sees real test images, their reconstructions (the means of the posterior, or the codes,
decoded with the label of the image), and samples at each temperature, with their diversity.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.cache import cache_folder
from distvae.data.provenance import open_recorded
from distvae.evaluation.asked import of_attribute
from distvae.evaluation.ensemble import Ensemble, get_judges
from distvae.evaluation.generation import generation_metrics
from distvae.evaluation.passes import Block, Pass, gathered, through
from distvae.evaluation.uncertainty import ERROR, Estimate, share
from distvae.labels import Labels
from distvae.models import VAE
from distvae.runs import find_run


class Tempered:
    """A model whose samples are drawn by noise that is scaled.

    Args:
        model: what draws.
        temperature: factor of the noise.
    """

    def __init__(self, model: VAE, temperature: float) -> None:
        self.model, self.temperature = model, temperature

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def sample(self, labels: Labels | None, n: int, seed: int) -> Tensor:
        """As :meth:`distvae.models.VAE.sample`."""
        return self.model.sample(labels, n, seed, self.temperature)


@torch.no_grad()
def of_reconstructions(model: VAE, images: ResidentImages, judges: Ensemble) -> Estimate:
    """The share of reconstructions that are taken for the label of their image."""

    def taken(block: Block) -> tuple[Tensor, ...]:
        context = model.conditioner(block.batch.conditions)
        inputs = model.domain.to_expected_input(block.batch.stored)
        assert block.labels is not None
        return model.render(model.means(inputs, context), context), block.labels

    drawn, labels = gathered(through(taken, Pass(model, images, 0)))
    known = labels >= 0
    return share(judges.classify(drawn[known]).cpu() == labels[known].cpu()[:, None])


def rows(run_name: str, temperatures: list[float]) -> Iterator[tuple[str, str, str]]:
    """What is judged, its accuracy, and its diversity where that is measured."""
    run = find_run(run_name)
    model = VAE.from_pretrained(run.model)
    data = open_recorded(run, None, quiet=True)
    judges = get_judges(of_attribute(data), cache_folder(run.settings().data))
    yield "real test images", told(judges.test_accuracy), ""
    test = ResidentImages.from_split(data.test)
    yield "their reconstructions", told(of_reconstructions(model, test, judges)), ""
    for temperature in temperatures:
        found = dict(generation_metrics(Tempered(model, temperature), data, judges))
        accuracy, diversity = (
            f"{100 * found[name]:.2f} ± {100 * found[name + ERROR]:.2f} %"
            for name in ("judge_accuracy", "diversity")
        )
        yield f"samples, temperature {temperature:g}", accuracy, diversity


def told(found: Estimate) -> str:
    """As a share in percent."""
    return f"{100 * found.value:.2f} ± {100 * found.error:.2f} %"


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--temperatures", default="1,0.95,0.9")
    asked = parser.parse_args()
    temperatures = [float(each) for each in asked.temperatures.split(",")]
    print("| what is judged | judge accuracy | diversity |\n| --- | --- | --- |")
    for row in rows(asked.run, temperatures):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
