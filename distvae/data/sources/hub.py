"""Data sets of the Hugging Face Hub."""

from pathlib import Path

from distvae.config import DataConfig
from distvae.data.roots import Root
from distvae.data.sources.raw import Tables
from distvae.errors import DistvaeError


def load_hub(config: DataConfig, hint: str) -> tuple[Tables, str]:
    """All splits of a Hub dataset, tables or streams as configured, and their identity.

    ``hint`` is what else may have been meant.

    Raises:
        DistvaeError: it does not exist, cannot be reached, or cannot be read.
    """
    import datasets

    name = config.data
    try:
        if config.streaming:
            builder = datasets.load_dataset_builder(name)
            streams = dict(builder.as_streaming_dataset())
            return Tables(streams, [], root=None), f"streamed {builder.hash}"
        splits = dict(datasets.load_dataset(name))
        identity = str([(split, table._fingerprint) for split, table in splits.items()])
        return Tables(splits, [], _downloads(config)), identity
    except Exception as error:  # no network alone raises several kinds, by library and place
        cause = error.__cause__ or error
        raise DistvaeError(
            f"{name} is no local path and could not be loaded from the Hugging Face Hub",
            f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(". "),
            hint or "Check the name and the network, or give a local file or folder.",
        ) from error


def _downloads(config: DataConfig) -> Root:
    """The folders that ``datasets`` and the Hub's client write what they download to."""
    import datasets
    from huggingface_hub import constants

    places = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH)
    others = tuple(Path(place) for place in (*places, constants.HF_HUB_CACHE))
    return Root(Path(constants.HF_HOME), config.allow_outside, others)
