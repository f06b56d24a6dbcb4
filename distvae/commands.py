"""The commands of the command line: where each lies and what it does, without importing any."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command, named by strings so that `--help` need not import it."""

    module: str
    config: str
    """The dataclass of its flags, in the module."""
    function: str
    """What runs with these settings, in the module; empty where the command line has its own."""
    about: str
    """A line for `distvae --help`."""


TOOLS: dict[str, Command] = {
    "embed": Command(
        "distvae.tools.embed",
        "EmbedConfig",
        "write_embedding",
        "latents of your images as a table, and how much of their labels is in them",
    ),
    "reconstruct": Command(
        "distvae.tools.reconstruct",
        "ReconstructConfig",
        "write_reconstructions",
        "what a model keeps of your images, with PSNR, SSIM and nats",
    ),
    "interpolate": Command(
        "distvae.tools.interpolate",
        "InterpolateConfig",
        "write_interpolation",
        "a path between your images, as a strip and as a picture that moves",
    ),
    "traverse": Command(
        "distvae.tools.traverse",
        "TraverseConfig",
        "write_traversal",
        "what each latent changes, one at a time, sorted by its rate",
    ),
    "resample": Command(
        "distvae.tools.resample",
        "ResampleConfig",
        "write_resampled",
        "what each level of the latents decides, drawn anew one level at a time",
    ),
    "latents": Command(
        "distvae.tools.latents",
        "LatentsConfig",
        "write_latents",
        "latents at every place of your images, with their scale, for a diffusion model",
    ),
    "decode": Command(
        "distvae.tools.decode",
        "DecodeConfig",
        "write_decoded",
        "images of any size from such latents, in tiles",
    ),
    "manifold": Command(
        "distvae.tools.manifold",
        "ManifoldConfig",
        "write_manifold",
        "what the model draws over a plane of its latents",
    ),
    "score": Command(
        "distvae.tools.score",
        "ScoreConfig",
        "write_scores",
        "how unlike the training data images are, and what is an anomaly",
    ),
    "report": Command(
        "distvae.tools.report",
        "ReportConfig",
        "write_report",
        "one HTML file that shows all of a run, to send to others",
    ),
    "compare": Command(
        "distvae.tools.compare",
        "CompareConfig",
        "write_comparison",
        "runs side by side: settings, numbers, and whether they differ",
    ),
    "repair": Command(
        "distvae.tools.repair",
        "RepairConfig",
        "write_repaired",
        "remove noise from images, or complete them where pixels are missing",
    ),
}
"""What is done with a trained model, by :mod:`distvae.tools`; a tool is a row here and a file."""

COMMANDS = {
    "train": Command(
        "distvae.arguments",
        "Train",
        "",
        "train a VAE: `distvae train` alone is a conditional VAE on the bundled MNIST",
    ),
    "sweep": Command(
        "distvae.sweeps.command",
        "Sweep",
        "",
        "several runs that differ in some settings, and which is best: `--set beta=1,2,4`",
    ),
    "sample": Command(
        "distvae.sampling",
        "SampleConfig",
        "write_samples",
        "draw images from a run: `distvae sample --label 7 --count 64`",
    ),
    "evaluate": Command(
        "distvae.evaluation.evaluate",
        "EvaluateConfig",
        "evaluate_run",
        "elbo, active units, and how well generated images obey their label",
    ),
    "fit-prior": Command(
        "distvae.fitting",
        "FitPriorConfig",
        "fit_prior",
        "fit Gaussians to a run's latents, for `distvae sample --prior fitted`",
    ),
    "export": Command(
        "distvae.export.command",
        "ExportConfig",
        "export_run",
        "write a run as verified ONNX files: `distvae export --onnx`",
    ),
    "import": Command(
        "distvae.export.adopt",
        "ImportConfig",
        "import_model",
        "take over the autoencoder of a diffusion model, as the library diffusers keeps it",
    ),
    "inspect": Command(
        "distvae.inspection",
        "InspectConfig",
        "inspect_thing",
        "tell what a run, an ONNX file or a data set is",
    ),
    "bench train": Command(
        "distvae.bench.plan",
        "BenchConfig",
        "measure_or_plan",
        "measure the speed of training on this machine",
    ),
    "bench sample": Command(
        "distvae.bench.sample",
        "BenchSampleConfig",
        "measure_sampling",
        "measure the speed of sampling on this machine",
    ),
    "completion": Command(
        "distvae.completion",
        "CompletionConfig",
        "complete",
        'let Tab complete all this: `eval "$(distvae completion bash)"`, or zsh, or fish',
    ),
    **TOOLS,
}
"""By name, in the order in which they are listed."""
EVERYWHERE = {
    "--help": "what it does, and its flags",
    "--debug": "the traceback of an error",
    "--quiet": "warnings and errors alone",
    "--progress auto|bars|plain|off": "how progress is shown",
}
"""Flags of every command."""
