"""What a sweep says and writes at its end: a table, a picture, and which run is best."""

from collections.abc import Sequence
from pathlib import Path

from distvae.figures import figure_of, heading
from distvae.files import write_text
from distvae.runs import is_run
from distvae.sweeps.picture import write_picture
from distvae.sweeps.results import (
    UDR,
    Result,
    best_of,
    lower_is_better,
    numbers_in,
    rows_for_people,
    rows_for_programs,
)
from distvae.terminal import make_console, say, table
from distvae.text import counted, markdown_table
from distvae.tools.outputs import write_csv


def tell(folder: Path, results: list[Result], by: str) -> None:
    """Print the table; write sweep.md, sweep.csv and sweep.png.

    Args:
        folder: of the sweep.
        results: in its order; their numbers are read here.
        by: the number that names the best.
    """
    splits = set()
    for result in results:
        if is_run(result.folder):
            result.numbers, split = numbers_in(result.folder, by)
            splits.add(split)
    if by == UDR:
        from distvae.sweeps.ranking import rank

        rank(results)
    rows, best = rows_for_people(results, by), best_of(results, by)
    make_console().print(
        table(f"{counted(len(results), 'runs')}, the best first", rows, header=True)
    )
    said = _said(results, best, by, " and ".join(sorted(splits)))
    text = markdown_table(rows[0], rows[1:])
    write_text(folder / "sweep.md", f"# {folder.name}\n\n{said}\n\n{text}")
    write_csv(folder / "sweep.csv", *rows_for_programs(results))
    write_picture(folder / "sweep.png", results, by)
    say(said)
    say(f"written to {folder}: sweep.md, sweep.csv, sweep.png")


def _said(results: Sequence[Result], best: Result | None, by: str, split: str) -> str:
    name = heading(by)
    if best is None:
        return f"no run has {name}, so none is best"
    way = "lowest" if lower_is_better(by) else "highest"
    count = sum(by in each.numbers for each in results)
    told = f"best by {name} ({way} of {count}): {best.folder} with {figure_of(by, best.numbers)}"
    if by == UDR:
        return f"{told}; chosen without labels"
    flatters = ", on which it looks a little better than it is" if split == "test" else ""
    return f"{told}; chosen on the {split} split{flatters}"
