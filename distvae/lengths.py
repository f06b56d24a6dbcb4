"""Batch and number of epochs that fit the data, where none were asked for.

What a model learns is a matter of steps as much as of images. A batch made for 60,000 images leaves
few images two steps an epoch, and sixteen epochs of these are no training. Measured in
``tests/benchmarks/small_data.py``.
"""

LARGEST_BATCH = 128
LEAST_BATCH = 8
"""Fewer images make gradients too noisy for the usual learning rate."""
STEPS_AN_EPOCH = 20
EPOCHS = 16
STEPS = 2000
"""Of a run, at least, where --epochs is left out."""
USUAL_LEAD = 500
"""Steps for which a critic learns before a model hears it."""
FEW_STEPS = 1000
"""Of a run, below which it is told that they are few."""


def fitting_batch(images: int) -> int:
    """Global batch for so many training images: a power of two, which processes can share.

    It leaves an epoch ``STEPS_AN_EPOCH`` steps where it can without being below ``LEAST_BATCH``.
    """
    wanted = min(LARGEST_BATCH, max(LEAST_BATCH, images // STEPS_AN_EPOCH))
    return 1 << (max(1, min(wanted, images)).bit_length() - 1)


def fitting_epochs(images: int, batch: int, max_steps: int | None = None) -> int:
    """Epochs for so many training images: as many as make ``STEPS`` steps of the batch.

    ``EPOCHS`` at least, and where these are as many steps of the fitting batch, whatever the batch;
    in any case as many as ``max_steps`` take, where so many were asked for.
    """
    an_epoch = max(1, images // batch)
    asked = -(-(max_steps or 0) // an_epoch)
    if EPOCHS * (images // fitting_batch(images)) >= STEPS:
        return max(EPOCHS, asked)
    return max(EPOCHS, -(-STEPS // an_epoch), asked)


def steps_in(images: int, batch: int, epochs: int, max_steps: int | None = None) -> int:
    """Steps of a run."""
    steps = epochs * (images // batch)
    return steps if max_steps is None else min(steps, max_steps)


def few_steps(steps: int, images: int, batch: int) -> str:
    """What to say of a run of so few steps; empty where there are enough."""
    batch_that_fits = fitting_batch(images)
    if steps >= FEW_STEPS:
        return ""
    smaller = f"--batch-size {batch_that_fits} and " if batch_that_fits < batch else ""
    epochs = -(-STEPS // max(1, images // min(batch, batch_that_fits)))
    return (
        f"{steps:,} steps are few for any images: take {smaller}--epochs {epochs}, which are "
        f"{STEPS:,}, or leave both out"
    )
