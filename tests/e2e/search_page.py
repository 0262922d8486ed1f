"""What tests do on the search page again and again."""

import base64
import io

from PIL import Image
from playwright.sync_api import Locator, Page, expect

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
PAGE_SIZE = 24


def box(page: Page) -> Locator:
    return page.get_by_label("Describe the picture")


def search(page: Page, words: str) -> None:
    """Add `words` to the search."""
    before = chips(page).count()
    box(page).fill(words)
    page.keyboard.press("Enter")
    expect(box(page)).to_have_value("")
    expect(chips(page)).not_to_have_count(before)


def chips(page: Page) -> Locator:
    return page.locator("#terms > li")


def parts(page: Page) -> list[str]:
    """The search, as its chips say it: a sign, what it is by, and how much it counts."""
    return [" ".join(chip.inner_text().split()) for chip in chips(page).all()]


def cards(page: Page) -> Locator:
    return page.locator("#grid .open")


def card(page: Page, title: str) -> Locator:
    return page.locator("#grid > li").filter(has=page.locator(".title").get_by_text(title, exact=True)).first


def titles(page: Page) -> list[str]:
    expect(cards(page).first).to_be_visible()
    return page.locator("#grid .title").all_text_contents()


def ids(page: Page) -> list[str]:
    found: list[str] = page.locator("#grid > li").evaluate_all(
        "items => items.flatMap((item) => item.hit ? [item.hit.id] : [])"
    )
    return found


def alert(page: Page, says: str) -> Locator:
    return page.get_by_role("alert").filter(has_text=says)


def scroll_down(page: Page) -> None:
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")


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


def image_file(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
