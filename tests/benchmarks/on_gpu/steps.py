"""Steps in this process: exactness, noise, speed, kernels, data, products."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distvae.config import TrainConfig
from distvae.data.store import open_data
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.platform import prepare
from distvae.recipes import read_recipe
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.compilation import compiled
from distvae.training.engine import Engine, build_engine
from distvae.training.planning import make_plan
from distvae.training.recording import captured
from tests.benchmarks.on_gpu.row import Setting, folder_of_images, held, missing, row, within

RECIPES = ("mnist-tutorial", "mnist-cvae", "mnist-vae-conv")
FLAGS: dict[str, Any] = {"mixed_precision": "no", "compile": "off", "capture": "auto"}


def engine_of(setting: Setting, name: str, **changes: Any) -> Engine:
    """The engine of a recipe, compiled and captured as it is told."""
    prepare(None if setting.cuda else 1)
    given = {**FLAGS, **({} if setting.cuda else {"threads": 1}), **changes}
    if setting.small:
        given |= {"hidden": [16]} if name != "mnist-vae-conv" else {"width": 0.1}
        given |= {"batch_size": 32} if "batch_size" not in changes else {}
    config: TrainConfig = read_recipe(name).updated(given, "this measurement")
    data = open_data(config.data)
    config = config.resolved(data.channels)
    engine = build_engine(config, data, build_accelerator(config, str(setting.scratch)))
    engine.wrapped.forward.train()
    return captured(compiled(engine))[0]


def take(engine: Engine, first: int, steps: int, at_once: int) -> Tensor:
    """What steps found ``[n, F]``, taken in blocks of so many."""
    found, step = [], first
    while step < first + steps:
        plan = make_plan(engine, step, min(at_once, first + steps - step))
        advance(engine, plan)
        found.append(engine.state.found(plan.steps).flatten(1))
        step += plan.steps
    return torch.cat(found)


def everything(engine: Engine) -> list[Tensor]:
    """All that steps change, in a fixed order."""
    trained = engine.trained
    modules = [module for module in (engine.training, trained.averaged) if module is not None]
    states = [module.state_dict() for module in modules] + list(trained.optimizer.state.values())
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def apart(one: Engine, other: Engine) -> float:
    """The largest difference of all that steps change."""
    pairs = zip(everything(one), everything(other), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def exact(setting: Setting) -> None:
    """A captured step computes the bytes of an eager one, in blocks of any length."""
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "mnist-tutorial": ("mnist-tutorial", {}),
        "mnist-cvae": ("mnist-cvae", {}),
        "mnist-cvae bf16": ("mnist-cvae", {"mixed_precision": "bf16"}),
        "mnist-cvae, accumulate 2": ("mnist-cvae", {"accumulate": 2}),
        "mnist-vae-conv": ("mnist-vae-conv", {}),
    }
    steps = setting.of(200, 4)
    for kind, (name, changes) in kinds.items():
        eager = engine_of(setting, name, capture="off", **changes)
        losses = take(eager, 0, steps, 50)
        for at_once in (50, 7, 1) if kind == "mnist-cvae" else (50,):
            other = engine_of(setting, name, **changes)
            found = take(other, 0, steps, at_once)
            far = max(apart(eager, other), float((found - losses).abs().max()))
            what = f"{kind}: captured - eager, {steps} steps by {at_once}"
            if setting.cuda and other.graphs is None:
                row(what, "not captured", "captured", False)
            else:
                within(what if setting.cuda else f"{what} (neither captured)", far, 0.0)


def exact_compiled(setting: Setting) -> None:
    """A compiled step: captured as eager, twice the same, and near an uncompiled one."""
    if not setting.cuda:
        return missing("compiled and captured - compiled", "compiled twice", "compiled - eager")
    steps = 50
    plain = take(engine_of(setting, "mnist-cvae"), 0, steps, 50)
    kinds = {"captured": "auto", "again": "auto", "eager": "off"}
    engines = {
        kind: engine_of(setting, "mnist-cvae", compile="on", capture=capture)
        for kind, capture in kinds.items()
    }
    losses = {kind: take(engine, 0, steps, 50) for kind, engine in engines.items()}
    within(
        "compiled mnist-cvae: captured - launched",
        apart(engines["captured"], engines["eager"]),
        0.0,
    )
    within("compiled mnist-cvae: twice", apart(engines["captured"], engines["again"]), 0.0)
    far = ((losses["captured"] - plain).abs() / plain.abs()).max()
    return within("compiled - uncompiled losses, relative", float(far), 1e-4)


def noise(setting: Setting) -> None:
    """The device's random numbers are numpy's; what they cost."""
    host, device = torch.device("cpu"), torch.device(setting.device)
    for latents, pixels, draws in ((2, None, None), (16, (1, 28, 28), None), (50, None, 50)):
        source, other = (
            NoiseSource(2**63 + 5, Stream.TRAINING, latents, pixels, kind, draws)
            for kind in (device, host)
        )
        positions = slice(77, 77 + 500)
        step = 2**40 + 1
        found, expected = source.draw(step, positions), other.draw(step, positions)
        far = float((found.noise.cpu() - expected.noise).abs().max())
        within(f"normals of {latents} latents, {draws or 1} draws: device - numpy", far, 2e-6)
        if found.uniforms is not None and expected.uniforms is not None:
            same = torch.equal(found.uniforms.cpu(), expected.uniforms)
            row("words: device = numpy, bit for bit", same, "True", same)
    if not setting.cuda:
        return missing("a launch of noise", "draws' share of a step", "without Triton")
    from distvae.draws.steps import triton_kernels

    row("drawn by one Triton kernel", triton_kernels(device) is not None, "True", True)
    engine = engine_of(setting, "mnist-cvae")
    milliseconds = timed_on_card(lambda: engine.noise.draw(engine.state.step, slice(0, 128)))
    row("noise of a step of mnist-cvae, replayed, us", 1e3 * milliseconds)
    take(engine, 0, 500, 500)
    started = time.perf_counter()
    take(engine, 500, 2000, 500)
    step_ms = (time.perf_counter() - started) / 2.0
    return within("drawing, share of a step of mnist-cvae", milliseconds / step_ms, 0.05)


def timed_on_card(work: Any) -> float:
    """Milliseconds of work on the device, replayed 200 times as a graph."""
    work()
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    begin.record()
    for _ in range(200):
        graph.replay()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 200


def rate(engine: Engine, steps: int, at_once: int) -> float:
    """Images a second, median of three stretches after a first one."""
    take(engine, 0, steps, at_once)
    rates = []
    for turn in range(1, 4):
        started = time.perf_counter()
        take(engine, turn * steps, steps, at_once)
        rates.append(steps * engine.config.optim.batch / (time.perf_counter() - started))
    return float(np.median(rates))


def speed(setting: Setting) -> None:
    """Images a second of the recipes, launched, captured and captured."""
    least = {"mnist-cvae": (300e3, 1e6), "mnist-vae-conv": (150e3, 400e3)}
    for name in RECIPES:
        precision = "bf16" if name == "mnist-vae-conv" else "no"
        for kind, capture in (("launched", "off"), ("captured", "auto")):
            engine = engine_of(setting, name, capture=capture, mixed_precision=precision)
            steps = setting.of(200 if capture == "off" else 1000, 4)
            found = rate(engine, steps, setting.of(500, 2))
            what = f"{name} {precision}, {kind}, images/s"
            if name in least and capture == "auto" and setting.cuda:
                held(what, found, *least[name])
            else:
                row(what, found)


def speed_compiled(setting: Setting) -> None:
    """The same of compiled steps; what compiling takes."""
    if not setting.cuda:
        return missing(*(f"{name} compiled and captured, images/s" for name in RECIPES))
    for name in RECIPES:
        started = time.perf_counter()
        precision = "bf16" if name == "mnist-vae-conv" else "no"
        engine = engine_of(setting, name, compile="on", mixed_precision=precision)
        take(engine, 0, 10, 10)
        row(f"{name}: seconds to the first compiled steps", time.perf_counter() - started)
        row(f"{name} {precision}, compiled and captured, images/s", rate(engine, 1000, 500))
    return None


def busy(setting: Setting) -> None:
    """How busy the GPU is while it steps, and how many kernels a step has."""
    kinds = [("mnist-tutorial", "off"), ("mnist-cvae", "off")]
    kinds += [("mnist-tutorial", "on"), ("mnist-cvae", "on")]
    if not setting.cuda:
        return missing(*(f"{name}, compile {choice}: GPU busy" for name, choice in kinds))
    from torch.profiler import ProfilerActivity, profile

    for name, choice in kinds:
        engine = engine_of(setting, name, compile=choice)
        steps = 400
        take(engine, 0, steps, steps)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            started = time.perf_counter()
            take(engine, steps, steps, steps)
            wall = time.perf_counter() - started
        found = [event for event in seen.events() if event.device_type.name == "CUDA"]
        total = sum(event.time_range.elapsed_us() for event in found) / 1e6
        what = f"{name}, compile {choice}"
        held(f"{what}: GPU busy, kernel time over wall time", total / wall, 0.8, 0.95)
        within(f"{what}: kernels a step", len(found) / steps, 120 if choice == "off" else 30)
        own = [event for event in found if "adam" in event.name.lower()]
        row(f"{what}: kernels of the optimizer a step", len(own) / steps)
        row(f"{what}: us of kernels a step", 1e6 * total / steps)
    return None


def data(setting: Setting) -> None:
    """Images a second by where the images lie."""
    steps, at_once = setting.of(500, 3), setting.of(250, 3)
    row("data resident, images/s", rate(engine_of(setting, "mnist-tutorial"), steps, at_once))
    folder = str(folder_of_images(setting, setting.of(10_000, 120)))
    streamed = engine_of(setting, "mnist-tutorial", data=folder, image_size=28, streaming=True)
    row("data streamed from PNG files, images/s", rate(streamed, setting.of(100, 3), at_once))
    streamed.train_images.close()
    if not setting.cuda:
        return missing("data pinned on the host, images/s")
    asked = torch.cuda.mem_get_info
    torch.cuda.mem_get_info = lambda *given: (0, asked(*given)[1])
    try:
        pinned = engine_of(setting, "mnist-tutorial")
        pinned = dataclasses.replace(pinned, graphs=None)
        row("data pinned on the host, images/s", rate(pinned, steps, at_once))
        pinned.train_images.close()
    finally:
        torch.cuda.mem_get_info = asked
    return None


def full(setting: Setting) -> None:
    """A card without room for a recorded step: the steps are launched, with the same bytes."""
    if not setting.cuda:
        return missing("no room for a recorded step: launched - eager")
    eager = engine_of(setting, "mnist-cvae", capture="off")
    take(eager, 0, 20, 10)
    other, asked = engine_of(setting, "mnist-cvae"), torch.cuda.mem_get_info
    torch.cuda.mem_get_info = lambda *given: (0, asked(*given)[1])
    try:
        take(other, 0, 20, 10)
    finally:
        torch.cuda.mem_get_info = asked
    return within("no room for a recorded step: launched - eager", apart(eager, other), 0.0)


def products(setting: Setting) -> None:
    """The error of matrix products in tf32 and float32 and bf16."""
    generator = torch.Generator().manual_seed(0)
    size = setting.of(1024, 64)
    a, b = (torch.randn(size, size, generator=generator, dtype=torch.float64) for _ in range(2))
    exact = a @ b
    x, y = (each.float().to(setting.device) for each in (a, b))

    def error(found: Tensor) -> float:
        return float((found.double().cpu() - exact).norm() / exact.norm())

    row("product in float32: relative error", error(x @ y))
    row("product in bf16: relative error", error(x.bfloat16() @ y.bfloat16()))
    if not setting.cuda:
        return missing("product in tf32: relative error")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    row("product in tf32: relative error", error(x @ y))
    torch.backends.cuda.matmul.allow_tf32 = before
    plain = take(engine_of(setting, "mnist-cvae"), 0, 500, 500)[-100:].mean(0)
    quick = take(engine_of(setting, "mnist-cvae", matmul="tf32"), 0, 500, 500)[-100:].mean(0)
    row("loss of steps 400 to 500, tf32 - float32, nats", float((quick - plain)[0]))
    return None
