"""Takes keys, tokens and e-mail addresses out of everything that is logged, whoever logs it.

Each record is cleaned where it is made, before any handler, so that uvicorn's and libraries' own
handlers get nothing else.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from llm_canary.privacy.kinds import Kind
from llm_canary.privacy.redact import Redactor

_SECRET_BYTES = 16
_KINDS = (Kind.KEY, Kind.EMAIL)


class ScrubbingFactory:
    """Makes log records that hold no secret."""

    def __init__(self) -> None:
        self._redact = Redactor(os.urandom(_SECRET_BYTES), _KINDS).redact
        self._formatter = logging.Formatter()

    def __call__(self, *arguments: Any, **options: Any) -> logging.LogRecord:  # noqa: ANN401 - of logging
        """Return a record whose message and traceback are redacted."""
        record = logging.LogRecord(*arguments, **options)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"{record.msg} (arguments that do not fit it are left out)"
        record.msg, record.args = self._redact(message), None
        if record.exc_info:
            # Formatters take the text where there is one, and make none of their own.
            record.exc_text = self._redact(self._formatter.formatException(record.exc_info))
            record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        return record


def scrub_logs() -> None:
    """Clean all records of this process from now on."""
    if not isinstance(logging.getLogRecordFactory(), ScrubbingFactory):
        logging.setLogRecordFactory(ScrubbingFactory())
