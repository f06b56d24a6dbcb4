"""The parts of a model that fit the data, where none were asked for.

A dense network does not carry over from one place in the image to another, so few images teach it
little; and the latents of few images lie apart, with room between them that one Gaussian a label
would draw from as well. Measured in ``tests/benchmarks/small_data.py``.
"""

FEW_IMAGES = 2_560
"""Below so many training images there are few: a batch of 128 leaves an epoch under 20 steps."""
LEAST_SIDE = 16
"""Of images, in pixels, below which a convolution has nothing to carry over."""
PSEUDO_INPUTS = 150
"""Of a vamp prior in all, at most: each is encoded in every step."""
MOST_OF_A_LABEL, LEAST_OF_A_LABEL = 50, 4


def has_few(images: int, side: int) -> bool:
    """Whether so many training images of that shorter side are few."""
    return images < FEW_IMAGES and side >= LEAST_SIDE


def fitting_pseudo_inputs(images: int, labels: int) -> int:
    """Pseudo-inputs for each label: no more than it has images; 0 where there are too many labels.

    Args:
        images: of the training split.
        labels: 0 for a model without them.
    """
    groups = max(1, labels)
    fits = min(MOST_OF_A_LABEL, images // groups, PSEUDO_INPUTS // groups)
    return fits if fits >= LEAST_OF_A_LABEL else 0
