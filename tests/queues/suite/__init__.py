"""The drivers of this package's own adapters, each with its queue's run of `immortus_channels.testing.queues`."""

import pytest

pytest.register_assert_rewrite("immortus_channels.testing.queues.cases")
