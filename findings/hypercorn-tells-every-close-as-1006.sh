#!/usr/bin/env bash
# One expects the `code` of websocket.disconnect to be the one that the client closed with, as the ASGI specification says
# it: 1000 for a page that left, 4001 for a code of the application's own. Under Hypercorn it is 1006 for both, the code of
# a connection that broke, so an application that tells a goodbye from a fault by it takes every goodbye for a fault.
# Uvicorn, beside it here, tells both.
#
# hypercorn 0.18.0, uvicorn 0.54.0, websockets 17.4. Source: hypercorn/protocol/ws_stream.py: the event of the closed stream
# carries no code and the state does not become "closed" before it is handled.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap 'kill $server 2>/dev/null || true; wait || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check hypercorn==0.18.0 uvicorn==0.54.0 websockets==17.4
cat > "$dir/told.py" <<'PY'
async def application(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        pass
    with open("told", "a") as file:
        file.write(f"{event['code']}\n")
PY
cat > "$dir/close.py" <<'PY'
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    for code in (1000, 4001):
        for _ in range(100):
            try:
                socket = await connect(f"ws://127.0.0.1:{sys.argv[1]}/")
                break
            except OSError:
                await asyncio.sleep(0.1)
        await socket.close(code)
    await asyncio.sleep(0.5)

asyncio.run(main())
PY
cd "$dir"
free_port() { venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
tell() {
  rm -f told
  local port; port=$(free_port)
  "$@" "$port" >/dev/null 2>&1 & server=$!
  venv/bin/python close.py "$port"
  kill "$server"; wait "$server" || true; server=""
  echo "$(tr '\n' ' ' < told)"
}
on_hypercorn() { exec venv/bin/hypercorn -b "127.0.0.1:$1" told:application; }
on_uvicorn() { exec venv/bin/uvicorn --lifespan off --port "$1" told:application; }
hypercorn=$(tell on_hypercorn) uvicorn=$(tell on_uvicorn)
echo "closed by the client with 1000 and 4001; the application is told"
echo "  hypercorn 0.18.0: $hypercorn"
echo "  uvicorn 0.54.0:   $uvicorn"
[ "$hypercorn" = "1006 1006 " ] && [ "$uvicorn" = "1000 4001 " ]
