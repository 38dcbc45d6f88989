"""The page in a real headless Chromium: search, names, matches, the keyboard, and a hostile corpus."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bsa_st.concepts.page import MAX_BYTES, render_page, write_page
from tests.browser import chromium

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

ROOT = Path(__file__).parent.parent
ARTEFACTS = Path(os.environ.get("BSA_ST_ARTEFACTS") or ROOT / "build" / "screenshots")
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!-- <script> \u2028 ${window.hacked = 3} ' \" ` \\u003c",
    "<svg onload=window.hacked=4> javascript:window.hacked=5",
)
WORDS = ["lung", "heart", "skin", "bone", "nerve", "blood", "kidney", "muscle", "vision", "hearing", "growth", "sleep"]


def small_atlas(features: int = 60, texts: int = 240) -> dict[str, Any]:
    """An atlas whose feature ``f`` is on texts about word ``f % 12``; its texts and names include hostile ones."""
    random = np.random.default_rng(0)
    corpus = [f"Disease {number} of the {WORDS[number % 12]} and {WORDS[(number * 5 + 1) % 12]}" for number in range(texts)]
    corpus[: len(HOSTILE)] = [f"{evil} {WORDS[place]}" for place, evil in enumerate(HOSTILE)]
    shown = [
        [(place, round(1 - at / 10, 2)) for at, place in enumerate(place for place in range(texts) if word in corpus[place])][
            :5
        ]
        for word in WORDS
    ]
    names = [
        HOSTILE[number] if number < len(HOSTILE) else f"{WORDS[number % 12]} variant {number}" for number in range(features)
    ]

    def feature(number: int) -> dict[str, Any]:
        topic = number % 12
        return {
            "name": names[number],
            "aliases": [WORDS[topic], f"the {WORDS[topic]}", HOSTILE[number % 4]],
            "count": 0 if number == 9 else int(texts / (number + 1)) + 1,
            "strongest": shown[topic],
            "random": shown[topic][::-1],
            "together": [((number + 12) % features, 0.8)],
            "close": [((number + 24) % features, 0.6)],
            "family": topic % 6,
            "place": (float(random.random()), float(random.random())),
        }

    def pair(number: int) -> dict[str, Any]:
        parts = [
            ((number + 7 * at) % features, round(0.3 / (at + 1), 4), round(0.5 - 0.1 * at, 2), round(0.2 + 0.1 * at, 2))
            for at in range(5)
        ]
        return {"a": number, "b": number + 12, "score": round(0.8 - number / 100, 4), "parts": parts}

    return {
        "texts": texts,
        "active": [0, 0, 0, 10, texts - 10],
        "features": [feature(number) for number in range(features)],
        "families": [(HOSTILE[0] if number == 0 else f"family {number}", number % 3) for number in range(6)],
        "groups": [HOSTILE[1], "group b", "group c"],
        "pairs": [pair(number) for number in range(40)],
        "strings": corpus,
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "features.html"
    write_page(small_atlas(), path, "A <script>alert(1)</script> & model")
    return path


@pytest.fixture(scope="module")
def session() -> Iterator[WebDriver]:
    with chromium() as session:
        yield session


@pytest.fixture
def browser(session: WebDriver, page: Path) -> Iterator[Browser]:
    browser = Browser(session, page)
    browser.open()
    yield browser
    assert browser.console() == []


class Browser:
    """The page in a browser, in the words of its user."""

    def __init__(self, session: WebDriver, page: Path) -> None:
        self.session, self.page = session, page

    def open(self, place: str = "", *, width: int = 1280, theme: str = "light") -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.session.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.session.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.session.get("about:blank")
        self.session.get(f"{self.page.as_uri()}{place}")
        self.until(lambda: self.run("return 'ready' in document.documentElement.dataset"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.session.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never true; the page shows: {self.text('main')[:500]}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector))

    def find(self, selector: str) -> Any:
        return self.session.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.session).send_keys(key).perform()

    def focused(self) -> str:
        return str(self.run("const e = document.activeElement; return e.id || e.innerText || e.tagName"))

    def place(self) -> str:
        return str(self.run("return location.hash"))

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.session.get_log("browser")]


def test_searching_finds_names_and_aliases(browser: Browser) -> None:
    browser.find("nav a[data-view=features]").click()
    browser.until(lambda: browser.texts("#results .name"))
    assert browser.text(".list [role=status]") == "60 names"
    browser.find("#search").send_keys("kidney")
    browser.until(lambda: browser.text(".list [role=status]") == "5 names")
    assert all("kidney" in name for name in browser.texts("#results .name"))
    browser.find("#search").clear()
    browser.find("#search").send_keys("the kidney variant 42")
    browser.until(lambda: browser.texts("#results .name") == ["kidney variant 42"])
    browser.find("#search").send_keys(" nothing like this")
    browser.until(lambda: browser.text(".list [role=status]") == "No name has these words.")


def test_a_name_shows_its_texts_and_relatives(browser: Browser) -> None:
    browser.open("#features")
    browser.find("#search").send_keys("variant 30")
    browser.until(lambda: len(browser.texts("#results .name")) == 1)
    browser.find("#results a").click()
    browser.until(lambda: browser.text("#feature-title") == "kidney variant 30")
    article = browser.text("article")
    for part in ("3.3 %", "(8)", "the kidney", "Strongest", "At random", "Together with", "Close in meaning", "family 0"[:6]):
        assert part.lower() in article.lower()
    assert set(browser.texts("article mark")) == {"kidney", "the"}
    assert browser.texts("article .links .name")[:2] == ["kidney variant 42", "kidney variant 54"]
    assert browser.find("#search").get_attribute("value") == "variant 30"
    assert browser.session.title == "A <script>alert(1)</script> & model"


def test_a_match_is_explained_by_parts_that_add_up(browser: Browser) -> None:
    browser.find("nav a[data-view=pairs]").click()
    browser.until(lambda: browser.text(".list [role=status]") == "40 pairs")
    browser.find("#pair-search").send_keys("disease 31 of")
    browser.until(lambda: browser.text(".list [role=status]") == "2 pairs")
    browser.find("#pair-search").send_keys(" the muscle and lung disease 43")
    browser.until(lambda: browser.text(".list [role=status]") == "1 pair")
    browser.press("\ue007")
    browser.until(lambda: browser.text("#verdict"))
    atlas = small_atlas()
    pair, strings = atlas["pairs"][31], atlas["strings"]
    assert browser.texts(".chosen") == [strings[pair["a"]], strings[pair["b"]]]
    assert browser.text("#verdict").startswith(f"{pair['score']:.3f} score")
    named = sum(value for _, value, _, _ in pair["parts"]) / pair["score"]
    assert f"{named:.0%}".replace("%", " %") in browser.text("#verdict")
    values = [float(value.replace("\u2212", "-")) for value in browser.texts(".weights .value")]
    assert len(values) == len(pair["parts"]) + 1
    assert sum(values) == pytest.approx(pair["score"], abs=0.0006 * len(values))
    assert "everything else" in browser.texts(".weights li")[-1]
    assert [" first text" in line for line in browser.texts(".weights li")] == [False] * 6
    browser.find(".weights a").click()
    browser.until(lambda: browser.text("#feature-title") == atlas["features"][pair["parts"][0][0]]["name"])


def test_everything_is_reached_with_the_keyboard(browser: Browser) -> None:
    escape, enter, down, up, tab = "\ue00c", "\ue007", "\ue015", "\ue013", "\ue004"
    browser.press(tab)
    assert browser.focused() == "Skip to the content"
    browser.press("/")
    browser.until(lambda: browser.focused() == "search")
    browser.press(*"heart")
    browser.until(lambda: browser.text(".list [role=status]") == "5 names")
    browser.press(down, down)
    second = browser.texts("#results a")[1]
    assert browser.focused() == second
    browser.press(up, down, enter)
    browser.until(lambda: browser.text("#feature-title") in second)
    opened = browser.place()
    browser.press("n")
    browser.until(lambda: browser.place() not in (opened, ""))
    browser.press("p")
    browser.until(lambda: browser.place() == opened)
    browser.press(escape)
    browser.until(lambda: browser.place() == "#features")
    ring = browser.run(
        "const e = document.getElementById('search'); return getComputedStyle(e).outlineStyle + document.activeElement.id"
    )
    assert ring == "solidsearch"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", ["#overview", "#feature/10", "#feature/45", "#pairs/31"])
def test_every_text_has_wcag_aa_contrast(browser: Browser, theme: str, place: str) -> None:
    browser.open(place, theme=theme)
    measured, failures = browser.run((ROOT / "tests" / "contrast.js").read_text())
    assert measured > 20
    assert failures == []
    colours = browser.run(
        "return groupColours().map((c) => [c, getComputedStyle(document.querySelector('.card')).backgroundColor])"
    )
    assert all(_contrast(*pair) >= 3 for pair in colours)
    browser.session.save_screenshot(str(_artefact(f"{place[1:].replace('/', '-')}-{theme}.png")))


@pytest.mark.parametrize("place", ["#overview", "#features", "#feature/3", "#pairs/0"])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, place: str) -> None:
    browser.open(place, width=360)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    browser.session.save_screenshot(str(_artefact(f"phone-{place[1:].replace('/', '-')}.png")))
    shown = browser.run("return [...document.querySelectorAll('.list, article')].map((e) => e.offsetParent !== null)")
    assert shown == {"#features": [True], "#feature/3": [False, True], "#pairs/0": [False, True]}.get(place, [])


def test_a_hostile_corpus_cannot_run_anything(browser: Browser) -> None:
    for place in ("#overview", "#features", "#feature/0", "#feature/1", "#feature/2", "#feature/3", "#pairs/0", "#pairs/2"):
        browser.open(place)
        assert browser.run("return window.hacked ?? null") is None
        assert browser.run("return document.scripts.length") == 2
        assert browser.run("return document.querySelectorAll('img, iframe, object, svg[onload], [onerror]').length") == 0
    browser.open("#feature/0")
    assert browser.text("#feature-title") == HOSTILE[0]
    assert any(HOSTILE[0] in text for text in browser.texts(".said"))


def test_the_policy_blocks_even_a_script_that_got_in(browser: Browser) -> None:
    browser.run("const s = document.createElement('script'); s.textContent = 'window.hacked = 9'; document.body.append(s)")
    assert browser.run("return window.hacked ?? null") is None
    assert all("Content Security Policy" in message for message in browser.console())


def test_nothing_is_requested_from_elsewhere(browser: Browser) -> None:
    browser.session.get_log("performance")
    for place in ("#overview", "#feature/3", "#pairs/0"):
        browser.open(place)
    messages = [json.loads(entry["message"])["message"] for entry in browser.session.get_log("performance")]
    requested = {
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    }
    assert {url.split("#")[0] for url in requested} <= {browser.page.as_uri(), "about:blank"}
    assert requested


def test_an_unknown_place_says_so(browser: Browser) -> None:
    for place in ("#feature/9999", "#feature/x", "#pairs/40", "#pairs/-1", "#nowhere"):
        browser.open(place)
        assert browser.text("h1") == "Not here"
    browser.open("#pairs")
    assert browser.text(".list [role=status]") == "40 pairs"


def test_colours_can_be_chosen(browser: Browser) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(background)
    browser.find("#theme").click()
    assert browser.run(background) == light
    browser.find("#theme").click()
    assert browser.run(background) != light
    assert browser.find("#theme").get_attribute("aria-label") == "Colours: dark"


def test_long_texts_are_cut_until_the_page_is_small_enough() -> None:
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(20_000)]
    atlas = {**small_atlas(120), "strings": [" ".join(random.choice(words, 30)) for _ in range(600)]}
    whole = len(render_page(atlas, "t", limit=MAX_BYTES))
    assert len(render_page(atlas, "t", limit=6 * whole // 10)) <= 6 * whole // 10
    assert whole < MAX_BYTES


def test_the_page_contains_no_address_of_another_place() -> None:
    page = render_page(small_atlas(), "t")
    outside = re.sub(r'<script type="text/plain" id="data">.*?</script>', "", page, flags=re.DOTALL)
    assert set(re.findall(r"https?://[^\s\"']+", outside)) <= {"http://www.w3.org/2000/svg"}
    assert HOSTILE[0] not in page


def _artefact(name: str) -> Path:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return ARTEFACTS / name


def _contrast(one: str, two: str) -> float:
    """WCAG 2.2 contrast ratio of two colours as ``rgb(r, g, b)``."""

    def luminance(colour: str) -> float:
        channels = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)
