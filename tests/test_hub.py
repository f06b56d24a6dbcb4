"""Models named by a path or by an id: what is asked of whom, and what is said."""

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model


@pytest.fixture
def run(here: Path) -> Path:
    """A model in runs/mnist-cvae of the working directory."""
    model = build_model(ModelConfig(hidden=(4,), latent_dim=2), (1, 2, 2), ("a", "b"))
    model.save_pretrained(Path("runs/mnist-cvae"))
    return here


class Deaf(http.server.BaseHTTPRequestHandler):
    """A Hub that has nothing, and counts who asks."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deaf]:
    """A server in the place of huggingface.co."""
    Deaf.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deaf) as server:
        endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Deaf  # type: ignore[misc]
        server.shutdown()
        thread.join()


def endpoint(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    from huggingface_hub import constants

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("runs/mnist-cvea", "Did you mean runs/mnist-cvae?"),
        ("./runs/mnist-cvea", "Did you mean runs/mnist-cvae?"),
        (Path("runs/mnist-cvea"), "Did you mean runs/mnist-cvae?"),
        ("mnist-cvae", "Did you mean runs/mnist-cvae?"),
        ("mnist-cva", "Did you mean runs/mnist-cvae?"),
        ("runs/other", "There: mnist-cvae."),
        ("/nowhere/model", "no folder /nowhere/model"),
        ("../model", "no folder ../model"),
        ("~/model", "no folder ~/model"),
        ("a/b/c", "no folder a/b/c"),
        ("a\\b", "no folder a\\b"),
        ("owner/model.safetensors", "no folder owner/model.safetensors"),
        ("runs/mnist-cvae/model.safetensors", "is a file: .* Name the folder: runs/mnist-cvae"),
        ("runs/mnist-cvae/config.json", "Name the folder: runs/mnist-cvae"),
        (Path("owner/model"), "no folder owner/model"),
        ("", "does not describe|no folder|is missing"),
        ("a\0b", "cannot be the name of a folder|no folder"),
        ("x" * 5000, "cannot be the name of a folder"),
        ("x/" * 3000, "cannot be the name of a folder"),
        ("-x/y", "no folder -x/y"),
        ("x/..y", "no folder x/..y"),
        ("ü/y", "no folder ü/y"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_path_that_is_not_there_is_refused_without_asking_the_hub(
    run: Path, hub: Deaf, name: str | Path, hint: str
) -> None:
    with pytest.raises(DistvaeError) as caught:
        VAE.from_pretrained(name)
    assert len(str(caught.value)) < 600
    caught.match(hint.replace("\\", "\\\\").replace("/..y", "/\\.\\.y"))
    assert hub.asked == []


def test_the_hub_is_asked_for_an_id_and_what_it_says_is_told(run: Path, hub: Deaf) -> None:
    with pytest.raises(DistvaeError, match=r"owner/model is neither a folder nor .*404"):
        VAE.from_pretrained("owner/model")
    asked = [path for path in hub.asked if not path.startswith("/api/")]
    assert asked == ["/owner/model/resolve/main/config.json"]


def test_a_hub_that_does_not_answer_is_told_at_once(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        endpoint(monkeypatch, address)
        with pytest.raises(DistvaeError, match=f"{address} does not answer .*refused"):
            VAE.from_pretrained("owner/model", cache_dir=run / "cache")


def test_a_folder_is_a_model_whatever_its_name(run: Path) -> None:
    Path("owner").mkdir()
    Path("runs/mnist-cvae").rename("owner/model.onnx")
    assert VAE.from_pretrained("owner/model.onnx").label_names == ("a", "b")
