"""Runs side by side: paired tests against another implementation, and what cannot be compared."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from distvae.files import write_json
from distvae.reading import read_json
from distvae.tools.compare import compare
from distvae.tools.comparison import differences, holm
from tests.conftest import SMALL, Command, assert_refused


def test_differences_are_those_of_a_paired_t_test() -> None:
    random = np.random.default_rng(0)
    values = random.normal(-90, 5, (3, 40))
    values[2] = values[0] + random.normal(0.2, 0.1, 40)
    found = list(differences(["a", "b", "c"], {"elbo": values}))
    raw = [stats.ttest_rel(values[place], values[0]).pvalue for place in (1, 2)]
    assert [one.run for one in found] == ["b", "c"]
    assert found[1].p == pytest.approx(2 * raw[1])
    assert found[0].p == pytest.approx(raw[0])
    assert [one.differs for one in found] == [False, True]
    assert found[1].mean == pytest.approx((values[2] - values[0]).mean())
    assert found[1].error == pytest.approx(stats.sem(values[2] - values[0]))
    same = next(iter(differences(["a", "b"], {"elbo": values[[0, 0]]})))
    assert (same.mean, same.p, same.differs) == (0, 1, False)
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_runs_are_set_side_by_side(command: Command, finished: Path, run: Path) -> None:
    other = shutil.copytree(finished, run.parent / "other")
    flags = (*SMALL, "--output", "wider", "--beta", 4)
    data = read_json(finished / "config.json")["settings"]["data"]
    assert command("train", "--data", data, *flags).code == 0
    ended = command("compare", run, "wider", other)
    assert ended.code == 0, ended.err
    assert "beta" in ended.out.partition("numbers")[0]
    assert "51 test images" in ended.out
    assert "elbo: wider is" in ended.out
    assert "nats worse than run" in ended.out
    text = (run / "compare/compare.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == ["kind", "name", "run", "wider", "other"]
    assert all(len(row) == 5 for row in rows)
    found = compare([run, "wider", other])
    assert found.runs == ("run", "wider", "other")
    assert [one.mean for one in found.differences if one.run == "other"] == [0, 0, 0]
    assert found.settings["beta"] == (1.5, 4.0, 1.5)
    # the same nats as distvae evaluate measures of the whole split
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    measured = read_json(run / "evaluation.json")["elbo"]
    assert found.nats["elbo"][0].mean() == pytest.approx(measured, rel=1e-6)
    assert (run / "compare/compare.png").stat().st_size > 1000
    assert "± " in (run / "compare/compare.md").read_text(encoding="utf-8")
    record = read_json(other / "config.json")
    record["data"]["digests"]["test images"] = "another"
    write_json(other / "config.json", record)
    ended = command("compare", run, other, "--output", "compared")
    assert "nothing is paired: their test images are not the same" in ended.out
    assert not Path("compared/compare.png").exists()
    assert_refused(command("compare", run), "1 run cannot be compared", "distvae compare runs/a")
    assert_refused(command("compare", run, "nowhere"), "nowhere is not a run")
