"""The page of an export, in a real browser that sees nothing but this machine."""

import base64
import functools
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export import web
from distvae.export.convert import decoder_graph, write_graph
from distvae.export.sampler import Sampler
from tests.conftest import flip_a_bit
from tests.draws.test_philox import PUBLISHED
from tests.export.browser import CHROMIUM, Browser, Page
from tests.export.pages import (
    IDLE,
    IMAGE,
    MODELS,
    SAMPLES,
    STRANGE,
    Quiet,
    assert_same,
    check_layout,
    draw,
    enter,
    manifest,
    pixels,
    slide,
    write_decoder,
)
from tests.export.test_attributes import ORIGIN as NO_ORIGIN
from tests.export.test_attributes import random_model

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each model, and beside it one whose decoder is damaged."""
    root = tmp_path_factory.mktemp("site")
    for name, model in MODELS.items():
        decoder = write_decoder(root / f"{name}.onnx", manifest(*model))
        (root / name).mkdir()
        web.write_page(decoder, root / name)
    write_graph(decoder_graph(random_model("normal", "modulate"), NO_ORIGIN), root / "given.onnx")
    (root / "given").mkdir()
    web.write_page(root / "given.onnx", root / "given")
    return root


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens a model's page; in the end nothing was complained of and nothing asked of others."""
    opened: list[Page] = []

    def begin(name: str, width: int = 1400, height: int = 900) -> Page:
        page = Page(browser, f"{address}/{name}/", width, height)
        opened.append(page)
        page.wait(IDLE)
        return page

    yield begin
    for page in opened:
        assert page.complaints() == []
        asked = [url for url in page.requests() if not url.startswith(("data:", "blob:"))]
        assert len(asked) > 5
        assert [url for url in asked if not url.startswith(f"{address}/")] == []
        page.close()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dim", [1, 2, 5, 16, 256])
def test_noise_is_that_of_python(open_page: Open, dim: int) -> None:
    page = open_page("plane")
    for seed in (0, 5, 2**53 + 1, 2**64 - 1, 2**100 + 7):
        script = f"""import("./noise.js").then(({{ standardNormal }}) =>
            [0, 1, 23, 100000].map((number) => [...standardNormal({seed}n, number, {dim})]))"""
        found = np.array(page.run(script), np.float64)
        expected = np.concatenate([standard_normal(seed, n, 1, dim) for n in (0, 1, 23, 100000)])
        # the two logarithms and sines may differ in the last of 53 bits, the rounded rarely do
        np.testing.assert_array_almost_equal_nulp(found.astype(np.float32), expected, 1)
        assert (found == expected).mean() > 0.99


@needs_browser
def test_words_are_those_that_random123_publishes(open_page: Open) -> None:
    page = open_page("plane")
    for counter, key, expected in PUBLISHED:
        whole = sum(word << 64 * place for place, word in enumerate(counter))
        script = f"""import("./noise.js").then(({{ philox }}) =>
            philox({key[0] + (key[1] << 64)}n, {whole}n).map(String))"""
        assert tuple(map(int, page.run(script))) == expected


@needs_browser
def test_each_attribute_has_its_controls(open_page: Open, site: Path) -> None:
    page, sampler = open_page("given"), Sampler(site / "given.onnx")
    shape = (3, 4, 4)

    def expected(**labels: object) -> Any:
        return sampler.sample(labels=labels, count=1)[0]

    def chosen(place: int, word: str) -> str:
        section = "#labels" if place == 0 else f"#labels-{place}"
        return f"""[...document.querySelectorAll("{section} .chip")].find(
            (chip) => chip.textContent === "{word}").querySelector("input")"""

    found = pixels(page, IMAGE, shape)
    assert_same(found, expected(place="left", noise="red", light=0.5))
    page.click(chosen(1, "blue"))
    page.click(chosen(0, "any"))
    assert_same(pixels(page, IMAGE, shape), expected(noise="blue", light=0.5))
    slide(page, "document.querySelector('#labels-2 input[type=range]')", 0.95)
    assert_same(pixels(page, IMAGE, shape), expected(noise="blue", light=0.95))
    words = page.run("document.querySelector('#command').textContent")
    assert "--label 'noise=blue,light=0.95'" in words
    page.click(chosen(2, "any"))
    assert_same(pixels(page, IMAGE, shape), expected(noise="blue"))
    assert page.run("document.querySelector('#shown-label').textContent") == (
        "place any, noise blue, light any"
    )
    page.press("1")
    assert_same(pixels(page, IMAGE, shape), expected(place="right", noise="blue"))


@needs_browser
def test_a_chosen_label_is_drawn(open_page: Open, site: Path) -> None:
    shape, dim, _ = MODELS["digits"]
    page = open_page("digits")
    noise = standard_normal(0, 0, 1, dim)
    before = pixels(page, IMAGE, shape)
    assert_same(before, draw(site / "digits.onnx", noise, 0)[0])
    page.click("document.querySelectorAll('.chip input')[7]")
    after = pixels(page, IMAGE, shape)
    assert (before != after).any()
    assert_same(after, draw(site / "digits.onnx", noise, 7)[0])
    assert "7" in page.run("document.querySelector('#caption').innerText")


@needs_browser
def test_samples_are_those_of_the_command(open_page: Open, site: Path) -> None:
    shape, dim, _ = MODELS["digits"]
    page = open_page("digits")
    page.press("3")
    enter(page, "#seed", "5")
    slide(page, "document.querySelector('#temperature')", 0.7)
    noise = np.float32(0.7) * standard_normal(5, 0, SAMPLES, dim)
    expected = draw(site / "digits.onnx", noise, 3)
    for number in range(SAMPLES):
        canvas = f"document.querySelectorAll('#samples canvas')[{number}]"
        assert_same(pixels(page, canvas, shape), expected[number])
    page.click("document.querySelectorAll('#samples button')[11]")
    assert_same(pixels(page, IMAGE, shape), expected[11])
    command = page.run("document.querySelector('#command').textContent")
    assert command == "distvae sample --label 3 --count 24 --seed 5 --temperature 0.7"


@needs_browser
def test_a_wrong_seed_is_told_and_changes_nothing(open_page: Open) -> None:
    shape, *_ = MODELS["digits"]
    page = open_page("digits")
    before = pixels(page, IMAGE, shape)
    for wrong in ("-1", "1.5", "x", str(2**128)):
        enter(page, "#seed", wrong)
        assert not page.run("document.querySelector('#seed').validity.valid")
        assert (pixels(page, IMAGE, shape) == before).all()


@needs_browser
def test_the_plane_moves_a_model_of_two_dimensions(open_page: Open, site: Path) -> None:
    shape, *_ = MODELS["plane"]
    page = open_page("plane")
    assert page.run("document.querySelector('#labels').hidden")
    x, y = page.middle("document.querySelector('#plane')")
    page.mouse("mousePressed", x, y)
    page.mouse("mouseMoved", x + 40, y - 60)
    page.mouse("mouseReleased", x + 40, y - 60)
    side = page.run("document.querySelector('#plane').clientWidth")
    noise = np.array([[40, 60]], np.float32) * np.float32(6 / side)
    values = page.run("[...document.querySelectorAll('.slider input')].map((s) => Number(s.value))")
    np.testing.assert_allclose(values, noise[0], atol=0.02)
    assert_same(pixels(page, IMAGE, shape), draw(site / "plane.onnx", noise, None)[0])
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):  # the plane has the focus
        page.press(key)
    noise += np.array([[0.05, -0.1]], np.float32)
    assert_same(pixels(page, IMAGE, shape), draw(site / "plane.onnx", noise, None)[0])
    assert not page.run("document.querySelector('.axes').checkVisibility()")


@needs_browser
def test_the_plane_moves_the_two_dimensions_that_were_chosen(open_page: Open, site: Path) -> None:
    shape, dim, _ = MODELS["colour"]
    page = open_page("colour")
    page.press("r")
    assert page.run("document.querySelector('.axes').checkVisibility()")
    for axis, number in (("x", 7), ("y", 0), ("x", 0)):  # at last 0 across, 7 up
        chosen = f"document.querySelector('#axis-{axis}')"
        page.run(f"{chosen}.value = {number}; {chosen}.dispatchEvent(new Event('change'))")
    page.run("document.querySelector('#plane').focus()")
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):
        page.press(key)
    noise = np.zeros((1, dim), np.float32)
    noise[0, [0, 7]] = -0.05, 0.1
    assert_same(pixels(page, IMAGE, shape), draw(site / "colour.onnx", noise, 0)[0])
    values = page.run("[...document.querySelectorAll('.slider output')].map((o) => o.value)")
    assert (values[0], values[7], values[1]) == ("\u22120.05", "0.10", "0.00")


@needs_browser
def test_the_plane_shows_what_lies_on_it(open_page: Open, site: Path) -> None:
    (_, height, width), *_ = MODELS["plane"]
    page = open_page("plane")
    cells = 11
    found = pixels(page, "document.querySelector('#map')", (1, cells * height, cells * width))
    values = (np.arange(cells, dtype=np.float32) + 0.5) * 6 / cells - 3
    points = [(across, up) for up in -values for across in values]
    noise = np.array(points, np.float32)
    images = draw(site / "plane.onnx", noise, None).reshape(cells, cells, height, width)
    assert_same(found[0], np.block([[*row] for row in images]))


@needs_browser
def test_sliders_move_one_dimension_each(open_page: Open, site: Path) -> None:
    shape, dim, _ = MODELS["colour"]
    page = open_page("colour")
    page.press("r")
    noise = np.zeros((1, dim), np.float32)
    assert_same(pixels(page, IMAGE, shape), draw(site / "colour.onnx", noise, 0)[0])
    for number, value in ((0, 1.5), (18, -2.25)):
        slide(page, f"document.querySelectorAll('.slider input')[{number}]", value)
        noise[0, number] = value
    assert_same(pixels(page, IMAGE, shape), draw(site / "colour.onnx", noise, 0)[0])


@needs_browser
def test_a_single_dimension_has_a_slider_and_no_plane(open_page: Open, site: Path) -> None:
    shape, *_ = MODELS["line"]
    page = open_page("line")
    assert not page.run("document.querySelector('#plane').checkVisibility()")
    slide(page, "document.querySelector('.slider input')", -1.5)
    expected = draw(site / "line.onnx", np.array([[-1.5]], np.float32), 0)[0]
    assert_same(pixels(page, IMAGE, shape), expected)


@needs_browser
def test_strange_label_names_are_shown_as_they_are(open_page: Open, site: Path) -> None:
    shape, dim, names = MODELS["colour"]
    page = open_page("colour")
    chips = "[...document.querySelectorAll('.chip')]"
    assert page.run(f"{chips}.map((chip) => chip.textContent)") == list(names)
    assert page.run("document.querySelectorAll('.chip b, main script').length") == 0
    noise = standard_normal(0, 0, 1, dim)
    for key, label in (("ArrowRight", 1), ("4", 4), ("7", 5), ("ArrowRight", 0), ("ArrowLeft", 5)):
        page.press(key)  # the label that is called 7 is number 5
        assert_same(pixels(page, IMAGE, shape), draw(site / "colour.onnx", noise, label)[0])
    command = page.run("document.querySelector('#command').textContent")
    assert command == "distvae sample --label 7 --count 24 --seed 0"
    for word in (
        " '<b>&\"x\"'",
        " '<script>alert(1)</script>'",
        " 'a, b'",
        " '  '",
        " 'été 日本'",
    ):
        page.press("ArrowRight")
        command = page.run("document.querySelector('#command').textContent")
        assert command == f"distvae sample --label{word} --count 24 --seed 0"


@needs_browser
def test_a_number_is_a_name_where_all_names_are_numbers(open_page: Open, site: Path) -> None:
    shape, dim, names = MODELS["numbers"]
    page = open_page("numbers")
    noise = standard_normal(0, 0, 1, dim)
    for keys, label in (("2", 1), ("0", 1), ("1", 0), ("100", 3)):
        for key in keys:
            page.press(key)
        assert_same(pixels(page, IMAGE, shape), draw(site / "numbers.onnx", noise, label)[0])
        shown = page.run("document.querySelector('#shown-label').textContent")
        command = page.run("document.querySelector('#command').textContent")
        assert shown == names[label]
        assert command == f"distvae sample --label {names[label]} --count 24 --seed 0"
    page.press("ArrowLeft")
    assert "--label 10 " in page.run("document.querySelector('#command').textContent")


@needs_browser
@pytest.mark.parametrize("key", ["n", " "])
def test_a_key_draws_new_noise(open_page: Open, site: Path, key: str) -> None:
    shape, dim, _ = MODELS["digits"]
    page = open_page("digits")
    page.press(key)
    seed = int(page.run("document.querySelector('#seed').value"))
    assert seed != 0
    expected = draw(site / "digits.onnx", standard_normal(seed, 0, 1, dim), 0)[0]
    off = pixels(page, IMAGE, shape).astype(int) - expected.astype(int)  # of little contrast, maybe
    assert np.abs(off).max() <= 1


@pytest.mark.slow
@needs_browser
def test_a_thousand_labels_and_a_large_image(open_page: Open, site: Path) -> None:
    shape, dim, names = MODELS["many"]
    page = open_page("many")
    assert page.run("document.querySelectorAll('.chip:not([hidden])').length") == 12
    enter(page, "#labels input[type=search]", "number 999 ")
    shown = page.run("[...document.querySelectorAll('.chip:not([hidden])')].map((c) => c.title)")
    assert shown == [names[999]]
    page.click("document.querySelector('.chip:not([hidden]) input')")
    noise = standard_normal(0, 0, 1, dim)
    assert_same(pixels(page, IMAGE, shape), draw(site / "many.onnx", noise, 999)[0])
    assert page.run("document.querySelectorAll('.slider').length") == dim


@needs_browser
def test_the_shown_image_is_saved(
    open_page: Open, site: Path, browser: Browser, tmp_path: Path
) -> None:
    shape, dim, _ = MODELS["colour"]
    page = open_page("colour")
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.press("5")
    page.wait(IDLE)
    page.click("document.querySelector('#save')")
    path = tmp_path / "7-seed-0-image-0.png"
    for _ in range(500):
        if path.is_file():
            break
        page.run("new Promise((done) => setTimeout(done, 10))")
    with Image.open(path) as image:
        found = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    noise = standard_normal(0, 0, 1, dim)
    assert_same(found, draw(site / "colour.onnx", noise, 5)[0])
    assert (found == pixels(page, IMAGE, shape)).all()


CUT_OFF = """[...document.querySelectorAll('main *')].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.left < 0 || box.right > innerWidth);
}).map((element) => element.outerHTML.slice(0, 80))"""


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("name", ["line", "plane", "colour", "many", "given"])
def test_nothing_is_cut_off_on_any_width(open_page: Open, name: str) -> None:
    page = open_page(name)
    for width in (360, 640, 768, 992, 1600):
        page.resize(width, 900)
        check_layout(page)
        assert page.run(CUT_OFF) == []


@needs_browser
def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page("colour")
    page.send("Accessibility.enable")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "radio", "textbox", "searchbox", "combobox", "img", "radiogroup")
    found = [node for node in nodes if node["role"]["value"] in roles and not node["ignored"]]
    assert len(found) > SAMPLES + 19
    unnamed = [node["role"] for node in found if not node["name"]["value"]]
    assert unnamed == []


@needs_browser
def test_a_page_opened_as_a_file_says_what_to_do(browser: Browser, site: Path) -> None:
    page = Page(browser, (site / "plane" / "index.html").as_uri())
    page.wait("document.querySelector('#notice code')?.checkVisibility() === true")
    page.wait("getComputedStyle(document.querySelector('#notice .stuck')).opacity === '1'")
    assert "python -m http.server" in page.run("document.body.innerText")
    assert not page.run("document.querySelector('#page').checkVisibility()")
    page.close()


@needs_browser
@pytest.mark.parametrize("trouble", ["missing", "cut short", "flipped"])
def test_a_decoder_that_cannot_be_had_is_told(
    browser: Browser, address: str, site: Path, tmp_path: Path, trouble: str
) -> None:
    folder = site / trouble
    folder.mkdir()
    web.write_page(site / "plane.onnx", folder)
    decoder = folder / "decoder.onnx"
    content = decoder.read_bytes()
    decoder.unlink()
    if trouble == "cut short":
        decoder.write_bytes(content[: len(content) // 2])
    if trouble == "flipped":
        decoder.write_bytes(content)
        flip_a_bit(decoder)
    page = Page(browser, f"{address}/{trouble}/")
    page.wait("document.querySelector('#notice.error') !== null")
    shown = page.run("document.body.innerText")
    assert "This page cannot draw" in shown
    assert "Loading" not in shown
    words = "the server answered 404" if trouble == "missing" else "as it was exported"
    assert f"decoder.onnx did not arrive{':' if trouble == 'missing' else ''} {words}" in shown
    page.close()


@needs_browser
@pytest.mark.parametrize(("name", "limit"), [("digits", 2.0), ("colour", 6.0), ("many", 1e9)])
def test_a_browser_that_computes_other_images_is_told(
    browser: Browser, address: str, site: Path, name: str, limit: float
) -> None:
    """Every value of the probe is another by 9, so that what the browser computes is."""
    folder = site / f"{name}-otherwise"
    folder.mkdir()
    web.write_page(site / f"{name}.onnx", folder)
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    kept = np.frombuffer(base64.b64decode(facts["probe"]["image"]), np.uint8)
    off = np.where(kept > 100, kept - 9, kept + 9).astype(np.uint8)
    facts["probe"] = {"image": base64.b64encode(off.tobytes()).decode(), "limits": {"image": limit}}
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    page = Page(browser, f"{address}/{folder.name}/")
    page.wait("document.querySelector('#notice.error') !== null")
    assert "computes other images, 9.0 grey levels off" in page.run("document.body.innerText")
    page.close()


def test_the_folder_is_complete(site: Path) -> None:
    folder = site / "colour"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"index.html", "style.css", "decoder.onnx", "manifest.json"} <= files
    *scripts, large = web.RUNTIME_FILES
    assert {f"ort/{name}" for name in (*scripts, f"{large}.gz", "LICENSE.txt")} <= files
    assert f"ort/{large}" not in files
    assert (folder / "decoder.onnx").read_bytes() == (site / "colour.onnx").read_bytes()
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["label_names"] == list(STRANGE)
    digest = hashlib.sha256((site / "colour.onnx").read_bytes()).digest()
    integrity = told["integrity"]["decoder.onnx"].removeprefix("sha256-")
    assert base64.b64decode(integrity) == digest
    for path in folder.glob("*.*"):
        if path.suffix in (".js", ".css", ".html"):
            text = path.read_text(encoding="utf-8").replace("http://localhost:8000", "")
            assert re.findall(r"https?://", text) == [], path


def test_the_licence_tells_the_version_of_the_runtime(site: Path) -> None:
    runtime = (site / "colour" / "ort" / "ort.wasm.min.mjs").read_text(encoding="utf-8")
    found = re.search(r"ONNX Runtime Web v([\d.]+)", runtime)
    assert found is not None
    licence = (site / "colour" / "ort" / "LICENSE.txt").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert f"version {found[1]}, " in licence


def test_an_encoder_draws_nothing(tmp_path: Path) -> None:
    path = write_decoder(tmp_path / "e.onnx", manifest((1, 8, 8), 2, (), graph="encoder"))
    folder = tmp_path / "web"
    folder.mkdir()
    with pytest.raises(DistvaeError, match=r"e\.onnx is an encoder: a page needs a decoder"):
        web.write_page(path, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("trouble", ["damaged", "missing"])
def test_a_runtime_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    packed = tmp_path / "runtime.zip"
    if trouble == "damaged":
        content = bytearray(web.RUNTIME.read_bytes())
        content[1000] ^= 1
        packed.write_bytes(content)
    monkeypatch.setattr(web, "RUNTIME", packed)
    decoder = write_decoder(tmp_path / "d.onnx", manifest((1, 8, 8), 2, ()))
    folder = tmp_path / "web"
    folder.mkdir()
    with pytest.raises(DistvaeError, match=rf"runtime\.zip is {trouble}"):
        web.write_page(decoder, folder)
    assert list(folder.iterdir()) == []
