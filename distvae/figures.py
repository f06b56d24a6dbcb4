"""Measured figures as tables: those of all images, and those of each label. No torch."""

from collections.abc import Mapping

ERROR, OF_LATENT, REAL, SPREAD = "_standard_error", "rate_latent_", "_real", "_spread"
OF_LEVEL = "_level_"
"""Between the name of a figure and that of the level of latents it is of."""
BETWEEN, CERTAINTY = "_between_judges", "_certainty"
LATENTS, LABELS = 10, 20
"""Shown at most."""
LOWER_IS_BETTER = ("fid", "kid", "label_leakage")
UNSHOWN = "judge_confusion"
"""By label: that is a picture."""
SHARES = (
    *("judge_accuracy", "judge_test_accuracy", "diversity", "label_adherence", "precision"),
    *("recall", "copies", "linear_probe", "knn", "bayes_accuracy", "label_leakage"),
    "augmentation_real_accuracy",
    "augmentation_both",
    "augmentation_generated_accuracy",
    "augmentation_gain",
)
"""What the names of figures that are shares of one begin with."""
MEANINGS = {
    "elbo": "elbo, nats per image",
    "distortion": "distortion, nats per image",
    "rate": "rate, nats per image",
    "bits_per_dim": "bits per pixel and channel",
    "active_units": "active latents",
    "latent_dim": "  of",
    "log_likelihood": "log-likelihood of an image, given its label where the model is, nats",
    "log_likelihood_draws": "draws for an image",
    "log_likelihood_effective_draws": "  worth so many of even weight (median)",
    "log_marginal": "log p(x), summed over labels, nats",
    "log_marginal_draws": "draws for an image",
    "log_marginal_effective_draws": "  worth so many of even weight (median)",
    "mutual_information_lower": "mutual information of image and latents, nats, at least",
    "mutual_information_limit": "  which so few images limit to",
    "mutual_information_upper": "  at most",
    "aggregate_kl_lower": "KL of the aggregate posterior to the prior, nats, at least",
    "aggregate_kl_upper": "  at most, too high by what the limit above leaves out",
    "judge_accuracy": "judge accuracy on generated images",
    "judge_accuracy_worst_label": "  of the label served worst, less the bias of the choice",
    "judge_accuracy_worst_label_certainty": "    which of all labels it is, how surely",
    "judge_test_accuracy": "  on real test images",
    "diversity": "diversity of generated images (real ones: 100 %)",
    "diversity_pixels": "  the same between pixels",
    "label_adherence_swapped_z": "label obeyed under swapped z",
    "label_adherence_swapped_noise": "label obeyed under swapped noise",
    "neighbour_distance_ratio": "distance to the nearest training image (unseen images: 1)",
    "ari": "adjusted Rand index of clusters of latents and labels",
    "nmi": "  normalized mutual information",
    "linear_probe_accuracy": "labels told by a linear probe of the latents",
    "knn_accuracy": "labels told by the nearest latents",
    "bayes_accuracy": "labels told by Bayes' rule, from the elbo under each",
    "label_leakage": "labels told by a linear probe of latents given the label",
    "label_leakage_chance": "  at which nothing leaks",
    "linear_probe_pixels_accuracy": "labels told by a linear probe of pixels",
    "knn_pixels_accuracy": "labels told by the nearest pixels",
    "augmentation_real_images": "real images, a few",
    "augmentation_generated_images": "generated images",
    "augmentation_real_accuracy": "a classifier trained on these few real images",
    "augmentation_both_accuracy": "  on these and the generated ones",
    "augmentation_generated_accuracy": "  on the generated ones alone",
    "augmentation_gain": "  gained by generated images",
    "copies": "as near to one as 1 % of unseen images are",
}


def rows_of(values: Mapping[str, float], examples: str = "images") -> list[tuple[str, str]]:
    """The figures of all examples, each with its error beside it.

    Args:
        values: by name.
        examples: what they are called.
    """
    shown = {key: value for key, value in values.items() if "/" not in key}
    rates = sorted(shown.pop(key) for key in list(shown) if key.startswith(OF_LATENT))[::-1]
    rows = []
    for key in shown:
        if not key.endswith((ERROR, REAL, SPREAD, BETWEEN)):
            beside = (key, key + BETWEEN, key + REAL, key + SPREAD)
            rows += [(_shown(each), _figure(each, values)) for each in beside if each in shown]
    if rates:
        most = " ".join(f"{rate:.2f}" for rate in rates[:LATENTS])
        rows.append(("KL by latent, nats, the largest first", most))
    return [(_of(name, examples), figure) for name, figure in rows]


def _of(name: str, examples: str) -> str:
    """The name of a figure, with the word for its examples."""
    one = examples.removesuffix("s")
    return name.replace("an image", f"a {one}").replace("image", one) if one != "image" else name


def rows_by_label(values: Mapping[str, float]) -> list[tuple[str, ...]]:
    """A header and a row for each label, the one served worst by the first figure above; or [].

    Of many labels those served best are left out.
    """
    parts = [key.split("/", 1) for key in values if "/" in key and not key.endswith(ERROR)]
    figures = dict.fromkeys(
        figure for figure, _ in parts if figure != UNSHOWN and not figure.endswith(REAL)
    )
    if not figures:
        return []
    first = next(iter(figures))
    sign = -1.0 if first.startswith(LOWER_IS_BETTER) else 1.0
    labels = sorted(
        {label for figure, label in parts if figure in figures},
        key=lambda label: sign * values.get(f"{first}/{label}", float("inf")),
    )
    rows = [
        (label, *(_figure(f"{figure}/{label}", values) for figure in figures))
        for label in labels[:LABELS]
    ]
    return [("label", *figures), *rows]


def percent(share: float) -> str:
    """A share of one with two decimals in percent.

    >>> percent(0.98765)
    '98.77 %'
    """
    return f"{100.0 * share:.2f} %"


def _shown(key: str) -> str:
    if key.endswith(REAL):
        return "  of real images"
    if key.endswith(SPREAD):
        return "  between labels, best to worst, less the bias of the choice"
    if key.endswith(BETWEEN):
        return "  between judges, deviation of one"
    attribute, named = _parts(key)
    figure, of_level, level = named.partition(OF_LEVEL)
    return attribute + MEANINGS.get(figure, figure) + (f", level {level}" if of_level else "")


def _parts(key: str) -> tuple[str, str]:
    """The attribute that a figure is of, with what parts them, and its name without."""
    attribute, colon, figure = key.partition("/")[0].rpartition(": ")
    return attribute + colon, figure


def _figure(key: str, values: Mapping[str, float]) -> str:
    if key not in values:
        return ""
    share = _parts(key)[1].startswith(SHARES)
    rounded = percent(values[key]) if share else f"{values[key]:.5g}"
    if (error := values.get(key + ERROR)) is None:
        return rounded
    return f"{rounded} ± {percent(error) if share else f'{error:.2g}'}"
