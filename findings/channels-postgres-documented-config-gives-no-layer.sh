#!/usr/bin/env bash
# One expects a channel layer that cannot be made of its CONFIG to raise. With the CONFIG of channels_postgres' own README
# (a DATABASES entry's keys), get_channel_layer() returns None, as if CHANNEL_LAYERS were empty, and group_send fails later
# with "NoneType has no attribute". The layer reads TIME_ZONE of its CONFIG, which Django adds to DATABASES by itself and
# nobody adds here; Channels takes the KeyError of it for a layer that is not configured.
#
# channels 4.3.2, channels-postgres 1.1.4, Django 5.2.19. Source: get_channel_layer in channels/layers.py (`except KeyError`);
# PostgresChannelLayer.__init__ in channels_postgres/core.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check channels==4.3.2 channels-postgres==1.1.4 Django==5.2.19 'psycopg[binary]==3.3.9'
cat > "$dir/tried.py" <<'PY'
import channels, django
from django.conf import settings

database = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "shop", "USER": "shop", "PASSWORD": "", "HOST": "127.0.0.1", "PORT": "5432",
}
layer = {"BACKEND": "channels_postgres.core.PostgresChannelLayer", "CONFIG": dict(database)}
settings.configure(
    INSTALLED_APPS=["channels_postgres"],
    DATABASES={"default": {**database}, "channels_postgres": {**database}},
    CHANNEL_LAYERS={"default": layer},
)
django.setup()

from channels.layers import channel_layers, get_channel_layer

print("channels", channels.__version__)
documented = get_channel_layer()
print("with the documented CONFIG:   ", documented)
try:
    channel_layers.make_backend("default")
    raised = None
except KeyError as error:
    raised = error
print("what was swallowed:           ", repr(raised))
assert documented is None and str(raised) == "'TIME_ZONE'"
PY
"$dir/venv/bin/python" "$dir/tried.py"
