"""Pages and static files are compressed, unless that could tell another site something."""

from types import SimpleNamespace

import pytest

from llm_canary.clock import ManualClock
from tests.rollout_views import NOW_S, every_state
from tests.support.control import Web
from tests.support.rollout_reader import ViewReader

OWN = {"accept-encoding": "gzip", "sec-fetch-site": "same-origin"}


@pytest.fixture
def site(tmp_path):
    made = Web(
        tmp_path,
        clock=ManualClock(NOW_S),
        rollouts=SimpleNamespace(read=ViewReader(list(every_state()))),
    )
    yield made
    made.close()


@pytest.mark.parametrize("origin", ["same-origin", "none"])
def test_a_page_is_compressed_for_who_came_from_here_or_typed_the_address(site, origin):
    plain = site.get(**{"accept-encoding": "identity"})

    packed = site.get(**(OWN | {"sec-fetch-site": origin}))

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert "accept-encoding" in packed.headers["vary"].lower()


@pytest.mark.parametrize("origin", ["cross-site", "same-site", ""])
def test_a_page_that_another_site_asks_for_has_the_length_of_its_text(site, origin):
    headers = {"accept-encoding": "gzip"} | ({"sec-fetch-site": origin} if origin else {})

    answer = site.get("/?guess=csrf", **headers)

    assert "content-encoding" not in answer.headers


def test_static_files_always_are_and_the_tag_says_that_the_bytes_differ(site):
    plain = site.get("/static/app.css", **{"accept-encoding": "identity"})
    first, again = (site.get("/static/app.css", **{"accept-encoding": "gzip"}) for _ in range(2))

    assert first.headers["content-encoding"] == again.headers["content-encoding"] == "gzip"
    assert first.content == again.content == plain.content
    assert first.headers["etag"] == f"W/{plain.headers['etag']}"
    unchanged = {"accept-encoding": "gzip", "if-none-match": first.headers["etag"]}
    assert site.get("/static/app.css", **unchanged).status_code == 304


def test_the_security_headers_stay_on_a_compressed_page(site):
    headers = site.get(**OWN).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_a_poll_still_gets_its_304(site):
    first = site.get("/partials/rollouts", **OWN)
    tag = first.headers["etag"].removeprefix("W/")

    assert site.get("/partials/rollouts", **OWN, **{"if-none-match": tag}).status_code == 304


def test_a_part_of_a_file_and_a_small_one_are_sent_as_they_are(site):
    part = site.get("/static/app.css", **{"accept-encoding": "gzip", "range": "bytes=0-99"})
    small = site.get("/static/theme.js", **{"accept-encoding": "gzip"})

    assert part.status_code == 206
    assert len(part.content) == 100
    assert "content-encoding" not in small.headers


def test_what_is_no_page_is_left_alone(site):
    assert "content-encoding" not in site.get("/openapi.json", **OWN).headers
    assert "content-encoding" not in site.get("/login/none", **OWN).headers
