"""The command line, `imagesearch`: encode photos, load vectors into an index, search it, and try it all in a demo.

What is heavy is imported by the command that needs it: --help should answer at once.
"""

import sys

import typer

from batch.cli import demo, index, models, runs, unsplash
from batch.cli.options import complain
from imagesearch.errors import ImageSearchError

app = typer.Typer(
    name="imagesearch",
    help="Search photos by words, by picture, or by both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for commands in (runs, index, models, unsplash, demo):
    app.add_typer(commands.app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; trouble that was foreseen, or with a file, is a message and exit code 1, no traceback."""
    try:
        app(arguments)
    except (ImageSearchError, OSError) as error:
        complain(f"Error: {error}")
        sys.exit(1)
