"""Steps in this process: exactness, noise, speed, kernels, data, products."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import time
from collections.abc import Sequence
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
from distvae.training.capture import CudaRecorder
from distvae.training.compilation import compiled
from distvae.training.engine import Engine, build_engine
from distvae.training.plan import Plan
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
    """What steps found ``[n, F]``, taken in blocks of so many.

    The plan of a block is made while the device is busy with the one before, as in a run.
    """
    found, step = [], first
    plan: Plan | None = make_plan(engine, step, min(at_once, steps))
    while plan is not None:
        advance(engine, plan)
        step += plan.steps
        count, more = plan.steps, min(at_once, first + steps - step)
        counts = plan.counts_at(count)
        plan = make_plan(engine, step, more, counts=counts) if more else None
        found.append(engine.state.found(count).flatten(1))
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
    within("compiled - uncompiled losses, relative", float(far), 1e-4)
    for name, precision in (("mnist-tutorial", "no"), ("mnist-vae-conv", "bf16")):
        one, other = (
            engine_of(setting, name, compile="on", capture=capture, mixed_precision=precision)
            for capture in ("auto", "off")
        )
        for engine in (one, other):
            take(engine, 0, 20, 20)
        within(f"compiled {name}: captured - launched", apart(one, other), 0.0)
    return None


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
    """Images a second of the recipes, launched and captured."""
    kinds: dict[tuple[str, str], tuple[float, float] | None] = {
        ("mnist-cvae", "bf16"): (300e3, 1e6),  # what the default recipe computes in
        ("mnist-vae-conv", "bf16"): (150e3, 400e3),
        ("mnist-tutorial", "no"): None,
        ("mnist-cvae", "no"): None,
    }
    for (name, precision), least in kinds.items():
        engine = engine_of(setting, name, mixed_precision=precision)
        found = rate(engine, setting.of(1000, 4), setting.of(500, 2))
        told_of(engine, setting, f"{name} {precision}, captured, images/s", found, least)
    for name, precision in kinds:
        engine = engine_of(setting, name, capture="off", mixed_precision=precision)
        row(f"{name} {precision}, launched, images/s", rate(engine, setting.of(60, 4), 60))


def told_of(
    engine: Engine,
    setting: Setting,
    what: str,
    found: float,
    least: tuple[float, float] | None = None,
) -> None:
    """The speed of an engine that was to be captured."""
    why = engine.graphs.refused if engine.graphs is not None else "nothing was recorded"
    if setting.cuda and why:
        row(what, f"{found:,.4g}, not captured: {why}", "captured", False)
    elif setting.cuda and least is not None:
        held(what, found, *least)
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
        row(f"{name}: products by", "the template" if engine.own_products else "the library")
        found = rate(engine, 1000, 500)
        told_of(engine, setting, f"{name} {precision}, compiled and captured, images/s", found)
    return None


def busy(setting: Setting) -> None:
    """How busy the GPU is while it steps, and how many kernels a step has."""
    busy_at(
        setting, (("mnist-cvae", "bf16"), ("mnist-cvae", "no"), ("mnist-tutorial", "no")), "off"
    )


def busy_compiled(setting: Setting) -> None:
    """The same of compiled steps."""
    busy_at(setting, (("mnist-tutorial", "no"), ("mnist-cvae", "no")), "on")


def busy_at(setting: Setting, kinds: Sequence[tuple[str, str]], choice: str) -> None:
    """The same of some recipes and precisions."""
    if not setting.cuda:
        return missing(*(f"{name}, compile {choice}: GPU busy" for name, _ in kinds))
    from torch.profiler import ProfilerActivity, profile

    for name, precision in kinds:
        engine = engine_of(setting, name, compile=choice, mixed_precision=precision)
        steps = 400
        take(engine, 0, steps, steps)
        what = f"{name}, compile {choice}"
        told = "" if precision == "no" else f" ({precision})"
        share, each = share_of_queue(engine, steps)
        row(f"{what}: share of the time in which steps are queued{told}", share)
        row(f"{what}: us a step on the GPU{told}", each)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            take(engine, 2 * steps, 2 * steps, steps // 4)
            torch.cuda.synchronize()
        found = [event for event in seen.events() if event.device_type.name == "CUDA"]
        if not found:
            row(f"{what}: GPU busy{told}", "not measured: the profiler saw no kernel")
            continue
        # half of them, from when a plan is made while the steps of another are taken
        found = sorted(found, key=lambda event: event.time_range.start)[len(found) // 2 :]
        wall = (found[-1].time_range.end - found[0].time_range.start) / 1e6
        total = sum(event.time_range.elapsed_us() for event in found) / 1e6
        held(f"{what}: GPU busy{told}, kernel time over wall time", total / wall, 0.8, 0.95)
        most = 120 if choice == "off" else 45
        aim = None if choice == "off" else 30
        within(f"{what}: kernels a step{told}", len(found) / steps, most, aim)
        row(f"{what}: us of kernels a step{told}", 1e6 * total / steps)
    return None


def share_of_queue(engine: Engine, steps: int) -> tuple[float, float]:
    """For how much of the time the GPU had steps to take, and microseconds of each there."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    plan = make_plan(engine, steps, steps)
    torch.cuda.synchronize()
    started = time.perf_counter()
    begin.record()
    advance(engine, plan)
    end.record()
    end.synchronize()
    wall = time.perf_counter() - started
    milliseconds = float(begin.elapsed_time(end))
    return milliseconds / 1e3 / wall, 1e3 * milliseconds / steps


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
    kinds = "no room for a recorded step", "no room that is noticed while it is recorded"
    if not setting.cuda:
        return missing(*(f"{kind}: launched - eager" for kind in kinds))
    eager = engine_of(setting, "mnist-cvae", capture="off")
    take(eager, 0, 20, 10)
    fraction = torch.cuda.set_per_process_memory_fraction
    total = torch.cuda.mem_get_info()[1]

    def none_left(recorder: CudaRecorder, needed: int) -> None:
        torch.cuda.empty_cache()
        fraction(torch.cuda.memory_reserved() / total)

    check, asked = CudaRecorder._check_room, torch.cuda.mem_get_info
    for kind in kinds:
        other = engine_of(setting, "mnist-cvae")
        if kind == kinds[0]:
            torch.cuda.mem_get_info = lambda *given: (0, asked(*given)[1])
        else:
            CudaRecorder._check_room = none_left  # type: ignore[method-assign,assignment]
        try:
            advance(other, make_plan(other, 0, 1))
        finally:
            torch.cuda.mem_get_info = asked
            CudaRecorder._check_room = check  # type: ignore[method-assign]
            fraction(1.0)
        take(other, 1, 19, 10)
        refused = "" if other.graphs is None else other.graphs.refused
        row(f"{kind}: why", refused or "captured", "a reason", bool(refused))
        within(f"{kind}: launched - eager", apart(eager, other), 0.0)
    return None


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
