"""A failure's code and message, made fit for end users."""

from __future__ import annotations

import enum

from immortus_channels.conf import is_strict
from immortus_channels.guarded import quoted
from immortus_channels.jobs.job import Error
from immortus_channels.logs import logger
from immortus_channels.writer.values import SENTENCE, clean_text, is_sentence

MAX_CODE = 100
"""Characters of an error's code."""
_ERROR = "error"


def clean_error(code: object, message: object, job_id: str = "") -> Error:
    """Return a failure's error, fit for the document. Never raises: whatever is wrong with it, the job has failed.

    An enum's member stands for its value and a number for its digits. Any other code that is not text becomes `error`,
    and is logged: the text of an exception or of bytes is not meant for end users. Any other message is shown as its
    `str()`, with a warning; None means no message. In DEBUG and tests a code that reads like a sentence is logged.
    """
    message = "" if message is None else message
    if not is_sentence(message):
        about = {"job_id": job_id}
        logger.warning("A failure's message is %s; %s. Its str() is shown.", quoted(message), SENTENCE, extra=about)
    return Error(code=_code(code, job_id), message=_written(message, job_id))


def _code(code: object, job_id: str) -> str:
    value = code.value if isinstance(code, enum.Enum) else code
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = _written(value, job_id)[:MAX_CODE] or _ERROR
        if is_strict() and (" " in text or text.endswith(".")):
            msg = "The code of a failure reads like a sentence: %s. Write JobFailed(code, message)."
            logger.warning(msg, quoted(text), extra={"job_id": job_id})
        return text
    msg = "A failure's code is text, not a value of type %s; the job has failed with the code %r"
    logger.error(msg, type(value).__name__, _ERROR, extra={"job_id": job_id})
    return _ERROR


def _written(value: object, job_id: str) -> str:
    try:
        return clean_text(value)
    except Exception:
        logger.exception("What a failure says could not be written as text", extra={"job_id": job_id})
        return ""
