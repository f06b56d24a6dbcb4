"""Whole commands, each in a process of its own: agreement, resume, reasons, processes, time."""

import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.on_gpu.row import Setting, folder_of_images, missing, row, within

CHECKOUT = Path(__file__).resolve().parents[3]
PATIENCE = 200.0
"""Seconds that a command may take."""
TINY = ("--hidden", "16", "--batch-size", "32", "--threads", "1")


def environment(setting: Setting, device: str = "") -> dict[str, str]:
    """Where a command runs on this device."""
    host = (device or setting.device) == "cpu"
    return {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
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
    for name in ("mnist-tutorial", "mnist-cvae"):
        words: list[object] = ["--config", name, "--max-steps", steps, "--epochs", 1]
        words += ["--log-every", 1, "--mixed-precision", "no", "--compile", "off"]
        folders = {kind: setting.scratch / f"{name}-{kind}" for kind in ("cpu", setting.device)}
        if len(folders) == 1:
            missing(f"{name}: losses of {steps} steps, GPU - CPU, relative")
            continue
        for kind, folder in folders.items():
            trained(setting, folder, *words, device=kind)
        pairs = zip(*(lines(folder) for folder in folders.values()), strict=True)
        far = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs)
        within(f"{name}: losses of {steps} steps, GPU - CPU, relative", far, 1e-4)


def resume(setting: Setting) -> None:
    """A run that is killed and gone on with ends with the bytes of one that was not."""
    steps, each = setting.of(4000, 120), setting.of(130, 20)
    words: list[object] = ["--config", "mnist-cvae", "--max-steps", steps, "--epochs", 10]
    words += ["--checkpoint-every", each, "--compile", "off", "--mixed-precision", "no"]
    whole, killed = setting.scratch / "whole", setting.scratch / "killed"
    trained(setting, whole, *words)
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
    for number, (kind, words) in enumerate(kinds.items()):
        folder = setting.scratch / f"reason-{number}"
        ended, _ = run(setting, distvae("train", *short, *words, "--output", folder))
        if ended.returncode:
            told = " ".join(ended.stderr.split())[-300:]
            row(f"captured, {kind}", f"exit {ended.returncode}: {told}", "exit 0", False)
            continue
        told = json.loads((folder / "config.json").read_text())["capture"]
        wanted = "on" if kind == "default" and setting.cuda else "off"
        good = ended.returncode == 0 and told["taken"] == wanted
        row(f"captured, {kind}", f"{told['taken']} {told['why']}".strip(), wanted, good)
        warnings = [line for line in ended.stderr.splitlines() if "Warning" in line]
        row(f"warnings of torch, {kind}", warnings or "none", "none", not warnings)
    words = *streaming, "--capture", "on"
    folder = setting.scratch / "insisted"
    ended, _ = run(setting, distvae("train", *short, *words, "--output", folder))
    told = (ended.stderr.strip().splitlines() or [""])[0]
    row(
        "--capture on with --streaming",
        f"exit {ended.returncode}: {told}",
        "2",
        ended.returncode == 2,
    )


def processes(setting: Setting) -> None:
    """DDP with one process over NCCL, captured; and without a launcher."""
    if not setting.cuda:
        return missing("torchrun, one process: captured", "torchrun, one process, images/s")
    words = ("train", "--config", "mnist-tutorial", "--max-steps", 3000, "--epochs", 10)
    rates = {}
    for kind in ("torchrun", "alone"):
        folder = setting.scratch / kind
        launcher = ["torchrun", "--nproc_per_node", "1", "-m", "distvae.cli"]
        launcher = [sys.executable, "-m", "torch.distributed.run", *launcher[1:]]
        command = [*(launcher if kind == "torchrun" else distvae()), *map(str, words)]
        ended, seconds = run(setting, [*command, "--output", str(folder)])
        row(f"{kind}: exit code after {seconds:.0f} s", ended.returncode, "0", not ended.returncode)
        told = json.loads((folder / "config.json").read_text())["capture"]
        row(
            f"{kind}: captured",
            f"{told['taken']} {told['why']}".strip(),
            "on",
            told["taken"] == "on",
        )
        found = [line["images_per_second"] for line in lines(folder)]
        rates[kind] = statistics.median(found[len(found) // 3 :])
        row(f"{kind}: images/s", rates[kind])
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
