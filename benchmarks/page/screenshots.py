"""Pictures of a page: `python -m benchmarks.page.screenshots RUN FOLDER`.

It needs Playwright and its Chromium, as the tests of the page do. The page must exist. Every
picture is a PNG file with few colours, since documents contain them.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
from PIL import Image

COLOURS = 200


class Picture(NamedTuple):
    """A picture of a part of the page.

    Attributes:
        name: name of the file without its ending.
        part: selector of the part; empty for the first screen.
        width: width of the window in pixels.
        scheme: `light` or `dark`.
        height: largest height of the picture in pixels.
    """

    name: str
    part: str
    width: int
    scheme: str
    height: int


PICTURES = (
    Picture("first-screen", "", 1300, "light", 760),
    Picture("first-screen-narrow-dark", "", 390, "dark", 760),
    Picture("corruptions", "#corruptions", 1300, "light", 1240),
    Picture("two-models-dark", "#pairs", 1300, "dark", 700),
)


def take(page: Any, picture: Picture) -> bytes:
    """Return a PNG file of a part of the page."""
    page.set_viewport_size({"width": picture.width, "height": picture.height})
    page.emulate_media(color_scheme=picture.scheme)
    page.wait_for_timeout(500)
    part = page.locator(picture.part or "body").bounding_box()
    height = min(part["height"], picture.height)
    clip = {"x": 0, "y": part["y"], "width": picture.width, "height": height}
    found: bytes = page.screenshot(full_page=True, clip=clip)
    return found


def with_few_colours(png: bytes) -> bytes:
    """Return a smaller PNG file of the same picture."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS)
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return file.getvalue()


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--browser", help="Chromium to use; Playwright's own by default.")
def main(run: Path, folder: Path, browser: str | None) -> None:
    """Take pictures of the page of RUN and write them into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    playwright = import_module("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.goto((run / "report" / "index.html").resolve().as_uri())
        for picture in PICTURES:
            path = folder / f"{picture.name}.png"
            path.write_bytes(with_few_colours(take(page, picture)))
            click.echo(path)
        opened.close()


if __name__ == "__main__":
    main()
