"""Who may import whom, and what stays light."""

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import distvae

CHECKOUT = Path(__file__).resolve().parent.parent

# Ground floor first. A module imports only floors below its own; modules of one package may import
# each other as long as they go round in no circle.
FLOORS = [
    ["distvae", "errors", "text", "commands"],
    [
        "attributes",
        "choices",
        "lengths",
        "places",
        "usual",
        "usage",
        "hints",
        "ranges",
        "values",
        "packages",
        "consoles",
        "memory",
    ],
    ["parts"],
    ["declarations"],
    ["composed"],
    ["reading", "combinations", "concerns"],
    [
        "config",
        "files",
        "headers",
        "yaml_files",
        "terminal",
        "platform",
        "tensor_cores",
        "blocks",
        "kernels",
        "streams",
        "flags",
        "fields",
    ],
    ["schedules", "keywords", "arrays"],
    ["weight_names"],
    ["labels", "images", "tensors", "weightless", "figures"],
    ["attribute_values"],
    ["asking"],
    ["drawings", "marginals"],
    ["conditions", "gradients"],
    ["batch"],
    ["draws"],
    ["domains"],
    ["records"],
    ["runs"],
    ["curves", "front_matter"],
    ["card", "hub"],
    ["run_facts", "told_settings", "prior_remark"],
    ["data"],
    ["distributions", "spreading"],
    ["networks", "checks", "inference"],
    ["flows", "gaussians"],
    ["posteriors", "likelihoods"],
    ["priors"],
    ["latents"],
    ["composition"],
    ["drawn"],
    ["models"],
    ["players"],
    ["terms"],
    ["objectives", "checkpoint"],
    ["evaluation"],
    ["training"],
    ["export"],
    ["sampling", "fitting", "inspection"],
    ["tools"],
    ["bench"],
    ["recipes"],
    ["arguments"],
    ["sweeps"],
    ["shell_scripts", "completed_values"],
    ["completion"],
    ["samples", "own_loop"],
    ["notebook"],
    ["swept"],
    ["cli"],
    ["__main__"],
]
DATA_FLOORS = [
    ["cache", "identity", "npy", "roots", "factors", "layout", "levels", "views", "scaling"],
    ["deep"],
    ["seen"],
    ["shards", "encoded", "pixels"],
    ["writing"],
    ["sources"],
    ["pictures"],
    ["crops"],
    ["patches"],
    ["streaming", "validation", "decoding", "numeric"],
    ["image_data"],
    ["store_record"],
    ["store", "batches", "hiding"],
    ["ahead", "augmented"],
    ["loaded", "streamed"],
    ["examples", "provenance"],
    ["overview"],
]
"""The same inside ``distvae.data``."""
LIGHT = [
    "config",
    "parts",
    "declarations",
    "composed",
    "fields",
    "recipes",
    "arguments",
    "errors",
    "text",
    "hub",
    "schedules",
    "draws.normals",
    "draws.sequence",
    "draws.order",
    "files",
    "arrays",
    "attributes",
    "labels",
    "images",
    "runs",
    "card",
    "front_matter",
    "figures",
    "flags",
    "usage",
    "hints",
    "completion",
    "completed_values",
    "commands",
    "keywords",
    "packages",
]
EXPORTED = ["manifest", "outline", "inputs", "checksum", "probe", "session", "sampler"]
EXPORTED += ["promised", "encoder", "sample", "scorer", "maps"]
TORCHLESS_TOOLS = ["trained", "examples", "reading", "sources", "pieces", "memory", "given"]
TORCHLESS_TOOLS += ["score", "scoring", "score_pictures", "detection"]
TORCHLESS_TOOLS += [
    "latents",
    "latent_maps",
    "moments",
    "decode",
    "tiling",
    "large",
    "exported_maps",
]
TORCHLESS_TOOLS += ["outputs", "encoding", "embed", "space", "exported_space", "reconstruct"]
TORCHLESS_TOOLS += ["maps", "exported_maps"]
TORCHLESS_TOOLS += [
    "interpolate",
    "paths",
    "smoothness",
    "traverse",
    "planes",
    "manifold",
    "spaces",
]
"""What tools share, but for what computes with weights."""
LIGHT += [
    "tools",
    "sweeps.command",
    "sweeps.udr",
    "terminal",
    "streams",
    "cli",
    "drawings",
    "domains",
    "domains.tables",
    "domains.levelled",
    "sampling",
    "fitting",
    "inspection",
    *(f"tools.{name}" for name in TORCHLESS_TOOLS),
    *(f"export.{name}" for name in EXPORTED),
]
LIGHT = [f"distvae.{name}" for name in LIGHT]
HEAVY = ("torch", "accelerate", "datasets")

WITHOUT_HEAVY = f"""
import importlib, sys
for name in {HEAVY}:
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def sources() -> dict[str, Path]:
    """Every module of the package by name; export/ stands at the top under its own name."""
    found = {}
    for root, package in ((CHECKOUT / "distvae", "distvae"), (CHECKOUT / "export", "")):
        for path in root.rglob("*.py"):
            relative = path.relative_to(root).with_suffix("").parts
            if package and relative[0] == "export":
                continue
            prefix = (package,) if package else ("distvae", "export")
            parts = [*prefix, *relative]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def statements(
    nodes: list[ast.stmt], inside_functions: bool, for_types: bool = False
) -> Iterator[ast.stmt]:
    """Statements that are run; also those for type checkers only where asked for."""
    for node in nodes:
        yield node
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, ast.If) and typed and not for_types:
            yield from statements(node.orelse, inside_functions)
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from statements(getattr(node, field, []), inside_functions, for_types)


def imports(module: str, inside_functions: bool = True, for_types: bool = False) -> set[str]:
    """Modules that a module imports, by their full names."""
    found: set[str] = set()
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    for node in statements(tree.body, inside_functions, for_types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in SOURCES else node.module for name in names}
    return found


def unit(module: str) -> str:
    """The entry of ``FLOORS`` that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def place(name: str, floors: list[list[str]]) -> int:
    """The number of the floor that a name stands on."""
    found = [number for number, units in enumerate(floors) if name in units]
    assert len(found) == 1, f"{name} needs one place in the floors"
    return found[0]


def floor(module: str) -> int:
    return place(unit(module), FLOORS)


def test_the_modules_were_found() -> None:
    assert {"distvae", "distvae.config", "distvae.networks.mlp", "distvae.export"} <= set(SOURCES)
    assert "torch" in imports("distvae.models")
    assert "distvae.priors" in imports("distvae.models")
    assert "distvae.data.sources.columns" in imports("distvae.data.sources.tables")
    assert "distvae.runs" in imports("distvae.arguments")
    assert "distvae.runs" not in imports("distvae.arguments", inside_functions=False)
    assert "distvae.models" not in imports("distvae")
    assert "pyarrow" in imports("distvae.data.sources.text", for_types=True)
    assert len(IN_DATA) > 20


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_modules_and_functions_can_be_read_at_a_glance(module: str) -> None:
    text = SOURCES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            assert node.end_lineno is not None
            assert node.end_lineno - first.lineno < 50, node.name


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_imports_only_floors_below(module: str) -> None:
    for other in sorted(imports(module)):
        if other.split(".")[0] != "distvae":
            continue
        assert other in SOURCES, f"{module} imports {other}, which is not there"
        if unit(other) != unit(module):
            assert floor(other) < floor(module), f"{module} imports {other}"


IN_DATA = sorted(name for name in SOURCES if name.startswith("distvae.data."))


@pytest.mark.parametrize("module", IN_DATA)
def test_data_has_floors_of_its_own(module: str) -> None:
    """Also of what is imported for type checkers only: there a circle hides."""
    own = module.split(".")[2]
    for other in sorted(set(IN_DATA) & imports(module, for_types=True)):
        beneath = other.split(".")[2]
        if beneath != own:
            assert place(beneath, DATA_FLOORS) < place(own, DATA_FLOORS), f"imports {other}"


def test_there_is_no_circle() -> None:
    graph = {name: imports(name) & set(SOURCES) - {name} for name in SOURCES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(SOURCES)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_datasets_is_imported_only_when_it_is_needed(module: str) -> None:
    top = {name.split(".")[0] for name in imports(module, inside_functions=False)}
    assert "datasets" not in top
    if module in [*LIGHT, "distvae", "distvae.export"]:
        assert not top & {*HEAVY, "safetensors", "huggingface_hub", "onnx"}


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_light_modules_need_no_torch() -> None:
    ended = run_python(WITHOUT_HEAVY, "distvae", "distvae.export", *LIGHT)
    assert (ended.returncode, ended.stderr) == (0, "")
    refused = run_python(WITHOUT_HEAVY, "distvae.models")
    assert "import of torch halted" in refused.stderr


def test_light_modules_import_no_torch_where_there_is_one() -> None:
    code = f"""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    ended = run_python(code, "distvae", "distvae.export", *LIGHT)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "", "")


def test_the_sampler_needs_numpy_and_onnxruntime_only() -> None:
    code = """
import sys
for name in ("torch", "onnx", "PIL", "rich", "safetensors"):
    sys.modules[name] = None
from distvae.export import Encoder, Sampler
"""
    ended = run_python(code)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_names_that_need_no_torch_resolve_without_it() -> None:
    code = WITHOUT_HEAVY + "import distvae; distvae.TrainConfig; distvae.DistvaeError; distvae.VAE"
    ended = run_python(code)
    assert "import of torch halted" in ended.stderr
    assert "distvae.models" not in ended.stderr.split("distvae.VAE")[0]


@pytest.mark.parametrize("name", sorted(dir(distvae)))
def test_public_names_resolve(name: str) -> None:
    value = getattr(distvae, name)
    assert name in dir(distvae)
    if name != "__version__":
        home = importlib.import_module(value.__module__)
        assert getattr(home, name) is value


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'VEA'"):
        distvae.VEA  # noqa: B018
