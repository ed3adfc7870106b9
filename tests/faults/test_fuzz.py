"""A coverage-guided fuzzer, a minute for each place where text comes in; the same places once, without it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fuzzing import TARGETS
from tests.pages_of_docs import ROOT
from tests.websocket.test_frames import HOSTILE

MINUTE = 60


@pytest.mark.soak
@pytest.mark.fault("H2")
@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_finds_nothing_in_a_minute(target):
    pytest.importorskip("atheris", reason="needs Atheris: pip install atheris")
    command = [sys.executable, "-m", "tests.fuzzing", target, f"-max_total_time={MINUTE}", "-max_len=4096"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3 * MINUTE)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.fault("H2")
@pytest.mark.parametrize("target", TARGETS)
def test_each_place_bears_what_is_known_to_hurt(target):
    for text in HOSTILE:
        if isinstance(text, str):
            TARGETS[target](text)
            TARGETS[target](json.dumps(text))
