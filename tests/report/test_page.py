"""The page holds what it is given, as data, and allows nothing but its own script."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from graphloss.report.page import page

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u202egnirts\u202c",
    "null \x00 byte",
    "\ud800 half of a pair",
    "🙂" * 1_000,
    "x" * 100_000,
    "{title} {0} %s",
]


class Scripts(HTMLParser):
    """Collects what stands in script elements, and where anything is loaded from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.loaded: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append((dict(attrs), ""))
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


def test_texts_are_data_and_come_out_as_they_went_in() -> None:
    content = {"run": {"texts": HOSTILE, "number": float("nan"), "pair": (1, 2.5)}}
    found = Scripts(page(HOSTILE[0], content))
    assert len(found.scripts) == 2
    assert not found.loaded
    attributes, packed = found.scripts[0]
    assert attributes["id"] == "data"
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    unpacked = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert unpacked == {"run": {"texts": HOSTILE, "number": None, "pair": [1, 2.5]}}


def test_the_policy_allows_the_own_script_by_its_hash_and_nothing_else() -> None:
    text = page("a run", {})
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    script = Scripts(text).scripts[1][1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy


@pytest.mark.parametrize("forbidden", ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "fetch(", "</script"])
def test_the_script_makes_no_markup_of_texts(forbidden: str) -> None:
    assert forbidden not in Scripts(page("a run", {})).scripts[1][1]
