"""Programs that are run and watched: how long, how much memory, who else was busy meanwhile."""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


NAME = Path(sys.argv[0]).stem


def say(text):
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"{NAME}: {text}")


def quiet(command, seconds, log, env=None):
    """Runs to the end; its words go to `log`, whose tail is shown where it fails."""
    try:
        with open(log, "w", encoding="utf-8") as out:
            done = subprocess.run([str(c) for c in command], stdout=out, timeout=seconds, env=env,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        fail(f"{command[0]} took more than {seconds} s; its words are in {log}")
    if done.returncode != 0:
        tail = Path(log).read_text(encoding="utf-8", errors="replace")[-2000:]
        fail(f"{' '.join(str(c) for c in command[:3])} … failed:\n{tail}")


def busy_seconds():
    """Of all cores since the machine started."""
    fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def measured(command, seconds, others):
    """Standard output and error, and the process's peak memory; `others` notes the cores that other
    processes took meanwhile."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        before, start = busy_seconds(), time.monotonic()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err,
                                 stdin=subprocess.DEVNULL)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > seconds:
                child.kill()
                child.wait()
                fail(f"{command[0]} took more than {seconds} s")
            time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - start
        own = usage.ru_utime + usage.ru_stime
        others.append(max(0.0, (busy_seconds() - before - own) / max(took, 0.1)))
        out.seek(0)
        err.seek(0)
        text, words = (f.read().decode("utf-8", "replace") for f in (out, err))
    if child.returncode != 0:
        fail(f"{' '.join(str(c) for c in command)} ended with {child.returncode}:\n"
             f"{words[-2000:]}")
    return text, words, usage.ru_maxrss * 1024
