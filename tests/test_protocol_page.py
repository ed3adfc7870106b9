"""`docs/protocol.md` and the code say the same: examples, keys, codes, frames, addresses and limits."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from immortus_channels import protocol, urls
from immortus_channels.access import quotas, tokens
from immortus_channels.access.limits import Limits, kept_for_users
from immortus_channels.http import concurrency, job_page, page_content, views
from immortus_channels.jobs.job import SENTENCES, Job, State
from immortus_channels.push.messages import MESSAGE_TYPE, Push
from immortus_channels.websocket import consumer, frames
from immortus_channels.websocket.flow import MAX_AGE
from tests.test_protocol import job_of

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "immortus_channels"
PAGE = (ROOT / "docs" / "protocol.md").read_text()
CLIENT = (PACKAGE / "static" / "immortus_channels" / "immortus.js").read_text()
KEYS = list(Job(job_id="x").document)


# What stands on the page


def sections() -> dict[str, str]:
    """The text under each heading, up to the next one of any level."""
    parts = re.split(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(header: str) -> list[list[str]]:
    """The rows of all tables whose header begins with these cells."""
    rows: list[list[str]] = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        head, _, *lines = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines())
        if head[: len(header.split("|"))] == header.split("|"):
            rows += lines
    assert rows, f"no table begins with {header}"
    return rows


def words(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def first_words(header: str) -> list[str]:
    return words([row[0] for row in table(header)])


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def values(block: str) -> Iterator[Any]:
    """The JSON values that stand one after the other in a block; anything else raises."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    decoder = json.JSONDecoder(parse_constant=refuse, object_pairs_hook=without_repetition)
    while block := block.lstrip():
        value, end = decoder.raw_decode(block)
        yield value
        block = block[end:]


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a key repeats: {pairs}"
    return dict(pairs)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, itself included."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(part)


def examples() -> list[dict[str, Any]]:
    return [one for block in blocks("json") for value in values(block) for one in objects(value)]


def documents() -> list[dict[str, Any]]:
    return [one for one in examples() if {"state", "version"} <= one.keys()]


# What stands in the code


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))]


@cache
def nodes(kind: type[ast.AST]) -> list[Any]:
    return [node for tree in trees() for node in ast.walk(tree) if isinstance(node, kind)]


def texts(*found: ast.AST | None) -> set[str]:
    return {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def calls(name: str) -> Iterator[ast.Call]:
    return (call for call in nodes(ast.Call) if isinstance(call.func, ast.Name) and call.func.id == name)


def answered() -> set[tuple[int, str]]:
    """Status and code of each call of the views' `error`."""
    return {(ast.literal_eval(call.args[0]), ast.literal_eval(call.args[1])) for call in calls("error")}


def in_dicts() -> set[str]:
    """What stands as text under the key `code` of a dict."""
    pairs = [pair for node in nodes(ast.Dict) for pair in zip(node.keys, node.values, strict=True)]
    return texts(*(value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code"))


def of_jobs() -> set[str]:
    """What is given as `code=` to errors and events, or chosen as the value of a variable `code`."""
    given = [word.value for call in nodes(ast.Call) for word in call.keywords if word.arg == "code"]
    chosen = [node.value for node in nodes(ast.Assign) if "code" in names(*node.targets)]
    ends = [part for value in (*given, *chosen) for part in ends_of(value)]
    return texts(*ends) - {""}


def ends_of(value: ast.expr) -> list[ast.expr]:
    """The values that an expression may have: both of a conditional, the first of a tuple."""
    match value:
        case ast.IfExp(body=body, orelse=orelse):
            return [*ends_of(body), *ends_of(orelse)]
        case ast.Tuple(elts=[first, *_]):
            return ends_of(first)
    return [value]


def names(*targets: ast.AST) -> list[str]:
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def error_codes() -> set[str]:
    by_sockets = texts(*(call.args[0] for call in calls("_error")))
    return {*SENTENCES, *of_jobs(), *in_dicts(), *by_sockets, *(code for _, code in answered())}


def client_codes() -> set[str]:
    """What the browser client says where no server did."""
    own = re.findall(r'JobError\.of\([^"\n]+, "(\w+)"', CLIENT) + re.findall(r'\b\d{3}: "(\w+)"', CLIENT)
    (chosen,) = re.findall(r"const code = (.+);", CLIENT)
    return {*own, *re.findall(r'"(\w+)"', chosen)} - error_codes()


def close_codes() -> set[int]:
    """The numbers of modules that a socket can be closed with."""
    constants = [
        value for tree in trees() for node in tree.body if isinstance(node, ast.Assign) for value in numbers(node.value)
    ]
    return {number for number in constants if 1000 < number < 1016 or 4000 <= number < 5000}


def numbers(value: ast.expr) -> list[int]:
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return [part.value for part in parts if isinstance(part, ast.Constant) and type(part.value) is int]


# Examples


@pytest.mark.parametrize("block", blocks("json"))
def test_each_json_example_is_strict_json(block):
    assert list(values(block))


@pytest.mark.parametrize("document", documents(), ids=lambda document: document["state"])
def test_each_document_has_the_documented_keys_in_order(document):
    assert list(document)[: len(KEYS)] == KEYS
    assert list(document)[len(KEYS) :] == sorted(set(document) - set(KEYS))
    assert json.loads(job_of(document).text, object_pairs_hook=list) == json.loads(
        json.dumps(document), object_pairs_hook=list
    )


@pytest.mark.parametrize(
    "example", [one for one in examples() if {"code", "message"} <= one.keys()], ids=lambda one: one["code"]
)
def test_each_error_says_what_the_code_says(example):
    said = {*SENTENCES.values(), *texts(*nodes(ast.Constant)), json.loads(too_many_jobs("x"))["message"]}
    assert example["message"] in said


# The document


def test_the_table_of_keys_is_the_documents():
    assert first_words("key|type") == KEYS


def test_the_states_and_which_are_over():
    assert [(words([row[0]]), row[1]) for row in table("`state`|over")] == [
        ([state.value], "yes" if state.is_over else "no") for state in State
    ]


def test_each_built_in_error_of_a_job_stands_with_its_sentence():
    assert {row[0].strip("`"): row[3] for row in table("code|state")} == SENTENCES


# Codes


def test_each_error_code_stands_on_the_page_and_no_other():
    shown = {*first_words("code"), *codes_by_status()}
    assert shown == {*error_codes(), *client_codes(), "http_…"}


def codes_by_status() -> dict[str, int]:
    return {words([code])[0]: int(status) for status, code, *_ in table("status|code")}


def test_each_code_of_an_answer_stands_with_its_status():
    told = codes_by_status()
    assert {(told.get(code), code) for _, code in answered()} == answered()


def test_each_code_in_an_example_is_one_of_the_tables():
    used = {one["code"] for one in examples() if isinstance(one.get("code"), str)}
    assert used <= error_codes()


def test_each_close_code_stands_on_the_page_and_no_other():
    assert {int(code) for code in first_words("close code")} == close_codes()
    assert set(map(int, re.findall(r"`(1\d{3}|4\d{3})`", PAGE))) == close_codes()


def test_the_browser_comes_back_after_the_close_codes_that_say_so():
    (ends,) = re.findall(r"comeBack = code < (\d+) \|\| code > (\d+)", CLIENT)
    final = range(int(ends[0]), int(ends[1]) + 1)
    assert final == range(4500, 5000)
    for code, _, comes_back in table("close code"):
        assert (int(code.strip("`")) in final) == (comes_back == "no")


# Frames


def too_many_jobs(job_id: str) -> str:
    return frames.too_many_jobs(job_id, authenticated=True)


def test_the_frames_from_the_server_are_all_that_it_says():
    shown = [one for one in examples() if "type" in one and not is_command(one)]
    (document,) = [frame["job"] for frame in shown if frame["type"] == "job"]
    job_id = document["job_id"]
    said = [
        frames.hello(Limits().ping),
        frames.Document(Push.of(job_of(document))).snapshot,
        frames.current(job_id, document["version"]),
        frames.unknown_job("gone", authenticated=True),
        too_many_jobs(job_id),
        frames.strategy_error(job_id, authenticated=True),
        frames.token_expired(job_id),
        frames.TOKEN_EXPIRED,
        frames.BAD_MESSAGE,
        frames.PING,
        frames.bye(MAX_AGE, 1.234),
    ]
    assert shown == [json.loads(text) for text in said]
    assert {frame["type"] for frame in shown} == types_of_frames()


def types_of_frames() -> set[str]:
    """The types in the module's dicts, and that of the job frame, which is written as text."""
    source = (PACKAGE / "websocket" / "frames.py").read_text()
    return set(re.findall(r'dump\(\{"type": "(\w+)"', source)) | set(re.findall(r'"type":"(\w+)","event"', source))


def is_command(frame: dict[str, Any]) -> bool:
    return frames.decode(json.dumps(frame)) is not None


def test_the_frames_from_the_client_are_all_that_the_server_understands():
    source = (PACKAGE / "websocket" / "frames.py").read_text()
    commands = [one["type"] for one in examples() if "type" in one and is_command(one)]
    assert sorted(set(commands)) == sorted(re.findall(r'case \{"type": "(\w+)"', source))


def test_each_event_stands_on_the_page_and_no_other():
    given = [word.value for call in nodes(ast.Call) for word in call.keywords if word.arg == "event"]
    told = texts(*(end for value in given for end in ends_of(value)))
    hooks = {state.hook for state in State}
    assert set(first_words("event")) == told | hooks | {"snapshot", Job(job_id="x").event}


# Addresses, the channel layer, limits


def test_the_addresses_are_those_of_the_views():
    shown = {re.sub(r"^\w+ ", "", request) for request in first_words("request|answer")}
    routes = [
        pattern for pattern in urls.urlpatterns
        if pattern.callback.__module__ in (views.__name__, job_page.__name__) and pattern.callback is not views.unfit
    ]  # fmt: skip
    assert shown == {re.sub(r"<\w+:(\w+)>", r"<\1>", str(pattern.pattern)) for pattern in routes}


def test_the_refresh_of_the_page_is_that_of_the_code():
    assert f"a refresh every {page_content.REFRESH} seconds" in PAGE


def test_the_message_of_the_channel_layer():
    rows = [row for row in table("key") if len(row) == 2]
    assert [row[0].strip("`") for row in rows] == list(Push.of(Job(job_id="x", version=1)).to_message())
    assert f"`{MESSAGE_TYPE}`" in rows[0][1]
    assert f"`{MESSAGE_TYPE.replace('.', '_')}`" in rows[0][1]


def test_the_limits_are_those_of_the_code():
    limits = Limits()
    at_a_time = limits.requests_in_parallel
    assert table("limit") == [
        ["ping", f"every {limits.ping:g} s"],
        ["silence of the client", f"{limits.silence:g} s, any frame breaks it"],
        ["unacknowledged bytes", str(limits.window)],
        ["time to acknowledge them", f"{limits.slow:g} s"],
        ["frames from the client", f"{limits.frames_per_second:g} a second, {limits.frames_at_once} at once"],
        ["bytes from the client", f"{limits.bytes_per_second:g} a second, {limits.bytes_at_once} at once"],
        ["bytes of a frame from the client", str(frames.MAX_FRAME)],
        ["jobs watched", str(protocol.MAX_JOBS)],
        ["bad messages", f"the {consumer.BAD_MESSAGES}th closes"],
        ["age of a socket", f"{limits.age / 3600:g} h, give or take a quarter"],
        ["sockets of one user", str(limits.sockets_per_user)],
        [
            "sockets of one process",
            f"{limits.sockets}, {kept_for_users(limits.sockets)} of them kept for logged-in users",
        ],
        [
            "requests",
            (
                f"{limits.requests_per_second:g} a second, {limits.requests_at_once} at once; "
                "each ten ids of one beyond the first count as one more"
            ),
        ],
        ["different ids refused", f"{limits.denials} a minute"],
        [
            "requests answered at a time by one process",
            (
                f"{at_a_time}: at most {at_a_time // 2} for one account and "
                f"{at_a_time - kept_for_users(at_a_time)} for all visitors together; "
                f"others wait, and get 503 after {concurrency.PATIENCE:g} s"
            ),
        ],
    ]
    assert quotas.ID_PRICE == 1 / 10
    assert f"for {limits.token_life / 60:g} minutes" in PAGE
    assert f"no chain of them is longer than {limits.token_age / 3600:g} hours" in PAGE
    assert f"until {tokens.GRACE:g} seconds after its" in PAGE
    assert f"at most {tokens.MAX_LENGTH} characters" in PAGE
    assert f"more than {frames.BOUNDS.depth} levels, {frames.BOUNDS.keys} keys" in PAGE
    assert f"`Retry-After: {views.RETRY_AFTER}`" in PAGE
    assert f"up to {protocol.MAX_JOBS} documents" in PAGE


# The page itself


def test_each_link_within_the_page_leads_to_a_heading():
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors


@pytest.mark.parametrize("block", blocks("python"))
def test_each_python_example_runs(block):
    exec(compile(block, "docs/protocol.md", "exec"), {"__name__": "page"})
