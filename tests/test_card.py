"""The model card of a run: what the Hub reads of it, and what it leaves out."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from distvae.card import write_card
from distvae.config import TrainConfig


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run that was measured; it may be changed."""
    folder = tmp_path / "of shapes"
    shutil.copytree(finished, folder)
    figures = {
        "elbo": -12.5,
        "elbo_standard_error": 0.5,
        "elbo/circle": -3.0,
        "judge_accuracy": 0.9,
    }
    (folder / "evaluation.json").write_text(json.dumps(figures))
    write_card(folder)
    return folder


def read_by_the_hub(run: Path) -> Any:
    """The front matter of a card, as huggingface_hub has it."""
    return ModelCard((run / "README.md").read_text(encoding="utf-8")).data


def test_the_hub_reads_the_card(run: Path) -> None:
    told = read_by_the_hub(run)
    assert (told.library_name, told.license) == ("distvae", "unknown")
    assert told.pipeline_tag == "unconditional-image-generation"
    assert {"vae", "class-conditional", "mlp", "elbo"} <= set(told.tags)
    assert told.datasets is None, "a folder is no data set of the Hub"
    results = {each.metric_type: each for each in told.eval_results}
    assert set(results) == set(told.metrics) == {"elbo", "judge_accuracy"}
    assert results["elbo"].metric_value == -12.5
    assert results["elbo"].dataset_name == "shapes"
    assert results["judge_accuracy"].metric_name == "judge accuracy on generated images"


def test_data_of_the_hub_is_named_by_its_id(run: Path) -> None:
    path = run / "config.json"
    for source, licence, datasets in (
        ("owner/set", "unknown", ["owner/set"]),
        ("bundled mnist", "cc-by-sa-3.0", ["ylecun/mnist"]),
    ):
        record = json.loads(path.read_text(encoding="utf-8"))
        record.pop("sha256", None)
        record["data"]["source"] = source
        path.write_text(json.dumps(record), encoding="utf-8")
        write_card(run)
        told = read_by_the_hub(run)
        assert (told.license, told.datasets) == (licence, datasets)


def test_what_differs_from_the_defaults_stands_first(run: Path) -> None:
    text = (run / "README.md").read_text(encoding="utf-8").partition("## Settings")[2]
    first, rest = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    usual = TrainConfig().to_flat()
    assert (first["hidden"], first["latent_dim"], first["data"]) == ([16], 3, "shapes")
    assert all(value != usual[name] for name, value in first.items())
    plain = yaml.safe_load(json.dumps(usual))
    assert rest == {name: plain[name] for name in rest}
    assert set(first) | set(rest) == set(usual) - {"cache_dir", "output", "threads"}
    assert text.index("<details>") > text.index("latent_dim: 3")


def test_no_file_but_config_names_a_folder_of_this_machine(finished: Path, shapes: Path) -> None:
    """config.json says where the data lies, as a resume needs it."""
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        if path != finished / "config.json":
            for folder in (finished.parent, shapes.parent, Path.home()):
                assert str(folder).encode() not in content, path
