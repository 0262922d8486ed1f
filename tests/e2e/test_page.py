"""The search page in a browser, with everything behind it real."""

# ruff: noqa: RUF001  # the page writes typographic apostrophes and signs

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from functions.query import app as query
from local.gateway import Gateway

UseIndex = Callable[[str], None]
OpenTab = Callable[..., Page]

NOTHING_LISTENS = "http://127.0.0.1:9"


def search(page: Page, words: str) -> None:
    page.get_by_label("Describe the picture").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator("#chip")).to_contain_text(words)


def cards(page: Page) -> Locator:
    return page.locator("#grid .open")


def titles(page: Page) -> list[str]:
    expect(cards(page).first).to_be_visible()
    return page.locator("#grid .title").all_text_contents()


def ids(page: Page) -> list[str]:
    links = page.locator("#grid .like").evaluate_all("links => links.map(link => link.search)")
    return [parse_qs(link.removeprefix("?"))["id"][0] for link in links]


def give(page: Page, how: str, name: str, kind: str, data: bytes) -> None:
    """Choose, drop or paste a file; or drop the link that `name` is, if it is of a link's kind."""
    if how == "choose":
        page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})
        return
    page.evaluate(
        """([how, name, type, data]) => {
            const carried = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0));
            if (type === "text/uri-list") carried.setData(type, name);
            else carried.items.add(new File([bytes], name, { type }));
            const say = (event) => document.querySelector("main").dispatchEvent(event);
            const options = { bubbles: true, cancelable: true, dataTransfer: carried, clipboardData: carried };
            if (how === "paste") return say(new ClipboardEvent("paste", options));
            say(new DragEvent("dragover", options));
            if (!document.querySelector("#drop.shown")) throw new Error("the page doesn't say that it takes pictures");
            say(new DragEvent("drop", options));
        }""",
        [how, name, kind, base64.b64encode(data).decode()],
    )


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def image_file(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def test_start_page_says_how_many_images_there_are(page: Page, site: str) -> None:
    page.goto(site)
    expect(page.locator("#stock")).to_have_text(re.compile(r"^\d{3} images indexed$"))
    expect(page.get_by_label("Describe the picture")).to_be_focused()


def test_words_find_pictures_with_titles_and_scores(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    assert "dog face" in titles(page)[:5]
    scores = [float(score) for score in page.locator("#grid .score").all_text_contents()]
    assert len(scores) == 24
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] < 1
    expect(page.locator("#summary")).to_have_text(re.compile(r"^Closest 24 of \d{3} images · [\d,]+ ms$"))
    first = page.locator("#grid img").first
    expect(first).to_have_js_property("naturalWidth", 144)


@pytest.mark.parametrize("how", ["choose", "drop", "paste"])
def test_a_picture_finds_the_like(page: Page, site: str, photos: Path, how: str) -> None:
    page.goto(site)
    give(page, how, "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    assert titles(page)[0] == "tiger face"
    assert float(page.locator("#grid .score").first.inner_text()) > 0.95
    expect(page.locator("#chip img")).to_have_js_property("naturalWidth", 144)


def test_a_large_picture_is_made_small_before_it_is_sent(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    large = Image.open(photos / "tiger-face.webp").resize((2000, 1500))
    with page.expect_request("**/search") as sent:
        give(page, "choose", "large.png", "image/png", image_file(large, "PNG"))
    _, data = json.loads(sent.value.post_data or "")["image"].split(",")
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (small.format, small.size) == ("JPEG", (512, 384))
    expect(cards(page)).to_have_count(24)


def test_a_picture_that_the_browser_cannot_read_is_sent_as_it_is(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    tiff = image_file(Image.open(photos / "tiger-face.webp"), "TIFF")
    with page.expect_request("**/search") as sent:
        give(page, "drop", "scan.tiff", "image/tiff", tiff)
    assert base64.b64decode(json.loads(sent.value.post_data or "")["image"].split(",")[1]) == tiff
    assert titles(page)[0] == "tiger face"


def test_a_dropped_link_finds_the_like_of_its_picture(
    page: Page, site: str, index_url: str, use_index: UseIndex, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    monkeypatch.setenv("IMAGESEARCH_ALLOW_HTTP", "true")
    monkeypatch.setenv("IMAGESEARCH_ALLOW_PRIVATE", "true")
    use_index(index_url)
    link = f"{site}/files{photos}/tiger-face.webp"
    page.goto(site)
    give(page, "drop", link, "text/uri-list", b"")
    assert titles(page)[0] == "tiger face"
    expect(page.locator("#chip img")).to_have_attribute("src", link)
    assert parse_qs(urlsplit(page.url).query) == {"url": [link]}


def test_a_link_that_leads_nowhere_allowed_is_told(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors += ["status of 422", "status of 404"]
    page.goto(site)
    page.get_by_label("Describe the picture").fill(f"{site}/files/a.png")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="That picture can’t be fetched")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "kind", "data", "says"),
    [
        ("notes.txt", "text/plain", b"no picture at all", "That can’t be read as a picture"),
        ("empty.png", "image/png", b"", "That can’t be read as a picture"),
        ("huge.heic", "image/heic", bytes(4_000_001), "That picture is too large"),
    ],
)
def test_a_file_that_is_no_use_is_refused_unsent(
    page: Page, site: str, name: str, kind: str, data: bytes, says: str
) -> None:
    page.goto(site)
    search(page, "cat")
    before = titles(page)
    page.on("request", lambda request: pytest.fail(f"sent {request.url}"))
    give(page, "choose", name, kind, data)
    expect(page.get_by_role("alert").filter(has_text=says)).to_contain_text(name)
    assert titles(page) == before
    with page.expect_file_chooser():
        page.get_by_role("button", name="Choose another picture").click()


def test_a_damaged_picture_gets_the_servers_word_for_it(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 4(15|22)")
    page.goto(site)
    give(page, "choose", "photo.png", "image/png", b"\x89PNG\r\n\x1a\nand then nothing")
    expect(page.get_by_role("alert").filter(has_text="That can’t be read as a picture")).to_be_visible()
    expect(cards(page)).to_have_count(0)


def test_more_like_this_from_a_card_and_from_the_dialog(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    card = page.locator("#grid li").filter(has_text="dog face")
    card.hover()
    card.get_by_role("link", name="More like this").click()
    expect(page.locator("#chip")).to_contain_text("Like “dog face”")
    expect(page.locator("#chip img")).to_be_visible()
    expect(cards(page)).to_have_count(24)
    assert "dog face" not in titles(page)

    other = titles(page)[0]
    cards(page).first.click()
    page.get_by_role("dialog").get_by_role("link", name="More like this").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#chip")).to_contain_text(f"Like “{other}”")


def test_dialog_tells_what_is_known(page: Page, site: str) -> None:
    page.goto(f"{site}?id=poodle.webp")
    page.get_by_role("button", name="dog face").click()
    dialog = page.get_by_role("dialog", name="dog face")
    expect(dialog.locator("img")).to_have_js_property("naturalWidth", 144)
    for fact in ("animals & nature", "144 × 144 px", "WEBP", "Noto Emoji, Google, Apache-2.0"):
        expect(dialog).to_contain_text(fact)
    expect(dialog.get_by_role("link", name="Open picture")).to_have_attribute("href", re.compile("/dog-face.webp$"))
    dialog.get_by_role("link", name="pet", exact=True).click()
    expect(page).to_have_url(f"{site}/?q=pet")


def test_a_credit_leads_to_whom_it_names(page: Page, site: str) -> None:
    page.goto(f"{site}?id=cat-face.webp")
    page.get_by_role("button", name="tiger face").click()
    credit = page.get_by_role("dialog").get_by_role("link", name="Photo by Ann (the 1st) on Unsplash", exact=True)
    expect(credit).to_have_attribute("href", "https://unsplash.com/@ann?utm_source=a&utm_medium=b")


def test_load_more_goes_through_all_images_without_repeats(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    expect(cards(page)).to_have_count(24)
    more = page.get_by_role("button", name="Load more")
    shown = 24
    while more.is_visible():
        more.click()
        expect(page.locator("#more")).not_to_have_class("busy")
        assert cards(page).count() > shown
        shown = cards(page).count()
    assert f"{shown} of {shown} images" in page.locator("#summary").inner_text()
    assert len(set(ids(page))) == shown > 150


def test_an_empty_index_says_so(page: Page, site: str, use_index: UseIndex, tmp_path: Path) -> None:
    use_index(f"duckdb://{tmp_path / 'empty.duckdb'}")
    page.goto(site)
    expect(page.locator("#stock")).to_have_text("0 images indexed")
    search(page, "dog")
    expect(page.get_by_role("alert").filter(has_text="Nothing found")).to_contain_text("No image is indexed yet")


def test_an_unreachable_index_is_told_and_retried(
    page: Page, site: str, use_index: UseIndex, index_url: str, expected_errors: list[str]
) -> None:
    expected_errors.append("status of 503")
    use_index(NOTHING_LISTENS)
    page.goto(site)
    expect(page.locator("#stock")).to_have_text("The search doesn’t answer right now")
    search(page, "dog")
    expect(page.get_by_role("alert").filter(has_text="The index doesn’t answer")).to_be_visible()

    use_index(index_url)
    page.get_by_role("button", name="Try again").click()
    assert "dog face" in titles(page)[:5]
    expect(page.locator("#notice")).to_be_hidden()


def test_load_more_can_be_retried(
    page: Page, site: str, use_index: UseIndex, index_url: str, expected_errors: list[str]
) -> None:
    expected_errors.append("status of 503")
    page.goto(site)
    search(page, "dog")
    expect(cards(page)).to_have_count(24)
    use_index(NOTHING_LISTENS)
    page.get_by_role("button", name="Load more").click()
    expect(page.locator("#more")).to_contain_text("The index doesn't answer")
    expect(cards(page)).to_have_count(24)

    use_index(index_url)
    page.get_by_role("button", name="Load more").click()
    expect(cards(page)).to_have_count(48)
    expect(page.locator("#more p")).to_have_text("")


def test_offline_is_told_and_search_goes_on_by_itself(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("ERR_INTERNET_DISCONNECTED")
    page.goto(site)
    page.context.set_offline(True)
    search(page, "dog")
    expect(page.get_by_role("alert").filter(has_text="You are offline")).to_be_visible()
    page.context.set_offline(False)
    assert "dog face" in titles(page)[:5]


def test_keyboard_alone_is_enough(page: Page, site: str) -> None:
    page.goto(site)
    page.keyboard.type("dog")
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(24)
    columns = int(page.evaluate("getComputedStyle(grid).gridTemplateColumns.split(' ').length"))
    for key, at in [
        ("ArrowDown", 0), ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0),
        ("End", 23), ("Home", 0),
    ]:  # fmt: skip
        page.keyboard.press(key)
        expect(cards(page).nth(at)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#grid .like").first).to_be_focused()
    expect(page.locator("#grid .like").first).to_have_css("opacity", "1")
    page.keyboard.press("Shift+Tab")

    shown = titles(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=shown[0])).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name=shown[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(cards(page).nth(1)).to_be_focused()

    page.keyboard.press("/")
    expect(page.get_by_label("Describe the picture")).to_be_focused()
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site}/?q=cat")


def test_phone_has_nothing_to_scroll_sideways(open_tab: OpenTab, site: str) -> None:
    page = open_tab(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(site)
    assert sideways(page) <= 0
    search(page, "dog and a-word-that-is-much-too-long-for-a-phone-" + "x" * 80)
    expect(cards(page)).to_have_count(24)
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


def test_a_hostile_title_is_text_and_nothing_else(page: Page, site: str, hostile_title: str) -> None:
    page.goto(site)
    search(page, "abacus")
    card = page.get_by_role("button", name=hostile_title)
    expect(card.locator(".title")).to_have_text(hostile_title)
    card.click()
    expect(page.get_by_role("heading", name=hostile_title)).to_be_visible()
    page.get_by_role("dialog").get_by_role("link", name="More like this").click()
    expect(page.locator("#chip-text")).to_have_text(f"Like “{hostile_title}”")
    expect(cards(page)).to_have_count(24)
    assert page.locator("img[onerror]").count() == 0
    assert page.title() == "Image search"


def test_policy_stops_what_gets_into_the_page_all_the_same(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors += ["Executing inline event handler", "Connecting to 'https://example.org", "Fetch API cannot load"]
    page.goto(site)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=document.title=1>')")
    page.wait_for_function("document.querySelector('img[onerror]').complete")
    page.evaluate("fetch('https://example.org').catch(() => null)")
    assert page.title() == "Image search"


def test_page_asks_nobody_but_its_own_server(page: Page, site: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site)
    search(page, "dog")
    cards(page).first.click()
    expect(page.get_by_role("dialog").locator("img")).to_have_js_property("naturalWidth", 144)
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(site).netloc}


def test_back_and_forward_show_what_was_there(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    expect(cards(page)).to_have_count(24)
    page.get_by_role("button", name="Load more").click()
    expect(cards(page)).to_have_count(48)
    dogs = titles(page)
    search(page, "cat")
    expect(cards(page)).to_have_count(24)
    cats = titles(page)
    assert cats != dogs[:24]

    page.go_back()
    expect(page).to_have_url(f"{site}/?q=dog")
    expect(page.get_by_label("Describe the picture")).to_have_value("dog")
    assert titles(page) == dogs
    page.go_forward()
    expect(page).to_have_url(f"{site}/?q=cat")
    assert titles(page) == cats
    page.go_back()
    page.go_back()
    expect(page).to_have_url(f"{site}/")
    expect(page.locator("#chip")).to_be_hidden()
    expect(cards(page)).to_have_count(0)


def test_addresses_can_be_shared(page: Page, site: str, open_tab: OpenTab) -> None:
    page.goto(f"{site}?q=two%20dogs")
    expect(page.get_by_label("Describe the picture")).to_have_value("two dogs")
    expect(cards(page)).to_have_count(24)
    page.goto(f"{site}?id=dog-face.webp")
    expect(page.locator("#chip")).to_contain_text("Like “dog face”")
    expect(page.locator("#chip img")).to_have_js_property("naturalWidth", 144)
    expect(cards(page)).to_have_count(24)


def test_a_search_by_picture_survives_a_reload(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    give(page, "choose", "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    found = titles(page)
    page.reload()
    assert titles(page) == found
    expect(page.locator("#chip img")).to_be_visible()


def test_an_unknown_id_is_told(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 404")
    page.goto(f"{site}?id=nothing.webp")
    expect(page.get_by_role("alert").filter(has_text="That picture isn’t in the index")).to_be_visible()
    page.get_by_role("button", name="Start again").click()
    expect(page).to_have_url(f"{site}/")


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
        if json.loads(route.request.post_data or "")["text"] != "dog":
            route.continue_()

    page.route("**/search", hold_dogs)
    page.goto(site)
    search(page, "dog")
    expect(page.locator("#grid .skeleton")).to_have_count(24)
    with page.expect_event("requestfailed") as cleared:
        page.get_by_role("link", name="Clear the search").click()
    expect(page.locator("#grid li")).to_have_count(0)
    search(page, "dog")
    with page.expect_event("requestfailed") as replaced:
        search(page, "cat")
    expect(cards(page)).to_have_count(24)
    assert cleared.value.failure == replaced.value.failure == "net::ERR_ABORTED"


def test_a_picture_that_does_not_load_leaves_its_title(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 403")
    page.route("**/files/**/dog-face.webp", lambda route: route.fulfill(status=403))
    page.goto(site)
    search(page, "dog")
    expect(page.locator("#grid .missing")).to_have_text("dog face")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("too_many_requests", "try again in a few seconds"),
        ("index_overloaded", "try again in a few seconds"),
        ("quota_exceeded", "used up"),
        (None, "try again in a few seconds"),
    ],
)
def test_too_many_searches_are_told_and_tried_again(
    page: Page, site: str, expected_errors: list[str], code: str | None, says: str
) -> None:
    expected_errors.append("status of 429")
    error = {"error": {"code": code, "message": "the requests that this API key is good for today are used up"}}
    page.route("**/search", lambda route: route.fulfill(status=429, json=error if code else {"message": "Limited"}))
    page.goto(f"{site}?q=dog")
    alert = page.get_by_role("alert").filter(has_text=re.compile("Too many searches at the moment|No more searches"))
    expect(alert).to_contain_text(says)
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(cards(page)).to_have_count(24)
    expect(alert).to_be_hidden()


@pytest.mark.usefixtures("site")
def test_api_key_is_asked_for_once_and_kept(page: Page, expected_errors: list[str]) -> None:
    expected_errors.append("status of 403")
    with Gateway(query.lambda_handler, api_key="open-sesame") as gateway:
        page.goto(gateway.url)
        search(page, "dog")
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("API key", exact=True).fill("open-barley")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("The key was refused")
        dialog.get_by_label("API key", exact=True).fill("open-sesame")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(cards(page)).to_have_count(24)

        page.goto(f"{gateway.url}?q=cat")
        expect(cards(page)).to_have_count(24)


@pytest.mark.usefixtures("site")
def test_without_an_api_key_the_page_says_what_is_missing(page: Page, expected_errors: list[str]) -> None:
    expected_errors.append("status of 403")
    with Gateway(query.lambda_handler, api_key="open-sesame") as gateway:
        page.goto(f"{gateway.url}?q=dog")
        page.get_by_role("dialog", name="API key").get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("alert").filter(has_text="An API key is needed")).to_be_visible()
        page.get_by_role("button", name="Enter the key").click()
        expect(page.get_by_role("dialog", name="API key")).to_be_visible()
