"""The tutorial's model by others on the same device, beside the product's own steps."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.store import open_data
from tests.benchmarks.on_gpu.row import Setting, held, missing, row
from tests.benchmarks.on_gpu.steps import engine_of, rate
from tests.benchmarks.peer_torch import BATCH, VAE


def images_of(setting: Setting) -> NDArray[np.uint8]:
    """Whole batches of the training split ``[N, 28, 28]``."""
    return np.array(open_data(DataConfig()).train.images[: setting.of(468, 3) * BATCH, 0])


class Plain:
    """A loop of plain PyTorch with its data on the device and a fused Adam."""

    def __init__(self, setting: Setting) -> None:
        self.images = torch.from_numpy(images_of(setting)).to(setting.device).flatten(1)
        self.model = VAE().to(setting.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, fused=True, capturable=setting.cuda
        )
        self.rows = torch.zeros(BATCH, dtype=torch.int64, device=setting.device)

    def step(self) -> None:
        """One step on the rows."""
        self.optimizer.zero_grad(set_to_none=True)
        self.model(self.images.index_select(0, self.rows).float() / 255).backward()
        self.optimizer.step()


def epochs(setting: Setting, plain: Plain, captured: bool) -> float:
    """Images a second, the median of epochs after the first."""
    step = _graph_of(plain) if captured else plain.step
    rates = []
    for _ in range(setting.of(4, 2)):
        if setting.cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        order = torch.randperm(len(plain.images), device=setting.device).view(-1, BATCH)
        for rows in order:
            plain.rows.copy_(rows)
            step()
        if setting.cuda:
            torch.cuda.synchronize()
        rates.append(len(plain.images) / (time.perf_counter() - started))
    return float(np.median(rates[1:]))


def _graph_of(plain: Plain) -> Callable[[], None]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            plain.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plain.step()
    replay: Callable[[], None] = graph.replay
    return replay


def peers(setting: Setting) -> None:
    """Images a second of the tutorial's model: plain PyTorch, PyTorch in a graph, JAX, and ours."""
    found = {"plain PyTorch, data on the device": epochs(setting, Plain(setting), captured=False)}
    if setting.cuda:
        graph = "plain PyTorch, a step as a CUDA graph"
        found[graph] = epochs(setting, Plain(setting), captured=True)
    steps, at_once = setting.of(2000, 3), setting.of(500, 3)
    found["distvae"] = rate(engine_of(setting, "mnist-tutorial"), steps, at_once)
    if setting.cuda:
        compiled = engine_of(setting, "mnist-tutorial", compile="on")
        found["distvae --compile on"] = rate(compiled, steps, at_once)
    for name, images in found.items():
        row(f"mnist-tutorial by {name}, images/s", images)
        if name != "distvae":
            row(f"distvae / {name}", found["distvae"] / images)
    if not setting.cuda:
        missing("mnist-tutorial by plain PyTorch, a step as a CUDA graph, images/s")


MEASURED = 1.636e6
"""Images a second of JAX on an H200, as they were measured once; see README."""


def jax(setting: Setting) -> None:
    """The same by JAX, `lax.scan` over an epoch, and ours in the same hour."""
    what = "mnist-tutorial: default / JAX", "mnist-tutorial: --compile on / JAX"
    why, peer = "", MEASURED
    if importlib.util.find_spec("jax") is None:
        why = "JAX is not installed"
    else:
        from tests.benchmarks import peer_jax

        there = peer_jax.device()
        if setting.cuda and there == "cpu":
            why = "this JAX has no GPU"
        else:
            seconds, _ = peer_jax.train(images_of(setting), setting.of(12, 2))
            peer = setting.of(468, 3) * BATCH / float(np.median(seconds[1:]))
            row(f"mnist-tutorial by JAX, lax.scan, on {there}, images/s", peer)
    if not setting.cuda:
        return missing(*what)
    if why:
        row(
            "mnist-tutorial by JAX", f"not measured: {why}; {peer:,.0f} images/s of an H200 instead"
        )
    for name, choice, least in (*zip(what, ("off", "on"), (0.25, 0.8), strict=True),):
        own = rate(engine_of(setting, "mnist-tutorial", compile=choice), 2000, 500) / peer
        held(
            name + (f" ({why}: a figure of an H200)" if why else ""),
            own,
            least,
            least * 2.0 if choice == "off" else 1.2,
        )
    return None
