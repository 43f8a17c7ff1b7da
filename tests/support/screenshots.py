"""Pictures of every page of the seeded instance, for docs/images: `make screenshots`.

python -m tests.support.screenshots [--keep DIR] [--only PART-OF-A-PATH] [--into FOLDER]
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from llm_canary.pages.render import PLACES
from llm_canary.storage.engine import make_engine
from tests.support.browser import DESKTOP, PHONE, chromium, watched
from tests.support.pages import Page, html_pages, log_in
from tests.support.seeded import ADMIN, DATABASE, Seeded
from tests.support.server import RunningServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 150_000
HEIGHT = "document.body.scrollHeight"
TALLEST_PX = 2_400
COLOURS = (256, 128, 64)
# Shot in the dark and on a phone too: what people look at every day.
MAIN = {place.path for place in PLACES[:2]} | {"/rollouts/{name}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="make the instance there, or take what is there")
    parser.add_argument("--only", default="", help="pages whose path holds this")
    parser.add_argument("--into", type=Path, default=IMAGES)
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = given.keep or Path(made)
        if not (folder / DATABASE).exists():
            print("making the instance (half a minute)")
            Seeded(folder).build()
        shoot_all(folder, given.into, given.only)


def shoot_all(folder: Path, into: Path, only: str) -> None:
    """Serve the instance and shoot the first address of each page."""
    config = (folder / "canary.yaml").read_text()
    engine = make_engine(f"sqlite:///{folder / DATABASE}")
    with (
        RunningServer(folder, config) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
        chromium() as browser,
    ):
        cookie = log_in(client, ADMIN)
        firsts = {page.path: page for page in reversed(html_pages(client, engine))}
        for path, page in sorted(firsts.items()):
            if only not in path:
                continue
            who = None if path == "/login" else cookie
            shoot(browser, server.url, who, page, into)
            if path in MAIN:
                shoot(browser, server.url, who, page, into, scheme="dark")
                shoot(browser, server.url, who, page, into, viewport=PHONE)
    engine.dispose()


def shoot(
    browser: Browser,
    origin: str,
    cookie: str | None,
    page: Page,
    into: Path,
    *,
    scheme: str = "light",
    viewport: dict[str, int] = DESKTOP,
) -> None:
    """Write one picture, as small as it can still be read."""
    is_phone = viewport == PHONE
    suffix = "-phone" if is_phone else "" if scheme == "light" else f"-{scheme}"
    with watched(browser, origin, cookie, viewport=viewport, scheme=scheme) as seen:
        seen.open(page.url)
        seen.tab.wait_for_timeout(500)
        # A chart is drawn when it comes into sight, so all of them have to.
        for _ in range(2):
            height = min(int(seen.tab.evaluate(HEIGHT)), TALLEST_PX)
            seen.tab.set_viewport_size({"width": viewport["width"], "height": height})
            seen.tab.wait_for_timeout(800)
        shot = seen.tab.screenshot()
    path = into / f"{page.slug}{suffix}.png"
    path.write_bytes(smaller(shot))
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


def smaller(shot: bytes) -> bytes:
    """Return the picture with as many colours as its size allows."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    written = b""
    for colours in COLOURS:
        few = image.quantize(colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        target = io.BytesIO()
        few.save(target, "PNG", optimize=True)
        written = target.getvalue()
        if len(written) <= MOST_BYTES:
            break
    return written


if __name__ == "__main__":
    main()
