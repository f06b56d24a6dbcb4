"""Volumes as TIFF of a page for each slice, with the spacing where ImageJ keeps it. No torch.

ImageJ writes the unit and the distance of slices into the description of the first page, and how
many pixels a unit has into its resolution. Without both the spacing is not known: the resolution
alone, as printers take it, says nothing of slices.

Legend: D slices, H height, W width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError

KINDS = ("uint8", "uint16", "int32", "float32")
"""Of numbers that Pillow writes."""
UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "\\u00b5m", "micron", "microns"), 1e-3),
    **dict.fromkeys(("micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("inch", "inches"), 25.4),
}
"""Millimetres of what ImageJ calls a unit."""
DESCRIPTION, ACROSS, DOWN, RESOLUTION_UNIT = 270, 282, 283, 296
"""Numbers of tags."""
PARTS = 10**7
"""Into which a millimetre is divided at most, in a fraction."""


def spacing_of(tags: Any) -> tuple[float, float, float] | None:
    """Millimetres along D, H and W; None where the tags of a page do not say all three."""
    words = str(tags.get(DESCRIPTION, ""))
    if not words.startswith("ImageJ="):
        return None
    said = dict(line.partition("=")[::2] for line in words.splitlines())
    unit = UNITS.get(said.get("unit", "").strip().casefold())
    try:
        found = [float(said["spacing"]), 1.0 / float(tags[DOWN]), 1.0 / float(tags[ACROSS])]
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        return None
    if unit is None or not all(np.isfinite(found)) or min(found) <= 0.0:
        return None
    deep, down, across = (unit * each for each in found)
    return deep, down, across


@contextmanager
def pages(
    file: IO[bytes],
    shape: Sequence[int],
    kind: np.dtype[Any],
    spacing: tuple[float, float, float],
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """What adds slices ``[d, H, W]`` to a file.

    Raises:
        DistvaeError: TIFF has no such numbers here.
    """
    from PIL import Image
    from PIL.TiffImagePlugin import AppendingTiffWriter, IFDRational

    if kind.name not in KINDS:
        raise DistvaeError(
            f"the voxels are {kind.name}",
            f"a TIFF holds {', '.join(KINDS)}",
            "Write .nii.gz or .npy.",
        )
    deep = spacing[0]
    down, across = (Fraction(each).limit_denominator(PARTS) for each in spacing[1:])
    tags = {
        DESCRIPTION: f"ImageJ=1.54f\nimages={shape[0]}\nslices={shape[0]}\nunit=mm\n"
        f"spacing={deep!r}\nloop=false\n",
        ACROSS: IFDRational(across.denominator, across.numerator),
        DOWN: IFDRational(down.denominator, down.numerator),
        RESOLUTION_UNIT: 1,
    }
    with AppendingTiffWriter(file, True) as writer:

        def add(slices: NDArray[Any]) -> None:
            for each in slices:
                page = Image.fromarray(np.ascontiguousarray(each, kind))
                page.save(writer, format="TIFF", tiffinfo=tags)
                writer.newFrame()

        yield add
