"""Tables of figures: words, decimals and rows that say all of themselves."""

import pytest

from distvae.declarations import declared
from distvae.figures import ERROR, headlines, known, rows_by_label, rows_of, rows_of_runs
from distvae.parts import MetricPart


def test_a_figure_and_its_error_have_equal_decimals_and_two_digits_that_count() -> None:
    values = {
        "elbo": -88.178123,
        "elbo_standard_error": 0.2417,
        "bits_per_dim": 0.162257,
        "bits_per_dim_standard_error": 0.000441,
        "judge_accuracy": 0.98641,
        "judge_accuracy_standard_error": 0.00124,
        "judge_accuracy_real": 0.9948,
        "fid_judge": 14.512,
        "fid_judge_standard_error": 5.2,
        "fid_judge_between_judges": 3.6479,
        "active_units": 16.0,
        "log_likelihood_draws": 5000.0,
        "nmi": 0.123456,
    }
    found = dict(rows_of(values))
    assert list(found.values()) == [
        "-88.18 ± 0.24",
        "0.16226 ± 0.00044",
        "98.64 ± 0.12 %",
        "99.48 %",
        "14.5 ± 5.2",
        "3.6",
        "16",
        "5,000",
        "0.12346",
    ]
    assert "judge accuracy on generated images: of real images" in found


def test_a_column_of_labels_has_equal_decimals() -> None:
    values = {"elbo/a": -105.963, "elbo/a_standard_error": 0.5912, "elbo/b": -7.5}
    values |= {"elbo/b_standard_error": 1.25, "log_likelihood/a": -100.0, "log_likelihood/b": -9.5}
    header, *rows = rows_by_label(values)
    assert header == ("label", "elbo", "log-likelihood of an image")
    assert rows == [
        ("a", "-105.96 ± 0.59", "-100.00"),
        ("b", "-7.50 ± 1.25", "-9.50"),
    ]


def test_runs_stand_side_by_side_in_equal_decimals() -> None:
    runs = [
        {"elbo": -1128.41, "elbo_standard_error": 283.0, "active_units": 3.0, "mig_x": 0.25},
        {"elbo": -99.5, "elbo_standard_error": 0.3217, "fid_judge": 12.0},
    ]
    assert rows_of_runs(runs, "rows") == [
        ("elbo, nats per row", "-1,128.41 ± 283.00", "-99.50 ± 0.32"),
        ("active latents", "3", ""),
        ("mutual information gap (MIG): x", "0.25000", ""),
        ("FID in the judge's features", "", "12"),
    ]


@pytest.mark.parametrize("name", declared("metric"))
def test_a_figure_says_all_in_its_own_row(name: str) -> None:
    part = declared("metric")[name].part
    assert issubclass(part, MetricPart)
    for meaning in part.meanings.values():
        assert meaning == meaning.strip()
        assert "_" not in meaning
    assert len({*part.meanings.values()}) == len(part.meanings)


def test_who_only_uses_a_model_reads_at_most_15_rows() -> None:
    """Of a run of which every metric was measured, with errors, references and labels."""
    ends = ("", ERROR, "_real", "_spread", "/seven")
    rows = rows_of(headlines({f"{key}{end}": 0.5 for key in known().headlines for end in ends}))
    assert len(rows) == len(known().headlines) <= 15
