"""What a machine may do to a process that is not the process's fault: no more memory, a full disk,
a clock that jumps. For tests and `./dev bench faults`."""
import contextlib
import os
import pathlib
import resource
import subprocess
import tempfile

FAKETIME = pathlib.Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")


@contextlib.contextmanager
def no_more_memory(pid):
    """That process gets no more address space and no more writable memory than it has. (The second,
    because malloc grows within address space that it took long ago.)"""
    with open(f"/proc/{pid}/status") as status:
        now = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status
               if line.startswith(("VmSize", "VmData"))}
    before = {limit: resource.prlimit(pid, limit, (now[size], resource.RLIM_INFINITY))
              for limit, size in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))}
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it did not survive
            for limit, was in before.items():
                resource.prlimit(pid, limit, was)


class SmallDisk:
    """A disk of 4 MiB at `path`; None without the right to mount one."""

    def __enter__(self):
        self._place = tempfile.TemporaryDirectory()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs",
                                  self._place.name], check=False, capture_output=True)
        self.path = None if mounted.returncode else self._place.name
        return self

    def __exit__(self, *_):
        if self.path:
            subprocess.run(["umount", "-l", self.path], check=False)
        self._place.cleanup()

    def keeps_state_of(self, cluster, manifest):
        return manifest.replace(f"stateDir: {cluster.dir.name}/state",
                                f"stateDir: {self.path}/state")

    @contextlib.contextmanager
    def full(self):
        filler = os.path.join(self.path, "filler")
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
            while True:
                f.write(b"x" * 65536)
        with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as f:
            while True:
                f.write(b"x")
        try:
            yield
        finally:
            os.remove(filler)


class OtherClock:
    """A calendar's clock of its own for the processes that get `environment`; the steady clock is
    the machine's, as nothing can make that one jump. None where libfaketime is not installed."""

    def __enter__(self):
        self._place = tempfile.TemporaryDirectory()
        self._told = os.path.join(self._place.name, "time")
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": self._told,
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        } if FAKETIME.exists() else None
        return self

    def __exit__(self, *_):
        self._place.cleanup()

    def set(self, offset):
        """"+1d": a day ahead of the machine's."""
        with open(self._told, "w") as f:
            f.write(offset + "\n")
