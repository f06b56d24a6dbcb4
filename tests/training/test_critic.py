"""A critic: what it adds and learns, by hand; when it begins; and runs that stop and go on."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.conditions import Context, ContextShape
from distvae.config import TrainConfig
from distvae.data.store import open_data
from distvae.errors import DistvaeError
from distvae.models import VAE
from distvae.objectives import MODEL, Loss, Pressure
from distvae.runs import Run, checkpoints
from distvae.terms.critics.discriminator import PatchDiscriminator, fitting_layers
from distvae.terms.critics.patch import PatchCritic
from distvae.training.accelerator import build_accelerator
from distvae.training.engine import Engine, build_engine
from distvae.training.run import run_training
from tests.conftest import TRAIN_IMAGES
from tests.training.conftest import Settings, lines, trained

SIDE = 8
WEIGHT, FEATURES, PIXELS = 0.8, 0.6, 0.4
CRITIC: dict[str, Any] = {
    "critic": "patch",
    "critic_width": 4,
    "critic_weight": WEIGHT,
    "critic_start": 6,
    "critic_lead": 3,
    "model": "vae",
    "prior": "normal",
    "beta": 1.0,
    "warmup_epochs": 0.0,
}
VAE_GAN = {
    **CRITIC,
    "critic": "features",
    "feature_weight": FEATURES,
    "pixel_weight": PIXELS,
    "critic_learning_rate": 1e-3,
}
FORMS = {"patch": CRITIC, "features": VAE_GAN}


def built(config: TrainConfig, folder: Path) -> Engine:
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    return build_engine(config, data, build_accelerator(config, str(folder)))


def critic_of(engine: Engine) -> PatchCritic:
    critic = engine.training.objective.get_submodule("critic")
    assert isinstance(critic, PatchCritic)
    return critic


def loss_at(engine: Engine, step: int, apart: int = 1) -> tuple[Batch, Loss]:
    (batch,) = engine.batches(0, torch.arange(12) * apart)
    return batch, engine.training(batch, Pressure(1.0, 0.0, step))


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(
        loss, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return [torch.zeros(()) if each is None else each for each in found]


def by_hand(model: VAE, critic: nn.Module, batch: Batch, form: str) -> tuple[Tensor, Tensor]:
    """What the model and the critic minimize; the first has gradients for both."""
    terms = model.terms(batch)
    means, images = torch.sigmoid(terms.parameters), batch.stored / 255.0
    real, made = critic(images), critic(means)
    word = -made.logits.mean()
    near = distortion = -terms.log_likelihood.mean()
    if form == "features":
        apart = [
            (a.detach() - b).square().mean() for a, b in zip(real.maps, made.maps, strict=True)
        ]
        near = PIXELS * distortion + FEATURES * SIDE**2 * sum(apart) / len(apart)
    last = model.decoder.get_parameter("out.weight")
    norms = [torch.autograd.grad(one, last, retain_graph=True)[0].norm() for one in (near, word)]
    loss = terms.rate.sum(1).mean() + near + WEIGHT * norms[0] / (norms[1] + 1e-4) * word
    again = critic(means.detach()).logits
    hinge = (1.0 - real.logits).clamp(min=0).mean() + (1.0 + again).clamp(min=0).mean()
    return loss, 0.5 * hinge


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("form", FORMS)
def test_model_and_critic_learn_what_the_formulas_say(
    settings: Settings, here: Path, form: str, network: str
) -> None:
    engine = built(settings(**FORMS[form], network=network, width=0.2, hidden=[16]), here)
    model, critic = engine.trained.model, critic_of(engine).network
    batch, found = loss_at(engine, CRITIC["critic_start"])
    loss, own = by_hand(model, critic, batch, form)
    torch.testing.assert_close((found.loss, found.others["critic"]), (loss, own))
    torch.testing.assert_close(
        gradients(found.loss, model), gradients(loss, model), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(
        gradients(found.others["critic"], critic), gradients(own, critic), rtol=1e-3, atol=1e-6
    )
    assert not any(each.any() for each in gradients(found.loss, critic))
    assert not any(each.any() for each in gradients(found.others["critic"], model))


@pytest.mark.parametrize("form", FORMS)
def test_before_its_start_the_model_does_not_hear_it(
    settings: Settings, here: Path, form: str
) -> None:
    engine = built(settings(**FORMS[form]), here)
    batch, found = loss_at(engine, CRITIC["critic_start"] - 1)
    terms = engine.trained.model.terms(batch)
    bound = (terms.rate.sum(1) - terms.log_likelihood).mean()
    torch.testing.assert_close(found.loss, bound)
    model = engine.trained.model
    torch.testing.assert_close(gradients(found.loss, model), gradients(bound, model))
    assert found.extras["critic_factor"] == 0.0 < found.others["critic"]
    engine.training.begin([(MODEL,)])
    _, silent = loss_at(engine, 0)
    assert silent.extras.keys() == found.extras.keys()
    assert silent.others.keys() == found.others.keys()
    torch.testing.assert_close(silent.loss, bound)


def test_its_word_is_multiplied_by_the_cap_at_most(settings: Settings, here: Path) -> None:
    engine = built(settings(**CRITIC, critic_cap=0.5), here)
    _, found = loss_at(engine, 6)
    assert found.extras["critic_factor"] == pytest.approx(0.5 * WEIGHT)


def test_an_image_is_judged_whoever_else_is_in_the_batch() -> None:
    torch.manual_seed(0)
    network, images = PatchDiscriminator((3, 20, 16), 2, 16), torch.rand(5, 3, 20, 16)
    torch.testing.assert_close(network(images).logits[1:2], network(images[1:2]).logits)
    assert network(images).logits.shape == (5, 1, 5, 4)


def test_what_an_image_is_given_is_told_by_projection() -> None:
    torch.manual_seed(0)
    shape = ContextShape(rows=3, numbers=2)
    network = PatchDiscriminator((1, 8, 8), 1, 4, shape)
    images, rows, numbers = torch.rand(2, 1, 8, 8), torch.tensor([2, 0]), torch.randn(2, 2)
    plain = network(images, Context(rows, numbers))
    alone = network.out(plain.maps[-1])
    torch.testing.assert_close(plain.logits, alone)  # at first it expects nothing
    assert network.table is not None
    assert network.linear is not None
    nn.init.normal_(network.table)
    nn.init.normal_(network.linear)
    told = network(images, Context(rows, numbers)).logits
    expected = network.table[rows] + numbers @ network.linear.T
    product = torch.einsum("rchw,rc->rhw", plain.maps[-1], expected)[:, None]
    torch.testing.assert_close(told, alone + product)


def test_a_critic_is_told_the_label_of_each_image_and_draw(settings: Settings, here: Path) -> None:
    given = {**CRITIC, "model": "cvae", "critic_conditional": True, "importance_samples": 2}
    engine = built(settings(**given), here)
    term, seen = critic_of(engine), []
    assert term.network.table is not None
    term.network.register_forward_hook(lambda _, inputs, __: seen.append(inputs))
    batch, loss = loss_at(engine, 6, TRAIN_IMAGES // 12)
    ((images, real), (drawn, made)) = seen
    assert batch.conditions is not None
    labels = batch.conditions.values[:, 0]
    assert len(labels.unique()) > 1
    assert torch.equal(real.label, labels)
    assert torch.equal(made.label, labels.repeat_interleave(2))
    assert (len(images), len(drawn)) == (12, 24)
    (found,) = torch.autograd.grad(loss.others["critic"], term.network.table)
    assert found[labels.unique()].any(1).all()
    with pytest.raises(DistvaeError, match=r"--critic-conditional.*--model vae.*given nothing"):
        built(settings(**CRITIC, critic_conditional=True), here)


def test_small_images_have_fewer_layers_and_smaller_ones_none() -> None:
    sides = (4, 7, 8, 15, 16, 31, 32, 28, 500)
    assert [fitting_layers((1, side, 600), None) for side in sides] == [1, 1, 1, 1, 2, 2, 3, 2, 3]
    assert fitting_layers((1, 64, 64), 5) == 5
    PatchDiscriminator((1, 4, 4), 1, 4)(torch.rand(2, 1, 4, 4))
    with pytest.raises(DistvaeError, match=r"images of 3 x 9 pixels.*--image-size of 4"):
        fitting_layers((1, 3, 9), None)
    with pytest.raises(DistvaeError, match=r"--critic-layers 4.*28 x 28.*Take 3 or fewer"):
        fitting_layers((1, 28, 28), 4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """A run with checkpoints before the critic learns, before it is heard, and after."""
    root = tmp_path_factory.mktemp("undisturbed")
    given = {**VAE_GAN, "hidden": [16], "latent_dim": 3, "batch_size": 12, "log_every": 1}
    given |= {"data": str(shapes), "mixed_precision": "no", "clip": 50.0}
    config = TrainConfig().updated(
        {**given, "max_steps": 10, "checkpoint_every": 1, "keep": 20, "epochs": 1}, "the test"
    )
    return trained(config, root / "run")


@pytest.mark.parametrize("step", [2, 3, 5, 6, 8])
def test_a_run_goes_on_byte_for_byte(undisturbed: Path, here: Path, step: int) -> None:
    run = shutil.copytree(undisturbed, here / "run")
    for path in checkpoints(run)[step:]:
        shutil.rmtree(path)
    assert checkpoints(run)[-1].name == f"step-{step:08d}"
    assert run_training(Run(run, run).config(), run, resume=True).finished
    for name in ("model.safetensors", "optimizer.safetensors", "trainer.json"):
        one, other = (checkpoints(each)[-1] / name for each in (run, undisturbed))
        assert name == "trainer.json" or one.read_bytes() == other.read_bytes()


def test_the_critic_and_its_moments_are_in_the_checkpoint_and_not_in_the_model(
    undisturbed: Path,
) -> None:
    steps = [load_file(path / "optimizer.safetensors") for path in checkpoints(undisturbed)]
    name = "objective.critic.network.out.weight"
    weights = [each[f"parameters/{name}"] for each in steps]
    changed = [(a != b).any() for a, b in itertools.pairwise(weights)]
    assert changed == [False, False, *[True] * 7]  # from the fourth step on
    assert steps[-1][f"{name}/step"] == 7
    assert (steps[-1][f"{name}/exp_avg_sq"] != 0).all()
    assert not [key for key in load_file(undisturbed / "model.safetensors") if "critic" in key]


def test_what_a_run_logs_of_its_critic(undisturbed: Path) -> None:
    told = lines(undisturbed)
    assert [line["critic_loss"] > 0 for line in told] == [step >= 3 for step in range(10)]
    assert [line["critic_factor"] > 0 for line in told] == [step >= 6 for step in range(10)]
    assert {"critic_real", "critic_drawn", "critic_features"} <= told[0].keys()


def test_half_batches_train_the_critic_as_whole_ones_do(settings: Settings, here: Path) -> None:
    steady = {**CRITIC, "max_steps": 8, "clip": 50.0, "checkpoint_every": 6}
    runs = [trained(settings(**steady, accumulate=parts), here / str(parts)) for parts in (1, 2)]
    whole, halves = (load_file(checkpoints(run)[0] / "optimizer.safetensors") for run in runs)
    assert whole["objective.critic.network.out.weight/step"] == 3
    for name, value in whole.items():
        np.testing.assert_allclose(halves[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    factors = [[line["critic_factor"] for line in lines(run)[6:]] for run in runs]
    np.testing.assert_allclose(factors[0], factors[1], rtol=0.5)
    assert factors[0] != factors[1]


@pytest.mark.parametrize("form", FORMS)
def test_in_bf16_norms_are_float32(settings: Settings, here: Path, form: str) -> None:
    engines = [
        built(settings(**FORMS[form], network="conv", width=0.2, mixed_precision=name), here)
        for name in ("no", "bf16")
    ]
    (batch,) = engines[0].batches(0, torch.arange(12))
    found = [each.loss_of(each.training, batch, Pressure(1.0, 0.0, 6)) for each in engines]
    factors = [each.extras["critic_factor"] for each in found]
    assert {each.dtype for each in factors} == {torch.float32}
    assert float(factors[1]) == pytest.approx(float(factors[0]), rel=0.2)
    assert factors[0] != factors[1]
    run = trained(settings(**FORMS[form], max_steps=9, mixed_precision="bf16"), here / "run")
    assert all(np.isfinite(line["loss"]) for line in lines(run))


@pytest.mark.parametrize(
    "parts",
    [
        {"network": "conv", "width": 0.2, "latent_space": "ladder"},
        {"latent_space": "fsq", "prior": "codes", "prior_width": 8, "max_steps": 20},
        {"latent_space": "vq", "prior": "codes", "prior_width": 8, "max_steps": 20},
        {"likelihood": "discretized_logistic"},
        {"likelihood": "gaussian", "network": "resnet", "width": 0.1},
        {"objective": "factor", "discriminator": [4], "discriminator_start": 2},
        {"objective": "mmd"},
        {"importance_samples": 2},
    ],
    ids=str,
)
def test_a_critic_goes_with_other_parts(
    settings: Settings, here: Path, parts: dict[str, Any]
) -> None:
    run = trained(settings(**{**VAE_GAN, "max_steps": 9, **parts}), here / "run")
    told = lines(run)
    assert all(np.isfinite(line["loss"]) for line in told)
    assert [line["critic_factor"] > 0 for line in told[:9]] == [step >= 6 for step in range(9)]


def test_a_captured_step_is_the_step(settings: Settings, here: Path) -> None:
    runs = [
        trained(settings(**CRITIC, max_steps=12, capture=name), here / name)
        for name in ("off", "on")
    ]
    one, other = ((run / "model.safetensors").read_bytes() for run in runs)
    assert one == other


def test_the_best_are_looked_for_when_the_critic_is_heard(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = 30  # of 10 steps an epoch, at a rate at which the bound soon grows
    given = {**CRITIC, "critic_start": start, "learning_rate": 0.05, "schedule": "constant"}
    run = trained(settings(**given, early_stopping=2, epochs=12), here / "run")
    judged = lines(run, "validation")
    assert all("best_step" not in line for line in judged if line["step"] <= start)
    later = [line for line in judged if line["step"] > start]
    best = min(later, key=lambda line: line["loss"])
    assert later[-1]["best_step"] == best["step"]
    assert min(judged, key=lambda line: line["loss"])["step"] <= start
    assert later.index(best) == len(later) - 3 or judged[-1]["step"] == 120
    told = capsys.readouterr().out
    assert told.count(f"looked for from step {start + 1}") == 1
    assert told.count("--critic patch in it") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": "vectors"}, r"--critic patch.*--domain vectors.*looks at pictures"),
        ({"objective": "dreg"}, r"--critic patch.*--objective dreg"),
        ({"critic": "features", "objective": "iwae"}, r"--critic features.*--objective iwae"),
        ({"compile": "on"}, r"--critic patch.*--compile on.*gradients within a step"),
        ({"mixed_precision": "fp16"}, r"--critic patch.*--mixed-precision fp16"),
        ({"critic": None}, r"--critic-weight 0\.8.*take --critic features, patch or leave"),
        ({"pixel_weight": 0.5}, r"--pixel-weight 0\.5.*take --critic features"),
        ({"critic_betas": [0.5]}, r"--critic-betas is \[0\.5\].*at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    settings: Settings, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        settings(**{**CRITIC, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic_start": 9}, r"--critic-start 9 is not before the end of the run.*Take 8 or"),
        (
            {"latent_space": "fsq", "prior": "codes", "prior_share": 0.5},
            r"--critic-start 6 is not before the end of the stage in which the model is trained",
        ),
        ({"critic_lead": 7}, r"--critic-lead 7 is more than --critic-start 6"),
        ({"critic_layers": 3}, r"--critic-layers 3 does not fit images of 8 x 8"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(
    settings: Settings, here: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        built(settings(**{**CRITIC, "max_steps": 9, "epochs": 1, **changes}), here)


def test_what_is_left_out_is_filled_in_and_recorded(settings: Settings, here: Path) -> None:
    given = settings(critic="patch", max_steps=8, model="vae", critic_width=4)
    flat = built(given, here).config.to_flat()
    expected = {"critic_start": 2, "critic_lead": 2, "critic_weight": 0.5, "critic_cap": 1e4}
    assert flat == {**flat, **expected, "critic_betas": (0.5, 0.9)}
