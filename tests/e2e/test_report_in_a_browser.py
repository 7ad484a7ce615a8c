"""The page in a real browser: it draws, it answers, it executes nothing and asks for nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphloss.cli.main import main
from graphloss.data.writing import write_table
from tests.conftest import sentences
from tests.report.test_page import HOSTILE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, encoders: dict[str, Path]) -> dict[str, Path]:
    """The page of a run whose texts and labels are hostile, and one of two runs."""
    folder = tmp_path_factory.mktemp("pages")
    for split, size in (("train", 60), ("validation", 30), ("test", 30)):
        texts, labels = sentences(size, seed=len(split))
        hostile = [text for text in HOSTILE if not any(0xD800 <= ord(sign) < 0xE000 for sign in text)]
        for number, text in enumerate(hostile):
            texts[number] = f"{text} {texts[number]}"
        labels = ["<b>food</b>" if label == "food" else label for label in labels]
        write_table(folder / "data" / f"{split}.parquet", {"text": texts, "label": labels})
    usual = ["--data", str(folder / "data"), "--encoder", str(encoders["bert"]), "--use_cpu", "--quiet"]
    for loss in ("gloss", "ce"):
        flags = ["--loss", loss, "--num_train_epochs", "3", "--logging_steps", "1", "--output_dir", str(folder / loss)]
        assert main(["train", *usual, *flags]) == 0
    found = {"one": folder / "one.html", "two": folder / "two.html"}
    assert main(["report", str(folder / "gloss"), "--output", str(found["one"]), "--quiet"]) == 0
    assert main(["report", str(folder / "gloss"), str(folder / "ce"), "--output", str(found["two"]), "--quiet"]) == 0
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """A page that was opened, with all that it asked for and complained of."""

    def __init__(self, browser: Any, file: Path, **settings: Any) -> None:
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        self.page = browser.new_page(**settings)
        self.wrong: list[str] = []
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.requests: list[str] = []
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("#page:not([aria-busy])")
        self.file = file

    def is_quiet(self) -> None:
        assert not self.wrong
        assert self.requests == [self.file.as_uri()]


def test_hostile_texts_show_as_texts(pages: dict[str, Path], browser: Any) -> None:
    visit = Visit(browser, pages["one"])
    search = visit.page.get_by_label("Search texts")
    for wanted, shown in (
        ("onerror", "<img src=x onerror=alert(1)>"),
        ("gnirts", "⟨U+202E⟩gnirts"),
        ("null ", "⟨U+0000⟩"),
    ):
        search.fill(wanted)
        visit.page.wait_for_timeout(400)
        visit.page.locator("canvas.map").focus()
        visit.page.keyboard.press("ArrowRight")
        assert shown in visit.page.locator(".detail").inner_text()
    assert "<b>food</b>" in visit.page.locator("#classes").inner_text()
    assert visit.page.locator("#page img, #page b, #page script").count() == 0
    visit.is_quiet()


def test_hover_sort_and_theme(pages: dict[str, Path], browser: Any) -> None:
    visit = Visit(browser, pages["one"])
    page = visit.page
    headings = page.locator("#classes table").last.locator("thead button")
    headings.nth(1).click()
    cells = page.locator("#classes table").last.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert [int(cell) for cell in cells] == sorted(map(int, cells), reverse=True)
    headings.nth(1).click()
    assert page.locator("#classes th[aria-sort=ascending]").count() == 1

    before = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    page.locator("#theme").click()
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") != before

    canvas = page.locator("canvas.map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for across in range(1, 40):
        page.mouse.move(
            box["x"] + box["width"] * across / 40, box["y"] + box["height"] * (0.2 + 0.6 * (across % 7) / 7)
        )
    page.wait_for_timeout(100)
    assert "label" in page.locator(".detail").inner_text()
    page.get_by_label("Moment").select_option("before")
    page.get_by_label("Coloured by").select_option("error")
    visit.is_quiet()


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legible_and_accessible(name: str, width: int, scheme: str, pages: dict[str, Path], browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit = Visit(browser, pages[name], viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.run(visit.page).response["violations"]
    serious = [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_pages_print(pages: dict[str, Path], browser: Any) -> None:
    visit = Visit(browser, pages["one"])
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("#theme").is_visible()
    assert len(visit.page.pdf()) > 10_000
