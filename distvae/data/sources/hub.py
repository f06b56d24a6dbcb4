"""Data sets of the Hugging Face Hub."""

from collections.abc import Mapping
from typing import Any

from distvae.config import DataConfig
from distvae.errors import DistvaeError


def load_hub(config: DataConfig, hint: str) -> tuple[Mapping[str, Any], str]:
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
            return dict(builder.as_streaming_dataset()), f"streamed {builder.hash}"
        splits = dict(datasets.load_dataset(name))
        return splits, str([(split, table._fingerprint) for split, table in splits.items()])
    except Exception as error:  # no network alone raises several kinds, by library and place
        cause = error.__cause__ or error
        raise DistvaeError(
            f"{name} is no local path and could not be loaded from the Hugging Face Hub",
            f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(". "),
            hint or "Check the name and the network, or give a local file or folder.",
        ) from error
