"""The demo."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from batch.cli.options import Model

app = typer.Typer()


@app.command()
def demo(
    photos: Annotated[Path | None, typer.Option(help="A folder of photos; sample pictures if none.")] = None,
    model: Model = None,
    index: Annotated[Literal["embedded", "opensearch"], typer.Option(help="Which index.")] = "embedded",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is served; 0 is a free one.")] = 8000,
    state: Annotated[Path | None, typer.Option(help="Folder that keeps what was encoded; .demo if none.")] = None,
) -> None:
    """Run the whole path on this machine, and serve its page.

    Example: imagesearch demo --photos ~/Pictures
    """
    from local.demo import MODEL, STATE, demo

    demo(photos, model=model or MODEL, index=index, port=port, state=state or STATE)
