"""Whatever happens to a file of a run: a command ends as if nothing had, or refuses in a line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.mutations import CASES, Case, outcome, prepare

QUICK = [
    (case, file)
    for case in CASES
    for file in case.files
    if case.words.split()[0] in ("sample", "inspect")
]
SLOW = [(case, file) for case in CASES for file in case.files if (case, file) not in QUICK]


@pytest.fixture(scope="module")
def pristine(
    tmp_path_factory: pytest.TempPathFactory, shapes: Path, environment: dict[str, str]
) -> Iterator[Path]:
    """A run with all that commands write."""
    folder = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HOME", "HF_HUB_OFFLINE", "COLUMNS"):
            patch.setenv(name, environment[name])
        prepare(folder, shapes)
        yield folder


@pytest.mark.slow
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(2 * QUICK + SLOW), st.integers(0, 2**32 - 1))
def test_a_command_is_right_or_refuses_in_a_line(
    pristine: Path, task: tuple[Case, str], seed: int
) -> None:
    case, file = task
    found = outcome(pristine, pristine.with_name("damaged"), case, file, seed)
    assert found.kind in ("same", "legit", "refused"), (
        f"{found.kind}: {case.words} with {file}: {found.damage}\n{found.err}"
    )
