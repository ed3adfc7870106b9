from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from django.test import override_settings
from django.test.utils import _TestState
from django.utils.safestring import mark_safe
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy, ngettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.exceptions import DocumentTooLarge, InvalidValue, ReservedMetaKey
from immortus_channels.jobs.job import DOCUMENT_KEYS, LARGEST, MAX_DEPTH, MAX_DOCUMENT_BYTES, PROGRESS_KEYS, Error, Job
from immortus_channels.writer import failures, values
from immortus_channels.writer.failures import MAX_CODE, clean_error
from immortus_channels.writer.values import (
    MAX_SENTENCE,
    clean,
    clean_message,
    clean_meta,
    clean_number,
    clean_result,
    clean_text,
    clean_total,
    fits,
    refuse_too_large,
    within_limit,
)


class Code(enum.Enum):
    BAD_ROW = "bad_row"
    GONE = 410
    ODD = ("a", "b")


class TextCode(str, enum.Enum):  # noqa: UP042 - as projects wrote it before StrEnum
    BAD_ROW = "bad_row"


class Unspeakable:
    def __str__(self):
        raise RuntimeError


@pytest.fixture
def in_production(monkeypatch):
    monkeypatch.setattr(values, "is_strict", lambda: False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, 2.5, None, True, "ä"]}, {"a": [1, 2.5, None, True, "ä"]}),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (gettext_lazy("Jobs"), "Jobs"),
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        ("emoji \U0001f600 stays", "emoji \U0001f600 stays"),
    ],
)
def test_values_are_written_as_django_writes_json(value, shown, caplog):
    assert clean(value) == shown
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        ([float("inf"), float("-inf"), 1.0], [None, None, 1.0]),
        ("a\0b", "a\ufffdb"),
        ({"k\0": {"x": "\ud800"}}, {"k\ufffd": {"x": "\ufffd"}}),
    ],
)
def test_what_json_and_postgresql_refuse_is_replaced_with_one_log_line(value, shown, caplog):
    assert clean(value, "j") == shown
    assert [record.job_id for record in caplog.records] == ["j"]


@pytest.mark.parametrize(
    ("publish", "named"),
    [
        (lambda: clean_meta({"speed": float("nan")}, "j"), "Meta 'speed' of the job 'j' held"),
        (lambda: clean_result([float("inf")], "j"), "The result of the job 'j' held"),
        (lambda: clean("a\0", what="The argument 'name'"), "The argument 'name' held"),
    ],
)
def test_what_is_replaced_is_named_with_its_job(publish, named, caplog):
    publish()
    (line,) = caplog.records
    assert line.getMessage().startswith(named)


def test_texts_that_only_look_suspicious_stay_and_are_not_logged(caplog):
    assert clean(["NaN", "Infinity", "\\u0000", "\\ud800"]) == ["NaN", "Infinity", "\\u0000", "\\ud800"]
    assert not caplog.records


def deep():
    value: list = []
    for _ in range(100_000):
        value = [value]
    return value


def circular():
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize("make", [object, set, circular, deep, lambda: 10**5000, lambda: {(1, 2): 3}])
def test_what_cannot_be_json_is_an_invalid_value(make):
    with pytest.raises(InvalidValue, match="cannot be written as JSON"):
        clean(make())


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_that_stores_and_sockets_take(text):
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) >= len(text) - sum(0xD800 <= ord(c) < 0xDC00 for c in text)
    if "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text):
        assert cleaned == text


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner),
    max_leaves=8,
)


@given(json_like)
def test_anything_clean_is_strict_json(value):
    text = json.dumps(clean(value), allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")


@pytest.mark.case(16)
@pytest.mark.parametrize("key", sorted(DOCUMENT_KEYS - PROGRESS_KEYS))
def test_meta_may_not_name_the_documents_own_keys(key):
    with pytest.raises(ReservedMetaKey, match=key):
        clean_meta({key: 1})


def test_meta_may_name_progress_and_status():
    meta = {"current": 1, "total": 2, "percentage": 50, "message": "x", "status": "ok"}
    assert clean_meta(meta) == meta


@pytest.mark.parametrize(
    "meta", [{"total": -3}, {"current": "7"}, {"percentage": 101}, {"percentage": True}, {"total": float("inf")}]
)
def test_progress_in_meta_is_held_to_what_update_takes(meta):
    with pytest.raises(InvalidValue, match="give a"):
        clean_meta(meta)


def test_a_message_in_meta_is_that_of_update():
    assert clean_meta({"message": 4, "total": None}) == {"message": "4", "total": None}
    with pytest.raises(TypeError, match="give text"):
        clean_meta({"message": b"x"})


@pytest.mark.usefixtures("in_production")
def test_in_production_only_what_is_unfit_is_left_out_and_logged(caplog):
    assert clean_meta({"state": 1, "good": 2, "bad": object()}, "j") == {"good": 2}
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert {record.job_id for record in caplog.records} == {"j"}


def test_in_debug_mistakes_are_raised(monkeypatch):
    monkeypatch.delattr(_TestState, "saved_data")
    with override_settings(DEBUG=True), pytest.raises(ReservedMetaKey):
        clean_meta({"state": 1})


def test_meta_names_are_made_fit_like_values():
    assert clean_meta({"a\0": 1, "\ud800": 2, 3: 4}) == {"a\ufffd": 1, "\ufffd": 2, "3": 4}


@pytest.mark.parametrize("number", [0, 1, LARGEST, 0.5, Decimal("2.5"), Fraction(1, 2)])
def test_finite_numbers_can_be_shown(number):
    cleaned = clean_number("current", number)
    assert cleaned == number
    assert type(cleaned) in (int, float)


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -1, -0.1, True, "5", None, object(), 10**400, 2**53, 1j, Decimal("sNaN")]
)
def test_numbers_that_cannot_be_shown_are_refused(number):
    with pytest.raises(InvalidValue, match="finite number"):
        clean_number("current", number)


@pytest.mark.usefixtures("in_production")
def test_in_production_a_bad_number_is_no_number(caplog):
    assert clean_number("current", float("nan"), "j") is None
    assert len(caplog.records) == 1


def test_values_that_leave_room_for_the_rest_fit():
    assert fits({"a": "x" * 24_000}, None)
    assert not fits({"a": "x" * 12_000}, {"b": "y" * 13_000})
    assert not fits("ä" * 13_000)


def test_whatever_fits_makes_a_document_within_the_limit():
    longest = Job(
        job_id="\x01" * 255,
        job_class="x" * 255,
        version=2**53 - 1,
        meta={"a": "x" * (24 * 1024 - 10)},
        message="\U0001f600" * MAX_SENTENCE,
        enqueued_at=1,
        started_at=1,
        finished_at=1,
    )
    assert fits(longest.meta)
    assert len(longest.text.encode()) <= MAX_DOCUMENT_BYTES


def test_what_is_too_large_says_what_to_do():
    with pytest.raises(DocumentTooLarge, match=r"The result .* 24576 bytes, of the document's 32768; publish a link"):
        refuse_too_large("The result", "j")


def test_parts_that_fit_alone_but_not_together_are_left_out_at_last(caplog):
    before = Job(job_id="j", version=1, meta={"a": "x" * 20_000})
    after = replace(before, version=2, current=5, strategy_meta={"b": "y" * 20_000})
    kept = within_limit(before, after)
    assert (kept.version, kept.current, kept.meta, kept.strategy_meta) == (2, 5, before.meta, {})
    assert len(caplog.records) == 1
    assert within_limit(None, after).meta == {}


def test_of_what_is_too_much_together_meta_goes_first_and_then_the_result(caplog):
    before = Job(job_id="j", version=1, meta={"a": "x" * 18_000})
    after = replace(
        before, version=2, meta={"a": "x" * 18_000, "b": "y" * 18_000}, result={"url": "/x"}, message="Done"
    )
    kept = within_limit(before, after)
    assert (kept.meta, kept.result, kept.message) == (before.meta, {"url": "/x"}, "Done")
    kept = within_limit(before, replace(after, result="z" * 18_000))
    assert (kept.meta, kept.result, kept.message) == (before.meta, None, "Done")


def test_what_fits_is_left_as_it_is():
    before = Job(job_id="j", version=1, meta={"a": "x" * 20_000})
    assert within_limit(None, before) is before


def test_a_value_that_nests_too_deep_is_refused():
    deep: object = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert clean(deep) == deep
    with pytest.raises(InvalidValue, match="levels deep"):
        clean({"a": deep})


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("bad_row", "bad_row"),
        (Code.BAD_ROW, "bad_row"),
        (TextCode.BAD_ROW, "bad_row"),
        (Code.GONE, "410"),
        (404, "404"),
        ("", "error"),
        ("x" * 1000, "x" * MAX_CODE),
        ("a\0", "a\ufffd"),
    ],
)
def test_the_code_of_a_failure_is_short_text(code, shown, caplog):
    error = clean_error(code, "A sentence.")
    assert (error, type(error.code)) == (Error(code=shown, message="A sentence."), str)
    assert not caplog.records


@pytest.mark.parametrize(
    "code",
    [None, True, ValueError("a secret"), b"a secret", object(), Code.ODD, 10**5000],
    ids=lambda it: str(type(it)),
)
def test_a_code_that_is_not_text_becomes_the_general_one_and_is_logged(code, caplog):
    assert clean_error(code, "A sentence.", "j") == Error(code="error", message="A sentence.")
    (line,) = caplog.records
    assert (line.levelname, line.job_id) == ("ERROR", "j")
    assert "secret" not in line.getMessage()


@pytest.mark.parametrize("code", ["Row 7 has no date.", "Gone.", "no credit"])
@pytest.mark.parametrize("is_strict", [True, False])
def test_a_code_that_reads_like_a_sentence_is_shown_and_told_developers(monkeypatch, caplog, code, is_strict):
    monkeypatch.setattr(failures, "is_strict", lambda: is_strict)
    assert clean_error(code, "", "j").code == code
    assert [record.job_id for record in caplog.records] == ["j"] * is_strict
    assert ("JobFailed(code, message)" in caplog.text) is is_strict


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (gettext_lazy("Jobs"), "Jobs"),
        (5, "5"),
        ("", "Something went wrong."),
        (None, "Something went wrong."),
    ],
    ids=["lazy", "number", "empty", "none"],
)
def test_the_sentence_of_a_failure_is_text_whatever_was_given(message, shown, caplog):
    assert clean_error("x", message).message == shown
    assert not caplog.records


@pytest.mark.parametrize(
    ("message", "shown"),
    [(ValueError("bad"), "bad"), (b"x", "b'x'"), (Unspeakable(), "Something went wrong.")],
    ids=["exception", "bytes", "unspeakable"],
)
def test_a_failure_whose_sentence_is_no_text_has_failed_with_a_warning(message, shown, caplog):
    assert clean_error("x", message, "j").message == shown
    assert caplog.records[0].levelname == "WARNING"


def test_a_percentage_above_100_is_refused_but_for_what_floats_add_up_to(monkeypatch, caplog):
    assert clean_number("percentage", 100.00000000000001) == 100.00000000000001
    with pytest.raises(InvalidValue, match="percentage=400: give a number from 0 to 100"):
        clean_number("percentage", 400)
    monkeypatch.setattr(values, "is_strict", lambda: False)
    assert clean_number("percentage", 400) is None
    assert len(caplog.records) == 1


# Integers that browsers round


BIG = 653247040368672769


@pytest.mark.parametrize(
    "give", [lambda: clean_result({"id": BIG}), lambda: clean_result([[-BIG]]), lambda: clean_meta({"id": BIG})]
)
def test_an_integer_that_browsers_round_is_refused_where_it_was_given(give):
    with pytest.raises(InvalidValue, match=rf"holds the integer -?{BIG}; browsers round .* give it as text"):
        give()


@pytest.mark.usefixtures("in_production")
def test_in_production_it_is_published_as_text_with_one_warning(caplog):
    assert clean_result({"id": BIG, "ids": [BIG, 1]}, "j") == {"id": str(BIG), "ids": [str(BIG), 1]}
    (line,) = caplog.records
    assert (line.levelname, line.job_id) == ("WARNING", "j")
    assert clean_meta({"id": BIG}, "j") == {"id": str(BIG)}


def test_what_nobody_gave_by_a_call_is_published_as_text_in_debug_too(caplog):
    assert clean_meta({"id": BIG}, "j", by_caller=False) == {"id": str(BIG)}
    assert clean_result(BIG, "j", by_caller=False) == str(BIG)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_what_stays_on_the_server_keeps_its_integers():
    assert clean({"id": BIG}) == {"id": BIG}


# Messages


class Stage(enum.StrEnum):
    READING = "reading"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Go", "Go"),
        ("", ""),
        (mark_safe("<b>"), "<b>"),
        (gettext_lazy("Jobs"), "Jobs"),
        (ngettext_lazy("%d job", "%d jobs") % 2, "2 jobs"),
        (format_lazy("{a}!", a="Go"), "Go!"),
        (Stage.READING, "reading"),
        (7, "7"),
        (0, "0"),
        (2.5, "2.5"),
        (Decimal("1.50"), "1.50"),
        ("a\0", "a\ufffd"),
    ],
    ids=repr,
)
def test_a_message_is_text_lazily_translated_text_or_a_number(message, shown, caplog):
    text = clean_message(message)
    assert (text, type(text)) == (shown, str)
    assert not caplog.records


NO_MESSAGES = [b"x", True, None, ["a"], {"a": 1}, dt.date(2026, 1, 2), ValueError("v"), object()]


@pytest.mark.parametrize("message", NO_MESSAGES, ids=lambda it: type(it).__name__)
def test_any_other_message_is_a_type_error_that_says_what_to_give(message):
    with pytest.raises(TypeError, match=r"message=.*: give text, lazily translated text or a number"):
        clean_message(message)


@pytest.mark.usefixtures("in_production")
@pytest.mark.parametrize("message", NO_MESSAGES, ids=lambda it: type(it).__name__)
def test_in_production_its_str_is_shown_with_a_warning(message, caplog):
    assert clean_message(message, "j") == str(message)
    assert [(record.levelname, record.job_id) for record in caplog.records] == [("WARNING", "j")]


@pytest.mark.parametrize("message", [format_lazy("{a}"), 10**5000], ids=["lazy", "huge"])
def test_a_message_that_cannot_be_written_is_left_out(message, monkeypatch, caplog):
    with pytest.raises(InvalidValue, match="cannot be written as text"):
        clean_message(message)
    monkeypatch.setattr(values, "is_strict", lambda: False)
    assert clean_message(message, "j") is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# Totals


@pytest.mark.parametrize(
    ("given", "iterable", "total"),
    [
        (None, "abc", 3),
        (None, iter("abc"), None),
        (None, range(10**20), None),
        (None, range(LARGEST), LARGEST),
        (None, range(LARGEST + 1), None),
        (5, iter("abc"), 5),
        (0, "abc", 0),
        (2.5, "abc", 2.5),
        (LARGEST, "abc", LARGEST),
        (2**53, "abc", None),
        (10**400, "abc", None),
        (float("inf"), "abc", None),
        (Decimal(7), "abc", 7),
    ],
)
def test_a_total_is_given_or_the_length_and_unknown_when_it_is_too_large(given, iterable, total, caplog):
    assert clean_total(given, iterable) == total
    assert not caplog.records


@pytest.mark.parametrize(
    "given", [-1, float("nan"), "10", True, Unspeakable()], ids=["-1", "nan", "text", "True", "what"]
)
def test_a_total_that_is_no_number_of_items_is_refused(given):
    with pytest.raises(InvalidValue, match="total="):
        clean_total(given, "abc")
