"""`distvae bench train` and `distvae bench sample` on runs of seconds."""

from pathlib import Path

import pytest

from tests.conftest import Command, assert_refused

RECIPE = """\
data: {data}
model: vae
network: mlp
hidden: [12, 6]
prior: normal
latent_dim: 2
batch_size: 20
eval_every: 50
sample_every: 50
"""


def test_the_table_holds_the_speed_and_the_arithmetic_of_a_real_run(
    distvae: Command,
    shapes: Path,
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(data=shapes))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setitem(environment, "TMPDIR", str(scratch))

    ended = distvae(
        *("bench", "train", "--config", recipe, "--variants", "eager", "--rounds", 1),
        *("--steps", 150),
    )

    assert ended.code == 0, ended.err
    # a product with an a x b matrix takes 2ab forward, and backward 2ab for each of its operands
    # that needs a gradient, which the images do not
    layers = [(64, 12), (12, 6), (6, 4), (2, 6), (6, 12), (12, 64)]
    flop = sum(6 * a * b for a, b in layers) - 2 * 64 * 12
    assert f"{flop:,} FLOP per image" in ended.out
    assert "1 threads, torch 2" in ended.out
    cells = next(line for line in ended.out.splitlines() if line.startswith("│ eager")).split("│")
    speed, ratio, gflops = (float(cells[n].replace(",", "")) for n in (2, 4, 5))
    assert ratio == 1
    assert abs(gflops - speed * flop / 1e9) <= 0.1
    assert "runs" not in {path.name for path in tmp_path.iterdir()}
    assert not [path for path in scratch.iterdir() if path.name.startswith("distvae-bench")]


def test_unknown_variants_and_too_few_steps_are_refused_before_any_run(distvae: Command) -> None:
    wrong = distvae("bench", "train", "--variants", "eager,complie")
    few = distvae("bench", "train", "--steps", "100")

    assert wrong.code == few.code == 2
    assert "'complie'" in wrong.err
    assert "Did you mean compile?" in wrong.err
    assert "--steps is 100: expected at least 150" in few.err


def test_a_run_that_fails_is_told_with_its_command(distvae: Command) -> None:
    ended = distvae("bench", "train", "--config", "mnist-tutorail")

    assert ended.code == 2
    assert "Did you mean mnist-tutorial?" in ended.err
    assert "distvae.cli train --config mnist-tutorail" in ended.err


def test_sampling_is_timed_through_torch_and_through_onnx_runtime(
    distvae: Command, run: Path
) -> None:
    unready = distvae("bench", "sample", run)
    assert_refused(unready, "decoder.onnx is missing", f"distvae export {run}")
    assert_refused(distvae("bench", "sample", run, "--variants", "eagre"), "eager")
    assert distvae("export", run).code == 0

    ended = distvae("bench", "sample", run, "--rounds", 1, "--batches", "1,8")

    assert ended.code == 0, ended.err
    rows = [line.split("│") for line in ended.out.splitlines() if line.startswith("│")]
    speeds = {(row[1].strip(), row[2].strip()): row[3:] for row in rows if len(row) > 7}
    assert speeds.keys() == {(batch, name) for batch in "18" for name in ("eager", "onnx")}
    flop = 2 * (3 * 16 + 16 * 64)
    assert f"{flop:,} FLOP an image" in ended.out
    for row in speeds.values():
        rate, ratio = float(row[0].replace(",", "")), float(row[2])
        assert rate > 0
        assert ratio > 0
    starts = {row[1].strip(): float(row[2]) for row in rows if len(row) < 7}
    assert starts.keys() == {"eager", "onnx"}
    assert all(seconds > 0 for seconds in starts.values())
