"""What was probably meant by words that a command does not know."""

import difflib
import itertools
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

from distvae.errors import nearest

LABELS = "LABELS"
"""What help calls a list of labels."""
ELSEWHERE = {
    "amp": ("--mixed-precision bf16",),
    "arch": ("--network",),
    "b": ("--batch-size",),
    "batch": ("--batch-size",),
    "bf16": ("--mixed-precision bf16",),
    "bs": ("--batch-size",),
    "c": ("--config",),
    "checkpoint-dir": ("--output",),
    "d": ("--data",),
    "data-dir": ("--data",),
    "dataset": ("--data",),
    "decay": ("--weight-decay",),
    "e": ("--epochs",),
    "ema-decay": ("--ema",),
    "format": ("--onnx",),
    "fp16": ("--mixed-precision fp16", "--precision fp16"),
    "grad-accum": ("--accumulate",),
    "grad-clip": ("--clip",),
    "gradient-accumulation-steps": ("--accumulate",),
    "half": ("--mixed-precision fp16", "--precision fp16"),
    "int8": ("--precision int8",),
    "iterations": ("--max-steps",),
    "iters": ("--max-steps",),
    "kl-weight": ("--beta",),
    "latent": ("--latent-dim",),
    "latent-size": ("--latent-dim",),
    "layers": ("--hidden",),
    "load": ("--init-from",),
    "loss": ("--likelihood", "--objective"),
    "lr": ("--learning-rate",),
    "lr-scheduler": ("--schedule",),
    "max-grad-norm": ("--clip",),
    "n": ("--count", "--latent-dim"),
    "name": ("--output runs/NAME",),
    "num": ("--count",),
    "num-images": ("--count",),
    "num-samples": ("--count", "--importance-samples"),
    "num-steps": ("--max-steps",),
    "o": ("--output",),
    "out": ("--output",),
    "out-dir": ("--output",),
    "output-dir": ("--output",),
    "overwrite-output-dir": ("--overwrite",),
    "patience": ("--early-stopping",),
    "pretrained": ("--init-from",),
    "quantize": ("--precision int8",),
    "recipe": ("--config",),
    "resolution": ("--image-size",),
    "resume-from": ("--resume",),
    "resume-from-checkpoint": ("--resume",),
    "s": ("--seed",),
    "save-dir": ("--output",),
    "save-every": ("--checkpoint-every",),
    "size": ("--image-size",),
    "steps": ("--max-steps",),
    "tensorboard": ("--tracker tensorboard",),
    "val-split": ("--split-validation",),
    "wandb": ("--tracker wandb",),
    "wd": ("--weight-decay",),
    "weights": ("--init-from",),
    "workers": ("--threads",),
    "num-workers": ("--threads",),
    "z": ("--latent-dim",),
    "z-dim": ("--latent-dim",),
}
"""What other programs call a flag, without hyphens, and ours; the first that a command has."""
ABSENT = {
    **dict.fromkeys(
        ("cpu", "cuda", "device", "devices", "gpu", "gpus", "no-cuda", "num-gpus", "use-cuda"),
        "A GPU is taken where there is one: CUDA_VISIBLE_DEVICES says which, empty for none.",
    ),
    **dict.fromkeys(
        ("augment", "augmentation", "transforms", "flip"),
        "Images are not augmented: the model learns the density of what it sees.",
    ),
    **dict.fromkeys(
        ("v", "verbose"), "All is told as it is; --debug adds the traceback of an error."
    ),
    "dropout": "There is none: --weight-decay, --free-bits and --beta regularize.",
    **dict.fromkeys(("optimizer", "optim"), "It is AdamW: see --learning-rate, --weight-decay."),
}
"""What there is no flag for, and why."""
COMMANDS = {
    "draw": "sample",
    "encode": "embed",
    "eval": "evaluate",
    "fit": "train",
    "generate": "sample",
    "help": "--help",
    "info": "inspect",
    "onnx": "export",
    "resume": "train --resume",
    "show": "inspect",
    "test": "evaluate",
    "version": "--version",
}
"""What other programs call a command."""
VALUES = {
    "accuracy": "judge",
    "bce": "bernoulli",
    "false": "off",
    "true": "on",
    "cnn": "conv",
    "convolutional": "conv",
    "fid": "distances",
    "float16": "fp16",
    "float32": "no",
    "fp32": "no",
    "half": "fp16",
    "iwelbo": "likelihood",
    "kid": "distances",
    "l1": "laplace",
    "l2": "gaussian",
    "linear": "mlp",
    "logistic": "discretized_logistic",
    "mae": "laplace",
    "mse": "gaussian",
    "nll": "likelihood",
    "vampprior": "vamp",
}
"""What others call a value."""


def hint(
    words: Sequence[str], strange: Sequence[str], known: Mapping[str, str | None], by_place: bool
) -> str:
    """What to do about words that are not known, or the empty string.

    Args:
        words: the whole command line.
        strange: those that are not known.
        known: names of the flags, and what help calls their values; None of a switch.
        by_place: whether the command takes a word without a flag.
    """
    flag = next((word.partition("=")[0] for word in strange if word.startswith("-")), "")
    name = flag.lstrip("-").lower()
    if name in ABSENT:
        return ABSENT[name]
    if meant := _flag_meant(name, known):
        return f"Did you mean {meant}?"
    return "" if flag else _stray(words, strange, known, by_place)


def _flag_meant(name: str, known: Collection[str]) -> str:
    """A flag of another name that is much like one of ours, or the empty string."""
    for meant in ELSEWHERE.get(name, ()):
        if meant.split(" ")[0] in known:
            return meant
    begun = [each for each in known if len(name) > 2 and each.startswith(f"--{name}")]
    alike = difflib.get_close_matches(name, [each[2:] for each in known], n=1, cutoff=0.7)
    return begun[0] if len(begun) == 1 else f"--{alike[0]}" if alike else (begun or [""])[0]


def _stray(
    words: Sequence[str], strange: Sequence[str], known: Mapping[str, str | None], by_place: bool
) -> str:
    """What to do about a word that follows no flag."""
    if pieces := list_in_pieces(words, strange, known):
        return pieces
    before = words[words.index(strange[0]) - 1] if strange[0] in words[1:] else ""
    if before in known and known[before] is None:
        return f"{before} takes no value: it is on where it is given, off where it is left out."
    if "--data" in known and not by_place:
        return f"Data is named by a flag: --data {shlex.quote(strange[0])}."
    return ""


def command_meant(word: str, known: Collection[str]) -> str:
    """What to do about a command that is not known, or the empty string."""
    meant = COMMANDS.get(word.lower(), "")
    if meant.startswith("--") or meant.split(" ")[0] in known:
        return f"Did you mean distvae {meant}?" if meant else nearest(word, known)
    return nearest(word, known)


def value_meant(word: str, options: Collection[str]) -> str:
    """What to do about a value that is none of the options, or the empty string."""
    meant = VALUES.get(word.lower(), "")
    return f"Did you mean {meant}?" if meant in options else nearest(word.lower(), options)


def list_in_pieces(
    words: Sequence[str], strange: Collection[str], known: Mapping[str, str | None]
) -> str:
    """How a list is written, where one was written with spaces."""
    for place, (name, first) in enumerate(itertools.pairwise(words)):
        rest = list(itertools.takewhile(lambda word: word[:1] != "-", words[place + 2 :]))
        called = known.get(name) or ""
        if (called == LABELS or called.endswith(",...")) and not set(strange).isdisjoint(rest):
            return f"A list has commas and no spaces: {name} {_joined([first, *rest])}."
    return ""


def _joined(items: Iterable[str]) -> str:
    return ",".join(item.strip(",") for item in items)
