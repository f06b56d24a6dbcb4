"""What was probably meant by words that a command does not know."""

import itertools
from collections.abc import Collection, Sequence

from distvae.errors import nearest

ELSEWHERE = {
    "--amp": "--mixed-precision bf16",
    "--batch": "--batch-size",
    "--bf16": "--mixed-precision bf16",
    "--bs": "--batch-size",
    "--dataset": "--data",
    "--fp16": "--mixed-precision fp16",
    "--lr": "--learning-rate",
    "--max-epochs": "--epochs",
    "--num-epochs": "--epochs",
    "--num-samples": "--count",
    "--out": "--output",
    "--out-dir": "--output",
    "--output-dir": "--output",
    "--tensorboard": "--tracker tensorboard",
    "--wandb": "--tracker wandb",
    "--wd": "--weight-decay",
    "--z-dim": "--latent-dim",
}
"""What other programs call a flag."""
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
    "adam": "adamw",
    "bce": "bernoulli",
    "cnn": "conv",
    "convolutional": "conv",
    "fid": "distances",
    "float16": "fp16",
    "float32": "no",
    "fp32": "no",
    "half": "fp16",
    "iwelbo": "likelihood",
    "kid": "distances",
    "linear": "mlp",
    "logistic": "discretized_logistic",
    "mse": "gaussian",
    "nll": "likelihood",
    "vampprior": "vamp",
}
"""What others call a value."""
DEVICES = ("--cpu", "--cuda", "--device", "--gpu", "--gpus")
OF_DEVICES = "A GPU is taken where there is one: CUDA_VISIBLE_DEVICES says which, empty for none."


def hint(
    words: Sequence[str], strange: Sequence[str], known: Collection[str], lists: Collection[str]
) -> str:
    """What to do about words that are not known, or the empty string.

    Args:
        words: the whole command line.
        strange: those that are not known.
        known: names of the flags.
        lists: those that take a list.
    """
    flag = next((word.partition("=")[0] for word in strange if word.startswith("-")), "")
    if flag in DEVICES:
        return OF_DEVICES
    meant = ELSEWHERE.get(flag, "")
    if meant.split(" ")[0] in known:
        return f"Did you mean {meant}?"
    if flag:
        return nearest(flag, known)
    return _list_in_pieces(words, strange, lists)


def command_meant(word: str, known: Collection[str]) -> str:
    """What to do about a command that is not known, or the empty string."""
    meant = COMMANDS.get(word.lower(), "")
    if meant.startswith("--") or meant.split(" ")[0] in known:
        return f"Did you mean distvae {meant}?" if meant else nearest(word, known)
    return nearest(word, known)


def value_meant(word: str, options: Collection[str]) -> str:
    """What to do about a value that is none of the options, or the empty string."""
    meant = VALUES.get(word.lower(), "")
    return f"Did you mean {meant}?" if meant in options else nearest(word, options)


def _list_in_pieces(words: Sequence[str], strange: Sequence[str], lists: Collection[str]) -> str:
    """How a list is written, where one was written with spaces."""
    for place, (name, first) in enumerate(itertools.pairwise(words)):
        rest = list(itertools.takewhile(lambda word: word[:1] != "-", words[place + 2 :]))
        if name in lists and not set(strange).isdisjoint(rest):
            return f"A list has commas: {name} {','.join([first.rstrip(','), *rest])}."
    return ""
