#!/usr/bin/env bash
# One expects redis://…?decode_responses=false to leave answers as bytes. It turns decoding on: the value is not among those
# that redis-py converts, so it stays the text "false", which is true. Beside it, `?retry_on_timeout=false` is converted and
# means what it says. A library that is given such a URL and reads bytes (channels_redis, a session store, a task queue)
# fails far away from the URL, with errors about str and bytes.
#
# redis-py 8.1.0. Source: URL_QUERY_ARGUMENT_PARSERS and parse_url in redis/connection.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
cat > "$dir/tried.py" <<'PY'
import redis

url = "redis://localhost/0?{}=false"
pool = redis.ConnectionPool.from_url(url.format("decode_responses"))
encoder = pool.get_encoder()
other = redis.ConnectionPool.from_url(url.format("retry_on_timeout"))
print("redis-py", redis.__version__)
print("decode_responses=false is", repr(pool.connection_kwargs["decode_responses"]), "and b'x' is read as", repr(encoder.decode(b"x")))
print("retry_on_timeout=false is", other.connection_kwargs["retry_on_timeout"])
assert encoder.decode(b"x") == "x" and other.connection_kwargs["retry_on_timeout"] is False
PY
"$dir/venv/bin/python" "$dir/tried.py"
