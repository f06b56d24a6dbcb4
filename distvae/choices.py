"""Names among which a setting chooses, where they are of no part."""

from typing import Literal

ActivationName = Literal["relu", "silu", "gelu", "tanh"]
KLScheduleName = Literal["constant", "linear", "cyclical"]
MatmulName = Literal["float32", "tf32"]
RateScaleName = Literal["off", "sqrt", "linear"]
LearningRateScheduleName = Literal["constant", "cosine", "burda"]
Binarization = Literal["none", "dynamic", "threshold"]
