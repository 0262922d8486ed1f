"""The search page, as one document that runs its own styles and scripts and no others."""

import base64
import hashlib
import re
from pathlib import Path

_STYLE_TAG = re.compile(r'<link rel="stylesheet" href="([\w-]+\.css)">')
_SCRIPT_TAG = re.compile(r'<script src="([\w-]+\.js)" defer></script>')


def build_page(folder: Path) -> tuple[str, str]:
    """`index.html` of `folder` with the styles and scripts it names in it, and the Content-Security-Policy for it.

    One document needs no further requests, which an API key would be in the way of, and doesn't care at which path it
    is served. Scripts that are in a page can't be modules, but share their names, and run in their order. The policy
    names each by hash, so that nothing that might get into the page is run; images may come from anywhere, everything
    else only from where the page came from. Trusted types keep the scripts from making HTML of text at all.
    """
    html = (folder / "index.html").read_text("utf-8")
    html, styles = _inlined(html, _STYLE_TAG, "style", folder)
    html, scripts = _inlined(html, _SCRIPT_TAG, "script", folder)
    policy = (
        f"default-src 'none'; script-src {_sources(scripts)}; style-src {_sources(styles)}; connect-src 'self'; "
        "img-src https: http: data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return html, policy


def _inlined(html: str, tag: re.Pattern[str], element: str, folder: Path) -> tuple[str, list[str]]:
    """`html` with the file that each `tag` names in its place, and what is in those files."""
    texts = [(folder / name).read_text("utf-8") for name in tag.findall(html)]
    inline = iter(texts)
    return tag.sub(lambda _: f"<{element}>{next(inline)}</{element}>", html), texts


def _sources(texts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
