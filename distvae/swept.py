"""Several runs from Python that differ in some settings, and which is best."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distvae.arguments import TRAIN, Train, training
from distvae.config import DataConfig
from distvae.flags import given
from distvae.keywords import signature, spelled, taken, written
from distvae.notebook import TrainedRun, stopped
from distvae.samples import Metrics
from distvae.sweeps.command import Sweep
from distvae.sweeps.grid import flag_named, read_settings
from distvae.sweeps.jobs import Stopped
from distvae.sweeps.results import best_of, names_of_numbers
from distvae.sweeps.running import Plan, lacking, train_runs
from distvae.sweeps.telling import tell
from distvae.terminal import PROGRESS, QUIET, progress_bar, warn

CALL = "distvae.sweep"
OF_RUNS = {*signature(Train, "data").parameters} - {"output"}
"""Keywords that all runs are given."""


class SweptRuns(Metrics):
    """A row for each run of a sweep, in its order, for ``pandas.DataFrame``.

    A row has the run's folder, ``run``; its ``state``, which is ``done`` or why it is not; what was
    set, under its keyword; and every number that is known of the run.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(_rows(plan))
        self.folder = plan.folder
        """Where the runs lie, with sweep.md, sweep.csv and sweep.png."""
        self.by = plan.by
        """The number that names the best."""
        self._best = best_of(plan.results, plan.by)

    @property
    def best(self) -> TrainedRun | None:
        """The run with the best number; None where no run has it."""
        return None if self._best is None else TrainedRun(self._best.folder)

    def _repr_html_(self) -> str:
        """The table, and the picture of it."""
        picture = self.folder / "sweep.png"
        if not picture.is_file():
            return super()._repr_html_()
        content = base64.b64encode(picture.read_bytes()).decode()
        address = f"data:image/png;base64,{content}"
        return f'{super()._repr_html_()}<img alt="settings and numbers" src="{address}">'


def sweep(
    data: Any = None, *, quiet: bool = False, progress: str | None = None, **flags: Any
) -> SweptRuns:
    """Train several runs that differ in some settings: ``distvae sweep`` as a call.

    Every combination of the values that are set is a run, in a process and a folder of its own. The
    same call goes on: runs that are done are passed over, others are resumed. Ctrl-C, in a notebook
    or at a prompt, stops all at a checkpoint and gives what there is.

    Args:
        data: as :func:`distvae.train` takes it.
        quiet: say nothing but warnings.
        progress: ``auto``, ``bars``, ``plain`` or ``off``.
        flags: of ``distvae sweep``, which has those of ``distvae train``. ``set`` is a dictionary
            of values by keyword, ``set={"beta": [1, 2, 4], "hidden": [(256, 128), 512]}``, or what
            the command takes, ``"beta=1,2,4"``.

    Returns:
        A row for each run, and the best of them. A run that failed says so in its row.

    Raises:
        DistvaeError: what the command would refuse, before anything is trained; or all runs failed.
    """
    from distvae.data.sources.in_memory import hold, is_in_memory
    from distvae.training.surroundings import undisturbed

    signal_name = None
    with undisturbed():
        os.environ.update({QUIET: "1"} if quiet else {})
        os.environ.update({PROGRESS: progress} if progress is not None else {})
        held = hold(data, progress_bar) if is_in_memory(data) else None
        plan = _plan({**flags, **({} if data is None else {"data": held.name if held else data})})
        if held:
            _decode(plan)
        try:
            train_runs(plan)
        except Stopped as signalled:
            signal_name = str(signalled)
        else:
            tell(plan.folder, plan.results, plan.by)
    found = SweptRuns(plan)
    if signal_name is not None:
        stopped(signal_name, f"{plan.told}. The same call goes on exactly from here")
    elif (error := lacking(plan)) is not None:
        if not any(each.done for each in plan.results):
            raise error
        warn(str(error))
    return found


sweep.__signature__ = signature(Sweep, "data")  # type: ignore[attr-defined]


def _plan(flags: Mapping[str, Any]) -> Plan:
    """What keywords ask for."""
    asked = taken(Sweep, {name: value for name, value in flags.items() if name != "set"}, CALL)
    common = {name: value for name, value in asked.items() if name in OF_RUNS}
    return Plan.of(_settings(flags.get("set")), spelled(Train, common, CALL), asked)


def _settings(values: Any) -> dict[str, tuple[str, ...]]:
    """What is set, by flag, as the command has it."""
    if not isinstance(values, Mapping):
        texts = [] if values is None else [values] if isinstance(values, str) else list(values)
        return read_settings(list(map(str, texts)))
    found = {}
    for name, several in values.items():
        flag = flag_named(name)
        keyword = flag.replace("-", "_")
        each_of = [taken(Train, {keyword: each}, CALL)[keyword] for each in _listed(several)]
        found[flag] = tuple(dict.fromkeys(map(_text, each_of)))
    return found


def _text(value: Any) -> str:
    """A value as people write it: 1.0 is 1, so that the command finds the same runs."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else written(value)


def _listed(values: Any) -> Iterator[Any]:
    """Several values; one alone is one."""
    several = isinstance(values, Sequence | range) or getattr(values, "shape", ()) != ()
    yield from values if several and not isinstance(values, str) else [values]


def _decode(plan: Plan) -> None:
    """Write the stores of data that this process alone holds, so that the runs find them."""
    from distvae.data.store import open_data
    from distvae.training.run import with_validation_part

    opened = set[DataConfig]()
    for result in plan.results:
        config = with_validation_part(training([*result.point.words]).config).data
        if config not in opened:
            open_data(config, progress_bar)
            opened.add(config)


def _rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """The runs, with what was set as the settings have it."""
    numbers = names_of_numbers(plan.results)
    for result in plan.results:
        words = given(Train, result.point.words, TRAIN)
        keywords = [name.replace("-", "_") for name in result.point.values]
        yield {
            "run": str(result.folder),
            "state": result.state,
            **{name: words[name] for name in keywords},
            **{name: result.numbers[name] for name in numbers if name in result.numbers},
        }
