"""A TCP relay on loopback whose line can be bad: late, slow, stalled, cut, reset.

    with Relay(port, delay=0.3, rate=50_000) as line:     # connect to line.port instead of port
        line.stall(); line.resume()                       # nothing flows, nobody is told
        line.stall(there=False)                           # what is said arrives, answers do not
        line.cut(); line.restore()                        # both ends see an end; nobody is let in
        line.reset()                                      # both ends see a reset; the next get in

Also a program of its own: python3 relay.py PORT [--delay S] [--rate BYTES_A_SECOND]
"""
import argparse
import contextlib
import queue
import socket
import struct
import threading
import time

CHUNK = 16 * 1024
CHUNKS_ON_THE_WAY = 64  # of one direction: then its sender waits, as on a real line


class Relay:
    """Any thread. `delay`: one way, seconds; `rate`: bytes a second, each way; both may be set at
    any time. `connections` counts those that were let through."""

    def __init__(self, to, delay=0.0, rate=None, host="127.0.0.1"):
        self.to, self.host = to, host
        self.delay, self.rate = delay, rate
        self.connections = 0
        self._changed = threading.Condition()
        self._flows = {"there": True, "back": True}
        self._open, self._over = True, False
        self._pairs = set()
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._changed:
            self._over = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_all(reset=False)

    def stall(self, there=True, back=True):
        self._set(there=not there, back=not back)

    def resume(self):
        self._set(there=True, back=True)

    def cut(self):
        self._set(let=False)
        self._end_all(reset=False)

    def restore(self):
        self._set(let=True, there=True, back=True)

    def reset(self):
        self._end_all(reset=True)

    def open_connections(self):
        with self._changed:
            return len(self._pairs)

    # -- inside

    def _set(self, let=None, **flows):
        with self._changed:
            self._flows.update(flows)
            self._open = self._open if let is None else let
            self._changed.notify_all()

    def _end_all(self, reset):
        with self._changed:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair, reset)

    def _end(self, pair, reset=False):
        with self._changed:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
            self._changed.notify_all()
        for end in pair:
            with contextlib.suppress(OSError):
                if reset:  # with no time to linger, the end of the last use sends RST
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)  # wakes its reader
            end.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            with self._changed:
                let = self._open and not self._over
            try:
                far = socket.create_connection((self.host, self.to), 5) if let else None
            except OSError:
                far = None
            if far is None:
                near.close()
                continue
            far.settimeout(None)
            pair = (near, far)
            with self._changed:
                self._pairs.add(pair)
                self.connections += 1
            for way, source, target in (("there", near, far), ("back", far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = queue.Queue(CHUNKS_ON_THE_WAY)
                for work in (self._read, self._write):
                    threading.Thread(target=work, args=(pair, way, source, target, line),
                                     daemon=True).start()

    def _read(self, _pair, _way, source, _target, line):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                line.put((time.monotonic() + self.delay, data))
        line.put((time.monotonic() + self.delay, b""))

    def _write(self, pair, way, _source, target, line):
        free = 0.0  # when the line has sent what came before
        with contextlib.suppress(OSError):
            while True:
                due, data = line.get()
                free = max(free, due)
                if not self._wait_until(pair, way, free):
                    break
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return  # the other direction may go on
                target.sendall(data)
                if self.rate:
                    free = max(free, time.monotonic()) + len(data) / self.rate
        self._end(pair)
        while line.get()[1]:  # lets the reader end
            pass

    def _wait_until(self, pair, way, due):
        """Until then, and until the line flows that way. False: the connection has ended."""
        with self._changed:
            while pair in self._pairs and not self._over:
                left = due - time.monotonic()
                if self._flows[way] and left <= 0:
                    return True
                self._changed.wait(left if self._flows[way] else None)
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--rate", type=float)
    asked = parser.parse_args()
    with Relay(asked.port, asked.delay, asked.rate) as line:
        print(line.port, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
