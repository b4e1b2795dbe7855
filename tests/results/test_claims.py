"""Who is at work on the next snapshot: whether a claim's process still runs."""

from __future__ import annotations

import os
import subprocess
import sys

from artquant.results import claims
from artquant.results.claims import Intent


def test_a_killed_process_that_nobody_has_put_away_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    here = claims.this_process()
    started = claims._started(child.pid)
    claim = Intent(1, 1, "d", "w", "r", "2026-11-27", 3, **(here | {"pid": child.pid, "started": started}))
    assert claims.is_gone(claim) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and its parent has not asked for it
    assert claims.is_gone(claim) is True
    child.wait()
