"""A load of HTTP requests from one process: connections that are kept, each asking again as soon as it was answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from benchmarks.processes import Talk

CONNECTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back: the status codes, one body, and how many answers a second."""

    statuses: Mapping[int, int]
    body: bytes
    headers: Mapping[str, str]
    rate: float


async def _ask(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    code = int(status.split()[1])
    length = 0 if code == HTTPStatus.NOT_MODIFIED else int(headers["content-length"])
    return code, headers, await reader.readexactly(length)


def ask(_: Talk, port: int, path: str, seconds: float, headers: Mapping[str, str]) -> Answers:
    """Ask for so many seconds."""
    return asyncio.run(_ask_from_all(port, path, seconds, headers))


async def _ask_from_all(port: int, path: str, seconds: float, headers: Mapping[str, str]) -> Answers:
    fields = [f"{name}: {value}" for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items()]
    request = "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode()
    statuses: dict[int, int] = {}
    last: tuple[dict[str, str], bytes] = ({}, b"")
    end = time.monotonic() + seconds

    async def connection() -> None:
        nonlocal last
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            writer.write(request)
            status, answered, body = await _ask(reader)
            statuses[status] = statuses.get(status, 0) + 1
            last = answered, body
        writer.close()

    begin = time.monotonic()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    rate = sum(statuses.values()) / (time.monotonic() - begin)
    return Answers(statuses=statuses, headers=last[0], body=last[1], rate=rate)
