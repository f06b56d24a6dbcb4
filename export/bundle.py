"""What lies beside the exported files for whoever deploys them: a README and a sampling script."""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from rich.table import Table

from distvae.card import TABLE, measured
from distvae.domains.levels import LEVELS
from distvae.export import maps, scorer
from distvae.export.manifest import Manifest
from distvae.export.parity import Parity
from distvae.export.session import read_manifest
from distvae.figures import headlines, rows_of
from distvae.files import write_text
from distvae.labels import label_index, numbers_of
from distvae.text import markdown, markdown_table, printable

README, SCORE = "README.md", "score.onnx"
SCRIPT = "sample.py"
HEADINGS = ("file", "size", "error", "mean", "levels", "{}/s", "judge")
MNIST_LICENCE = "MNIST is by Y. LeCun, C. Cortes and C. Burges and licensed CC BY-SA 3.0."
PAGE = """`web/` is a page that draws in a browser, without network or server code:

```
python -m http.server --directory web
```

"""
USUAL = {"decoder": (0.5, 0.005), "encoder": (1.0, 0.05)}
"""Largest and mean error up to which a smaller file stands for the model; trained networks in
integers stay below half of it (see ``tests/benchmarks/README.md``), those with steep weights do
not: a pixel of theirs is black or white by a hair."""
OTHER_LICENCE = "What the model may be used for depends on the licence of that data."


@dataclass(frozen=True)
class Row:
    """What is known of one exported file."""

    name: str
    size: int
    """Bytes, with the weights that lie beside it."""
    parity: Parity
    images_per_second: float | None = None
    """Of a decoder: 1024 images at once, on this machine."""
    judged: dict[str, float] | None = None
    """Of a decoder: share of its images that a judge takes for their label, by name."""

    def cells(self) -> list[str]:
        """What a table says of it, as in ``HEADINGS``."""
        drawn, judged = self.images_per_second, self.judged
        return [
            self.name,
            f"{self.size / 1e6:,.2f} MB",
            f"{self.parity.error:.1e}",
            f"{self.parity.mean_error:.1e}",
            "" if self.parity.grey_levels is None else str(self.parity.grey_levels),
            "" if drawn is None else f"{drawn:,.0f}",
            f"{sum(judged.values()) / len(judged):.2%}" if judged else "",
        ]


def coarse(row: Row) -> str:
    """One line on a file that is further from the model than is usual, else empty."""
    most, most_mean = USUAL["encoder" if row.images_per_second is None else "decoder"]
    error, mean = row.parity.error, row.parity.mean_error
    if error <= most and mean <= most_mean:
        return ""
    exact = re.sub("-[a-z0-9]+[.]onnx$", ".onnx", row.name)
    return (
        f"{row.name} is off by {error:.2g} at most and {mean:.2g} on average, where up to {most:g} "
        f"and {most_mean:g} are usual: its numbers are too coarse for this model, so use {exact}"
    )


def price_table(title: str, rows: Sequence[Row], examples: str) -> Table:
    """Error, size and speed of every file that draws these examples."""
    return _table(title, _headings(examples), [row.cells() for row in rows])


def _headings(examples: str) -> tuple[str, ...]:
    """``HEADINGS`` with what is drawn."""
    return tuple(it.format(examples) for it in HEADINGS)


def label_table(rows: Sequence[Row]) -> Table:
    """Judge accuracy by label of every decoder, the first one's worst label on top."""
    decoders = {row.name: row.judged for row in rows if row.judged}
    first = next(iter(decoders.values()))
    lines = [
        [name, *(f"{shares[name]:.1%}" for shares in decoders.values())]
        for name in sorted(first, key=lambda name: first[name])
    ]
    return _table("judge accuracy by label", ("label", *decoders), lines)


def write_bundle(folder: Path, rows: Sequence[Row], run: Path, page: bool) -> None:
    """Write README.md and sample.py beside ``decoder.onnx``.

    Args:
        folder: where decoder.onnx is.
        rows: what is known of the files.
        run: the run folder that they come from.
        page: whether there is a page that draws.
    """
    here = Path(__file__).parent
    shutil.copyfile(here / SCRIPT, folder / SCRIPT)
    manifest = read_manifest(folder / "decoder.onnx")
    template = Template((here / _template(manifest)).read_text(encoding="utf-8"))
    facts = {
        "posterior_rows": _of_posteriors(read_manifest(folder / "encoder.onnx")),
        "name": markdown(run.resolve().name),
        "page": PAGE if page else "",
        "scorer": scorer.readme_lines(folder / SCORE) if (folder / SCORE).is_file() else "",
        "maps": maps.readme_lines(folder),
        "files": _markdown(_headings(manifest.domain.examples), [row.cells() for row in rows]),
        "remarks": "".join(f"{remark}.\n\n" for row in rows if (remark := coarse(row))),
        "images": f"{rows[0].parity.images:,}",
        "tested": _tested(rows_of(headlines(measured(run)), manifest.domain.examples)),
    }
    write_text(folder / README, template.substitute(_of_manifest(manifest), **facts))


def _tested(rows: Sequence[Sequence[str]]) -> str:
    """A few figures of the model, and where the others are."""
    if not rows:
        return ""
    return (
        f"On the test split; `distvae evaluate` writes all figures into `{TABLE}` of the run:\n\n"
        f"{_markdown(('', ''), rows)}\n"
    )


def _template(manifest: Manifest) -> str:
    """The README of what is looked at speaks of pictures, others of volumes or of numbers."""
    traits = manifest.domain.part.traits
    if "pictures" in traits:
        return "readme.md"
    return "volumes.md" if "grid" in traits else "rows.md"


def _plain(fact: object) -> str:
    return " x ".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)


def _of_manifest(manifest: Manifest) -> dict[str, object]:
    """What the template's words stand for, as far as the file itself tells."""
    domain, shape = manifest.domain, manifest.example.shape
    header, *scales = domain.scales or [()]
    bundled = manifest.data["source"] == "bundled mnist"
    return {
        "what": f"A{' conditional' if manifest.conditional else ''} variational autoencoder",
        "image": "x".join(map(str, shape)),
        "shape": ", ".join(map(str, shape)),
        "columns": markdown_table(header, scales) if scales else "",
        "examples": domain.examples,
        "type": domain.dtype,
        "white": (domain.levels or 1) - 1,
        "ready": ", ready to show" if domain.levels == LEVELS else "",
        "array": domain.dtype.capitalize().replace("int", "Int").replace("Uint", "Uint"),
        "tensor": domain.tensor,
        "ending": next(iter(domain.writers)),
        "opset": manifest.opset,
        "noise_dim": manifest.noise_dim,
        "data": markdown(str(manifest.data["source"])),
        "fingerprint": markdown(str(manifest.data["fingerprint"])),
        "licence": MNIST_LICENCE if bundled else OTHER_LICENCE,
        "network": manifest.network,
        "prior": manifest.prior,
        "likelihood": manifest.likelihood,
        "weights": manifest.weights_sha256,
        "versions": ", ".join(f"{name} {it}" for name, it in sorted(manifest.versions.items())),
        **{f"domain_{name}": _plain(fact) for name, fact in domain.record().items()},
        **(_of_attributes(manifest) if manifest.attributes else _of_labels(manifest.label_names)),
    }


def _of_posteriors(manifest: Manifest) -> str:
    """A line for each level of the latents."""
    lines = []
    for number, (level, parts) in enumerate(manifest.posteriors.items()):
        names = ", ".join(f"`{markdown(name)}`" for name in parts)
        sides = ", ".join(map(str, ("batch", *next(iter(parts.values())))))
        of = f"level {markdown(level)} of " if len(manifest.posteriors) > 1 else ""
        given = ", given the means of the levels above" if number else ""
        lines.append(
            f"| output {names} | float32 `[{sides}]` | the posterior of {of}the latents{given} |\n"
        )
    if manifest.codes is not None:
        sides = ", ".join(map(str, ("batch", *manifest.codes.grid)))
        lines.append(
            f"| output `codes` | int64 `[{sides}]` | the codes, numbers of rows of the book |\n"
            f"| output `book` | float32 `[{manifest.codes.book}, {manifest.codes.width}]` | what "
            "each code stands for, the same for every input |\n"
        )
    if manifest.gives_noise:
        lines.append(
            f"| output `noise` | float32 `[batch, {manifest.noise_dim}]` | what the decoder turns "
            "into the reconstruction |\n"
        )
    return "".join(lines)


def _of_labels(names: tuple[str, ...]) -> dict[str, object]:
    """What is there only in a model with labels; its last label serves as the example."""
    if not names:
        words = ("asked", "label_row", "label_table", "python_label", "sampler_label")
        more = ("javascript_label", "cpp_label", "cpp_value", "cpp_name")
        return {**dict.fromkeys((*words, *more), ""), "inputs": 1}
    last = len(names) - 1
    number = int(numbers_of(names)[last])
    numbered_so = label_index(str(number), names) == last  # a name goes before a number
    word = str(number) if numbered_so else shlex.quote(printable(names[last]))
    numbered = [[str(number), name] for number, name in enumerate(names)]
    return {
        "asked": f"--label {word} ",
        "label_row": f"| input `label` | int64 `[batch]` | 0 to {last} |\n",
        "label_table": f"{_markdown(('label', 'name'), numbered)}\n",
        "python_label": f', "label": np.full(16, {last})',
        "sampler_label": f"labels=[{number}], ",
        "javascript_label": (
            f', label: new ort.Tensor("int64", new BigInt64Array(16).fill({last}n), [16])'
        ),
        "cpp_label": f", label(16, {last}), label_shape{{16}}",
        "cpp_value": (
            ", Ort::Value::CreateTensor<int64_t>(cpu, label.data(), 16, label_shape.data(), 1)"
        ),
        "cpp_name": ', "label"',
        "inputs": 2,
    }


def _of_attributes(manifest: Manifest) -> dict[str, object]:
    """What is there only in a model of several attributes; their last labels are the example."""
    rows, tables, python, javascript, cpp = "", "", "", "", ""
    values, names, asked = "", "", {}
    for number, ((name, kind), each) in enumerate(
        zip(manifest.given.items(), manifest.attributes, strict=True)
    ):
        quoted, last = json.dumps(name), len(each.labels) - 1
        gap = f", {'-1' if each.labels else 'NaN'} where it is not known" if each.missing else ""
        span = f"0 to {last}" if each.labels else f"a number, about {each.mean:.4g}"
        rows += f"| input `{markdown(name)}` | {kind} `[batch]` | {span}{gap} |\n"
        if each.labels:
            numbered = [[str(index), label] for index, label in enumerate(each.labels)]
            tables += f"{_markdown((name, 'name'), numbered)}\n"
            asked[each.name] = each.labels[-1]
            python += f", {quoted}: np.full(16, {last})"
            filled = f'int64", new BigInt64Array(16).fill({last}n)'
        else:
            asked[each.name] = f"{each.mean:.4g}"
            python += f", {quoted}: np.full(16, {each.mean:.4g}, np.float32)"
            filled = f'float32", new Float32Array(16).fill({each.mean:.4g})'
        javascript += f', {quoted}: new ort.Tensor("{filled}, [16])'
        word, value = ("int64_t", last) if each.labels else ("float", f"{each.mean:.4g}")
        cpp += f"; std::vector<{word}> given{number}(16, {value})"
        values += (
            f", Ort::Value::CreateTensor<{word}>(cpu, given{number}.data(), 16, "
            "label_shape.data(), 1)"
        )
        names += f", {quoted}"
    flag = shlex.quote(",".join(f"{name}={printable(value)}" for name, value in asked.items()))
    return {
        "asked": f"--label {flag} ",
        "label_row": rows,
        "label_table": tables,
        "python_label": python,
        "sampler_label": f"labels={asked!r}, ",
        "javascript_label": javascript,
        "cpp_label": f"; std::vector<int64_t> label_shape{{16}}{cpp}",
        "cpp_value": values,
        "cpp_name": names,
        "inputs": 1 + len(manifest.attributes),
    }


def _table(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A table for the terminal without the columns that are empty."""
    table = Table(title=title, title_justify="left")
    kept = [number for number in range(len(headings)) if any(line[number] for line in lines)]
    for number in kept:
        table.add_column(headings[number], justify="right" if number else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(line[number] for number in kept))
    return table


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The same for a README."""
    kept = [number for number in range(len(headings)) if any(line[number] for line in lines)]
    shown = [[line[number] for number in kept] for line in (headings, *lines)]
    return markdown_table(shown[0], shown[1:])
