"""The search page in a browser, with everything behind it real: words, addresses, keys, safety."""

# ruff: noqa: RUF001  # the page writes typographic apostrophes and signs

import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from functions.query import app as query
from local.gateway import Gateway

from .search_page import PAGE_SIZE, PHONE, alert, box, card, cards, chips, parts, search, sideways, titles

OpenTab = Callable[..., Page]


def test_start_page_says_how_many_images_there_are(page: Page, site: str) -> None:
    page.goto(site)
    expect(page.locator("#stock")).to_have_text(re.compile(r"^\d{3} images indexed$"))
    expect(box(page)).to_be_focused()


def test_words_find_pictures_with_titles_and_scores(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    assert "dog face" in titles(page)[:5]
    scores = [float(score) for score in page.locator("#grid .cosine").all_text_contents()]
    assert len(scores) >= PAGE_SIZE
    assert scores == sorted(scores, reverse=True)
    assert -1 < scores[-1] < scores[0] < 1
    expect(page.locator("#summary")).to_have_text(re.compile(r"^Closest \d+ of \d{3} images · [\d,]+ ms$"))
    first = page.locator("#grid img").first
    expect(first).to_have_js_property("naturalWidth", 144)


def test_keyboard_alone_is_enough(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog&group=0")
    expect(cards(page).first).to_be_visible()
    box(page).focus()
    columns = int(page.evaluate("getComputedStyle(grid).gridTemplateColumns.split(' ').length"))
    for key, at in [("ArrowDown", 0), ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns)]:
        page.keyboard.press(key)
        expect(cards(page).nth(at)).to_be_focused()
    page.keyboard.press("Home")
    expect(cards(page).first).to_be_focused()
    for name in ("like", "unlike", "alike"):
        page.keyboard.press("Tab")
        expect(page.locator(f"#grid .{name}").first).to_be_focused()
        expect(page.locator(f"#grid .{name}").first).to_have_css("opacity", "1")
    cards(page).first.focus()

    shown = titles(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=shown[0])).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name=shown[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(cards(page).nth(1)).to_be_focused()

    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    expect(chips(page)).to_have_count(2)


def test_results_are_reached_past_the_filters(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    expect(cards(page).first).to_be_visible()
    page.get_by_role("link", name="Image search, start page").focus()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Skip to results")).to_be_focused()
    page.keyboard.press("Enter")
    expect(cards(page).first).to_be_focused()
    expect(page).to_have_url(f"{site}/?q=dog")


def test_what_changes_is_announced(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    expect(page.get_by_role("status").and_(page.locator("#summary"))).to_contain_text("Closest")
    box(page).fill('"dog')
    page.keyboard.press("Enter")
    expect(alert(page, "this quote is never closed")).to_be_visible()


def test_phone_has_nothing_to_scroll_sideways(open_tab: OpenTab, site: str) -> None:
    page = open_tab(**PHONE)
    page.goto(site)
    assert sideways(page) <= 0
    search(page, f'dog -"{"x" * 90}" +a-word-that-is-much-too-long-for-a-phone-{"x" * 80}')
    expect(cards(page).first).to_be_visible()
    assert sideways(page) <= 0
    cards(page).first.tap()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert sideways(page) <= 0
    assert dialog.evaluate("dialog => dialog.scrollWidth - dialog.clientWidth") <= 0
    dialog.get_by_role("button", name="Close").tap()
    expect(dialog).to_be_hidden()


def test_dark_mode_is_dark(open_tab: OpenTab, site: str) -> None:
    page = open_tab(color_scheme="dark")
    page.goto(site)
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert max(red, green, blue) < 40


# --- What comes from outside -----------------------------------------------------------------------------------------


def test_what_is_hostile_is_text_and_nothing_else(
    page: Page, site: str, hostile_title: str, hostile_id: str, hostile_tag: str
) -> None:
    page.goto(f"{site}?q=abacus")
    item = card(page, hostile_title)
    expect(item.locator(".title")).to_have_text(hostile_title)
    item.locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name=hostile_title)).to_be_visible()
    expect(dialog).to_contain_text("<b onclick=document.title=5>Eve</b>")
    assert dialog.locator("a[href^=javascript]").count() == 0
    expect(dialog).to_contain_text(hostile_id)
    dialog.get_by_role("link", name=hostile_tag).click()
    expect(page.locator("#active")).to_contain_text(hostile_tag)
    expect(page.locator("#facets")).to_contain_text(hostile_tag)
    expect(cards(page)).to_have_count(1)
    card(page, hostile_title).hover()
    card(page, hostile_title).get_by_role("link", name="More like").click()
    expect(chips(page)).to_contain_text(hostile_title)
    page.reload()
    expect(chips(page)).to_contain_text(hostile_title)
    assert page.locator("img[onerror], svg[onload], b[onclick]").count() == 0
    assert "Image search" in page.title()


def test_an_address_may_be_anything(page: Page, site: str) -> None:
    page.goto(
        f"{site}?q=dog&match=x&near=a,b,c&from=soon&side=7&pictures=-1&year=1e3&color=%3Cimg%20src%3Dx%3E&group=no&sure=2"
    )
    expect(page.locator("#active > li")).to_have_count(1)
    expect(page.locator("#active")).to_contain_text("Colour: <img src=x>")
    expect(alert(page, "Nothing found")).to_contain_text("your filters")


def test_policy_stops_what_gets_into_the_page_all_the_same(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors += ["requires 'TrustedHTML'", "requires 'TrustedScript'", "Connecting to 'https://", "Fetch API"]
    page.goto(site)
    for attempt in (
        "document.body.innerHTML = '<img src=data:, onerror=document.title=1>'",
        "document.body.insertAdjacentHTML('beforeend', '<script>document.title=1</script>')",
        "document.createElement('img').setAttribute('onerror', 'document.title=1')",
        "setTimeout('document.title=1')",
    ):
        assert page.evaluate(f"() => {{ try {{ {attempt} }} catch (error) {{ return error.name }} }}") == "TypeError"
    assert page.evaluate("fetch('https://example.org').catch(() => 'refused')") == "refused"
    assert page.title() == "Image search"


def test_page_asks_nobody_but_its_own_server(page: Page, site: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site)
    search(page, "dog")
    cards(page).first.click()
    expect(page.get_by_role("dialog").locator("img")).to_have_js_property("naturalWidth", 144)
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(site).netloc}


# --- Addresses and history -------------------------------------------------------------------------------------------


def test_back_and_forward_show_what_was_there(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    expect(page).to_have_url(f"{site}/?q=dog")
    first = titles(page)[:PAGE_SIZE]
    search(page, "-cat")
    expect(page).to_have_url(f"{site}/?query=dog+-cat")
    assert parts(page) == ["+ dog ×1", "− cat ×1"]
    expect(page.locator("#summary")).to_contain_text("Closest")
    second = titles(page)[:PAGE_SIZE]
    assert second != first

    page.go_back()
    expect(page).to_have_url(f"{site}/?q=dog")
    assert parts(page) == ["+ dog ×1"]
    assert titles(page)[:PAGE_SIZE] == first
    page.go_forward()
    assert parts(page) == ["+ dog ×1", "− cat ×1"]
    assert titles(page)[:PAGE_SIZE] == second
    page.go_back()
    page.go_back()
    expect(page).to_have_url(f"{site}/")
    expect(chips(page)).to_have_count(0)
    expect(cards(page)).to_have_count(0)


def test_an_address_has_all_of_a_search_that_one_can_have(page: Page, site: str) -> None:
    address = (
        "?query=horse+-0.5*%22green+grass%22+id%3Acat.webp&like=poodle.webp&unlike=tiger-face.webp&tag=animal&color=brown&year=2021"
        "&orientation=portrait&from=2020-01-31&side=1000&near=47.377%2C8.541%2C100&match=hybrid&sure=1&group=0"
    )
    page.goto(f"{site}/{address}")
    assert parts(page)[:2] == ["+ horse ×1", "− green grass ×½"]
    expect(chips(page)).to_have_count(5)
    expect(page.locator("#active > li")).to_have_count(8)  # the last one clears them all
    expect(page.get_by_role("radio", name="Both")).to_be_checked()
    with page.expect_request("**/search") as sent:
        page.get_by_role("switch", name="Group near-duplicates").click()
    expect(page).to_have_url(f"{site}/{address.removesuffix('&group=0')}")
    asked = json.loads(sent.value.post_data or "")
    assert asked["terms"][1:] == [{"text": "green grass", "weight": -0.5}, {"id": "cat.webp", "weight": 1}]
    assert (asked["like"], asked["unlike"], asked["match"], asked["group"]) == (
        ["poodle.webp"], ["tiger-face.webp"], "hybrid", True,
    )  # fmt: skip
    assert asked["min_confidence"] == 0.5
    assert {"location": {"near": {"lat": 47.377, "lon": 8.541, "km": 100}}} in asked["filter"]["and"]
    assert {"or": [{"created_at": {"gte": "2021-01-01", "lt": "2022-01-01"}}]} in asked["filter"]["and"]


def test_addresses_that_people_write(page: Page, site: str) -> None:
    page.goto(f"{site}?q=two%20dogs%20-cat")
    assert parts(page) == ["+ two dogs -cat ×1"]
    assert titles(page)
    page.goto(f"{site}?id=dog-face.webp")
    expect(chips(page)).to_contain_text("dog face")
    expect(chips(page).locator("img")).to_have_js_property("naturalWidth", 144)


def test_an_unknown_id_is_told(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 404")
    page.goto(f"{site}?id=nothing.webp")
    expect(alert(page, "That picture isn’t in the index")).to_be_visible()
    page.get_by_role("button", name="Start again").click()
    expect(page).to_have_url(f"{site}/?")


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.usefixtures("site")
def test_it_works_below_a_stage(page: Page, slash: str) -> None:
    with Gateway(query.lambda_handler, stage="prod") as gateway:
        page.goto(gateway.url + slash)
        search(page, "dog")
        expect(page).to_have_url(f"{gateway.url}{slash}?q=dog")
        assert "dog face" in titles(page)[:5]
        page.get_by_role("link", name="Image search, start page").click()
        expect(page.locator("#stock")).to_contain_text("images indexed")


def test_a_search_that_is_left_is_dropped(page: Page, site: str) -> None:
    def hold_dogs(route: Route) -> None:
        if len(json.loads(route.request.post_data or "")["terms"]) > 1:
            route.continue_()

    page.route("**/search", hold_dogs)
    page.goto(site)
    search(page, "dog")
    expect(page.locator("#grid .skeleton")).to_have_count(PAGE_SIZE)
    with page.expect_event("requestfailed") as cleared:
        page.get_by_role("link", name="Image search, start page").click()
    expect(page.locator("#grid li")).to_have_count(0)
    search(page, "dog")
    with page.expect_event("requestfailed") as replaced:
        search(page, "+cat")
    expect(cards(page).first).to_be_visible()
    assert cleared.value.failure == replaced.value.failure == "net::ERR_ABORTED"


# --- The key of the API ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.usefixtures("site")
def test_api_key_is_asked_for_once(page: Page, expected_errors: list[str], keep: bool) -> None:
    expected_errors.append("status of 403")
    with Gateway(query.lambda_handler, api_key="open-sesame") as gateway:
        page.goto(gateway.url)
        search(page, "dog")
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("API key", exact=True).fill("open-barley")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("The key was refused")
        dialog.get_by_label("API key", exact=True).fill("open-sesame")
        if keep:
            dialog.get_by_label("Keep it").check()
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(cards(page).first).to_be_visible()

        page.goto(f"{gateway.url}?q=cat")
        expect(cards(page).first).to_be_visible()
        other = page.context.new_page()  # another tab knows it only where it was kept
        other.goto(f"{gateway.url}?q=cat")
        if keep:
            expect(cards(other).first).to_be_visible()
        else:
            expect(other.get_by_role("dialog", name="API key")).to_be_visible()


@pytest.mark.usefixtures("site")
def test_without_an_api_key_the_page_says_what_is_missing(page: Page, expected_errors: list[str]) -> None:
    expected_errors.append("status of 403")
    with Gateway(query.lambda_handler, api_key="open-sesame") as gateway:
        page.goto(f"{gateway.url}?q=dog")
        page.get_by_role("dialog", name="API key").get_by_role("button", name="Cancel").click()
        expect(alert(page, "An API key is needed")).to_be_visible()
        page.get_by_role("button", name="Enter the key").click()
        expect(page.get_by_role("dialog", name="API key")).to_be_visible()
