"""The data of a run, opened by all its processes."""

from pathlib import Path

from accelerate import Accelerator

from distvae.config import TrainConfig
from distvae.data.provenance import check_same, located
from distvae.data.store import ImageData, open_data
from distvae.records import RunRecord
from distvae.terminal import make_console, progress_bar
from distvae.training.filling import with_labels
from distvae.training.world import on_main, together


def open_together(
    config: TrainConfig,
    accelerator: Accelerator,
    folder: Path,
    record: RunRecord | None,
) -> ImageData:
    """The images; the main process comes first, as it may have to decode them.

    Args:
        config: of the run; a conditional model sees labelled images only.
        accelerator: with its process group up.
        folder: of the run.
        record: config.json of a run that is gone on with.

    Raises:
        DistvaeError: there are none, or they are not those of the run.
    """
    main, settings = accelerator.is_main_process, config.data
    where = together(accelerator, lambda: located(settings, record, folder) if record else settings)
    first = together(accelerator, lambda: open_data(where, progress_bar) if main else None)
    data = together(accelerator, lambda: first or open_data(where))
    data = with_labels(data, config, accelerator, folder if record else None)
    if config.model.model == "cvae" and not data.attributes:
        whole = config.objective.objective == "m2"
        data = together(accelerator, lambda: data.labelled(whole_training=whole))
    if record is None:
        for note in data.notes:
            make_console(quiet=not main).print(f"data: {note}")
    else:
        for note in on_main(accelerator, lambda: check_same(data, settings, record, folder)):
            make_console(quiet=not main).print(note)
    return data
