"""The first lines of a model card, by which the Hub finds and shows a model. No torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distvae.figures import ERROR, figure_name, headlines, in_words_of
from distvae.records import DataRecord, RunRecord
from distvae.runs import without_folders

if TYPE_CHECKING:
    from distvae.domains import Domain

LICENCES = {"bundled mnist": "cc-by-sa-3.0", "mnist:coloured": "cc-by-sa-3.0"}
"""Of models of bundled data; of other data it is not known here."""
BUNDLED = {"bundled mnist": "ylecun/mnist"}
"""Bundled data by its id on the Hub."""
PICTURES = "unconditional-image-generation"
"""The task under which the Hub lists what draws pictures without a text."""


def front_matter(
    name: str, record: RunRecord, domain: "Domain", evaluated: Mapping[str, float]
) -> str:
    """YAML between two lines of dashes, as huggingface_hub's ``ModelCard`` reads it.

    Args:
        name: of the model.
        record: config.json of its run.
        domain: what its examples are.
        evaluated: what was measured by `distvae evaluate`, by name.
    """
    import yaml

    data, pictures = record.data, "pictures" in domain.part.traits
    tags = ["vae", "variational-autoencoder", "pytorch"]
    tags += ["class-conditional"] if record.given else []
    found: dict[str, Any] = {
        "library_name": "distvae",
        "license": LICENCES.get(data.source, "unknown"),
        "tags": [*tags, str(record.settings["network"]), str(record.settings["objective"])],
    }
    if pictures:
        found["pipeline_tag"] = PICTURES
    if hub_id := _hub_id(data):
        found["datasets"] = [hub_id]
    if metrics := _metrics(evaluated, domain.examples):
        found["metrics"] = [each["type"] for each in metrics]
        of_data = {
            "name": without_folders(data.source),
            "type": hub_id or without_folders(data.source),
            "split": data.test_split,
        }
        task = {"type": PICTURES if pictures else "tabular"}
        result = {"task": task, "dataset": of_data, "metrics": metrics}
        found["model-index"] = [{"name": name, "results": [result]}]
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def _hub_id(data: DataRecord) -> str | None:
    """The data by its id on the Hub, None where it has none."""
    if data.source in BUNDLED:
        return BUNDLED[data.source]
    plain = without_folders(data.source) == data.source
    return data.source if plain and data.source.count("/") == 1 else None


def _metrics(evaluated: Mapping[str, float], examples: str) -> list[dict[str, Any]]:
    """The figures that people look for, without their errors."""
    return [
        {
            "type": key,
            "value": float(f"{value:.6g}"),
            "name": in_words_of(figure_name(key), examples),
        }
        for key, value in headlines(evaluated).items()
        if not key.endswith(ERROR)
    ]
