"""The page with images of one's own, ways between them and latents sorted by rate."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distvae.config import DataConfig
from distvae.data.pixels import Reading, to_pixels
from distvae.data.seen import NOTHING
from distvae.export import web
from distvae.export.convert import decoder_graph, encoder_graph, write_graph
from distvae.export.encoder import Encoder
from distvae.export.rates import Rates
from distvae.export.sampler import Sampler
from tests.export.browser import CHROMIUM, Browser, Page
from tests.export.pages import IDLE, IMAGE, Quiet, assert_same, check_layout, pixels, slide
from tests.export.test_noise import ORIGIN, random_model

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SHAPE = (1, 8, 8)
RATES = Rates((0.5, 0.001, 2.25, 0.004), "500 test images")
OWN = "document.querySelector('#own')"
TOLD = f"{OWN}.querySelector('.told').textContent"
ALERT = f"{OWN}.querySelector('[role=alert]').textContent"
DONE = f"{OWN}.getAttribute('aria-busy') === 'false'"
PERCENT = (1, 5, 10, 20, 35, 50, 65, 80, 90, 95, 99)


class Unpacking(Quiet):
    """A server that lets the browser unpack what is compressed."""

    def end_headers(self) -> None:
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoder and encoder of a model of three labels, and their page."""
    root = tmp_path_factory.mktemp("own")
    model = random_model("label")
    write_graph(decoder_graph(model, ORIGIN), root / "decoder.onnx")
    write_graph(encoder_graph(model, ORIGIN, noise=True), root / "encoder.onnx")
    (root / "web").mkdir()
    web.write_page(root / "decoder.onnx", root / "web", "my run", RATES)
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def address(files: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    handler = functools.partial(getattr(request, "param", Quiet), directory=str(files / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def choose(page: Page, *files: Path) -> None:
    """What choosing files in the browser's dialogue does."""
    document = page.send("DOM.getDocument")["root"]["nodeId"]
    selector = "#own input[type=file]"
    node = page.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
    page.send("DOM.setFileInputFiles", files=list(map(str, files)), nodeId=node)
    page.wait(DONE)
    page.wait(IDLE)


def drop(page: Page, file: Path) -> None:
    """What dropping a file on the page does."""
    data = {
        "items": [],
        "files": [str(file)],
        "dragOperationsMask": 1,
    }
    for kind in ("dragEnter", "dragOver", "drop"):
        page.send("Input.dispatchDragEvent", type=kind, x=100, y=100, data=data)
    page.wait(f"{TOLD} !== ''")
    page.wait(DONE)


def taken(path: Path) -> NDArray[np.uint8]:
    """An image as a run of this size takes it ``[1, C, H, W]``, by pillow."""
    config = DataConfig(image_size=SHAPE[1], channels=1)
    with Image.open(path) as image:
        return to_pixels(image, Reading.of(NOTHING, config))[None].copy()


def found_again(files: Path, image: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32]]:
    """The label whose reconstruction is nearest, and the noise, by Python alone."""
    many, labels = np.repeat(image, 3, 0), np.arange(3)
    noise = Encoder(files / "encoder.onnx").noise(many, labels)
    again = Sampler(files / "decoder.onnx").decode(noise, labels)
    label = int(np.square(again.astype(float) - many).mean((1, 2, 3)).argmin())
    return label, noise[label]


def strip(page: Page, section: str) -> NDArray[np.uint8]:
    count = page.run(f"document.querySelectorAll('{section} canvas').length")
    canvases = (f"document.querySelectorAll('{section} canvas')[{at}]" for at in range(count))
    return np.stack([pixels(page, canvas, SHAPE) for canvas in canvases])


def pictures(folder: Path) -> tuple[Path, Path]:
    """A large colour picture, transparent in parts, and a grey one of the model's own size."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 4), np.uint8), "RGBA")
    colour, grey = folder / "colour.png", folder / "grey.png"
    coarse.resize((61, 40), Image.Resampling.BICUBIC).save(colour)
    Image.fromarray(random.integers(0, 256, SHAPE[1:], np.uint8)).save(grey)
    return colour, grey


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_an_image_of_ones_own_is_where_the_latents_begin(
    browser: Browser, address: str, files: Path, tmp_path: Path, width: int
) -> None:
    page = Page(browser, address, width)
    page.wait(IDLE)
    assert page.run("[document.title, document.querySelector('h1').textContent]") == [
        "my run \u2013 distvae",
        "my run",
    ]
    colour, grey = pictures(tmp_path)
    drop(page, colour)
    image = taken(colour)
    label, noise = found_again(files, image)
    canvas = OWN + ".querySelector('[data-picture={}]')"
    assert_same(pixels(page, canvas.format("original"), SHAPE), image[0])
    sampler = Sampler(files / "decoder.onnx")
    expected = sampler.decode(noise[None], label)[0]
    for shown in (IMAGE, canvas.format("again")):
        assert_same(pixels(page, shown, SHAPE), expected)
    told = page.run(TOLD)
    name = sampler.label_names[label]
    for words in (
        "colour.png, 61 \u00d7 40: turned to grey, what is transparent made black, "
        "cut to its middle, resized to 8 \u00d7 8",
        f"Taken as {name}, whose",
    ):
        assert words in told
    error = np.square(expected.astype(float) - image[0]).mean()
    assert f"{10 * np.log10(255**2 / error):.1f} dB" in told
    assert page.run("document.querySelector('#shown-label').textContent") == name

    other = tmp_path / "words.png"
    other.write_text("no picture")
    choose(page, other)
    assert "words.png is no picture that this browser opens (image/png)" in page.run(ALERT)
    choose(page, colour, grey)
    assert page.run(ALERT) == ""
    assert "grey.png, 8 \u00d7 8: taken as it is" in page.run(TOLD)

    label, last = found_again(files, taken(grey))
    way = sampler.interpolate(noise, last, 11, label)  # the first keeps its noise
    assert_same(strip(page, "#between"), way)
    slide(page, "document.querySelector('#between input')", 30)
    assert_same(pixels(page, IMAGE, SHAPE), way[3])
    page.click("document.querySelectorAll('#between .picture')[7]")
    assert_same(pixels(page, IMAGE, SHAPE), way[7])
    check_layout(page)
    assert page.complaints() == []
    page.close()


@pytest.mark.parametrize("address", [Unpacking], indirect=True)
def test_latents_are_sorted_by_rate_and_gone_along(
    browser: Browser, address: str, files: Path
) -> None:
    """Here the runtime comes from a server that says how it is compressed."""
    page = Page(browser, address)
    page.wait(IDLE)
    loading = page.run("(({ value, max }) => [value, max])(document.querySelector('#loading'))")
    parts = ("ort/ort-wasm-simd-threaded.wasm.gz", "decoder.onnx")
    total = sum((files / "web" / part).stat().st_size for part in parts)
    assert loading == [total, total]
    group = "[...document.querySelectorAll('[data-sliders={}] input')].map((it) => it.ariaLabel)"
    assert page.run(group.format("first")) == ["latent 2, 2.25 nats", "latent 0, 0.50 nats"]
    assert page.run(group.format("more")) == []
    assert page.run(group.format("dead")) == ["latent 3, 0.00 nats", "latent 1, 0.00 nats"]
    assert not page.run("document.querySelector('[data-sliders=dead] input').checkVisibility()")
    assert page.run("document.querySelector('#dead summary').textContent").startswith("2 latents")
    assert "500 test images" in page.run("document.querySelector('#rates').textContent")
    assert page.run("[...document.querySelectorAll('.axes select')].map((it) => it.value)") == [
        "2",
        "0",
    ]
    page.press("r")
    slide(page, "document.querySelector('[data-sliders=dead] input')", 1.5)
    noise = np.zeros((len(PERCENT), 4), np.float32)
    noise[:, 3] = 1.5
    noise[:, 2] = [NormalDist().inv_cdf(percent / 100) for percent in PERCENT]
    expected = Sampler(files / "decoder.onnx").decode(noise, 0)
    assert_same(strip(page, "#along"), expected)
    page.click("document.querySelectorAll('#along .picture')[9]")
    assert_same(pixels(page, IMAGE, SHAPE), expected[9])
    assert page.run("document.querySelector('#shown-from').textContent") == "latent 2 at 95 %"
    page.close()


def test_bytes_are_told_as_they_arrive_and_compared(browser: Browser, address: str) -> None:
    page = Page(browser, address)
    page.wait(IDLE)
    name = "ort/ort-wasm-simd-threaded.wasm.gz"
    calls: list[int] = page.run(f"""(async () => {{
        const {{ readBytes, unpacked }} = await import("./loading.js");
        const calls = [];
        const bytes = await readBytes("{name}", {{ size: 3e6, advance: (n) => calls.push(n) }});
        return [...calls, bytes.length, (await unpacked(bytes)).length];
    }})()""")
    *told, size, whole = calls
    assert (sum(told), len(told) > 3) == (3_000_000, True)
    assert size < whole / 3
    page.close()


def test_a_browser_that_lends_no_digest_compares_by_itself(
    browser: Browser, address: str, files: Path
) -> None:
    """As on a plain http address of another machine."""
    script = "Object.defineProperty(crypto, 'subtle', { value: undefined });"
    page = Page(browser, address)
    page.send("Page.addScriptToEvaluateOnNewDocument", source=script)
    page.wait(IDLE)
    page.send("Page.reload")
    page.wait(f"crypto.subtle === undefined && {IDLE}")
    wrong: Any = page.run("""import("./loading.js").then(({ readBytes }) => (
        readBytes("decoder.onnx", { integrity: `sha256-${"A".repeat(43)}=` })
    )).catch((error) => error.message)""")
    assert "decoder.onnx did not arrive as it was exported" in wrong
    page.close()
