"""The search page as axe sees it: light and dark, desktop and phone, in all its states."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .search_page import PHONE, alert, box, card, cards

OpenTab = Callable[..., Page]

DESKTOP = {"viewport": {"width": 1280, "height": 860}}


def start(page: Page, site: str) -> None:
    page.goto(site)
    expect(page.locator("#stock")).to_contain_text("images indexed")


def results(page: Page, site: str) -> None:
    """With chips and filters of every kind, marks, and a group unfolded."""
    page.goto(f"{site}?query=cat+-red+id%3Apoodle.webp&like=tiger-face.webp&from=2019-01-01&near=47.4%2C8.5%2C20000")
    card(page, "cat").locator(".similar").click()
    item = card(page, "cat face")
    item.get_by_role("button", name="Good result").click()
    expect(page.locator("#refine")).to_be_visible()


def weak(page: Page, site: str) -> None:
    page.goto(f"{site}?q=tax+form&color=blue&color=red&sure=1")
    expect(page.get_by_role("heading", name="Nothing here matches well")).to_be_visible()


def empty(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog&tag=nobody-has-this")
    expect(alert(page, "Nothing found")).to_be_visible()


def error(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    expect(cards(page).first).to_be_visible()
    box(page).fill('"dog')
    page.keyboard.press("Enter")
    expect(alert(page, "That isn")).to_be_visible()


def dialog(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    card(page, "dog face").locator(".open").click()
    expect(page.get_by_role("dialog", name="dog face")).to_be_visible()


def key(page: Page, site: str) -> None:
    page.goto(site)
    page.route("**/search", lambda route: route.fulfill(status=403, json={"message": "Forbidden"}))
    box(page).fill("dog")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="API key")).to_be_visible()


def drawer(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog&color=brown")
    expect(cards(page).first).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("dialog", name="Filters")).to_be_visible()


STATES = [start, results, weak, empty, error, dialog, key]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("device", "state"),
    [*((DESKTOP, state) for state in STATES), *((PHONE, state) for state in (*STATES, drawer))],
    ids=[*(f"desktop-{state.__name__}" for state in STATES), *(f"phone-{s.__name__}" for s in (*STATES, drawer))],
)
def test_axe_finds_nothing(
    open_tab: OpenTab,
    site: str,
    expected_errors: list[str],
    scheme: str,
    device: dict[str, Any],
    state: Callable[[Page, str], None],
) -> None:
    if state is key:
        expected_errors.append("status of 403")
    page = open_tab(**device, color_scheme=scheme)
    state(page, site)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_axe_does_look(page: Page, site: str) -> None:
    start(page, site)
    page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    assert "label" in Axe().run(page).generate_snapshot()
