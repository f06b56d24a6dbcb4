"""Whole commands, each in a process of its own: agreement, resume, reasons, processes, time."""

import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tests.benchmarks.on_gpu.row import Setting, folder_of_images, missing, row, within

CHECKOUT = Path(__file__).resolve().parents[3]
PATIENCE = 200.0
"""Seconds that a command may take."""
Result = TypeVar("Result")
TINY = ("--hidden", "16", "--batch-size", "32", "--threads", "1")


def environment(setting: Setting, device: str = "") -> dict[str, str]:
    """Where a command runs on this device."""
    host = (device or setting.device) == "cpu"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH")))),
        "ACCELERATE_USE_CPU": "true" if host else "false",
        **({"CUDA_VISIBLE_DEVICES": ""} if host else {}),
    }


def distvae(*words: object) -> list[str]:
    """The words of a command."""
    return [sys.executable, "-m", "distvae.cli", *map(str, words)]


def run(
    setting: Setting, words: list[str], device: str = ""
) -> tuple["subprocess.CompletedProcess[str]", float]:
    """How a command ended, and after how many seconds."""
    started = time.perf_counter()
    ended = subprocess.run(
        words,
        env=environment(setting, device),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return ended, time.perf_counter() - started


def at_once(setting: Setting, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """What jobs give that are not timed: on a GPU's machine beside each other."""
    with ThreadPoolExecutor(len(jobs) if setting.cuda else 1) as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]


def trained(setting: Setting, folder: Path, *words: object, device: str = "") -> float:
    """Seconds of a training command that must end well."""
    small = TINY if setting.small else ()
    command = distvae("train", *words, *small, "--output", folder)
    ended, seconds = run(setting, command, device)
    if ended.returncode:
        raise RuntimeError(f"{command}: exit code {ended.returncode}\n{ended.stderr[-1500:]}")
    return seconds


def lines(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of a split."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["split"] == split]


def weights(folder: Path) -> str:
    """A digest of a run's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def agreement(setting: Setting) -> None:
    """The losses of 200 steps on the CPU and on the GPU."""
    steps = setting.of(200, 3)
    names = ("mnist-tutorial", "mnist-cvae")
    if not setting.cuda:
        return missing(*(f"{name}: losses of {steps} steps, GPU - CPU, relative" for name in names))
    words: list[object] = ["--max-steps", steps, "--epochs", 1, "--log-every", 1]
    words += ["--mixed-precision", "no", "--compile", "off"]

    def job(name: str, device: str) -> Callable[[], float]:
        folder = setting.scratch / f"{name}-{device}"
        return lambda: trained(setting, folder, "--config", name, *words, device=device)

    at_once(setting, [job(name, device) for name in names for device in ("cpu", "cuda")])
    for name in names:
        folders = (setting.scratch / f"{name}-{device}" for device in ("cpu", "cuda"))
        pairs = list(zip(*(lines(folder) for folder in folders), strict=True))
        far = [abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs]
        within(f"{name}: losses of {steps} steps, GPU - CPU, relative", max(far), 1e-4)
        row(f"{name}: the same of the first step", far[0])
    return None


def resume(setting: Setting) -> None:
    """A run that is killed and gone on with ends with the bytes of one that was not."""
    steps, each = setting.of(4000, 120), setting.of(130, 20)
    words: list[object] = ["--config", "mnist-cvae", "--max-steps", steps, "--epochs", 10]
    words += ["--checkpoint-every", each, "--compile", "off", "--mixed-precision", "no"]
    whole, killed = setting.scratch / "whole", setting.scratch / "killed"
    pool = ThreadPoolExecutor(1)
    undisturbed = pool.submit(trained, setting, whole, *words)
    small = TINY if setting.small else ()
    running = subprocess.Popen(
        distvae("train", *words, *small, "--output", killed),
        env=environment(setting),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = time.monotonic()
    while running.poll() is None and time.monotonic() - started < PATIENCE:
        if len(list(killed.glob("checkpoints/step-*"))) >= 2:
            break
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    code = running.wait()
    row("killed in the midst of its steps", code == -signal.SIGKILL, "True", code != 0)
    ended, _ = run(setting, distvae("train", "--resume", killed))
    undisturbed.result()
    same = ended.returncode == 0 and weights(whole) == weights(killed)
    row("resumed: weights of the undisturbed run, byte for byte", same, "True", same)


def reasons(setting: Setting) -> None:
    """Steps that are not captured say why; where it was insisted on, nothing begins."""
    short = ("--config", "mnist-tutorial", "--max-steps", 3, "--epochs", 1)
    short = (*short, *(TINY if setting.small else ()))
    digits = folder_of_images(setting, 500)
    streaming = ("--data", digits, "--image-size", 28, "--streaming")
    kinds: dict[str, tuple[object, ...]] = {
        "default": (),
        "--capture off": ("--capture", "off"),
        "--streaming": streaming,
    }
    if setting.cuda:
        kinds["fp16"] = ("--mixed-precision", "fp16")
        kinds["dreg"] = ("--objective", "dreg", "--binarize", "dynamic")
    insisted = (*streaming, "--capture", "on")

    def job(name: str, words: tuple[object, ...]) -> Callable[[], tuple[Any, float]]:
        folder = setting.scratch / f"reason {name}"
        return lambda: run(setting, distvae("train", *short, *words, "--output", folder))

    names = [*kinds, "insisted"]
    found = at_once(setting, [job(name, kinds.get(name, insisted)) for name in names])
    for kind, (ended, _) in zip(names[:-1], found, strict=False):
        if ended.returncode:
            told = " ".join(ended.stderr.split())[-300:]
            row(f"captured, {kind}", f"exit {ended.returncode}: {told}", "exit 0", False)
            continue
        config = setting.scratch / f"reason {kind}" / "config.json"
        told = json.loads(config.read_text())["capture"]
        wanted = "on" if kind in ("default", "dreg") and setting.cuda else "off"
        row(f"captured, {kind}", as_told(told), wanted, told["taken"] == wanted)
        warnings = [line for line in ended.stderr.splitlines() if "Warning" in line]
        row(f"warnings of torch, {kind}", warnings or "none", "none", not warnings)
    (ended, _) = found[-1]
    told = (ended.stderr.strip().splitlines() or [""])[0]
    what = "--capture on with --streaming"
    row(what, f"exit {ended.returncode}: {told}", "2", ended.returncode == 2)


def as_told(capture: dict[str, str]) -> str:
    """What config.json says of capture, in a few words."""
    return f"{capture['taken']} {capture['why']}".strip()


def precisions(setting: Setting) -> None:
    """Whole runs in float32 and tf32, for their elbo beside that of the default, which is bf16."""
    kinds: dict[str, tuple[str, ...]] = {"float32": ("--mixed-precision", "no")}
    if setting.cuda:
        kinds["tf32"] = ("--mixed-precision", "no", "--matmul", "tf32")
        kinds["bf16"] = ("--mixed-precision", "bf16")
    steps = ("--max-steps", 12, "--epochs", 1) if setting.small else ()

    def job(name: str) -> Callable[[], float]:
        words = "--config", "mnist-cvae", *kinds[name], *steps
        return lambda: trained(setting, setting.scratch / name, *words)

    at_once(setting, [job(name) for name in kinds])
    elbos = {name: float(lines(setting.scratch / name, "test")[-1]["elbo"]) for name in kinds}
    for name, elbo in elbos.items():
        far = abs(elbo - elbos["float32"])
        row(f"mnist-cvae in {name}: elbo of the test split, nats", elbo)
        if name != "float32":
            within(f"the same, {name} - float32", far, 0.3)
    if not setting.cuda:
        missing("mnist-cvae in tf32: elbo of the test split, nats")


def fit_prior(setting: Setting) -> None:
    """Gaussians fitted to the latents of a run, on the device and on the CPU."""
    folder = setting.scratch / "fitted"
    trained(setting, folder, "--config", "mnist-cvae", "--max-steps", 20, "--epochs", 1)
    found = {}
    for device in dict.fromkeys((setting.device, "cpu")):
        ended, seconds = run(setting, distvae("fit-prior", folder), device)
        row(f"fit-prior on {device}, s", seconds if not ended.returncode else ended.stderr[-200:])
        numbers = [word for word in ended.stdout.replace("|", " ").split() if "." in word]
        found[device] = numbers[:10]
    if setting.cuda:
        same = found["cuda"] == found["cpu"]
        row("fit-prior: figures on the GPU = on the CPU", same or str(found), "to 5 digits")


def processes(setting: Setting) -> None:
    """DDP with one process over NCCL, captured; and without a launcher."""
    if not setting.cuda:
        return missing("torchrun, one process: captured", "torchrun, one process, images/s")
    words = ("train", "--config", "mnist-tutorial", "--max-steps", 3000, "--epochs", 10)
    rates = {}
    module = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1", "-m"]
    fsdp = CHECKOUT / "accelerate_configs" / "fsdp.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(fsdp)]
    launch += ["--num_processes", "1", str(CHECKOUT / "launch" / "train.py"), *map(str, words[1:])]
    for kind, command in {
        "torchrun": [*module, "distvae.cli", *map(str, words)],
        "alone": distvae(*words),
        "FSDP, one process": launch,
    }.items():
        folder = setting.scratch / kind
        ended, seconds = run(setting, [*command, "--output", str(folder)])
        good = not ended.returncode
        row(f"{kind}: exit code after {seconds:.0f} s", ended.returncode, "0", good)
        if not good:
            row(f"{kind}: why", " ".join(ended.stderr.split())[-300:])
            continue
        told = json.loads((folder / "config.json").read_text())["capture"]
        row(f"{kind}: captured", as_told(told), "on", told["taken"] == "on")
        found = [line["images_per_second"] for line in lines(folder)]
        rates[kind] = statistics.median(found[len(found) // 3 :])
        row(f"{kind}: images/s", rates[kind])
    if not {"torchrun", "alone"} <= set(rates):
        return None
    return row("torchrun / alone, images/s", rates["torchrun"] / rates["alone"])


def whole(setting: Setting) -> None:
    """Whole commands: the default recipe, the tutorial, and how soon the first step is taken."""
    run(setting, distvae("--help"))  # what is read from the disk for the first time
    folder = setting.scratch / "first"
    few = ("--config", "mnist-tutorial", "--max-steps", 1, "--epochs", 1, "--log-every", 1)
    running = subprocess.Popen(
        distvae("train", *few, *(TINY if setting.small else ()), "--output", folder),
        env=environment(setting),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = time.perf_counter()
    log = folder / "metrics.jsonl"
    while running.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    row("from the command to its first step, s", time.perf_counter() - started)
    running.wait()
    steps = ("--max-steps", 12, "--epochs", 1) if setting.small else ()
    seconds = trained(setting, setting.scratch / "default", "--config", "mnist-cvae", *steps)
    what = "mnist-cvae: 16 epochs with evaluation, sheets and checkpoints, s"
    if setting.cuda and not setting.small:
        within(what, seconds, 20.0, 8.0)
    else:
        row(what, seconds)
    found = lines(setting.scratch / "default", "test")[-1]
    row("mnist-cvae: elbo of the test split, nats", float(found["elbo"]), "-87.1")
    seconds = trained(setting, setting.scratch / "tutorial", "--config", "mnist-tutorial", *steps)
    row("mnist-tutorial: 20 epochs, whole command, s", seconds)
    modules = "datasets", "sklearn", "torchmetrics", "tensorboard", "onnx", "onnxruntime", "scipy"
    code = f"import sys, distvae.training.run; print([m for m in {modules} if m in sys.modules])"
    ended, _ = run(setting, [sys.executable, "-c", code])
    row("imported by a run without need", ended.stdout.strip(), "[]", ended.stdout.strip() == "[]")
