"""What a machine may do to a process that is not the process's fault: no more memory, a full disk,
a clock that jumps. For tests and `./dev bench faults`."""
import contextlib
import http.client
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import threading

from cluster import until

FAKETIME = pathlib.Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
LOOKS_EVERY_S = 0.02
RESERVE = 1 << 20  # what a process keeps for this, and may take again (cli/memory_reserve.hpp)


@contextlib.contextmanager
def no_more_memory(pid):
    """That process gets no more writable memory than it has, and what it gives back it does not get
    again, but for its reserve. (Not of its address space: malloc grows within what it took of that
    long ago, and at that limit Linux does not look at this one as such growth becomes writable.)"""
    before = resource.prlimit(pid, resource.RLIMIT_DATA)
    least, over = resource.RLIM_INFINITY, threading.Event()

    def take_back():
        nonlocal least
        with open(f"/proc/{pid}/status") as status:
            has = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmData"))
        if least == resource.RLIM_INFINITY or has < least - RESERVE:
            least = has
            resource.prlimit(pid, resource.RLIMIT_DATA, (least, before[1]))

    def follow():
        with contextlib.suppress(OSError, StopIteration):  # it is gone
            while not over.wait(LOOKS_EVERY_S):
                take_back()

    take_back()
    follows = threading.Thread(target=follow)
    follows.start()
    try:
        yield
    finally:
        over.set()
        follows.join()
        with contextlib.suppress(ProcessLookupError):  # it did not survive
            resource.prlimit(pid, resource.RLIMIT_DATA, before)


class HalfBodies:
    """Requests whose bodies are all there but for the last byte, so that a gateway holds them."""

    def __init__(self, port, count, size):
        text = json.dumps({"model": "assistant", "prompt": "", "max_tokens": 4})
        self.body = text.replace('""', '"' + (size - len(text)) * "x" + '"').encode()
        self.port, self.count, self.open, self.ends = port, count, [], []

    def __enter__(self):
        for _ in range(self.count):
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            c.putrequest("POST", "/v1/completions")
            c.putheader("Content-Length", str(len(self.body)))
            with contextlib.suppress(OSError):  # refused already: told below
                c.endheaders()
                c.send(self.body[:-1])
            self.open.append(c)
        return self

    def __exit__(self, *_):
        """`ends`: what each was told; nothing where its connection was closed."""
        for c in self.open:
            try:
                with contextlib.suppress(OSError):
                    c.send(self.body[-1:])
                with c.getresponse() as told:
                    self.ends.append((told.status, json.load(told)["error"]["message"]))
            except (OSError, http.client.HTTPException):
                self.ends.append((None, ""))
            c.close()


class MemoryGroup:
    """A control group whose limit of memory this test sets, below its own (version 1) or beside it
    (version 2); where none can be made `folder` is None."""

    def __enter__(self):
        self.folder = None
        with open("/proc/self/cgroup") as groups:
            for line in groups:
                _, controllers, group = line.rstrip("\n").split(":", 2)
                if "memory" in controllers.split(","):
                    self._make(f"/sys/fs/cgroup/memory{group}", ".", "memory.limit_in_bytes")
                elif not controllers:
                    self._make(f"/sys/fs/cgroup{group}", "..", "memory.max")
        return self

    def _make(self, own, place, limit):
        """Tried with a process: one may have the right to make a group and none to fill it."""
        if self.folder:
            return
        try:
            self.folder = tempfile.mkdtemp(prefix="collm-test-", dir=os.path.join(own, place))
        except OSError:
            return
        self._own, self._limit = own, limit
        with subprocess.Popen(["sleep", "60"]) as somebody:
            try:
                self._set(limit, 1 << 30)
                self._move(somebody.pid, self.folder)
            except OSError:
                os.rmdir(self.folder)
                self.folder = None
            somebody.kill()

    def _set(self, file, value):
        with open(os.path.join(self.folder, file), "r+") as f:
            f.write(str(value))

    @staticmethod
    def _move(pid, group):
        with open(os.path.join(group, "cgroup.procs"), "w") as f:
            f.write(str(pid))

    def holds(self, pid, more_bytes):
        """That process, which gets so much more than it has; the kernel ends it if it takes
        more."""
        for nothing_swapped in ("memory.swap.max", "memory.swappiness"):
            with contextlib.suppress(OSError):  # the other version's, or a kernel without swap
                self._set(nothing_swapped, 0)
        self._set(self._limit, more_bytes)
        self._move(pid, self.folder)

    def _members(self):
        with open(os.path.join(self.folder, "cgroup.procs")) as f:
            return f.read().split()

    def _emptied(self):
        for pid in self._members():
            with contextlib.suppress(OSError):  # it ends right now
                self._move(pid, self._own)
        try:
            os.rmdir(self.folder)
        except OSError:
            return False
        return True

    def __exit__(self, *_):
        if self.folder:
            until("the group is empty", self._emptied)


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
