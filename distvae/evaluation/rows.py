"""The figures of an evaluation as the rows of a table."""

import itertools

ERROR, OF_LATENT = "_standard_error", "rate_latent_"
SHOWN = 10
SHARES = {
    *("judge_accuracy", "judge_accuracy_worst_label", "judge_test_accuracy", "diversity"),
    *("diversity_pixels", "label_adherence_swapped_z", "label_adherence_swapped_noise"),
}
MEANINGS = {
    "elbo": "elbo, nats per image",
    "distortion": "distortion, nats per image",
    "rate": "rate, nats per image",
    "bits_per_dim": "bits per pixel and channel",
    "active_units": "active latents",
    "latent_dim": "  of",
    "log_likelihood": "log-likelihood of an image, given its label where the model is, nats",
    "log_likelihood_effective_draws": "  worth so many draws of even weight (median)",
    "log_likelihood_spread": "  between labels, best to worst",
    "log_marginal": "log p(x), summed over labels, nats",
    "log_marginal_effective_draws": "  worth so many draws of even weight (median)",
    "log_marginal_spread": "  between labels, best to worst",
    "mutual_information": "mutual information of image and latents, nats",
    "mutual_information_limit": "  which so few images limit to",
    "aggregate_kl": "KL of the aggregate posterior to the prior, nats",
    "judge_test_accuracy": "the judge itself, on real test images",
    "diversity": "diversity of generated images (real ones: 100 %)",
    "diversity_pixels": "  the same between pixels",
    "label_adherence_swapped_z": "label obeyed under swapped z",
    "label_adherence_swapped_noise": "label obeyed under swapped noise",
    "judge_accuracy": "judge accuracy on generated images",
}


def rows_of(values: dict[str, float]) -> list[tuple[str, str]]:
    """Each figure with its error beside it; labels from the one served worst on."""
    rows = []
    shown = {key: value for key, value in values.items() if not key.endswith(ERROR)}
    rates = sorted(shown.pop(key) for key in list(shown) if key.startswith(OF_LATENT))[::-1]
    for figure, group in itertools.groupby(shown, lambda key: key.partition("/")[0]):
        share = figure in SHARES
        for name in sorted(group, key=lambda key: ("/" in key, shown[key])):
            label = name.partition("/")[2]
            told = f"  of label {label}" if label else MEANINGS.get(name, name.replace("_", " "))
            value = percent(shown[name]) if share else f"{shown[name]:.5g}"
            error = values.get(name + ERROR)
            if error is not None:
                value += " ± " + (percent(error) if share else f"{error:.2g}")
            rows.append((told, value))
    if rates:
        most = " ".join(f"{rate:.2f}" for rate in rates[:SHOWN])
        rows.append(("KL by latent, nats, the largest first", most))
    return rows


def percent(share: float) -> str:
    """A share of one with two decimals in percent.

    >>> percent(0.98765)
    '98.77 %'
    """
    return f"{100.0 * share:.2f} %"
