"""The search page, as one document that runs its own style and script and no other."""

import base64
import hashlib
from pathlib import Path

STYLE_TAG = '<link rel="stylesheet" href="style.css">'
SCRIPT_TAG = '<script src="app.js" defer></script>'


def build_page(folder: Path) -> tuple[str, str]:
    """`index.html` of `folder` with `style.css` and `app.js` in it, and the Content-Security-Policy to serve it with.

    One document needs no further requests, which an API key would be in the way of, and doesn't care at which path it
    is served. The policy names both by hash, so that nothing that might get into the page is run; images may come from
    anywhere, everything else only from where the page came from.
    """
    html, style, script = ((folder / name).read_text("utf-8") for name in ("index.html", "style.css", "app.js"))
    html = html.replace(STYLE_TAG, f"<style>{style}</style>").replace(SCRIPT_TAG, f"<script>{script}</script>")
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; connect-src 'self'; "
        "img-src https: http: data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
