"""`distvae bench train` and `distvae bench sample` on runs of seconds."""

from pathlib import Path

import pytest

from distvae.bench.links import (
    KNOWN,
    Links,
    all_reduce_seconds,
    measure_links,
    ring_seconds,
)
from distvae.bench.plan import Outlook, layouts
from distvae.bench.steps import Step, StepTimes, read_timed
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.models import build_model
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_sampling_is_timed_through_torch_and_through_onnx_runtime(
    distvae: Command, command: Command, run: Path
) -> None:
    unready = command("bench", "sample", run)
    assert_refused(unready, "decoder.onnx is missing", f"distvae export {run}")
    assert_refused(command("bench", "sample", run, "--variants", "eagre"), "eager")
    assert command("export", run).code == 0

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


@pytest.mark.slow
def test_a_model_without_a_run_is_timed_too(distvae: Command, tmp_path: Path) -> None:
    config = ModelConfig(model="vae", prior="normal", hidden=(6,), latent_dim=2)
    build_model(config, (1, 4, 4), ()).save_pretrained(tmp_path / "model")
    many = distvae(
        "bench", "sample", tmp_path / "model", "--variants", "eager", "--batches", 10**12
    )
    assert_refused(many, "--batches is (1000000000000,)", "expected from 1 to 1,048,576")
    words = ("--variants", "eager", "--rounds", 1, "--batches", 1)
    ended = distvae("bench", "sample", tmp_path / "model", *words)
    assert ended.code == 0, ended.err
    assert "eager" in ended.out
    assert not (tmp_path / "model" / "samples").exists()


@pytest.mark.parametrize(
    ("devices", "nodes", "milliseconds"),
    [
        (1, 1, 0.0),
        (2, 1, 4.0 / 8.0 + 2 * 0.01),  # each sends half of 4 MB twice
        (8, 1, 7.0 / 8.0 + 14 * 0.01),  # 7 of 8 parts of 4 MB, twice, in 14 messages
        (8, 4, 7.0 / 8.0 + 14 * 0.01 + 6.0 / 1.0 + 6 * 0.02),  # and 3 of 4 parts, twice, over nodes
        (1, 4, 6.0 / 1.0 + 6 * 0.02),
    ],
)
def test_an_all_reduce_costs_what_the_ring_sends(
    devices: int, nodes: int, milliseconds: float
) -> None:
    links = Links(device=8e9, node=1e9, latency=1e-5, node_latency=2e-5)
    assert all_reduce_seconds(4e6, devices, nodes, links) == pytest.approx(milliseconds / 1e3)


def test_a_ring_simulated_message_by_message_takes_as_long() -> None:
    size, devices, bandwidth, latency = 3e6, 5, 2e9, 3e-5
    clock = 0.0
    pieces = [dict.fromkeys(range(devices), 1) for _ in range(devices)]
    for turn in range(2 * (devices - 1)):  # all send one piece to the right at once
        sent = [(rank - turn) % devices for rank in range(devices)]
        held = [pieces[rank][sent[rank]] for rank in range(devices)]
        for rank, piece in enumerate(sent):
            right = pieces[(rank + 1) % devices]
            right[piece] = held[rank] + (right[piece] if turn < devices - 1 else 0)
        clock += size / devices / bandwidth + latency
    assert all(value == devices for rank in pieces for value in rank.values())
    assert ring_seconds(size, devices, bandwidth, latency) == pytest.approx(clock)


def test_nodes_fill_up_before_others_are_added() -> None:
    assert layouts(8, 4) == [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4)]
    assert layouts(6, 3) == [(1, 1), (2, 1), (4, 1), (6, 1), (6, 2), (6, 3)]
    assert layouts(1, 1) == [(1, 1)]


def test_a_step_of_any_share_lies_on_the_line_through_two() -> None:
    step = Step.through((128, 2.28), (4, 1.04))
    assert step.seconds(0) == pytest.approx(1.0)
    assert step.seconds(64) == pytest.approx(1.64)
    noisy = Step.through((128, 1.0), (4, 1.1))  # less cannot take longer
    assert noisy.seconds(4) == noisy.seconds(128) == pytest.approx(1.0)


def test_steps_lie_on_lines_between_those_that_were_timed() -> None:
    times = StepTimes.of(read_timed("4096:5,16:1,128:1.5"))
    found = [1e3 * times.seconds(images) for images in (16, 72, 128, 2112, 4096, 8064)]
    assert found == pytest.approx([1.0, 1.25, 1.5, 3.25, 5.0, 8.5])
    assert 1e3 * times.seconds(0) == pytest.approx(1 - 0.5 * 16 / 112)
    for wrong in ("128", "128:1", "128:x,3:4", "0:1,2:3", "1:0,2:3"):
        with pytest.raises(DistvaeError, match="--measured is"):
            read_timed(wrong)


def test_more_devices_help_where_the_arithmetic_says_so() -> None:
    links = Links(device=1e9, node=1e9, latency=0.0, node_latency=0.0)
    # a step of 1 ms and 1 us an image; two devices exchange 1 MB in 1 ms
    outlook = Outlook(128, StepTimes.of(read_timed("1000:2,2000:3")), 1e6, links, "")
    assert outlook.efficiency(4000, 1, 1) == pytest.approx(1)
    # 1 + 4 ms alone; 1 + 2 + 1 ms on two
    assert outlook.efficiency(4000, 2, 1) == pytest.approx(5 / 4 / 2)
    assert outlook.efficiency(2000, 2, 1) == pytest.approx(3 / 3 / 2), "as fast as one"


def test_the_links_of_a_dgx_h100() -> None:
    links = KNOWN["h100"]
    assert (links.device, links.node) == (900e9 / 2, 8 * 400e9 / 8)
    assert links.changed({"device": 300.0, "node": None}).device == 300e9
    assert links.changed({"device": 300.0}).node == links.node


@pytest.mark.slow
def test_two_processes_on_this_machine_are_measured() -> None:
    links = measure_links(4_000_000)
    assert 1e-6 < links.latency < 1.0
    assert 1e6 < links.device < 1e12


@pytest.mark.slow
def test_the_plan_adds_the_all_reduce_to_measured_steps(
    distvae: Command, command: Command, shapes: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(data=shapes))
    refused = command("bench", "train", "--plan", "--config", recipe, "--bandwidth", 0)
    assert_refused(refused, "--bandwidth is 0")

    flags = ("--gpus", 4, "--nodes", 2, "--bandwidth", 0.001, "--node-bandwidth", 0.0005)
    ended = distvae(
        *("bench", "train", "--plan", "--config", recipe, "--steps", 150, *flags),
        *("--latency", 1000),
    )

    assert ended.code == 0, ended.err
    assert "nothing overlaps" in ended.out
    lines = [line.split("│") for line in ended.out.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in line[1:-1]] for line in lines]
    rows, by_batch = rows[:7], rows[7:]
    assert [row[0] for row in rows] == ["1", "2", "4", *("1", "2", "4", "8")], "8 divides no 20"
    layers = [(64, 12), (12, 6), (6, 4), (2, 6), (6, 12), (12, 64)]
    size = 4 * sum(a * b + b for a, b in layers)
    within = 2 * 3 / 4 * size / 1e3 + 6
    assert "left out: 8 devices, which cannot share 20 equally" in ended.out
    assert [row[2:4] for row in rows[:3]] == [["20", "20"], ["20", "10"], ["20", "5"]]
    assert [row[2:4] for row in rows[3:]] == [[str(20 * int(row[0])), "20"] for row in rows[3:]]
    costs = (0, size / 1e3 + 2, within, within + size / 5e2 + 2)
    steps = [float(row[5]) for row in rows]
    for row, cost, step in zip(rows[3:], costs, steps[3:], strict=True):
        assert float(row[4]) == pytest.approx(cost, abs=2e-3)
        assert step - steps[3] == pytest.approx(cost, abs=2e-3)
        assert float(row[6].replace(",", "")) == pytest.approx(20e3 * int(row[0]) / step, rel=1e-2)
        assert float(row[7].rstrip("%")) == pytest.approx(100 * steps[3] / step, abs=0.1)
    assert [row[0] for row in by_batch[:3]] == ["20", "40", "80"]
    assert by_batch[0][3] == "-", "8 divides no 20"
    assert "8 devices are faster than one from a global batch of" in ended.out
    assert steps[0] == steps[3]
    assert all(steps[n] <= steps[n + 3] for n in (1, 2)), "a share takes no longer than the whole"
