"""Every page in a real browser: found by axe-core to be in order, quiet, within its window, and light."""

import re
from urllib.parse import urlsplit

import pytest

from llm_canary.pages.render import PLACES
from tests.support.browser import DESKTOP, PHONE, SCHEMES, watched
from tests.support.pages import addresses, get_paths, html_pages, is_of, places

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.xdist_group("seeded"),
    pytest.mark.timeout(900),
]
FIRST_VIEW_BYTES = 150_000
PATHS = get_paths()


def pages_of(instance, path):
    """Return the addresses of a path, none where it is a fragment or a download."""
    found = []
    for url in addresses(path, instance.engine):
        answer = instance.client.get(url)
        assert answer.status_code < 400, f"{url}: {answer.status_code} {answer.text[:400]}"
        if answer.text.lstrip().lower().startswith("<!doctype html"):
            found.append(url)
    return found


@pytest.mark.node
@pytest.mark.parametrize("path", PATHS)
def test_the_page_is_in_order(browser, instance, axe, path):
    wrong = []
    for url in pages_of(instance, path):
        for viewport in (DESKTOP, PHONE):
            where = f"{url} {viewport['width']}"
            with watched(browser, instance.url, instance.cookie, viewport=viewport) as seen:
                seen.open(url)
                if not 0 < (size := seen.first_view_bytes()) <= FIRST_VIEW_BYTES:
                    wrong.append(f"{where}: {size} bytes")
                for scheme in SCHEMES:
                    seen.tab.emulate_media(color_scheme=scheme)
                    if (wide := seen.overflow()) > 0:
                        wrong.append(f"{where} {scheme}: {wide} px too wide")
                    wrong += [f"{where} {scheme}: {each}" for each in seen.axe(axe)]
                wrong += [f"{where}: {each}" for each in seen.complaints]

    assert wrong == []


def test_every_answer_carries_the_policy(instance):
    for path in PATHS:
        for url in addresses(path, instance.engine):
            policy = instance.client.get(url).headers["content-security-policy"]
            assert "default-src 'none'" in policy, url
            assert "unsafe" not in policy, url


def test_every_page_is_reached_from_the_navigation_and_no_link_is_dead(instance):
    """What the navigation promises before its page exists is the one exception."""
    not_yet = {place.path for place in PLACES} - set(places())
    seen, ahead, dead = set(), [*places()], set()
    while ahead:
        url = ahead.pop()
        rule = next((path for path in PATHS if is_of(path)(url)), None)
        known = sum(is_of(rule)(each) for each in seen) if rule else 0
        if url in seen or known >= 12:
            continue
        seen.add(url)
        answer = instance.client.get(url, follow_redirects=True)
        if answer.status_code >= 400 and url not in not_yet:
            dead.add((url, answer.status_code))
        if "text/html" in answer.headers["content-type"]:
            ahead += [link for link in _links(answer.text) if link not in seen]
    wanted = {page.path for page in html_pages(instance.client, instance.engine)} - _BESIDE

    assert dead == set()
    assert {path for path in wanted if not any(map(is_of(path), seen))} == set()


# The login; a pair, to which "compare pairs" redirects the one who gets it; and what only a text too long
# for its page links to.
_BESIDE = {"/login", "/review/pairs/item/{pair}", "/review/item/{sample}/text/{part}"}


def _links(html):
    """Return the paths of ours that are linked or polled, without their queries."""
    found = re.findall(r'\s(?:href|hx-get)="(/[^"]*)"', html)
    return {urlsplit(each).path for each in found if not each.startswith("/static/")}
