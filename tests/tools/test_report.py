"""The report of a run: one file that holds all of it, and nothing that comes from elsewhere."""

import base64
import io
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from distvae.arguments import training
from distvae.commands import COMMANDS, TOOLS
from distvae.runs import find_run
from distvae.tools.html import Section, page, rows_as_table
from distvae.tools.report import SHOWN, report
from tests.conftest import Command, assert_refused

WITHOUT_END = {"meta", "img"}


class Nested(HTMLParser):
    """Reads a page, and holds that every tag is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in WITHOUT_END:
            self.open.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["h2"]:
            self.titles.append(data)


def read(text: str) -> Nested:
    parser = Nested()
    parser.feed(text)
    assert not parser.open
    return parser


@pytest.mark.slow
def test_a_report_holds_all_of_a_run(command: Command, run: Path) -> None:
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    ended = command("report", run, "--output", "sent.html")
    assert ended.code == 0, ended.err
    assert ended.out.count("written to") == 1  # what the tools within say stands in the page
    text = Path("sent.html").read_text(encoding="utf-8")
    found = read(text)
    drawn = [each.title for each in SHOWN if each.command in COMMANDS | TOOLS]
    told = ("In short", "Training", "Evaluation", "Label by label", "Settings")
    assert {*drawn, *told, "How to reproduce it"} == {*found.titles}
    assert "Left out" not in text
    assert all(link.startswith(("#s", "data:image/png;base64,")) for link in found.links)
    pictures = [link for link in found.links if link.startswith("data:")]
    assert len(pictures) > len(drawn)
    for link in pictures:
        with Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))) as image:
            image.verify()
    assert "default-src 'none'" in text
    # what axe-core asks of it, with which it was looked at in both colours and at both widths
    assert '<html lang="en">' in text
    assert text.count("<h1>") == text.count("<main>") == text.count("<header>") == 1
    assert len(re.findall(r'<img alt="[^"]+"', text)) == text.count("<img ")
    assert text.count('class="scroll"') == text.count('class="scroll" tabindex="0"')
    assert text.count("<details>") == 1 + (text.count("manifold label") > 2)  # and settings
    assert 'name="viewport"' in text
    assert not (run / "traverse").exists()  # what is drawn for it is left nowhere else
    # the command it prints asks for what the run was
    printed = re.search(r"<pre[^>]*>distvae train(.*?)</pre>", text, re.DOTALL)
    assert printed is not None
    words = shlex.split(printed[1].replace("\\\n", " "))
    again = training(words).config.to_flat()
    before = find_run(run).config().to_flat()
    assert (again["data"], str(Path(before["data"]).parent) in text) == ("shapes", False)
    assert {name: again[name] for name in again if again[name] != before[name]}.keys() <= {
        *("data", "threads", "cache_dir", "output")
    }
    assert report(run) == run / "report" / "report.html"
    assert_refused(command("report", "nowhere"), "nowhere is not a run")


def test_what_a_page_says_is_text() -> None:
    wild = "<script>alert(1)</script> & \x1b[31m"
    body = rows_as_table([(wild, "1"), ("a", "2")], header=True)
    text = page(wild, wild, [Section(wild, wild, body, [wild])])
    assert "<script" not in text
    assert "\x1b" not in text
    assert read(text).links == ["#s0"]
