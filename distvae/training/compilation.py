"""Whether and how a step is compiled."""

import dataclasses
import math

import torch

from distvae.training import kernel, own_product
from distvae.training.capture import NotCaptured
from distvae.training.compiler import obstacle, refusal, telling
from distvae.training.engine import Engine
from distvae.training.probing import repeated_seconds, step_seconds
from distvae.training.products import own_is_faster
from distvae.training.recording import OFF, reasons_against, recorder_of, unusual
from distvae.training.update import Update, autograd_update
from distvae.training.world import gathered

COMPILE_SECONDS = 25.0
"""What a cold compilation of a dense network with labels takes on two cores."""
MANY_STEPS = 3000
"""Fewer need not repay the second in which the kernel is compiled, once on a machine."""
SAVED_SHARE = {"mlp": 0.25, "conv": 0.04, "resnet": 0.04, "fcn": 0.04}
"""Share of an eager step's time that compiling saves on a CPU, at the least worth counting on.

A dense network was measured to save 0.25 to 0.35 of a step where both are recorded; a convolutional
one, whose convolutions stay the library's, 0.04."""
SAVED_SHARE_OF_OTHERS = 0.2
"""The same of other networks and devices, where it was not measured."""


def compiled(engine: Engine) -> Engine:
    """The engine with its step compiled, if its settings ask for it or, on ``auto``, if it pays.

    What was decided stands in the engine's settings, so that a resumed run does the same.

    Raises:
        DistvaeError: ``--compile on`` where torch's compiler does not work.
    """
    asked = engine.config.optim.compile
    eager = engine if asked == "on" else by_kernel(engine)
    wanted = asked == "on" or (asked == "auto" and engine.training.compiles and _pays(eager))
    why = _obstacle(engine) if wanted else ""
    if why and asked == "on":
        raise refusal(why)
    choice = "on" if wanted and not why else "off"
    config = engine.config.updated({"compile": choice}, "--compile auto")
    if choice == "off":
        return dataclasses.replace(eager, config=config, uncompiled=why)
    engine = dataclasses.replace(engine, config=config)
    from distvae.training import tiles  # torch's compiler takes a second to import

    before, on_cpu = engine.own_products, engine.accelerator.device.type == "cpu"
    if before is not None:
        own = before and (own_product.usable() if on_cpu else tiles.usable())
    elif on_cpu:
        able = all(gathered(engine.accelerator, own_product.usable()))
        own = able and own_is_faster(engine)
    else:
        own = tiles.usable() and _tiles_are_faster(engine)
    return dataclasses.replace(engine, update=_compiled_update(engine, own), own_products=own)


def by_kernel(engine: Engine) -> Engine:
    """The engine with dense layers by the kernel of this package, where that pays; not compiled.

    What decides is the same whether its steps will be recorded or not, so their bytes are.
    """
    own = engine.own_products
    if own is None:
        many = engine.total_steps >= MANY_STEPS
        own = many and not unusual(engine) and own_is_faster(engine)
    if not (own and kernel.works()):
        return dataclasses.replace(engine, own_products=False)
    loss_of = own_product.by_kernel(engine.loss_of)
    update = autograd_update(engine.wrapped, loss_of)
    return dataclasses.replace(engine, loss_of=loss_of, update=update, own_products=True)


def _tiles_are_faster(engine: Engine) -> bool:
    """Whether a step on a GPU takes less with products by the template of this package.

    It is compiled both ways and timed. All processes find the same.
    """
    ways = [
        dataclasses.replace(engine, update=_compiled_update(engine, own)) for own in (False, True)
    ]
    try:
        seconds = [_recorded_seconds(way) for way in ways]
        if math.inf in seconds:
            seconds = step_seconds(ways)
        faster = seconds[1] < seconds[0]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # of a compiler that is given what it may not know
        faster = False
    # a process that failed is heard as well, or the others would wait for it
    return all(gathered(engine.accelerator, faster))


def _compiled_update(engine: Engine, own: bool) -> Update:
    """The whole step as one graph where one process takes it at once, else the loss alone."""
    from distvae.training.lowering import compile_loss
    from distvae.training.whole_step import compiled_update

    alone = engine.accelerator.num_processes == 1 and len(engine.shards) == 1
    if alone and engine.accelerator.scaler is None:
        return telling(compiled_update(engine.wrapped, engine.loss_of, own))
    loss_of = compile_loss(engine.loss_of, own, engine.accelerator.device.type)
    return telling(autograd_update(engine.wrapped, loss_of))


def _obstacle(engine: Engine) -> str:
    """Why nothing can be compiled on one of the processes, which all find the same."""
    found = gathered(engine.accelerator, obstacle(engine.accelerator.device))
    return next(filter(None, found), "")


def _pays(engine: Engine) -> bool:
    """Whether the steps of the whole run, timed on a few, outweigh the compilation.

    A step that is recorded takes less than one that is launched.
    """
    (each,) = step_seconds([engine])
    if _saves(engine, each):
        each = min(each, _recorded_seconds(engine))
    return _saves(engine, gathered(engine.accelerator, each)[0])  # all processes must do the same


def _saves(engine: Engine, seconds: float) -> bool:
    """Whether compiling saves more than it takes, where a step takes so long."""
    share = SAVED_SHARE_OF_OTHERS
    if engine.accelerator.device.type == "cpu":
        share = SAVED_SHARE.get(engine.trained.model.config.network or "", share)
    return engine.total_steps * seconds * share > COMPILE_SECONDS


def _recorded_seconds(engine: Engine) -> float:
    """Time of a step as the device repeats it, infinite where it will be launched."""
    recorder = recorder_of(engine.accelerator.device)
    launched = engine.config.optim.capture == OFF or engine.accelerator.num_processes > 1
    if recorder is None or launched or reasons_against(engine):
        return math.inf
    try:
        return repeated_seconds(engine, recorder)
    except NotCaptured:
        return math.inf
