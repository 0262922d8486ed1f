"""The query on the search page: chips, compact queries, pictures, marks."""

# ruff: noqa: RUF001  # the page writes typographic apostrophes and signs

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Page, Request, expect

from imagesearch.compact import CompactTerm, format_query, parse_query
from imagesearch.errors import InvalidInput

from .search_page import (
    alert,
    box,
    card,
    cards,
    chips,
    give,
    ids,
    image_file,
    parts,
    search,
    titles,
)

UseIndex = Callable[[str], None]


def asked(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.post_data or "")
    return body


# --- Chips -----------------------------------------------------------------------------------------------------------


def test_words_are_added_as_chips(page: Page, site: str) -> None:
    page.goto(site)
    search(page, "dog")
    search(page, "+brown -cat 2*pet")
    assert parts(page) == ["+ dog ×1", "+ brown ×1", "− cat ×1", "+ pet ×2"]
    assert parse_qs(urlsplit(page.url).query) == {"query": ["dog +brown -cat 2*pet"]}
    assert page.title() == "dog brown −cat pet · Image search"


def test_the_same_words_twice_are_one_chip(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    box(page).fill("-dog +cat")
    page.keyboard.press("Enter")
    expect(chips(page)).to_have_count(2)
    assert parts(page) == ["− dog ×1", "+ cat ×1"]


def test_a_click_changes_a_sign_and_a_weight(page: Page, site: str) -> None:
    page.goto(f"{site}?query=dog+%2Bcat")
    with page.expect_request("**/search") as sent:
        page.get_by_role("button", name="Wanted: “cat”").click()
    assert asked(sent.value)["terms"] == [{"text": "dog", "weight": 1}, {"text": "cat", "weight": -1}]
    assert parts(page) == ["+ dog ×1", "− cat ×1"]
    expect(page.get_by_role("button", name="Unwanted: “cat”")).to_be_focused()
    weight = page.get_by_role("button", name="Weight of “cat”")
    for shown, size in (("×2", -2), ("×½", -0.5), ("×1", -1)):
        with page.expect_request("**/search") as sent:
            weight.click()
        expect(weight).to_have_text(shown)
        assert asked(sent.value)["terms"][1] == {"text": "cat", "weight": size}
    page.go_back()
    assert parts(page) == ["+ dog ×1", "− cat ×½"]


def test_chips_are_changed_and_removed_by_keyboard(page: Page, site: str) -> None:
    page.goto(f"{site}?query=dog+%2Bcat+%2Btiger")
    page.get_by_role("button", name="Wanted: “cat”").focus()
    page.keyboard.press("-")
    assert parts(page)[1] == "− cat ×1"
    page.keyboard.press("+")
    assert parts(page)[1] == "+ cat ×1"
    page.keyboard.press("Delete")
    assert parts(page) == ["+ dog ×1", "+ tiger ×1"]
    expect(page.get_by_role("button", name="Remove “tiger”")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove “dog”")).to_be_focused()
    page.keyboard.press("Enter")
    expect(chips(page)).to_have_count(0)
    expect(box(page)).to_be_focused()


def test_a_text_is_taken_back_to_be_changed(page: Page, site: str) -> None:
    page.goto(f'{site}?query=dog+-"green+grass"')
    box(page).focus()
    page.keyboard.press("Backspace")
    expect(box(page)).to_have_value('-"green grass"')
    box(page).fill("-snow")
    page.keyboard.press("Enter")
    expect(chips(page)).to_contain_text(["dog", "snow"])
    assert parts(page) == ["+ dog ×1", "− snow ×1"]
    page.get_by_role("button", name="Edit “dog”").click()
    expect(box(page)).to_have_value("dog")
    box(page).fill("poodle")
    page.keyboard.press("Enter")
    expect(chips(page)).to_contain_text(["snow", "poodle"])


def test_words_that_were_not_entered_yet_stay(page: Page, site: str) -> None:
    page.goto(f"{site}?query=dog+%2Bcat")
    page.get_by_role("button", name="Edit “cat”").click()
    box(page).fill("kitten")
    page.get_by_role("button", name="Wanted: “dog”").click()
    expect(page).to_have_url(f"{site}/?query=-dog+%2Bcat")
    expect(box(page)).to_have_value("kitten")
    box(page).press("Enter")
    expect(page).to_have_url(f"{site}/?query=-dog+%2Bkitten")


def test_clear_all_keeps_the_filters(page: Page, site: str) -> None:
    page.goto(f"{site}?query=dog+-cat&color=brown")
    page.get_by_role("button", name="Clear all").click()
    expect(alert(page, "What should the images show?")).to_be_visible()
    expect(box(page)).to_be_focused()
    search(page, "monkey")
    expect(page).to_have_url(f"{site}/?q=monkey&color=brown")


def test_only_what_is_unwanted_is_no_search(page: Page, site: str) -> None:
    page.on("request", lambda request: pytest.fail("sent") if request.method == "POST" else None)
    page.goto(f"{site}?query=-dog")
    expect(alert(page, "only what the images shouldn’t show")).to_be_visible()


def test_more_terms_than_a_search_takes_are_refused(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    box(page).fill(" ".join(f"+word{number}" for number in range(16)))
    page.keyboard.press("Enter")
    expect(alert(page, "16 words and pictures at most")).to_be_visible()
    assert parts(page) == ["+ dog ×1"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ('dog -"cat', "At character 6, this quote is never closed."),
        ("🐶 20*cat", "At character 3, a weight must be more than 0 and at most 10, not 20."),
        ('dog "" cat', "At character 5, there is nothing between the quotes."),
        ("dog -", "At character 5, there is nothing after -: write a word, or text in quotes."),
    ],
)
def test_a_compact_query_that_is_wrong_says_where(page: Page, site: str, query: str, says: str) -> None:
    page.goto(site)
    box(page).fill(query)
    page.keyboard.press("Enter")
    expect(alert(page, "That isn’t clear")).to_contain_text(says)
    expect(box(page)).to_have_value(query)
    with pytest.raises(InvalidInput, match=f"at character {says.split(',')[0].split()[-1]}, "):
        parse_query(query)


PIECES = st.sampled_from(
    ["dog", "-", "+", '"', "\\", " ", "\t", "\x1c", "\x85", "\ufeff", "\u3000", "2*", "0.5*", "11*", "1e1*", ".5*",
     "0*", "id:", "image_url:", "https://a.b/c", "🐶", "é", "1e-7*", "3.*", "٣*", "-0*", "\n"]
)  # fmt: skip
QUERIES = st.lists(PIECES, max_size=8).map("".join)


def test_compact_queries_mean_here_what_they_mean_to_the_library(page: Page, site: str) -> None:
    page.goto(site)
    queries: list[str] = []

    @settings(max_examples=500, database=None, deadline=None)
    @given(QUERIES)
    def collect(query: str) -> None:
        queries.append(query)

    collect()
    answers = page.evaluate(
        """(queries) => queries.map((query) => {
            try {
                const terms = parseQuery(query);
                return [terms.map(({ kind, value, weight }) => [kind, value, weight]), formatQuery(terms)];
            } catch (error) {
                return Number(error.message.match(/^At character (\\d+), /)[1]);
            }
        })""",
        queries,
    )
    assert len(set(map(str, answers))) > 100
    for query, answer in zip(queries, answers, strict=True):
        try:
            terms = parse_query(query)
        except InvalidInput as error:
            position = 0 if "is empty" in str(error) else int(str(error).split("at character ")[1].split(",")[0])
            assert answer == (position or [[], ""]), query
        else:
            assert answer[0] == [[term.kind, term.value, term.weight] for term in terms], query
            assert parse_query(answer[1]) == terms, query
            assert all(isinstance(term, CompactTerm) for term in parse_query(format_query(terms)))


# --- Pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["choose", "drop", "paste"])
def test_a_picture_finds_the_like(page: Page, site: str, photos: Path, how: str) -> None:
    page.goto(site)
    give(page, how, "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    assert titles(page)[0] == "tiger face"
    assert float(page.locator("#grid .cosine").first.inner_text()) > 0.95
    expect(chips(page).locator("img")).to_have_js_property("naturalWidth", 144)


def test_pictures_mix_with_words_and_indexed_images(page: Page, site: str, photos: Path) -> None:
    page.goto(f"{site}?query=dog+id%3Apoodle.webp")
    with page.expect_request("**/search") as sent:
        give(page, "drop", "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    assert [(set(term) - {"weight"}).pop() for term in asked(sent.value)["terms"]] == ["text", "id", "image"]
    expect(page).to_have_url(f"{site}/?query=dog+id%3Apoodle.webp&pictures=1")
    page.get_by_role("button", name="Wanted: your picture").click()
    expect(page.get_by_role("button", name="Unwanted: your picture")).to_be_focused()
    assert titles(page)


def test_several_pictures_are_chosen_at_once(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    page.locator("#file").set_input_files([photos / "tiger-face.webp", photos / "dog-face.webp"])
    expect(chips(page)).to_have_count(2)
    assert {"tiger face", "dog face"} <= set(titles(page)[:4])


def test_a_large_picture_is_made_small_and_upright(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    large = Image.open(photos / "tiger-face.webp").convert("RGB").resize((2000, 1500))
    exif = Image.Exif()
    exif[274] = 6  # what is stored is to be turned clockwise
    with page.expect_request("**/search") as sent:
        give(page, "choose", "large.jpg", "image/jpeg", image_file(large, "JPEG", exif=exif))
    _, data = asked(sent.value)["terms"][0]["image"].split(",")
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (small.format, small.size) == ("JPEG", (480, 640))
    expect(cards(page).first).to_be_visible()


def test_a_picture_that_the_browser_cannot_read_is_sent_as_it_is(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    tiff = image_file(Image.open(photos / "tiger-face.webp"), "TIFF")
    with page.expect_request("**/search") as sent:
        give(page, "drop", "scan.tiff", "image/tiff", tiff)
    assert base64.b64decode(asked(sent.value)["terms"][0]["image"].split(",")[1]) == tiff
    assert titles(page)[0] == "tiger face"
    assert chips(page).locator("img").count() == 0  # it was never drawn here, and isn't now


@pytest.mark.parametrize(
    ("name", "kind", "data", "says"),
    [
        ("notes.txt", "text/plain", b"no picture at all", "That can’t be read as a picture"),
        ("empty.png", "image/png", b"", "That can’t be read as a picture"),
        ("logo.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "That can’t be read as a picture"),
        ("logo.png", "image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "That can’t be read as a picture"),
        ("logo", "", b"<?xml version='1.0'?><svg/>", "That can’t be read as a picture"),
        ("huge.heic", "image/heic", bytes(4_000_001), "That picture is too large"),
    ],
)
def test_a_file_that_is_no_use_is_refused_unsent(
    page: Page, site: str, name: str, kind: str, data: bytes, says: str
) -> None:
    page.goto(f"{site}?q=cat&group=0&color=yellow&tag=cat")
    before = titles(page)
    page.on("request", lambda request: pytest.fail(f"sent {request.url}") if request.method == "POST" else None)
    give(page, "choose", name, kind, data)
    expect(alert(page, says)).to_contain_text(name)
    assert titles(page) == before
    with page.expect_file_chooser():
        page.get_by_role("button", name="Choose another picture").click()


def test_a_damaged_picture_gets_the_servers_word_for_it(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors.append("status of 4(15|22)")
    page.goto(site)
    give(page, "choose", "photo.png", "image/png", b"\x89PNG\r\n\x1a\nand then nothing")
    expect(alert(page, "That can’t be read as a picture")).to_be_visible()
    expect(cards(page)).to_have_count(0)


def test_a_search_by_picture_survives_a_reload(page: Page, site: str, photos: Path) -> None:
    page.goto(site)
    give(page, "choose", "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    found = titles(page)[:24]
    page.reload()
    assert titles(page)[:24] == found
    expect(chips(page).locator("img")).to_be_visible()


def test_a_link_that_was_made_with_a_picture_says_so(page: Page, site: str, photos: Path) -> None:
    page.goto(f"{site}?pictures=1")
    expect(alert(page, "This link was made with a picture")).to_be_visible()
    give(page, "choose", "mine.webp", "image/webp", (photos / "tiger-face.webp").read_bytes())
    assert titles(page)[0] == "tiger face"
    page.goto(f"{site}?q=dog&pictures=1")
    expect(page.get_by_role("status").filter(has_text="the link doesn’t have it")).to_be_visible()
    assert titles(page)


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
    expect(chips(page).locator("img")).to_have_attribute("src", link)
    assert parse_qs(urlsplit(page.url).query) == {"url": [link]}


def test_a_link_that_leads_nowhere_allowed_is_told(page: Page, site: str, expected_errors: list[str]) -> None:
    expected_errors += ["status of 422", "status of 404"]
    page.goto(site)
    box(page).fill(f"{site}/files/a.png")
    page.keyboard.press("Enter")
    expect(alert(page, "That picture can’t be fetched")).to_be_visible()


# --- Marks, and more like this ---------------------------------------------------------------------------------------


def test_more_like_this_from_a_card_and_from_the_dialog(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    item = card(page, "dog face")
    item.hover()
    item.get_by_role("link", name="More like dog face").click()
    expect(page).to_have_url(f"{site}/?id=dog-face.webp")
    expect(chips(page)).to_contain_text("dog face")
    expect(page.locator("#asked")).to_be_focused()
    assert "dog face" not in titles(page)

    other = titles(page)[0]
    cards(page).first.click()
    page.get_by_role("dialog").get_by_role("link", name="More like this").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(chips(page)).to_contain_text(other)
    expect(chips(page)).to_have_count(1)


def test_an_image_is_added_to_the_search(page: Page, site: str) -> None:
    page.goto(f"{site}?query=dog+-red")
    card(page, "poodle").locator(".open").click()
    page.get_by_role("dialog").get_by_role("button", name="Add to search").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(f"{site}/?query=dog+-red+id%3Apoodle.webp")
    expect(chips(page)).to_contain_text(["dog", "red", "poodle"])


def test_marked_results_refine_the_search(page: Page, site: str) -> None:
    page.goto(f"{site}?q=dog")
    poodle, pig = (card(page, title) for title in ("poodle", "pig face"))
    poodle.hover()
    poodle.get_by_role("button", name="Good result: poodle").click()
    pig.hover()
    pig.get_by_role("button", name="Bad result: pig face").click()
    expect(poodle.get_by_role("button", name="Good result")).to_have_attribute("aria-pressed", "true")
    bar = page.get_by_role("region", name="Results that you marked")
    expect(bar).to_contain_text("1 good, 1 bad")
    pig.get_by_role("button", name="Good result: pig face").click()  # the other thumb takes its place
    expect(bar).to_contain_text("2 good, 0 bad")
    pig.get_by_role("button", name="Good result: pig face").click()
    expect(bar).to_contain_text("1 good, 0 bad")
    pig.get_by_role("button", name="Bad result: pig face").click()

    with page.expect_request("**/search") as sent:
        bar.get_by_role("button", name="Refine").click()
    assert (asked(sent.value)["like"], asked(sent.value)["unlike"]) == (["poodle.webp"], ["pig-face.webp"])
    expect(page).to_have_url(f"{site}/?q=dog&like=poodle.webp&unlike=pig-face.webp")
    expect(bar).to_be_hidden()
    assert not {"poodle.webp", "pig-face.webp"} & set(ids(page))
    expect(chips(page)).to_have_count(3)
    page.get_by_role("button", name="Bad result: pig face. Make it a good result").click()
    expect(page).to_have_url(f"{site}/?q=dog&like=poodle.webp&like=pig-face.webp")
    page.get_by_role("button", name="Remove the good result pig face").click()
    expect(page).to_have_url(f"{site}/?q=dog&like=poodle.webp")
    page.go_back()
    page.go_back()
    page.go_back()
    expect(bar).to_contain_text("1 good, 1 bad")  # as it was left
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    expect(page.locator("#grid [aria-pressed=true]")).to_have_count(0)


def test_marks_alone_are_a_search(page: Page, site: str) -> None:
    page.goto(f"{site}?like=poodle.webp")
    assert "poodle" not in titles(page)
    expect(page.get_by_role("radio", name="Text")).to_be_disabled()
