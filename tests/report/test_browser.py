"""The page in a real browser, at the width of a phone and of a desk, by day and by night."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cuvee.report.write import write
from report.contents import REPORT

CHROMIUM = next(
    (path for path in (Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser")) if path.exists()), None
)
SCREENS = {"phone": (360, 740), "desk": (1280, 900)}

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write(REPORT, folder)
    return (folder / "index.html").as_uri()


@pytest.fixture(
    scope="module", params=[(screen, scheme) for screen in SCREENS for scheme in ("light", "dark")], ids="-".join
)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    screen, scheme = request.param
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".plot .main-svg")
    yield page
    page.close()
    assert said == []


def test_nothing_is_wider_than_the_screen(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_every_figure_is_drawn_with_all_its_lines(page: Any) -> None:
    assert page.evaluate("[...document.querySelectorAll('.plot')].map((place) => place.data.length)") == [1, 3]
    assert page.evaluate("[...document.querySelectorAll('.plot .main-svg')].every((e) => e.clientHeight > 100)")


def test_text_can_be_read_on_its_ground(page: Any) -> None:
    """WCAG's contrast of ordinary text, 4.5."""
    for selector in ("p", ".lead", ".card h2", ".note", "td", "a", "td.best"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_images_have_words_for_who_cannot_see_them(page: Any) -> None:
    assert page.evaluate("[...document.images].every((image) => image.alt && image.naturalWidth)")


def test_a_table_is_sorted_by_a_tap_within_its_groups(page: Any) -> None:
    button = page.get_by_role("button", name="held-in, %")
    rows = "[...document.querySelectorAll('#leaderboards tbody tr:not(.group) th')]"
    names = f"{rows}.map((cell) => cell.textContent.slice(0, 6))"
    button.click()
    assert page.evaluate(names) == ["ties", "linear", "<scrip", "base"]
    button.click()
    assert page.evaluate(names) == ["<scrip", "linear", "ties", "base"]
    assert page.evaluate("document.querySelector('#leaderboards th:nth-child(2)').ariaSort") == "ascending"


def test_a_number_says_where_it_comes_from_by_tap_and_by_key(page: Any) -> None:
    cell, origin = page.locator("td[data-origin]").first, page.locator("#origin")
    cell.click()
    assert origin.text_content() == "3 seeds"
    page.keyboard.press("Escape")
    assert origin.is_hidden()
    cell.focus()
    page.keyboard.press("Enter")
    assert origin.is_visible()


def test_text_that_looks_like_a_script_is_not_run(page: Any) -> None:
    assert page.evaluate("document.querySelector('h1').textContent").startswith("<script>alert(1)")


CONTRAST = """(selector) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  return Math.min(...[...document.querySelectorAll(selector)].map((element) => {
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""
