"""Filters on the search page: facets, dates, size, place, beside the results and in the drawer of a phone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .search_page import PHONE, alert, card, cards, chips, give, search, titles

OpenTab = Callable[..., Page]


def facet(page: Page, field: str) -> Locator:
    return page.locator(f"details[data-field={field}]")


def counts(page: Page, field: str) -> dict[str, int]:
    """The values of a facet that are shown, and how many images have each."""
    expect(facet(page, field)).to_be_visible()
    labels = facet(page, field).locator("label").all()
    return {
        label.locator(".value").inner_text(): int(label.locator(".count").inner_text().replace(",", ""))
        for label in labels
    }


def hits(page: Page) -> list[dict[str, Any]]:
    expect(cards(page).first).to_be_visible()
    found: list[dict[str, Any]] = page.locator("#grid > li").evaluate_all(
        "items => items.flatMap((item) => item.hit ? [item.hit] : [])"
    )
    return found


def test_facets_count_and_narrow(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    tags = counts(page, "tags")
    assert list(tags.values()) == sorted(tags.values(), reverse=True)
    page.get_by_role("checkbox", name="animal", exact=False).first.focus()
    page.keyboard.press("Space")
    expect(page).to_have_url(f"{site}/?q=dog&tag=animal")
    expect(page.get_by_role("button", name="Remove the filter Tag: animal")).to_be_visible()
    expect(page.get_by_role("checkbox", name="animal", exact=False).first).to_be_focused()  # though all was made anew
    assert all("animal" in hit["tags"] for hit in hits(page))
    expect(facet(page, "tags").locator("label").first).to_contain_text("animal")
    page.get_by_role("checkbox", name="pet", exact=False).check()
    expect(page).to_have_url(f"{site}/?q=dog&tag=animal&tag=pet")
    expect(page.locator("#summary")).not_to_contain_text("Searching")
    assert all({"animal", "pet"} <= set(hit["tags"]) for hit in hits(page))


def test_a_second_colour_can_be_picked(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    before = counts(page, "color")
    first, second = list(before)[:2]
    facet(page, "color").get_by_role("checkbox", name=first).check()
    expect(page.locator("#active > li")).to_have_count(1)
    facet(page, "color").get_by_role("checkbox", name=second).check()  # its count is told though none is shown
    expect(page.locator("#active > li")).to_have_count(3)
    expect(page.locator("#summary")).not_to_contain_text("Searching")
    assert {hit["color"] for hit in hits(page)} == {first, second}
    expect(facet(page, "color").locator(".count")).to_have_text([str(count) for count in list(before.values())[:6]])
    page.get_by_role("button", name="Clear filters").click()
    expect(page).to_have_url(f"{site}/?q=dog")
    expect(facet(page, "color").get_by_role("checkbox", checked=True)).to_have_count(0)


def test_years_are_ranges(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    assert set(counts(page, "year")) == {"2019", "2020", "2021", "2022", "2023"}
    facet(page, "year").get_by_role("checkbox", name="2020").check()
    expect(page).to_have_url(f"{site}/?q=dog&year=2020")
    facet(page, "year").get_by_role("checkbox", name="2022").check()
    expect(page).to_have_url(f"{site}/?q=dog&year=2020&year=2022")
    expect(page.locator("#summary")).not_to_contain_text("Searching")
    assert {hit["created_at"][:4] for hit in hits(page)} == {"2020", "2022"}
    expect(facet(page, "year").get_by_role("checkbox")).to_have_count(5)


@pytest.mark.parametrize(
    ("field", "value", "holds"),
    [
        ("orientation", "portrait", lambda hit: hit["height"] > hit["width"]),
        ("format", "JPEG", lambda hit: hit["format"] == "jpeg"),
        ("credit", "Ann Example", lambda hit: hit["credit"] == "Ann Example"),
    ],
)
def test_other_facets(page: Page, site: str, field: str, value: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    page.goto(f"{site}?q=dog")
    facet(page, field).get_by_role("checkbox", name=value).check()
    expect(page.get_by_role("button", name=f": {value}")).to_be_visible()
    expect(page.locator("#summary")).not_to_contain_text("Searching")
    assert all(map(holds, hits(page)))


def test_values_unfold_and_facets_fold(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    boxes = facet(page, "tags").get_by_role("checkbox")
    expect(boxes).to_have_count(6)
    page.get_by_role("button", name="Show all 20: Tags").focus()
    page.keyboard.press("Enter")
    expect(boxes).to_have_count(20)
    expect(page.get_by_role("button", name="Show fewer: Tags")).to_be_focused()
    facet(page, "color").locator("summary").click()
    expect(facet(page, "color").get_by_role("checkbox").first).to_be_hidden()
    facet(page, "tags").get_by_role("checkbox", name="pet").check()
    expect(page.locator("#active > li")).to_have_count(1)
    expect(facet(page, "color").get_by_role("checkbox").first).to_be_hidden()  # as it was left


def test_dates_and_size(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    page.get_by_label("from").fill("2020-06-16")
    expect(page).to_have_url(f"{site}/?q=dog&from=2020-06-16")
    page.get_by_label("to", exact=True).fill("2022-06-15")  # that day is among them
    page.get_by_label("Longer side").select_option("2,000 px or more")
    expect(page).to_have_url(f"{site}/?q=dog&from=2020-06-16&to=2022-06-15&side=2000")
    expect(page.locator("#active")).to_contain_text("From Jun 16, 2020")
    expect(page.locator("#summary")).not_to_contain_text("Searching")
    found = hits(page)
    assert {hit["created_at"][:4] for hit in found} == {"2021", "2022"}
    assert all(max(hit["width"], hit["height"]) >= 2000 for hit in found)
    page.get_by_role("button", name="Remove the filter 2,000 px or larger").click()
    expect(page).to_have_url(f"{site}/?q=dog&from=2020-06-16&to=2022-06-15")


def test_near_this_photo(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    card(page, "dog face").locator(".open").click()
    page.get_by_role("dialog").get_by_role("link", name="Near this photo").click()
    expect(page).to_have_url(f"{site}/?q=dog&near=47.377%2C8.541%2C10")
    expect(page.locator("#active")).to_contain_text("Within 10 km of 47.377° N, 8.541° E")
    assert all(hit["lat"] == 47.377 for hit in hits(page))
    page.get_by_label("Around the place").select_option("100 km")
    expect(page).to_have_url(f"{site}/?q=dog&near=47.377%2C8.541%2C100")
    page.goto(f"{site}?q=dog&near=47.377%2C8.541%2C25")
    expect(page.get_by_label("Around the place")).to_have_value("25")
    expect(page.locator("#active")).to_contain_text("Within 25 km")


def test_a_photo_without_a_place_has_nothing_near(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    nowhere = next(hit["title"] for hit in hits(page) if hit["lat"] is None)
    card(page, nowhere).locator(".open").click()
    expect(page.get_by_role("dialog", name=nowhere)).to_be_visible()
    expect(page.get_by_role("link", name="Near this photo")).to_be_hidden()


def test_filters_that_leave_nothing_can_be_cleared(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog&tag=nobody-has-this&color=brown")
    expect(alert(page, "Nothing found")).to_contain_text("No image has all that your filters ask for")
    page.get_by_role("alert").get_by_role("button", name="Clear filters").click()
    expect(page).to_have_url(f"{site}/?q=dog")
    assert titles(page)


def test_filters_outlive_another_search(page: Page, site: str, photos: Any) -> None:
    page.goto(f"{site}?q=dog&color=orange")
    search(page, "+cat")
    expect(page).to_have_url(f"{site}/?query=dog+%2Bcat&color=orange")
    with page.expect_request("**/search") as sent:
        give(page, "drop", "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    assert json.loads(sent.value.post_data or "")["filter"] == {"and": [{"color": {"any_of": ["orange"]}}]}
    expect(chips(page)).to_have_count(3)
    cards(page).first.click()
    with page.expect_request("**/search") as sent:  # a link has the picture too, which its address hasn't
        page.get_by_role("dialog").locator(".tags a").first.click()
    assert "image" in json.loads(sent.value.post_data or "")["terms"][2]


def test_filters_of_a_phone_are_in_a_drawer(open_tab: OpenTab, site: str) -> None:
    page = open_tab(**PHONE)
    page.goto(f"{site}?q=dog")
    expect(cards(page).first).to_be_visible()
    expect(page.get_by_role("radio", name="Both")).to_be_hidden()
    page.get_by_role("button", name="Filters").tap()
    drawer = page.get_by_role("dialog", name="Filters")
    drawer.get_by_role("checkbox", name="animal", exact=False).first.check()
    expect(page).to_have_url(f"{site}/?q=dog&tag=animal")
    expect(drawer).to_be_visible()
    drawer.get_by_role("checkbox", name="pet", exact=False).check()
    drawer.get_by_role("button", name="Show results").tap()
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Filters 2")).to_be_focused()
    assert all({"animal", "pet"} <= set(hit["tags"]) for hit in hits(page))
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.get_by_role("radio", name="Both")).to_be_visible()
