"""Search photos by words, by a picture on the web, or by one of your own: `streamlit run streamlit_app.py`.

The search API's URL and key come from Streamlit's secrets or from the environment; docs/streamlit.md has the rest.
"""

import base64
import os
import re
import string
import time
from pathlib import Path
from typing import Any, cast

import streamlit as st

from imagesearch.api import MAX_K
from imagesearch.errors import ApiError, ImageReason, InvalidImage, InvalidInput
from imagesearch.images import jpeg_thumbnail, open_image
from streamlit_client import Hit, SearchClient

ENDPOINT, API_KEY = "IMAGESEARCH_ENDPOINT", "IMAGESEARCH_API_KEY"
# Comments, since Streamlit's "magic" would put a string that stands alone on the page.
UPLOAD_SIDE = 640  # pixels of the longer side: more than CLIP models look at, and far below API Gateway's 10 MB
FRESH = 600  # seconds; the links of an answer work for 15 minutes
FORMATS = ["jpeg", "png", "webp", "heif", "avif", "gif", "tiff", "bmp"]
SUFFIXES = ["jpg", "jpeg", "png", "webp", "heic", "heif", "avif", "gif", "tif", "tiff", "bmp"]

Query = dict[str, str]  # what a request of the API asks for: `text`, `image_url`, `image` (base64) or `id`

TITLES = {
    400: "The search can't be read as it stands",
    401: "This search needs an API key",
    403: "The API key was refused",
    404: "There is no such thing",
    413: "That is too large",
    415: "That can't be read as a picture",
    422: "That picture can't be fetched, or is damaged",
    429: "Too many searches at the moment",
    503: "The search doesn't answer",
    504: "The search takes too long",
}
ADVICE = {
    401: f"Set {API_KEY} to the key that the stack's output ApiKeyCommand prints.",
    403: f"Check {API_KEY}: the stack's output ApiKeyCommand prints the key.",
    404: f"If that is unexpected, check {ENDPOINT}: the stack's output ApiUrl has it.",
}
NOT_YET = {
    429: "There are many searches at the moment. Yours is next …",
    503: "The search is waking up, which takes some seconds after a quiet time …",
    504: "The search is waking up, which takes some seconds after a quiet time …",
    None: "The search doesn't answer yet. Trying again …",
}


def main() -> None:
    """The page."""
    st.set_page_config("Image search", layout="wide")  # a Material icon would be fetched from its maker's server
    st.title("Image search", anchor=False)
    try:
        client = SearchClient(setting(ENDPOINT), setting(API_KEY))
    except InvalidInput as error:
        show_how_to_set_up(error)
        return
    with st.sidebar:
        k, filter = ask_how()
    ask_what()
    if "trouble" in st.session_state:
        st.error(st.session_state.trouble, icon=":material/broken_image:")
        return
    query: Query | None = st.session_state.get("query")
    if query is None:
        st.caption("The closest pictures are shown here, best first.")
        return
    hits = find(client, query, k, filter)
    if hits is not None:
        show(query, hits)


def setting(name: str) -> str:
    """The secret `name`, else the environment variable, else nothing."""
    try:
        return str(st.secrets[name]).strip()
    except (KeyError, FileNotFoundError):  # the latter is Streamlit's, of a file that is missing or no TOML
        return os.environ.get(name, "").strip()


def show_how_to_set_up(error: InvalidInput) -> None:
    """The page before there is an endpoint to ask."""
    if setting(ENDPOINT):
        st.error(escape(str(error)), icon=":material/settings:")
    elif any(Path(file).exists() for file in st.get_option("secrets.files")):
        st.warning(f"There is a secrets.toml, but {ENDPOINT} can't be read from it.", icon=":material/settings:")
    st.subheader("Where is the search?", anchor=False)
    st.markdown(
        "Write its URL, and its API key where it has one, to `.streamlit/secrets.toml` beside this app. The outputs "
        "`ApiUrl` and `ApiKeyCommand` of the deployed stack have both:"
    )
    st.code(f'{ENDPOINT} = "https://abc123.execute-api.eu-west-1.amazonaws.com/prod"\n{API_KEY} = "…"', "toml")
    st.markdown("Environment variables of the same names do as well. On one machine, with `make demo` running:")
    st.code(f"{ENDPOINT}=http://127.0.0.1:8000 streamlit run streamlit_app.py", "sh")


def ask_how() -> tuple[int, dict[str, Any]]:
    """How many results there should be, and the filter that they should pass."""
    k = st.slider("Results", 1, MAX_K, 24)
    st.subheader("Only pictures …", anchor=False)
    tags = st.multiselect("with all of these tags", [], accept_new_options=True, placeholder="Type a tag")
    formats = st.multiselect("in one of these formats", FORMATS, placeholder="Any format")
    width = st.number_input("at least so many pixels wide", 0, None, 0, 100)
    filter: dict[str, Any] = {}
    if tags:
        filter["tags"] = {"all_of": tags}
    if formats:
        filter["format"] = {"any_of": formats}
    if width:
        filter["width"] = {"gte": width}
    return k, filter


def ask_what() -> None:
    """The three ways to ask; what was asked last is `st.session_state.query`."""
    words, address, upload = st.tabs(["Words", "Picture on the web", "Picture of yours"])
    with words, st.form("words", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("What the picture shows", placeholder="two dogs on a beach").strip()
        if st.form_submit_button("Search", type="primary") and text:
            search_for({"text": text})
    with address, st.form("address", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        url = st.text_input("Its address", placeholder="https://…").strip()
        if st.form_submit_button("Search", type="primary") and url:
            search_for({"image_url": url})
    with upload:
        st.file_uploader("A picture that results should look like", SUFFIXES, key="file", on_change=search_for_upload)


def search_for(query: Query | None) -> None:
    """Let `query` be what is searched for."""
    st.session_state.query = query
    st.session_state.pop("trouble", None)


def search_for_upload() -> None:
    """Search by the picture that was just chosen, made small and upright."""
    search_for(None)
    if (file := st.session_state.file) is None:
        return
    try:
        small = jpeg_thumbnail(open_image(file.getvalue(), target=UPLOAD_SIDE // 2).image, UPLOAD_SIDE)
    except InvalidImage as error:
        too_large = error.reason in (ImageReason.TOO_MANY_BYTES, ImageReason.TOO_MANY_PIXELS)
        st.session_state.trouble = f"**{TITLES[413 if too_large else 415]}**  \n{escape(str(error))}"
    else:
        search_for({"image": base64.b64encode(small).decode()})


def find(client: SearchClient, query: Query, k: int, filter: dict[str, Any]) -> list[Hit] | None:
    """The images found, or None once the page says why there are none. The last answer is kept while it is fresh."""
    body = query | {"k": k} | ({"filter": filter} if filter else {})
    answered, hits, since = cast(tuple[Any, list[Hit], float], st.session_state.get("answer", (None, [], 0.0)))
    if answered == body and time.monotonic() - since < FRESH:
        return hits
    note = st.empty()

    def on_wait(error: ApiError, _: float) -> None:
        note.info(NOT_YET[error.status], icon=":material/schedule:")

    try:
        with st.spinner("Searching …", show_time=True):
            hits = client.search(body, on_wait)
    except ApiError as error:
        note.empty()
        complain(error)
        return None
    note.empty()
    st.session_state.answer = body, hits, time.monotonic()
    return hits


def complain(error: ApiError) -> None:
    """Say what went wrong and what would be right."""
    title = TITLES.get(error.status or 0, "The search didn't work")
    if error.code == "quota_exceeded":
        title = "No more searches today"
    if error.status is None:
        title = "The search can't be reached"
    message = f"**{title}**  \n{escape(str(error))}"
    if error.retry_after > 1:
        message += f"  \nIt asks for {error.retry_after:,.0f} seconds of patience."
    st.error(f"{message}  \n{ADVICE.get(error.status or 0, '')}", icon=":material/error:")
    st.button("Try again")  # every click runs the page anew


def show(query: Query, hits: list[Hit]) -> None:
    """The images found, in columns."""
    if not hits:
        st.info("Nothing found. Try other words, or a wider filter.", icon=":material/search_off:")
        return
    asked = f"“{escape(query['text'])}”" if "text" in query else "that picture"
    st.caption(f"The {len(hits)} closest to {asked}" if len(hits) > 1 else f"The closest to {asked}")
    with st.grid(min_column_width=180):
        for hit in hits:
            with st.container(border=True, gap="xsmall"):
                card(hit)


def card(hit: Hit) -> None:
    """One image. What a source says of it is shown as text, whatever it may look like."""
    if hit.link:
        st.image(hit.link, width="stretch", link=hit.link, alt=hit.name)
    st.text(" ".join(hit.name.split()))
    st.caption(f"{hit.score:.3f}" + (f" · {credit_line(hit.credit)}" if hit.credit else ""))
    with st.container(horizontal=True):
        if hit.link:
            st.link_button("Open", hit.link, type="tertiary", icon=":material/open_in_new:")
        st.button("More like this", key=f"like {hit.id}", type="tertiary", on_click=search_for, args=({"id": hit.id},))


def credit_line(credit: str) -> str:
    """A credit in Markdown; the words of "Photo by Ann (https://unsplash.com/@ann)" lead to the URL in brackets."""
    named = re.fullmatch(r"(.+) \((https://[^\s<>\\]+)\)", credit)
    return f"[{escape(named[1])}](<{named[2]}>)" if named else escape(credit)


def escape(text: str) -> str:
    """Markdown that shows `text` as it is, in one line.

    Every ASCII punctuation mark may be escaped (CommonMark 2.4). Streamlit looks for what it adds itself only after
    that: `:name:`, `:color[…]`, arrows and dashes, and addresses, which it makes links. A word joiner, which has no
    width, before their marks keeps them from being found.
    """
    one_line = " ".join(text.split())
    escaped = re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", one_line)
    return re.sub(r"(\\[-:.@<>=~])", "\u2060\\1", escaped)


if __name__ == "__main__":
    main()
