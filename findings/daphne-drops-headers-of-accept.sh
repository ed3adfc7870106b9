#!/usr/bin/env bash
# One expects `headers` of websocket.accept to be in the answer to the handshake, as the ASGI specification has it (since
# its version 2.1): this is how a session cookie is set on a socket, or a request id told. Daphne takes the event without
# a word and sends none of them. Uvicorn sends them. Daphne's scope has neither `scheme` nor `http_version`, either, both of
# which the specification gives a WebSocket's scope.
#
# daphne 4.2.3, uvicorn 0.54.0, websockets 17.4. Source: handle_reply and serverAccept in daphne/ws_protocol.py: only the
# subprotocol of the event is used.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap 'kill $server 2>/dev/null || true; wait || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check daphne==4.2.3 uvicorn==0.54.0 websockets==17.4
cat > "$dir/office.py" <<'PY'
async def application(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-request-id", b"7")]})
    await send({"type": "websocket.send", "text": str(sorted({"scheme", "http_version"} & scope.keys()))})
    await receive()
PY
cat > "$dir/look.py" <<'PY'
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    for _ in range(100):
        try:
            socket = await connect(f"ws://127.0.0.1:{sys.argv[1]}/")
            break
        except OSError:
            await asyncio.sleep(0.1)
    keys = await socket.recv()
    print("header:", socket.response.headers.get("x-request-id"), "| scope has:", keys)
    await socket.close()

asyncio.run(main())
PY
cd "$dir"
free_port() { venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
look() {
  local port; port=$(free_port)
  "$@" "$port" >/dev/null 2>&1 & server=$!
  venv/bin/python look.py "$port"
  kill "$server"; wait "$server" || true; server=""
}
on_daphne() { exec venv/bin/daphne -b 127.0.0.1 -p "$1" office:application; }
on_uvicorn() { exec venv/bin/uvicorn --lifespan off --port "$1" office:application; }
daphne=$(look on_daphne) uvicorn=$(look on_uvicorn)
echo "daphne 4.2.3    $daphne"
echo "uvicorn 0.54.0  $uvicorn"
[ "$daphne" = "header: None | scope has: []" ] && [ "$uvicorn" = "header: 7 | scope has: ['http_version', 'scheme']" ]
