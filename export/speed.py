"""How fast a decoder draws, in a process of its own: other sessions' threads would falsify it.

    python -m distvae.export.speed decoder.onnx     one line of JSON

No torch.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from distvae.attribute_values import all_in_turn, by_name
from distvae.draws.normals import standard_normal
from distvae.export.sampler import Sampler
from distvae.labels import numbers_of

IMAGES = 1024
SECONDS = 1.0


def images_per_second(path: Path) -> float:
    """Images/s of ``Sampler.decode`` for 1024 images at once: the median over a second."""
    words = [sys.executable, "-m", "distvae.export.speed", str(path)]
    outcome = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(outcome.stdout)["images_per_second"])


def measure(path: Path) -> float:
    """The same, in this process."""
    sampler = Sampler(path)
    noise = standard_normal(0, 0, IMAGES, sampler.manifest.noise_dim)
    names, attributes = sampler.label_names, sampler.attributes
    labels: Any = numbers_of(names)[np.arange(IMAGES) % len(names)] if names else None
    if attributes:
        labels = by_name(all_in_turn(attributes, np.arange(IMAGES)), attributes)
    sampler.decode(noise, labels)
    rates = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        sampler.decode(noise, labels)
        rates.append(IMAGES / (time.perf_counter() - started))
    return statistics.median(rates)


if __name__ == "__main__":
    rate = measure(Path(sys.argv[1]))
    sys.stdout.write(json.dumps({"images_per_second": rate}))
