"""``tests/benchmarks/gpu.py`` on a machine without a GPU: its parts run, and its table is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import gpu
from tests.benchmarks.on_gpu import evaluating, steps
from tests.benchmarks.on_gpu.claims import CLAIMS, lines_of
from tests.benchmarks.on_gpu.lanes import Row
from tests.benchmarks.on_gpu.row import MARK, NO_GPU, Part, Setting

IN_PROCESS = [
    steps.noise,
    steps.products,
    steps.exact_compiled,
    steps.speed_compiled,
    steps.busy,
    steps.full,
    evaluating.bounds,
    evaluating.sampling,
]


@pytest.mark.parametrize("part", IN_PROCESS, ids=[part.__name__ for part in IN_PROCESS])
def test_a_part_tells_rows(part: Part, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part(Setting("cpu", small=True, scratch=here))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(MARK)]
    rows = [json.loads(line.removeprefix(MARK)) for line in told]
    assert rows
    assert all(row["good"] is not False for row in rows)
    assert all(row["found"] for row in rows)


@pytest.mark.slow
def test_the_table_goes_on_after_a_part_that_failed(
    here: Path, environment: dict[str, str]
) -> None:
    found = here / "rows.json"
    words = ["--device", "cpu", "--small", "--parts", "full,sampling", "--output", str(found)]
    # a folder for what is kept that is a file: whoever opens the data fails
    environment = {**environment, "DISTVAE_CACHE": "/dev/null"}
    ended = subprocess.run(
        [sys.executable, gpu.__file__, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = json.loads(found.read_text("utf-8"))
    assert {row["part"] for row in rows} == {"sampling", "full"}, ended.stderr
    assert ended.returncode == 1
    failed = [row for row in rows if row["good"] is False]
    assert [row["part"] for row in failed] == ["sampling"]
    assert failed[0]["found"].startswith("failed: DistvaeError")
    assert {row["found"] for row in rows if row["part"] == "full"} == {NO_GPU}
    table = ended.stdout.split("\n\n")[2].splitlines()
    assert len([line for line in table if line.startswith("| ")]) == len(rows) + 2
    assert f"{len(rows)} rows; not as expected: 1" in ended.stdout


def test_every_part_has_a_place_and_a_limit() -> None:
    for name, (module, _) in gpu.PARTS.items():
        source = Path(gpu.__file__).with_name("on_gpu") / f"{module}.py"
        assert f"def {name}(setting: Setting)" in source.read_text("utf-8")
    beside = max(seconds for _, seconds in gpu.BESIDE.values())
    assert beside + sum(seconds for _, seconds in gpu.ALONE.values()) < 8 * 60


def test_every_claim_is_told_by_a_part() -> None:
    assert {claim.part for claim in CLAIMS} <= set(gpu.PARTS)
    told = lines_of([Row("whole", "mnist-cvae: 16 epochs and more, s", "7.5", "20", True)])
    assert len(told) == len(CLAIMS) + 2
    assert "| default run, command to end | 20 s, aim 8 s | 7.5 | yes |" in told
    assert sum("not measured" in line for line in told) == len(CLAIMS) - 1
