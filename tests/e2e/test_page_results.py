"""Results on the search page: pages of them, groups, honesty, one in full, and what goes wrong."""

# ruff: noqa: RUF001  # the page writes typographic apostrophes and signs

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from .search_page import PAGE_SIZE, PHONE, alert, card, cards, ids, scroll_down, search, titles

UseIndex = Callable[[str], None]
OpenTab = Callable[..., Page]

NOTHING_LISTENS = "http://127.0.0.1:9"
CURSOR = re.compile(r'"cursor"')


def hold_pages(page: Page) -> None:
    """Let no page but the first be answered, so that scrolling changes nothing."""
    page.route("**/search", lambda route: None if CURSOR.search(route.request.post_data or "") else route.continue_())


def answer_pages(page: Page, **answer: Any) -> None:
    """Answer every page but the first in this way."""
    page.route(
        "**/search",
        lambda route: route.fulfill(**answer) if CURSOR.search(route.request.post_data or "") else route.continue_(),
    )


# --- More of them ----------------------------------------------------------------------------------------------------


def test_scrolling_goes_through_all_images_without_repeats(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog&group=0")
    expect(cards(page).first).to_be_visible()
    more = page.locator("#more")
    while more.is_visible():
        shown = cards(page).count()
        scroll_down(page)
        page.wait_for_function("(shown) => view.hits.length > shown || more.hidden", arg=shown)
    found = ids(page)
    assert f"{len(found)} of {len(found)} images" in page.locator("#summary").inner_text()
    assert len(set(found)) == len(found) > 150


def test_of_changes_reported_together_the_last_counts(page: Page, site: str) -> None:
    """A busy browser says at once that the end of the page was out of sight and has come into sight."""
    page.add_init_script(
        """window.IntersectionObserver = class {
            constructor(tell) { window.tell = (...seen) => tell(seen.map((isIntersecting) => ({ isIntersecting }))); }
            observe() {}
            unobserve() {}
        }"""
    )
    page.goto(f"{site}?q=dog")
    expect(cards(page)).to_have_count(PAGE_SIZE)
    page.evaluate("tell(false, true)")
    expect(cards(page)).to_have_count(2 * PAGE_SIZE)


def test_a_button_does_what_scrolling_does(page: Page, site: str) -> None:
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")
    page.goto(f"{site}?q=dog")
    expect(cards(page)).to_have_count(PAGE_SIZE)
    cards(page).last.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="Load more")).to_be_focused()
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(2 * PAGE_SIZE)


def test_a_cursor_that_is_too_old_starts_over(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 400")
    error = {"error": {"code": "invalid_input", "message": "the cursor has expired", "field": "cursor"}}
    answer_pages(page, status=400, json=error)
    page.goto(f"{site}?q=dog")
    expect(cards(page).first).to_be_visible()
    with page.expect_request(lambda request: "terms" in (request.post_data or "")):
        scroll_down(page)
    page.unroute("**/search")
    expect(page.get_by_role("status").filter(has_text="here they are anew")).to_be_visible()
    assert "dog face" in titles(page)[:5]
    scroll_down(page)
    expect(cards(page).nth(PAGE_SIZE)).to_be_attached()
    assert len(set(ids(page))) == len(ids(page))


def test_more_results_can_be_tried_again(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 500")
    answer_pages(page, status=500, json={"error": {"code": "internal_error", "message": "something went wrong"}})
    page.goto(f"{site}?q=dog")
    expect(cards(page)).to_have_count(PAGE_SIZE)
    scroll_down(page)
    expect(page.locator("#more")).to_contain_text("Something went wrong")
    expect(cards(page)).to_have_count(PAGE_SIZE)
    page.unroute("**/search")
    page.get_by_role("button", name="Load more").click()
    expect(cards(page).nth(PAGE_SIZE)).to_be_attached()
    expect(page.locator("#more p")).to_have_text("")


def test_the_last_of_the_candidates_says_that_there_may_be_more(page: Page, site: str) -> None:
    def last(route: Route) -> None:
        answer = route.fetch()
        body = answer.json() | {"cursor": None}
        body["hits"][0]["similar_count"] = 480
        route.fulfill(response=answer, json=body)

    page.route("**/search", last)
    page.goto(f"{site}?q=dog")
    expect(page.get_by_text("These are the closest.")).to_be_visible()
    expect(page.get_by_role("button", name="Load more")).to_be_hidden()
    page.get_by_role("button", name="480 similar").click()
    expect(page.locator(".strip")).to_contain_text("and 480 more")


# --- Groups, and how sure it is --------------------------------------------------------------------------------------


def test_near_duplicates_are_one_result_that_unfolds(page: Page, site: str) -> None:
    page.goto(f"{site}?q=cat")
    similar = card(page, "cat").get_by_role("button", name="12 similar")
    expect(similar).to_have_attribute("aria-expanded", "false")
    similar.focus()
    page.keyboard.press("Enter")
    expect(similar).to_have_attribute("aria-expanded", "true")
    strip = page.get_by_role("list", name="12 similar: cat")
    expect(strip.get_by_role("button")).to_have_count(12)
    expect(strip.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("cat")
    expect(dialog).to_contain_text("pet")  # what the search didn't tell of it is looked up
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("cat-")
    page.keyboard.press("Escape")
    expect(strip.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(strip).to_be_hidden()
    expect(similar).to_be_focused()

    page.get_by_role("switch", name="Group near-duplicates").click()
    expect(page.locator(".similar")).to_have_count(0)
    expect(page).to_have_url(f"{site}/?q=cat&group=0")
    assert titles(page)[:13].count("cat") >= 12


def test_what_matches_less_is_told_apart(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    first, divider = card(page, "dog face"), page.get_by_role("heading", name="Weaker matches")
    expect(first.locator(".score")).to_have_text(re.compile(r"(excellent|strong|fair).*0\.\d\d"))
    expect(divider).to_have_count(1)
    words = page.locator("#grid > li").evaluate_all(
        "items => items.map((item) => item.hit ? item.querySelector('.sure').textContent : '|')"
    )
    at = words.index("|")
    assert set(words[:at]) <= {"excellent", "strong", "fair"}
    assert set(words[at + 1 :]) <= {"faint", "weak"}


def test_a_search_that_nothing_matches_says_so_above_weaker_results(page: Page, site: str) -> None:
    page.goto(f"{site}?q=tax+form&color=blue&color=red")
    expect(page.get_by_role("heading", name="Nothing here matches well")).to_be_visible()
    assert titles(page)
    page.get_by_role("switch", name="Only good matches").click()
    expect(page).to_have_url(f"{site}/?q=tax+form&color=blue&color=red&sure=1")
    expect(page.get_by_role("heading", name="Nothing here matches well")).to_be_visible()
    assert titles(page)


def test_only_good_matches(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    assert titles(page)
    good = page.locator("#grid > li").evaluate_all("items => items.findIndex((item) => !item.hit)")
    page.get_by_role("switch", name="Only good matches").click()
    expect(page).to_have_url(f"{site}/?q=dog&sure=1")
    expect(cards(page)).to_have_count(good)
    expect(page.get_by_role("heading", name="Nothing here matches well")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("switch", name="Only good matches")).to_be_checked()
    expect(cards(page)).to_have_count(good)


def test_where_confidence_is_unknown_nothing_is_said_of_it(
    page: Page, site: str, index_url: str, use_index: UseIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGESEARCH_VECTORS_URL")
    use_index(index_url)
    page.goto(f"{site}?q=tax+form")
    expect(page.locator("#grid .score").first).to_have_text(re.compile(r"^0\.\d\d$"))
    expect(page.get_by_role("switch", name="Only good matches")).to_be_hidden()
    expect(page.get_by_role("heading", name="Nothing here matches well")).to_be_hidden()


@pytest.mark.parametrize(("label", "match"), [("Text", "words"), ("Both", "hybrid")])
def test_words_are_matched_by_text(page: Page, site: str, label: str, match: str) -> None:
    page.goto(f"{site}?q=poodle")
    with page.expect_request("**/search") as sent:
        page.get_by_role("radio", name=label).check()
    assert json.loads(sent.value.post_data or "")["match"] == match
    expect(page).to_have_url(f"{site}/?q=poodle&match={match}")
    assert titles(page)[0] == "poodle"
    expect(page.locator("#grid .cosine")).to_have_count(0)  # its score is none
    page.reload()
    expect(page.get_by_role("radio", name=label)).to_be_checked()


# --- One in full -----------------------------------------------------------------------------------------------------


def test_dialog_tells_what_is_known(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    card(page, "dog face").locator(".open").click()
    dialog = page.get_by_role("dialog", name="dog face")
    expect(dialog.locator("img")).to_have_js_property("naturalWidth", 144)
    for fact in (
        "animals & nature",
        "144 × 144 px",
        "WEBP",
        "June 15, 20",
        "47.377° N, 8.541° E",
        ", confidence 0.",
        "dog-face",
    ):
        expect(dialog).to_contain_text(fact)
    download = dialog.get_by_role("link", name="Download")
    expect(download).to_have_attribute("href", re.compile("/dog-face.webp$"))
    expect(download).to_have_attribute("download", "dog-face.webp")
    expect(download).to_have_attribute("rel", "noopener noreferrer")
    expect(dialog.get_by_role("link", name="47.377° N")).to_have_attribute("rel", "noopener noreferrer")
    dialog.get_by_role("link", name="pet", exact=True).click()
    expect(page).to_have_url(f"{site}/?q=dog&tag=pet")
    expect(dialog).to_be_hidden()


def test_a_picture_that_is_elsewhere_is_opened(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("javascript:.* violates the following Content Security Policy directive")

    def elsewhere(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for hit in body["hits"]:
            hit["url"] = "https://photos.example/a.jpg" if hit["title"] == "poodle" else "javascript:document.title=1"
        route.fulfill(response=answer, json=body)

    page.route("**/search", elsewhere)
    page.route("https://photos.example/**", lambda route: route.fulfill(status=204))
    page.goto(f"{site}?q=dog")
    card(page, "poodle").locator(".open").click()
    original = page.get_by_role("dialog").get_by_role("link", name="Open picture")
    expect(original).to_have_attribute("href", "https://photos.example/a.jpg")
    assert original.get_attribute("download") is None
    page.keyboard.press("Escape")
    card(page, "dog face").locator(".open").click()
    expect(page.get_by_role("dialog", name="dog face")).to_be_visible()
    expect(original).to_be_hidden()


def test_a_credit_leads_to_whom_it_names(page: Page, site: str) -> None:
    page.goto(f"{site}?q=tiger")
    card(page, "tiger face").locator(".open").click()
    credit = page.get_by_role("dialog").get_by_role("link", name="Photo by Ann (the 1st) on Unsplash", exact=True)
    expect(credit).to_have_attribute("href", "https://unsplash.com/@ann?utm_source=a&utm_medium=b")


def test_dialog_has_an_address_and_a_place_in_history(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    expect(cards(page).first).to_be_visible()
    scroll_down(page)
    expect(cards(page).nth(PAGE_SIZE)).to_be_attached()
    cards(page).nth(1).click()
    dialog = page.get_by_role("dialog")
    first = ids(page)[1]
    expect(page).to_have_url(f"{site}/?q=dog&image={first}")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{site}/?q=dog&image={ids(page)[2]}")
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(f"{site}/?q=dog")
    expect(cards(page).nth(PAGE_SIZE)).to_be_attached()  # nothing was searched for again
    page.go_forward()
    expect(dialog).to_be_visible()
    page.reload()
    expect(dialog.get_by_role("heading")).to_have_text(titles(page)[2])
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{site}/?q=dog")


def test_left_and_right_go_past_the_page(page: Page, site: str) -> None:
    hold_pages(page)
    page.goto(f"{site}?q=dog")
    expect(cards(page)).to_have_count(PAGE_SIZE)
    cards(page).last.click()
    dialog = page.get_by_role("dialog")
    page.unroute("**/search")
    dialog.get_by_role("button", name="Next").click()
    expect(cards(page).nth(PAGE_SIZE)).to_be_attached()
    expect(dialog.get_by_role("heading")).to_have_text(titles(page)[PAGE_SIZE])
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading")).to_have_text(titles(page)[PAGE_SIZE - 1])


def test_a_swipe_goes_on(open_tab: OpenTab, site: str) -> None:
    page = open_tab(**PHONE)
    page.goto(f"{site}?q=dog")
    shown = titles(page)
    cards(page).first.tap()
    dialog = page.get_by_role("dialog")
    for start, end, at in [((300, 400), (100, 420), 1), ((200, 500), (120, 300), 1), ((100, 400), (300, 400), 0)]:
        page.evaluate(
            """([start, end]) => {
                const target = document.querySelector("#detail figure");
                const at = ([clientX, clientY]) => new Touch({ identifier: 1, target, clientX, clientY });
                const say = (type, lists) => target.dispatchEvent(new TouchEvent(type, { bubbles: true, ...lists }));
                say("touchstart", { touches: [at(start)] });
                say("touchend", { changedTouches: [at(end)] });
            }""",
            [start, end],
        )
        expect(dialog.get_by_role("heading")).to_have_text(shown[at])


def test_a_link_to_an_image_leads_to_it(page: Page, site: str, open_tab: OpenTab) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{site}?q=dog")
    card(page, "poodle").locator(".open").click()
    page.get_by_role("link", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="The link is copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{site}/?image=poodle.webp"
    other = open_tab(**PHONE)
    other.goto(link)
    expect(other.get_by_role("dialog", name="poodle")).to_be_visible()
    other.get_by_role("button", name="Close").tap()
    expect(other).to_have_url(f"{site}/?")


def test_a_link_to_an_image_that_is_gone_says_so(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 404")
    page.goto(f"{site}?image=gone.webp")
    expect(alert(page, "That picture isn’t in the index")).to_be_visible()


def test_a_picture_that_does_not_load_leaves_its_title(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 403")
    page.route("**/files/**/dog-face.webp", lambda route: route.fulfill(status=403))
    page.goto(f"{site}?q=dog")
    expect(page.locator("#grid .missing")).to_have_text("dog face")


# --- What goes wrong -------------------------------------------------------------------------------------------------


def test_an_empty_index_says_so(page: Page, site: str, use_index: UseIndex, tmp_path: Path) -> None:
    use_index(f"duckdb://{tmp_path / 'empty.duckdb'}")
    page.goto(site)
    expect(page.locator("#stock")).to_have_text("0 images indexed")
    search(page, "dog")
    expect(alert(page, "Nothing found")).to_contain_text("No image is indexed yet")


def test_an_unreachable_index_is_told_and_tried_again_by_itself(
    page: Page, site: str, use_index: UseIndex, index_url: str, expected_errors: list[str]
) -> None:
    expected_errors.append("status of 503")
    use_index(NOTHING_LISTENS)
    page.goto(site)
    expect(page.locator("#stock")).to_have_text("The search doesn’t answer right now")
    search(page, "dog")
    expect(alert(page, "The index doesn’t answer")).to_contain_text("It is tried again by itself")
    use_index(index_url)
    assert "dog face" in titles(page)[:5]
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    ("code", "says", "patient"),
    [
        ("too_many_requests", "tried again by itself", True),
        ("index_overloaded", "tried again by itself", True),
        (None, "tried again by itself", True),
        ("quota_exceeded", "used up", False),
    ],
)
def test_too_many_searches_are_told_and_tried_again(
    page: Page, site: str, expected_errors: list[str], code: str | None, says: str, patient: bool
) -> None:
    expected_errors.append("status of 429")
    error = {"error": {"code": code, "message": "the requests that this API key is good for today are used up"}}
    page.clock.install()
    page.route("**/search", lambda route: route.fulfill(status=429, json=error if code else {"message": "Limited"}))
    page.goto(f"{site}?q=dog")
    told = alert(page, "Too many searches at the moment" if patient else "No more searches")
    expect(told).to_contain_text(says)
    page.unroute("**/search")
    if patient:
        page.clock.fast_forward(2_000)
    else:
        page.clock.fast_forward(60_000)
        expect(told).to_be_visible()
        page.get_by_role("button", name="Try again").click()
    expect(cards(page).first).to_be_visible()
    expect(told).to_be_hidden()


def test_patience_has_an_end(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 429")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=429, json={"message": "Limited"}, headers={"Retry-After": "3"})

    page.clock.install()
    page.route("**/search", refuse)
    page.goto(f"{site}?q=dog")
    told = alert(page, "Too many searches at the moment")
    for tries in range(1, 6):
        expect(told).to_contain_text("by itself")
        assert len(asked) == tries
        with page.expect_response("**/search"):
            page.clock.fast_forward(max(3, 2**tries) * 1000)
    expect(told).not_to_contain_text("by itself")
    page.clock.fast_forward(600_000)
    assert len(asked) == 6


def test_offline_is_told_and_search_goes_on_by_itself(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("ERR_INTERNET_DISCONNECTED")
    page.goto(site)
    page.context.set_offline(True)
    search(page, "dog")
    expect(alert(page, "You are offline")).to_be_visible()
    page.context.set_offline(False)
    assert "dog face" in titles(page)[:5]
