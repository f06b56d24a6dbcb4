"""Checkpoints: exact state, the last few, and what is done about damage."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distvae.checkpoint import Progress, Trained, load_checkpoint, load_newest, save_checkpoint
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.errors import DistvaeError, MismatchError
from distvae.models import VAE, build_model
from distvae.objectives import negative_elbo
from distvae.runs import checkpoints
from distvae.tensors import checksum

SHAPE = (1, 2, 3)
DECAY = 0.9


def start(seed: int, ema: bool = True, hidden: int = 7) -> Trained:
    """A model that has not been trained."""
    torch.manual_seed(seed)
    config = ModelConfig(network="mlp", hidden=(hidden,), latent_dim=2, likelihood="gaussian")
    model = build_model(config, SHAPE, ("a", "b", "c"))
    averaged = copy.deepcopy(model) if ema else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    return Trained(model, averaged, optimizer)


def train(trained: Trained, first: int, last: int) -> None:
    """Real optimizer steps, each a function of its number."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        images = torch.rand(8, *SHAPE, generator=generator)
        noise = torch.randn(8, 2, generator=generator)
        trained.optimizer.zero_grad()
        terms = trained.model(images, torch.arange(8) % 3, noise)
        negative_elbo(terms, 1.0, ObjectiveConfig(), 6).loss.backward()
        trained.optimizer.step()
        if trained.averaged is not None:
            pairs = zip(trained.averaged.parameters(), trained.model.parameters(), strict=True)
            with torch.no_grad():
                for average, new in pairs:
                    average.lerp_(new, 1 - DECAY)


def fingerprint(trained: Trained) -> list[str]:
    """Checksums of weights, moving average and moments."""
    moments = {
        f"{name}/{key}": value
        for name, parameter in trained.model.named_parameters()
        for key, value in trained.optimizer.state[parameter].items()
    }
    averaged = {} if trained.averaged is None else trained.averaged.state_dict()
    return [checksum(part) for part in (trained.model.state_dict(), averaged, moments)]


def write_run(run: Path, keep: int = 2, ema: bool = True) -> dict[int, list[str]]:
    """Checkpoints after 2, 4 and 6 steps; what was in them by step."""
    trained, written = start(0, ema), {}
    for step in (2, 4, 6):
        train(trained, step - 2, step)
        save_checkpoint(run, trained, Progress(step=step), keep)
        written[step] = fingerprint(trained)
    return written


@pytest.mark.parametrize("ema", [True, False])
def test_a_loaded_checkpoint_goes_on_with_the_same_bytes(tmp_path: Path, ema: bool) -> None:
    undisturbed = start(0, ema)
    train(undisturbed, 0, 3)
    progress = Progress(3, 12.5, 2, seconds=77.25, scaler={"scale": 1024.0})
    path = save_checkpoint(tmp_path, undisturbed, progress, keep=2)
    after = fingerprint(undisturbed)
    train(undisturbed, 3, 6)

    loaded = start(1, ema)
    train(loaded, 90, 91)
    assert load_checkpoint(path, loaded) == progress
    assert fingerprint(loaded) == after
    train(loaded, 3, 6)
    assert fingerprint(loaded) == fingerprint(undisturbed)
    assert after != fingerprint(undisturbed)


def test_a_checkpoint_taken_before_the_first_step_is_loaded(tmp_path: Path) -> None:
    undisturbed, loaded = start(0), start(1)
    path = save_checkpoint(tmp_path, undisturbed, Progress(), keep=1)
    assert load_checkpoint(path, loaded) == Progress()
    for trained in (undisturbed, loaded):
        train(trained, 0, 2)
    assert fingerprint(loaded) == fingerprint(undisturbed)


@pytest.mark.parametrize("ema", [True, False])
def test_a_checkpoint_is_a_model(tmp_path: Path, ema: bool) -> None:
    trained = start(0, ema)
    train(trained, 0, 2)
    path = save_checkpoint(tmp_path, trained, Progress(step=2), keep=1)
    usable = trained.averaged if trained.averaged is not None else trained.model
    assert trained.usable is usable
    assert checksum(VAE.from_pretrained(path).state_dict()) == checksum(usable.state_dict())


@pytest.mark.parametrize(("keep", "left"), [(1, [6]), (2, [4, 6]), (3, [2, 4, 6]), (9, [2, 4, 6])])
def test_the_newest_are_kept(tmp_path: Path, keep: int, left: list[int]) -> None:
    write_run(tmp_path, keep)
    names = [f"step-{step:08d}" for step in left]
    assert [path.name for path in checkpoints(tmp_path)] == names
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == names


def test_leftovers_of_killed_writers_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / ".writing-1-step-00000001"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    write_run(tmp_path)
    assert not leftover.exists()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


damages = pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink])
names = pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "trainer.json"]
)


@names
@damages
def test_a_damaged_newest_is_passed_over_and_told(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    written = write_run(tmp_path)
    older, newest = checkpoints(tmp_path)
    damage(newest / name)
    loaded = start(1)
    progress, path, (message,) = load_newest(tmp_path, loaded)
    assert (progress, path) == (Progress(step=4), older)
    assert str(newest / name) in message
    assert fingerprint(loaded) == written[4]


def test_a_whole_newest_is_loaded(tmp_path: Path) -> None:
    written = write_run(tmp_path)
    loaded = start(1)
    assert load_newest(tmp_path, loaded) == (Progress(step=6), checkpoints(tmp_path)[-1], [])
    assert fingerprint(loaded) == written[6]


@damages
def test_all_damaged_is_an_error_that_names_them(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write_run(tmp_path)
    found = checkpoints(tmp_path)
    for path in found:
        damage(path / "model.safetensors")
    with pytest.raises(DistvaeError, match=r"no checkpoint of .* can be read") as caught:
        load_newest(tmp_path, start(1))
    assert all(str(path / "model.safetensors") in str(caught.value) for path in found)
    assert "--overwrite" in str(caught.value)


def test_a_run_without_checkpoints_begins_anew(tmp_path: Path) -> None:
    loaded = start(1)
    before = fingerprint(loaded)
    assert load_newest(tmp_path, loaded) == (None, None, [])
    assert fingerprint(loaded) == before


@pytest.mark.parametrize("keep", [1, 2])
def test_what_is_written_after_a_damaged_one_is_kept(tmp_path: Path, keep: int) -> None:
    write_run(tmp_path)
    flip_a_bit(checkpoints(tmp_path)[-1] / "model.safetensors")
    resumed = start(1)
    load_newest(tmp_path, resumed)
    train(resumed, 4, 5)
    path = save_checkpoint(tmp_path, resumed, Progress(step=5), keep)
    assert path.exists()
    again = start(2)
    progress, found, messages = load_newest(tmp_path, again)
    assert (progress, found, len(messages)) == (Progress(step=5), path, 1)
    assert fingerprint(again) == fingerprint(resumed)
    train(resumed, 5, 6)
    save_checkpoint(tmp_path, resumed, Progress(step=6), keep)
    assert load_newest(tmp_path, again)[2] == []


def test_another_architecture_is_an_error_and_no_damage(tmp_path: Path) -> None:
    write_run(tmp_path)
    with pytest.raises(MismatchError, match=r"step-00000006.*is of another architecture"):
        load_newest(tmp_path, start(0, hidden=8))
    assert len(checkpoints(tmp_path)) == 2


def test_a_moving_average_cannot_begin_in_the_middle(tmp_path: Path) -> None:
    write_run(tmp_path, ema=False)
    with pytest.raises(MismatchError, match=r"step-00000006 was written without --ema"):
        load_newest(tmp_path, start(0, ema=True))


def test_moments_of_another_architecture_are_no_damage(tmp_path: Path) -> None:
    write_run(tmp_path)
    newest = checkpoints(tmp_path)[-1]
    other = start(0, hidden=8)
    train(other, 0, 1)
    foreign = save_checkpoint(tmp_path / "other", other, Progress(step=1), keep=1)
    shutil.copy(foreign / "optimizer.safetensors", newest / "optimizer.safetensors")
    with pytest.raises(MismatchError, match=r"optimizer\.safetensors is of another architecture"):
        load_checkpoint(newest, start(0, ema=False))


def test_what_is_damaged_is_no_mismatch(tmp_path: Path) -> None:
    write_run(tmp_path, ema=False)
    newest = checkpoints(tmp_path)[-1]
    flip_a_bit(newest / "model.safetensors")
    with pytest.raises(DistvaeError) as caught:
        load_checkpoint(newest, start(0, ema=False))
    assert not isinstance(caught.value, MismatchError)


def test_a_checkpoint_can_be_moved(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    loaded = start(1)
    load_newest(tmp_path / "elsewhere", loaded)
    assert fingerprint(loaded) == written[6]


def test_formats_that_nobody_wrote_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    newest = checkpoints(tmp_path)[-1]
    content = json.loads((newest / "trainer.json").read_text(encoding="utf-8"))
    del content["sha256"]
    (newest / "trainer.json").write_text(json.dumps(content | {"format": 3}), encoding="utf-8")
    with pytest.raises(DistvaeError, match="has format 3"):
        load_checkpoint(newest, start(1))
