"""Training as a call in Python: the same run as the command, and a process left as it was."""

import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

import distvae as package
from distvae.errors import DistvaeError
from distvae.runs import WEIGHTS, find_run
from tests.conftest import HANG, Command, run_process
from tests.warm import begin

RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8), dtype=np.uint8)
LABELS = np.array(["rose", "tulip", "daisy"])[RANDOM.integers(0, 3, 60)]
SMALL: dict[str, Any] = {
    "hidden": 16,
    "latent_dim": 3,
    "batch_size": 10,
    "max_steps": 6,
    "checkpoint_every": 3,
    "threads": 1,
    "quiet": True,
}


def weights(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


def test_a_call_trains_what_the_command_trains(
    command: Command, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.savez(here / "flowers.npz", x_train=IMAGES, y_train=LABELS)
    flags = "--hidden 16 --latent-dim 3 --batch-size 10 --max-steps 6 --checkpoint-every 3"
    assert command("train", "--data", "flowers.npz", *flags.split(), "--output", "a").code == 0
    first = package.train((IMAGES, LABELS), **SMALL)
    assert capfd.readouterr().out == ""
    assert first.folder == Path("runs/arrays-cvae")
    assert weights(first.folder) == weights(Path("a"))
    said = [find_run(folder).record().data.digests for folder in ("a", first.folder)]
    assert said[0] == said[1] != {}
    assert first.config.data.data.startswith("arrays:")
    # another one in the same process, with what Accelerate would keep as it was at first
    half = package.train("flowers.npz", output="b", accumulate=2, mixed_precision="bf16", **SMALL)
    assert (half.step, half.finished, half.labels) == (6, True, first.labels)
    assert repr(half).startswith("<distvae run b: conditional VAE (mlp, 3 latents) of images")


def test_a_run_on_arrays_goes_on_with_the_same_arrays(here: Path) -> None:
    whole = package.train((IMAGES, LABELS), output="whole", **SMALL)
    run = package.train((IMAGES, LABELS), output="part", **{**SMALL, "max_steps": 3})
    shutil.rmtree(os.environ["DISTVAE_CACHE"])
    longer = {"max_steps": 6, "rewind_schedule": True, "quiet": True}
    with pytest.raises(DistvaeError, match="Give the same data again"):
        run.resume(**longer)
    with pytest.raises(DistvaeError, match="it has other train images"):
        run.resume((IMAGES ^ 1, LABELS), **longer)
    again = run.resume((IMAGES, LABELS), **longer)
    assert (again.step, again.finished) == (6, True)
    # started for three steps, so the rates before were others: it is held to the same of its kind
    kept = package.train((IMAGES, LABELS), output="kept", **{**SMALL, "max_steps": 3})
    assert weights(kept.resume(**longer).folder) == weights(again.folder)
    assert whole.step == again.step


def test_a_process_is_left_as_it_was(here: Path) -> None:
    mine = Accelerator(gradient_accumulation_steps=3, cpu=True)
    before = dict(os.environ), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    ended: dict[str, Any] = {}

    def work() -> None:  # where no signal can be listened to
        ended["run"] = package.train((IMAGES, LABELS), accumulate=2, **SMALL)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended["run"].finished
    assert (dict(os.environ), torch.get_num_threads(), signal.getsignal(signal.SIGINT)) == before
    assert mine.gradient_accumulation_steps == 3
    assert Accelerator(cpu=True).state.mixed_precision == "no"


def test_what_a_run_gives(command: Command, here: Path) -> None:
    import pandas as pd

    run = package.train((IMAGES, LABELS), **SMALL, log_every=2)
    table = pd.DataFrame(run.metrics)
    assert set(table.split) == {"train", "test"}
    assert table.step.max() == run.step == 6
    assert run.numbers["elbo"] == table[table.split == "test"].elbo.iloc[-1]
    drawn = run.samples("tulip", n=4, seed=3)
    flags = ("--label", "tulip", "--count", 4, "--seed", 3, "--output", "same.npz")
    assert command("sample", run.folder, *flags).code == 0
    assert np.array_equal(drawn.arrays, np.load(here / "same.npz")["images"])
    assert drawn.given == ({"label": "tulip"},) * 4
    with Image.open(drawn.save("sheet.png")) as sheet:
        assert sheet.width > 2 * sheet.height
    shown = drawn._repr_png_()
    assert shown == (here / "sheet.png").read_bytes()
    assert len(run.samples(n=2)) == 2 * len(run.labels)
    with pytest.raises(DistvaeError, match="tulpi"):
        run.samples("tulpi")
    assert "elbo, nats per image" in run._repr_html_()
    assert "data:image/png;base64," in run._repr_html_()
    assert run.metrics._repr_html_().count("<tr>") == 1 + len(run.metrics)
    assert (run.export() / "decoder.onnx").is_file()
    assert run.evaluate(metrics="elbo")["elbo"] == pytest.approx(run.numbers["elbo"])
    with pytest.raises(DistvaeError, match=r"run.evaluate has no keyword 'metric'.*metrics\?"):
        run.evaluate(metric="elbo")
    assert package.open().folder == package.open(run.folder).folder == run.folder


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np, distvae

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background ignores it

def interrupt():
    while not list(Path("runs").glob("*/checkpoints/step-*")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

if sys.argv[1] == "prompt":
    sys.ps1 = ">>> "
threading.Thread(target=interrupt, daemon=True).start()
images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
run = distvae.train(
    images, model="vae", hidden=16, batch_size=10, max_steps=10**6, checkpoint_every=5, keep=1,
    eval_every=10**6,
)
assert not run.finished
print("left at", run.step)
again = run.resume(max_steps=run.step + 3)
print("went on to", again.step, again.finished)
"""


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_to_go_on_with(tmp_path: Path, environment: dict[str, str]) -> None:
    words = [sys.executable, "-c", INTERRUPTED]
    for place in ("prompt", "script"):
        (tmp_path / place).mkdir()
    prompt = run_process([*words, "prompt"], tmp_path / "prompt", environment)
    assert prompt.code == 0, prompt.err
    assert "SIGINT: a checkpoint is written" in prompt.out
    left = int(prompt.out.partition("left at ")[2].split()[0])
    assert prompt.out.strip().endswith(f"went on to {left + 3} True")
    script = run_process([*words, "script"], tmp_path / "script", environment)
    assert script.err.strip().endswith("KeyboardInterrupt")
    assert "left at" not in script.out
    assert "SIGINT: a checkpoint is written" in script.out


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        number: int = opened.getsockname()[1]
    return number


LAUNCHED = r"""
import numpy as np
from accelerate import notebook_launcher

def work():
    import distvae
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    settings = dict(model="vae", hidden=16, batch_size=10, max_steps=4, threads=1)
    for name in ("two", "more"):
        run = distvae.train(images, output=name, **settings)
        # one write: lines of two processes may meet, and stay whole
        print(f"{run.record.world.processes} {run.step}\n", end="", flush=True)

if __name__ == "__main__":
    import sys
    notebook_launcher(work, num_processes=int(sys.argv[1]), use_port=sys.argv[2])
"""


@pytest.mark.slow
def test_a_launcher_of_notebooks_starts_several(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "work.py").write_text(LAUNCHED)
    words = [sys.executable, "work.py", "2", str(free_port())]
    process = begin(words, tmp_path, {**environment, "ACCELERATE_USE_CPU": "1"})
    out, err = process.communicate(timeout=HANG)
    assert process.wait() == 0, err
    assert out.count("2 4\n") == 4
    assert weights(tmp_path / "two") == weights(tmp_path / "more")
