"""kill -9 of a writer at random instants: nothing acknowledged is lost, and the ledger is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 20
"""A sample; the long drill takes the number as its argument."""

# One process starts writers by fork, so that twenty of them do not load everything twenty times. Each writer goes on
# with the home as the last one left it, and says on a pipe what was acknowledged.
DRILL = """
import json, os, random, select, signal, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from baray.ledger import verify_home
from ledger_homes import ACTOR, opened

def write(home, pipe):
    with opened(home) as found:
        while True:
            waiting = [
                found.store.submit(lambda tx: found.ledger.append(tx, "run.started", actor=ACTOR, subject="run:r_1"))
                for _ in range(20)
            ]
            for future in waiting:
                os.write(pipe, future.result().to_bytes(8, "big"))

home, chance, results = Path(sys.argv[1]), random.Random(7), []
for _ in range(int(sys.argv[3])):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        write(home, writer)
    os.close(writer)
    assert select.select([reader], [], [], 30)[0]
    time.sleep(chance.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    last = max(int.from_bytes(said[at : at + 8], "big") for at in range(0, len(said) // 8 * 8, 8))
    report = verify_home(home)
    results.append([last, report.entries, [str(finding) for finding in report.findings]])
print(json.dumps(results))
"""


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path):
    script = [sys.executable, "-c", DRILL, str(tmp_path / "home"), str(Path(__file__).parent), str(KILLS)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == KILLS
    for last, entries, findings in results:
        assert findings == []
        assert entries > last
    assert results[-1][1] > results[0][1]
