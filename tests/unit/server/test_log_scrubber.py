"""No key, token or address of a person reaches a log, whoever logs it and how."""

import io
import logging
import logging.config

import pytest
from click.testing import CliRunner
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import DefaultFormatter

from llm_canary.cli import main
from llm_canary.server.log_scrubber import ScrubbingFactory, scrub_logs

SECRETS = [
    "sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e",
    "lc_ab12cd34_Zm9vYmFyYmF6cXV4cXV1eA",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "ada.lovelace@example.org",
]
BEARER = "Zm9vYmFyLW5vLWtub3duLWJlZ2lubmluZw"


@pytest.fixture(autouse=True)
def scrubbed():
    before = logging.getLogRecordFactory()
    scrub_logs()
    yield
    logging.setLogRecordFactory(before)


@pytest.fixture(params=["llm_canary.gateway", "uvicorn.error", "httpx", "LiteLLM.Router"])
def log(request):
    """Return a logger and what its handler has written, formatted as uvicorn does."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(DefaultFormatter(LOGGING_CONFIG["formatters"]["default"]["fmt"]))
    logger = logging.getLogger(request.param)
    logger.addHandler(handler)
    yield logger, written
    logger.removeHandler(handler)


def raising(secret):
    raise ValueError(f"the provider says: {secret} is wrong")


@pytest.mark.parametrize("secret", SECRETS)
def test_it_is_gone_from_messages_arguments_tracebacks_and_causes(log, secret):
    logger, written = log
    logger.error("in the message: %s" % secret)  # noqa: G002, UP031
    logger.error("in an argument: %s", secret)
    logger.error("by name: %(key)s", {"key": secret})
    logger.error(ValueError(secret))
    try:
        raising(secret)
    except ValueError:
        logger.exception("it failed")
    try:
        try:
            raising(secret)
        except ValueError as error:
            raise RuntimeError("then") from error
    except RuntimeError:
        logger.exception("it failed again")

    text = written.getvalue()
    assert secret not in text
    assert text.count("ValueError: the provider says") == 2
    assert "Traceback" in text


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {BEARER}",
        f"{{'authorization': 'Bearer {BEARER}'}}",
        f"bearer {BEARER}",
        f"https://user:{BEARER}@models.example/v1",
    ],
)
def test_credentials_without_a_known_beginning_go_by_what_introduces_them(log, text):
    logger, written = log
    logger.error("request header %s", text)

    assert BEARER not in written.getvalue()


def test_what_is_no_secret_stays(log):
    logger, written = log
    logger.error("upstream %r at %s answered %d in %.1f s", "up", "10.0.0.7:8080", 503, 1.5)

    assert "upstream 'up' at 10.0.0.7:8080 answered 503 in 1.5 s" in written.getvalue()


def test_a_message_with_the_wrong_arguments_is_logged_without_them(log):
    logger, written = log
    logger.error("%d things", SECRETS[0])

    assert "%d things (arguments" in written.getvalue()
    assert SECRETS[0] not in written.getvalue()


def test_every_command_cleans_what_it_logs():
    logging.setLogRecordFactory(logging.LogRecord)
    CliRunner().invoke(main, ["keys", "list", "--no-such-option"])

    assert isinstance(logging.getLogRecordFactory(), ScrubbingFactory)
