"""Draw from the decoder.onnx beside this script: needs numpy, onnxruntime; for images pillow."""

import argparse
import base64
import csv
import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ENDINGS = {"images": "png", "volumes": "npy", "rows": "csv"}


def check(right: object, message: object) -> None:
    """Where something is not right, say so in one line and end with exit code 2."""
    if not right:
        printable = "".join(it if it.isprintable() else repr(it)[1:-1] for it in str(message))
        argparse.ArgumentParser().exit(2, f"error: {' '.join(printable.split())}\n")


def check_file(path: Path) -> None:
    """Compare a file of up to 200 MB with the SHA-256 in its last 64 bytes, if it has one."""
    beside = path.with_name(f"{path.name}.data")
    size = sum(part.stat().st_size for part in (path, beside) if part.is_file())
    content = path.read_bytes() if size <= 200_000_000 else b""
    if b"distvae.sha256" in content[-84:]:
        digest = hashlib.sha256(content[:-84])
        digest.update(beside.read_bytes() if beside.is_file() else b"")
        check(digest.hexdigest().encode() == content[-64:], f"{path} is damaged: take another copy")


def check_probe(session: Any, manifest: Any, text: str | None) -> None:
    """Compare what this machine draws with what the file says that its graph gives."""
    shape, names, facts = shape_of(manifest), manifest["label_names"], json.loads(text or "{}")
    name, kind = session.get_outputs()[0].name, session.get_outputs()[0].type
    kind = {"(uint8)": "u1", "(uint16)": "<u2", "(float)": "f4"}.get(kind[6:], "i4")
    count = max(1, min(4, 2**14 // int(np.prod(shape[-2:]))))
    inputs = {"noise": standard_normal(0, count, manifest["noise_dim"])}
    inputs |= {"label": np.arange(count) * len(names) // count} if names else {}
    for each, it in zip(session.get_inputs()[1:], manifest.get("attributes", []), strict=False):
        evenly = np.arange(count) * len(it["labels"]) // count
        inputs[each.name] = evenly if it["labels"] else np.full(count, it["mean"], np.float32)
    drawn = session.run([name], inputs)[0].reshape(count, -1)
    step = -(-drawn.shape[1] // 256)
    step = step if step == 1 else step | 1
    drawn = drawn[:, ::step].astype(float)
    kept = np.frombuffer(base64.b64decode(facts.get(name, "")), kind)
    apart = abs(drawn - kept.reshape(drawn.shape)) if text else np.zeros(1)
    white = manifest["domain"].get("levels", 256) - 1
    if kind in ("u1", "<u2"):
        apart *= 255 / white
    elif text:
        scale = np.array(manifest["domain"].get("deviation", 1.0)).reshape(-1)[::step]
        apart /= scale + 1e-4 * abs(kept.reshape(drawn.shape))
    off = apart.reshape(len(apart), -1).mean(axis=1).max()
    most, unmeasured, unit = (0.05, 0.02, "deviations") if kind == "f4" else (6.0, 5.0, "levels")
    right = off <= min(most, facts.get("limits", {}).get(name, unmeasured))
    what = f"other {what_of(manifest)} here, {off:.1f} {unit} off"
    check(right, f"onnxruntime draws {what}: take the float32 file")


def shape_of(manifest: Any) -> Any:
    """Of an example: an image's channels and sides, or the number of columns."""
    return manifest["domain"].get("shape") or [len(manifest["domain"]["columns"])]


def standard_normal(seed: int, count: int, dim: int) -> Any:
    """Noise float32 [count, dim]: Philox's words by counter, made normal by Box and Muller."""
    width = -(-dim // 4) * 4
    words = np.random.Philox(key=seed).random_raw(count * width) >> np.uint64(11)
    one, turn = np.moveaxis(words.reshape(count, -1, 2) * 2.0**-53, -1, 0)
    circle = np.stack([np.cos(2.0 * np.pi * turn), np.sin(2.0 * np.pi * turn)], axis=-1)
    pairs = np.sqrt(-2.0 * np.log(one + 2.0**-53))[..., None] * circle
    return pairs.reshape(count, width)[:, :dim].astype(np.float32)


def what_of(manifest: Any) -> str:
    """What examples are: images, volumes, or rows of a table."""
    name = manifest["domain"]["name"]
    return name if name in ENDINGS else "rows"


def labels_of(text: str, names: list[str]) -> Any:
    """Labels as the graph takes them, of a name or a list of names, numbers and ranges.

    Where all names are whole numbers, a number is a name. A name with a comma stands in quotes.
    """
    whole = [int(name) for name in names if re.fullmatch("-?[0-9]{1,18}", name)]
    numbers = whole if len({*whole}) == len(names) else list(range(len(names)))
    known = {str(number): i for i, number in enumerate(numbers)}
    known |= {name: i for i, name in enumerate(names)}
    parts = [text] if text in known else next(csv.reader([text], skipinitialspace=True))
    for part in (part if part in known else part.strip() for part in parts):
        cuts = [
            (part[:i].strip(), part[i + 1 :].strip()) for i in range(len(part)) if part[i] == "-"
        ]
        ways = [way for way in [(part, part), *cuts] if known.keys() >= {*way}]
        check(ways, f"label {part} is none of {[*known]}")
        low, high = (numbers[known[end]] for end in ways[0])
        check(low <= high, f"label range {part} is empty")
        check(len(ways) == 1 or part in known, f"label range {part} can be read in two ways")
        yield from (numbers.index(it) for it in sorted(numbers) if low <= it <= high)


def rows_of(text: str | None, attributes: Any) -> Any:
    """What is asked for [R, A], NaN where that is not known: every combination.

    Where nothing is asked for, each label of the first attribute.
    """
    names, name = [it["name"] for it in attributes], ""
    columns: dict[str, Any] = {}
    for entry in next(csv.reader([text], skipinitialspace=True)) if text is not None else []:
        head, equals, tail = entry.partition("=")
        named = equals and head.strip() in names
        name, part = (head.strip(), tail) if named else (name, entry)
        check(name, f"say what {entry} is, as in {names[0]}=...: this model is given {names}")
        labels = attributes[names.index(name)]["labels"]
        columns.setdefault(name, []).extend(labels_of(part, labels) if labels else [float(part)])
    places = [place for place, it in enumerate(attributes) if it["labels"]]
    if text is None:
        columns = {it["name"]: [0.0 if it["labels"] else it["mean"]] for it in attributes}
        columns |= {names[place]: range(len(attributes[place]["labels"])) for place in places[:1]}
    for it in attributes:
        check(it["name"] in columns or it["missing"], f"give {it['name']}, which all examples have")
    rows = itertools.product(*(columns.get(name, [np.nan]) for name in names))
    return np.array(list(rows), float)


def values_of(rows: Any, in_turn: Any, count: int) -> Any:
    """What each example is given [N, A], a count of each row; labels of some attributes in turn."""
    values, turn = np.repeat(rows, count, axis=0), np.arange(len(rows) * count) % count
    for place, labels in reversed(in_turn):
        turn, values[:, place] = np.divmod(turn, len(labels))
    return values


def words_of(values: Any, attributes: Any) -> Any:
    """The same in words, a list for each example; nothing for what is not known."""
    for row in values:
        pairs = [*zip(row, [it["labels"] for it in attributes], strict=True)]
        yield ["" if it != it else names[int(it)] if names else f"{it:.9g}" for it, names in pairs]


def sheet_of(images: Any, count: int) -> Any:
    """Images [N, C, H, W], a label or ten in a row, with borders, enlarged for the eye."""
    columns = min(count if 1 < count <= 20 else 10, len(images))
    cells = np.pad(images, ((0, -len(images) % columns), (0, 0), (0, 0), (0, 0)))
    cells = np.pad(cells, ((0, 0), (0, 0), (0, 2), (0, 2)), constant_values=96)
    rows = cells.reshape(-1, columns, *cells.shape[1:]).transpose(0, 3, 1, 4, 2)
    sheet = rows.reshape(-1, columns * cells.shape[3], cells.shape[1])[:-2, :-2]
    factor = max(1, 1000 // max(sheet.shape[:2]))
    return sheet.repeat(factor, axis=0).repeat(factor, axis=1).squeeze()


def write(examples: Any, words: Any, manifest: Any, count: int, output: str) -> None:
    """A PNG sheet, numbers of volumes, or a csv with the label's name, or attributes, last."""
    if what_of(manifest) == "images":
        from PIL import Image

        white = manifest["domain"].get("levels", 256) - 1
        examples = np.rint(examples * (255 / white)).astype(np.uint8)
        Image.fromarray(sheet_of(examples, count)).save(output)
        return
    kind, domain = what_of(manifest), manifest["domain"]
    ending = f".{ENDINGS[kind]}"
    check(output.endswith(ending), f"--output {output}: {kind} are written to a {ending}")
    if kind == "volumes":
        values = domain["lowest"] + domain["step"] * examples[:, 0].astype(float)
        np.save(output, values.astype(domain["kind"]))
        return
    columns, names = manifest["domain"]["columns"], manifest["label_names"]
    label = [] if not names else [next(it for it in ("label", "class", "") if it not in columns)]
    label = [it["name"] for it in manifest.get("attributes", [])] or label
    with Path(output).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*columns, *label])
        for row, given in zip(examples, words, strict=True):
            table.writerow([*(f"{it:.9g}" for it in row), *given])


def read_flags() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.error = lambda message: check(False, message)  # type: ignore
    add, model = parser.add_argument, Path(__file__).with_name("decoder.onnx")
    add(
        "--label",
        help="numbers, names, ranges, lists: 7, shirt, 0-9, 3,1,4; of several "
        "attributes digit=7,colour=red (default: all)",
    )
    add("--count", type=int, default=10, help="images for each label (default: 10)")
    add("--seed", type=int, default=0, help="the same seed gives the same images (default: 0)")
    add("--temperature", type=float, default=1.0, help="below 1: more typical, less diverse")
    add("--output", help=".png sheet of images, .npy of volumes, .csv of rows (default: samples)")
    add("--model", default=str(model), help="ONNX file (default: decoder.onnx beside this script)")
    return parser.parse_args()


def main() -> None:
    """Read the flags, draw, write the sheet or the table."""
    given = read_flags()
    check_file(Path(given.model))
    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    manifest = json.loads(metadata.get("distvae.manifest", "{}"))
    check(manifest.get("graph") == "decoder", f"{given.model} is no decoder of distvae")
    names, attributes = manifest["label_names"], manifest.get("attributes", [])
    check_probe(session, manifest, metadata.get("distvae.probe"))
    asked, in_turn = given.label is not None, []
    if attributes:
        rows = rows_of(given.label, attributes)
        labelled = [(i, it["labels"]) for i, it in enumerate(attributes) if it["labels"]]
        in_turn = [] if asked else labelled[1:]
    else:
        chosen = [*(labels_of(given.label, names) if asked else range(len(names) or 1))]
        rows = np.array(chosen, np.int64)[:, None]
        attributes = [{"labels": names}] if names else []
    total = len(rows) * given.count
    check(total > 0 and 0 <= given.temperature < np.inf, "--count or --temperature is too low")
    size = total * max(int(np.prod(shape_of(manifest))), manifest["noise_dim"])
    check(size <= 2**30, f"--count {given.count}: a sheet holds at most 2**30 numbers")
    values = values_of(rows, in_turn, given.count)
    noise = standard_normal(given.seed, total, manifest["noise_dim"])
    inputs = {"noise": np.float32(given.temperature) * noise}
    for name, it, column in zip(
        [it.name for it in session.get_inputs()[1:]], attributes, values.T, strict=False
    ):
        whole = np.where(np.isnan(column), -1, column)
        inputs[name] = whole.astype(np.int64) if it["labels"] else column.astype(np.float32)
    parts = [{name: it[i : i + 256] for name, it in inputs.items()} for i in range(0, total, 256)]
    drawn = np.concatenate([session.run(None, part)[0] for part in parts])
    output = given.output or f"samples.{ENDINGS[what_of(manifest)]}"
    words = words_of(values[:, : len(attributes)], attributes)
    write(drawn, words, manifest, given.count, output)
    print(f"{total} {what_of(manifest)} in {output}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        check(False, error)
