"""The page of a run on 20NG, and what recording for it costs a training.

Run `GRAPHLOSS_DATA=FOLDER python benchmarks/page.py --state runs/page.json`; half an hour. First, the share
of a training on MR, three epochs, that goes into what the page draws. Then, of a run on 20NG that is left in runs/page:
size of the page, the time to build it beside that of embedding the documents, and in headless Chromium the first paint
and the longest frame while the pointer moves over the map, a search is typed and the theme is switched. Writes
results/page.json, and pictures of both pages, docs/page.png and docs/map.png.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from report import ROOT, Bound, State, arguments, conclude

from graphloss.cli.main import main as graphloss
from graphloss.cli.output import quiet_libraries
from graphloss.data.documents import Documents
from graphloss.data.files import Columns
from graphloss.data.splits import read_all
from graphloss.inference.classifier import TrainedClassifier
from graphloss.report.page import write_report
from graphloss.run import finish
from graphloss.training.record import Recorder

RUN = Path("runs/page")
SAMPLE = 1_000  # documents that are embedded, to tell what all of them take
WATCH = """() => {
  window.longest = 0;
  let last = performance.now();
  const tick = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame((now) => { last = now; requestAnimationFrame(tick); });
}"""
DRAWN = "#page:not([aria-busy])"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


class Watch:
    """Seconds that calls take, added up."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.seconds = 0.0

    def over(self, task: Callable[..., Any]) -> Callable[..., Any]:
        """The same task, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return task(*given, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def train(data: str, folder: Path, *flags: str) -> None:
    given = ["train", "--data", data, "--encoder", "minilm", "--output_dir", str(folder), "--overwrite", *flags]
    if graphloss(given) != 0:
        sys.exit(f"graphloss {' '.join(given)}: no run")


def recording(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a training on MR, and those of them that go into its record."""
    watch = Watch()
    epochs = "0.1" if options.quick else "3"
    with (
        patch.object(Recorder, "on_train_begin", watch.over(Recorder.on_train_begin)),
        patch.object(Recorder, "on_evaluate", watch.over(Recorder.on_evaluate)),
        patch.object(finish, "write_record", watch.over(finish.write_record)),
    ):
        start = time.perf_counter()
        train("mr", RUN / "mr", "--num_train_epochs", epochs, "--patience", "0")
        return {"training": time.perf_counter() - start, "recording": watch.seconds}


def long_run() -> bool:
    """A short training on 20NG, with everything that a page shows."""
    steps = ["--max_steps", "20", "--eval_strategy", "steps", "--eval_steps", "10", "--logging_steps", "1"]
    train("20ng", RUN / "20ng", "--head", "linear", "--head_start", "frozen", *steps)
    return True


def building(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of embedding the documents, and of building their page; its size."""
    texts = read_all("20ng", Columns())
    together = [text for split in texts.values() for text in split.texts]
    classifier = TrainedClassifier.load(RUN / "20ng")
    some = random.Random(0).sample(together, 100 if options.quick else SAMPLE)
    start = time.perf_counter()
    classifier.answer(Documents(some))
    embedding = (time.perf_counter() - start) * len(together) / len(some)
    start = time.perf_counter()
    page = RUN / "page.html"
    write_report([RUN / "20ng"], page)
    took = time.perf_counter() - start
    return {"documents": len(together), "embedding": embedding, "building": took, "bytes": page.stat().st_size}


def browsing() -> dict[str, float]:
    """Milliseconds until the first paint, until all is drawn, and of the longest frame while somebody looks around."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        page = opened(playwright)
        start = time.perf_counter()
        page.goto((RUN / "page.html").resolve().as_uri(), wait_until="commit")
        page.wait_for_selector(DRAWN)
        drawn = 1000 * (time.perf_counter() - start)
        found = {"first_paint": page.evaluate(PAINT), "drawn": drawn}
        for name, task in (("hover", hover), ("search", search), ("theme", switch_theme)):
            page.wait_for_timeout(500)
            page.evaluate(WATCH)
            task(page)
            page.wait_for_timeout(500)
            found[f"frame_{name}"] = page.evaluate("window.longest")
        return found


def opened(playwright: Any) -> Any:
    """An empty page of headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    return browser.new_page(viewport={"width": 1100, "height": 820})


def take_pictures() -> bool:
    """Write docs/page.png, the head of the page of the run on MR, and docs/map.png, the map of that on 20NG."""
    from playwright.sync_api import sync_playwright

    write_report([RUN / "mr"], RUN / "mr.html")
    with sync_playwright() as playwright:
        page = opened(playwright)
        page.goto((RUN / "mr.html").resolve().as_uri())
        page.wait_for_selector(DRAWN)
        page.screenshot(path=ROOT / "docs" / "page.png")
        page.goto((RUN / "page.html").resolve().as_uri())
        page.wait_for_selector(DRAWN)
        page.get_by_label("Documents", exact=True).select_option("test")
        page.get_by_label("Map of the documents").press("ArrowRight")
        page.locator("#map").screenshot(path=ROOT / "docs" / "map.png")
    return True


def hover(page: Any) -> None:
    canvas = page.locator("canvas.map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for number in range(100):
        page.mouse.move(
            box["x"] + box["width"] * number / 100, box["y"] + box["height"] * (0.1 + 0.8 * (number % 9) / 9)
        )


def search(page: Any) -> None:
    page.get_by_label("Search texts").press_sequentially("space shuttle", delay=60)
    page.wait_for_timeout(400)


def switch_theme(page: Any) -> None:
    for _ in range(4):
        page.locator("#theme").click()
        page.wait_for_timeout(100)


def main() -> None:
    options = arguments(__doc__ or "", resumes=True).parse_args()
    quiet_libraries()
    state = State(options.state)
    recorded = state.once("recording", lambda: recording(options))
    state.once("run", long_run)
    built = state.once("building", lambda: building(options))
    browsed = state.once("browsing", browsing)
    if not options.quick:
        state.once("pictures", take_pictures)
    frames = [value for name, value in browsed.items() if name.startswith("frame_")]
    for name, value in (recorded | built | browsed).items():
        print(f"{name:16}{value:14.1f}")
    bounds = [
        Bound("recording: share of a training's time", recorded["recording"] / recorded["training"], 0.01),
        Bound("page of 20NG, MB", built["bytes"] / 1e6, 15.0),
        Bound("building it: share of embedding the documents once", built["building"] / built["embedding"], 1.0),
        Bound("first paint, s", browsed["first_paint"] / 1000, 2.0),
        Bound("longest frame, ms", max(frames), 100.0),
    ]
    conclude("page", {"recording": recorded, "building": built, "browser_ms": browsed}, bounds, options)


if __name__ == "__main__":
    main()
