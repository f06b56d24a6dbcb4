"""Variational autoencoders from data to deployment.

Use a model that was trained by ``distvae train``, or one of a folder of ``save_pretrained`` or the
Hub::

    from distvae import VAE

    model = VAE.from_pretrained("runs/mnist-cvae")
    images = model.sample(labels=[7, 3], n=8, seed=0)  # [16, C, H, W] in [0, 1]
    posterior = model.encode(images, labels)  # .mean and .log_variance, [16, latent_dim]
    again = model.decode(posterior.mean, labels)  # [16, C, H, W]
    model.save_pretrained("folder")

Sample without torch, by numpy and onnxruntime, from what ``distvae export --onnx`` writes::

    from distvae.export import Sampler

    images = Sampler("runs/mnist-cvae/onnx/decoder.onnx").sample(labels=[7], count=64, seed=0)

Train, and use what was trained, in Python as in a notebook (docs/python.md)::

    import distvae

    run = distvae.train(data=(images, labels), epochs=5)  # every flag of the command a keyword
    run.model, run.metrics, run.samples(label=7, n=16)
    run.embed(images), run.score(images), run.report()  # all tools of ``distvae --help``

- ``train``, ``open``: give a ``TrainedRun``, a run in its folder. ``sweep`` trains several.
- ``VAE``, ``ConditionalVAE``: the model, an ``nn.Module`` composed of parts.
- ``noise``, ``loss``, ``optimizer``: what a training loop of one's own needs beside it.
- ``ModelConfig``: which parts; ``TrainConfig``: all settings of a run.
- ``DistvaeError``: what was wrong, what was expected, what to do; a ``ValueError``.

``help(distvae.train)``, ``help(distvae.VAE)`` and so on tell of each; names not listed here are the
inside of the package. On the command line ``distvae --help`` says what there is; ``python -m
distvae`` is the same. Public names resolve on first use, so ``import distvae`` stays light.
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from distvae.config import ModelConfig as ModelConfig
    from distvae.config import TrainConfig as TrainConfig
    from distvae.errors import DistvaeError as DistvaeError
    from distvae.models import VAE as VAE
    from distvae.models import ConditionalVAE as ConditionalVAE
    from distvae.notebook import TrainedRun as TrainedRun
    from distvae.notebook import open as open
    from distvae.notebook import train as train
    from distvae.own_loop import loss as loss
    from distvae.own_loop import noise as noise
    from distvae.own_loop import optimizer as optimizer
    from distvae.swept import sweep as sweep

__version__ = "0.1.0"

# there is no __all__: with one, help(distvae) shows every line of every class
_HOME = {
    "VAE": "distvae.models",
    "ConditionalVAE": "distvae.models",
    "ModelConfig": "distvae.config",
    "TrainConfig": "distvae.config",
    "DistvaeError": "distvae.errors",
    "TrainedRun": "distvae.notebook",
    "train": "distvae.notebook",
    "open": "distvae.notebook",
    "noise": "distvae.own_loop",
    "loss": "distvae.own_loop",
    "optimizer": "distvae.own_loop",
    "sweep": "distvae.swept",
}


def __getattr__(name: str) -> _typing.Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
