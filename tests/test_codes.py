"""Codes and the prior over them, against definitions, sums over all sequences and a plain loop."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig, TrainConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import open_data
from distvae.declarations import with_trait
from distvae.errors import DistvaeError
from distvae.evaluation.elbo import elbo_metrics
from distvae.latents.codes import CodeSpace
from distvae.models import VAE, build_model
from distvae.objectives import MODEL, PRIOR
from distvae.priors.causal import Causal
from distvae.priors.gumbel import gumbels
from distvae.priors.parallel import Parallel, counts_of, spread
from distvae.priors.transformer import Transformer
from distvae.runs import WEIGHTS
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.engine import build_engine
from distvae.training.planning import make_plan, scheduled
from distvae.training.run import run_training
from tests.conftest import SHAPES, TRAIN_IMAGES, Command, assert_refused
from tests.training.conftest import Settings, lines, settings, trained

__all__ = ["settings"]
SPACES = with_trait("latent_space", "codes")
LABELS, LENGTH, CODES = 3, 4, 5
TINY: dict[str, Any] = {"prior_width": 8, "prior_blocks": 1, "beta": 1.0, "latent_dim": 3}


KINDS = ["causal", "parallel"]
IN_PASSES = {"fsq": {}, "vq": {"prior_passes": 2}}
"""Of each space one way to draw codes."""


def transformer(kind: str, labels: int = LABELS) -> Transformer:
    torch.manual_seed(0)
    given = ContextShape(labels)
    network: Transformer = (
        Causal(given, LENGTH, CODES, 8, 2)
        if kind == "causal"
        else Parallel(given, (2, 2), CODES, 8, 2, 2)
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return network.double()


def passes_of(kind: str) -> list[list[int]]:
    """The places of 2 x 2 that are drawn in each pass."""
    return [[0], [1], [2], [3]] if kind == "causal" else [[3, 0], [1, 2]]


def a_model(**changes: Any) -> VAE:
    torch.manual_seed(0)
    own = {"latent_space": "fsq", "hidden": (16,), "latent_dim": 3, "prior_width": 8, **changes}
    return build_model(ModelConfig(**own), (1, 8, 8), SHAPES).eval()


def space(model: VAE) -> CodeSpace:
    assert isinstance(model.latents, CodeSpace)
    return model.latents


def test_normal_numbers_become_gumbel_ones() -> None:
    noise = torch.linspace(-8.5, 8.5, 2001)
    below = torch.special.log_ndtr(noise.double())
    torch.testing.assert_close(gumbels(noise), -torch.log(-below), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [0, LABELS])
def test_a_prior_over_codes_is_a_distribution_and_sees_what_came_before(
    labels: int, kind: str
) -> None:
    network = transformer(kind, labels)
    every = torch.tensor([*itertools.product(range(CODES), repeat=LENGTH)])
    for label in range(max(1, labels)):
        context = Context.of_label(torch.full((len(every),), label)) if labels else None
        shares = torch.log_softmax(network(every, context), 2).gather(2, every.unsqueeze(2))
        assert shares.sum((1, 2)).exp().sum().item() == pytest.approx(1.0)
    here = Context.of_label(torch.zeros(1, dtype=torch.int64)) if labels else None
    passes = passes_of(kind)
    for number, places in enumerate(passes):
        later = {place for after in passes[number + 1 :] for place in after}
        for place in places:
            changed = every[:1].clone()
            changed[0, place] += 1
            same = (network(every[:1], here) == network(changed, here)).all(2)[0].tolist()
            assert {each for each in range(LENGTH) if not same[each]} == later


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_drawn_by_the_largest_noisy_logit(kind: str) -> None:
    network, rows = transformer(kind), 6
    noise = gumbels(torch.randn(rows, LENGTH, CODES))
    context = Context.of_label(torch.arange(rows) % LABELS)
    codes = torch.zeros(rows, LENGTH, dtype=torch.int64)
    for places in passes_of(kind):  # all anew for each pass, without a cache
        codes[:, places] = (network(codes, context) + noise).argmax(2)[:, places]
    assert torch.equal(network.draw(noise, context), codes)
    assert len(codes.unique(dim=0)) > 1
    # the shares of many draws are those of the prior
    many = 20_000
    same = Context.of_label(torch.zeros(many, dtype=torch.int64))
    drawn = network.draw(gumbels(torch.randn(many, LENGTH, CODES)), same)
    every = torch.tensor([*itertools.product(range(CODES), repeat=LENGTH)])
    counts = torch.bincount(drawn @ torch.tensor([125, 25, 5, 1]), minlength=len(every))
    here = Context.of_label(torch.zeros(len(every), dtype=torch.int64))
    shares = torch.log_softmax(network(every, here), 2).gather(2, every.unsqueeze(2))
    expected = many * shares.sum((1, 2)).exp()
    # chi-squared: as much as there are cells, but for 5 deviations
    excess = ((counts - expected).square() / expected).sum().item() - len(every)
    assert abs(excess) < 5 * math.sqrt(2 * len(every))


def test_passes_take_few_codes_at_first_and_places_that_lie_apart() -> None:
    for length, passes in ((49, 8), (16, 8), (8, 8), (5, 1), (4096, 16), (13, 13), (49, 13)):
        counts = counts_of(length, passes)
        assert (len(counts), sum(counts)) == (passes, length)
        assert min(counts) >= 1
        if length > 3 * passes:
            left = length - np.cumsum(counts)
            cosine = length * np.cos(0.5 * np.pi * np.arange(1, passes + 1) / passes)
            assert np.abs(left - cosine).max() <= 1.0
    for grid in ((8, 8), (4, 4, 4), (16,), (3, 5)):
        order = spread(grid)
        assert sorted(order) == [*range(math.prod(grid))]
        places = np.stack(np.unravel_index(order, grid), 1)
        step = 2  # of a lattice, which the first places fill
        while all(side % step == 0 for side in grid) and step < max(grid):
            assert (places[: len(order) // step ** len(grid)] % step == 0).all()
            step *= 2
    with pytest.raises(DistvaeError, match=r"--prior-passes 4.*an example has 3.*fewer"):
        a_model(prior="codes", prior_passes=4)


def test_fsq_rounds_to_the_nearest_middle_and_passes_gradients() -> None:
    model = a_model(fsq_levels=(4, 3))
    own = space(model)
    assert (own.codes, own.width, own.length) == (12, 2, 3)
    vectors = torch.randn(5000, 3, 2, requires_grad=True)
    codes, values, penalty = own.quantize(vectors)
    assert penalty is None
    soft = 2.0 * torch.sigmoid(1.6 * vectors.detach()) - 1.0
    middles = [torch.tensor([-0.75, -0.25, 0.25, 0.75]), torch.tensor([-2 / 3, 0.0, 2 / 3])]
    for number, each in enumerate(middles):
        nearest = each[(soft[..., number, None] - each).abs().argmin(-1)]
        torch.testing.assert_close(values[..., number], nearest)
    torch.testing.assert_close(own.values_of(codes), values)
    (found,) = torch.autograd.grad(values.sum(), vectors)
    (expected,) = torch.autograd.grad((2.0 * torch.sigmoid(1.6 * vectors)).sum(), vectors)
    torch.testing.assert_close(found, expected)
    shares = torch.bincount(codes.flatten(), minlength=12) / codes.numel()
    assert (shares - 1 / 12).abs().max() < 0.02  # normal numbers use all codes nearly alike


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(("network", "layout"), [("mlp", None), ("conv", None), ("conv", "vector")])
def test_the_bound_has_two_parts(name: str, network: str, layout: Any) -> None:
    own = IN_PASSES[name]
    model = a_model(latent_space=name, network=network, width=0.25, code_layout=layout, **own)
    with torch.no_grad():
        for weight in space(model).prior.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    grey = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    images = ResidentImages(grey, torch.arange(40) % len(SHAPES), torch.device("cpu"))
    found = dict(elbo_metrics(model, images, seed=1))
    context = Context.of_label(images.labels)
    codes = space(model).codes_of(model.features(grey / 255.0, context), context)
    assert codes.shape == (40, space(model).length)
    with torch.no_grad():
        log_shares = torch.log_softmax(space(model).prior.network(codes, context), 2)
        rate = -sum(
            log_shares[row, place, code].item()
            for row, each in enumerate(codes.tolist())
            for place, code in enumerate(each)
        )
        drawn = model.render(model.means(grey / 255.0, context), context)
    assert found["rate"] == pytest.approx(rate / 40, rel=1e-4)
    assert found["elbo"] == pytest.approx(-found["distortion"] - found["rate"])
    assert found["code_usage"] == len(codes.unique()) / found["codes"]
    assert "active_units" not in found
    counts = np.bincount(codes.flatten().numpy())
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log(shares)).sum()
    assert found["code_perplexity"] == pytest.approx(math.exp(entropy))
    # the decoder sees nothing but the codes
    values = space(model)._laid_out(space(model).values_of(codes))
    torch.testing.assert_close(model.render((values,), context), drawn)
    still = model.sample([SHAPES[0]], n=5, seed=1, temperature=0.0)
    # without noise the likeliest codes
    torch.testing.assert_close(still, still[:1].expand_as(still))
    assert len(model.sample([SHAPES[0]], n=5, seed=1).unique(dim=0)) == 5


@pytest.mark.parametrize("name", SPACES)
def test_each_stage_trains_its_own(settings: Settings, here: Path, name: str) -> None:
    config = settings(**TINY, latent_space=name, max_steps=40, prior_share=0.3, warmup_epochs=0.0)
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(here)))
    model, players = engine.trained.model, engine.training.objective.players
    assert (players[MODEL].stage, players[PRIOR].stage) == ((0, 28), (28, 40))
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def moved() -> set[bool]:
        """Whether weights that changed are those of the prior."""
        now = model.state_dict()
        return {key.startswith("prior.") for key in now if not torch.equal(now[key], before[key])}

    def take(first: int, steps: int) -> Tensor:
        plan = make_plan(engine, first, steps)
        advance(engine, plan)
        return engine.state.found(plan.steps)[:, 0, 2]

    even = space(model).length * math.log(space(model).codes)
    rates = take(0, 40)
    assert len(rates) == 28
    assert moved() == {False}
    torch.testing.assert_close(rates, torch.full_like(rates, even))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rates = take(28, 12)
    assert moved() == {True}
    assert rates[-1] < even - 0.1
    assert scheduled(engine, 39)["learning_rate"] < 0.1 * scheduled(engine, 30)["learning_rate"]
    assert scheduled(engine, 27)["learning_rate"] < 0.1 * scheduled(engine, 14)["learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPACES)
def test_a_run_resumes_in_either_stage(settings: Settings, here: Path, kind: str) -> None:
    quick = {"max_steps": 40, "checkpoint_every": 10, "keep": 4, "learning_rate": 0.01}
    objective = "obedience" if kind == "fsq" else "elbo"
    own = {**TINY, **quick, **IN_PASSES[kind], "objective": objective}
    config = settings(**own, latent_space=kind, warmup_epochs=0.0, start="zeros")
    whole = trained(config, here / "whole")
    first, *_, last = lines(whole, "test")
    assert last["elbo"] > first["elbo"] + 1.0
    assert last["rate"] < first["rate"]
    for step in (10, 30):
        run = here / f"from-{step}"
        shutil.copytree(whole, run)
        for later in (run / "checkpoints").iterdir():
            if int(later.name.removeprefix("step-")) > step:
                shutil.rmtree(later)
        assert run_training(config, run, resume=True).finished
        for name in ("model.safetensors", "checkpoints/step-00000040/optimizer.safetensors"):
            assert (run / name).read_bytes() == (whole / name).read_bytes(), (step, name)


def test_a_line_of_the_log_may_hold_steps_of_both_stages(settings: Settings, here: Path) -> None:
    own = {**TINY, "latent_space": "fsq", "objective": "obedience", "prior_share": 0.5}
    told = lines(trained(settings(**own, max_steps=12, log_every=4, eval_every=50), here / "run"))
    assert [line["step"] for line in told] == [4, 8, 12]
    assert told[0]["disobedience"] == 0.0 < told[1]["disobedience"]


def test_the_second_stage_minimizes_what_the_objective_adds(settings: Settings, here: Path) -> None:
    own = {**TINY, "latent_space": "fsq", "objective": "obedience", "max_steps": 8}
    ends = [
        load_file(
            trained(settings(**own, obedience_weight=weight), here / f"run{weight}") / WEIGHTS
        )
        for weight in (0.0, 5.0)
    ]
    for name, value in ends[0].items():
        same = np.array_equal(value, ends[1][name])
        assert same or name.startswith("prior."), name
    assert any(not np.array_equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_space": "fsq", "prior": "flow"}, r"--latent-space fsq.*--prior flow.*codes"),
        ({"prior": "codes"}, r"--prior codes.*--latent-space gaussian.*fsq"),
        ({"latent_space": "fsq", "objective": "iwae"}, r"--objective iwae.*elbo"),
        ({"latent_space": "fsq", "early_stopping": 3}, r"--early-stopping 3"),
        ({"latent_space": "fsq", "fsq_levels": [8, 1]}, r"fsq_levels.* at least 2|each of them"),
        ({"latent_space": "fsq", "prior": "codes", "prior_share": 1.0}, r"--prior-share.*below 1"),
        ({"fsq_levels": [4, 4]}, r"--fsq-levels.*--latent-space fsq"),
    ],
)
def test_what_does_not_go_with_codes_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated(changes, "the test")


def test_a_book_that_cannot_be_filled_or_drawn_is_refused(
    shapes: Path, here: Path, settings: Settings
) -> None:
    assert TRAIN_IMAGES == 120
    big = settings(**TINY, latent_space="fsq", fsq_levels=[19, 19], max_steps=2)
    with pytest.raises(DistvaeError, match=r"361 codes.*360 in all: 120 x 3.*smaller"):
        run_training(big, here / "big", resume=False)
    with pytest.raises(DistvaeError, match=r"random numbers a draw.*smaller code book"):
        a_model(fsq_levels=(256, 256), latent_dim=1000)
    with pytest.raises(DistvaeError, match=r"--code-layout map.*--network mlp"):
        a_model(network="mlp", code_layout="map")


@pytest.mark.slow
def test_codes_by_commands(shapes: Path, here: Path, command: Command) -> None:
    words = "train --latent-space fsq --fsq-levels 4,3 --network conv --width 0.25 --max-steps 30"
    ended = command(*words.split(), "--data", shapes, "--prior-width", 8, "--output", "run")
    assert ended.code == 0, ended.err
    assert "codes in use" in ended.out
    assert "steps 16 to 30 train the prior alone" in ended.out
    ended = command("embed", "run", "--codes")
    assert ended.code == 0, ended.err
    assert "4 x 4 codes each" in ended.out
    found = np.load("run/embed/codes.npz")
    assert (found["codes"].shape, found["codes"].dtype) == ((51, 4, 4), np.uint8)
    assert (found["values"].shape, int(found["book"])) == ((12, 2), 12)
    assert found["codes"].max() < 12
    assert {*found["label_names"]} == {*SHAPES}
    ended = command("evaluate", "run", "--metrics", "elbo,likelihood")
    assert ended.code == 0, ended.err
    assert "one code and no others" in ended.out
    ended = command("export", "run", "--onnx")
    assert ended.code == 0, ended.err
    drawn = {}
    for name in ("run", "run/onnx/decoder.onnx"):
        ended = command("sample", name, "--label", SHAPES[1], "--count", 20, "--output", "a.npz")
        assert ended.code == 0, ended.err
        drawn[name] = np.load("a.npz")["images"].astype(int)
    one, other = drawn.values()
    assert np.abs(one - other).max() <= 1
    assert len(np.unique(one, axis=0)) > 1
    for words in ("traverse run", "fit-prior run", "repair run --mask left"):
        assert_refused(command(*words.split()), "codes")
    graph = Path("run/onnx/decoder.onnx").read_bytes()
    assert b".py" not in graph  # no remark of the exporter, also not in the body of the loop
    ended = command("embed", "run/onnx", "--codes", "--output", "exported.npz")
    assert ended.code == 0, ended.err
    exported = np.load("exported.npz")
    assert exported.files == found.files
    apart = (exported["codes"] != found["codes"]).any((1, 2))
    assert apart.mean() <= 0.02  # a number between two codes may fall to either
    for key in {*found.files} - {"codes"}:
        assert exported[key].dtype == found[key].dtype
        np.testing.assert_array_equal(exported[key], found[key])
