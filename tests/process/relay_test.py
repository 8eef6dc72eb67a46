"""The relay does to a connection what it says."""
import socket
import threading
import time
import unittest

from relay import CHUNK, CHUNKS_ON_THE_WAY, Relay


class Echo:
    """Sends back what comes, each connection on a thread."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    @staticmethod
    def serve(peer):
        try:
            while data := peer.recv(CHUNK):
                peer.sendall(data)
        except OSError:
            pass
        peer.close()


def read_exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            break
        data += more
    return data


class RelayTest(unittest.TestCase):
    def setUp(self):
        self.echo = self.enterContext(Echo())

    def line(self, **terms):
        return self.enterContext(Relay(self.echo.port, **terms))

    def connect(self, line):
        peer = socket.create_connection(("127.0.0.1", line.port), 20)
        self.addCleanup(peer.close)
        return peer

    def answers(self, peer, text=b"hello"):
        peer.sendall(text)
        return read_exactly(peer, len(text)) == text

    def test_passes_bytes_on_in_order(self):
        text = bytes(range(256)) * 4096
        peer = self.connect(self.line())
        sender = threading.Thread(target=peer.sendall, args=(text,))
        sender.start()
        self.assertEqual(read_exactly(peer, len(text)), text)
        sender.join()

    def test_an_end_of_one_side_reaches_the_other(self):
        peer = self.connect(self.line())
        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_exactly(peer, 10), b"last")

    def test_is_as_late_and_as_slow_as_it_is_told(self):
        line = self.line(delay=0.1)
        peer = self.connect(line)
        begun = time.monotonic()
        self.assertTrue(self.answers(peer))
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)
        line.delay, line.rate = 0.0, 100_000
        begun = time.monotonic()
        self.assertTrue(self.answers(peer, b"x" * 2 * CHUNK))
        self.assertTrue(self.answers(peer))
        self.assertGreaterEqual(time.monotonic() - begun, 2 * CHUNK / 100_000)

    def test_a_stalled_line_tells_nobody_and_loses_nothing(self):
        line = self.line()
        peer = self.connect(line)
        self.assertTrue(self.answers(peer))
        line.stall()
        peer.sendall(b"later")
        peer.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            peer.recv(1)
        peer.settimeout(20)
        line.resume()
        self.assertEqual(read_exactly(peer, 5), b"later")

    def test_a_line_that_is_stalled_one_way_carries_the_other(self):
        line = self.line()
        peer = self.connect(line)
        line.stall(there=False)
        peer.sendall(b"heard")
        peer.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            peer.recv(1)
        peer.settimeout(20)
        line.stall(back=False)  # the answer was under way already
        self.assertEqual(read_exactly(peer, 5), b"heard")
        line.resume()
        self.assertTrue(self.answers(peer))

    def test_a_cut_line_ends_what_there_is_and_lets_nobody_through_until_it_is_restored(self):
        line = self.line()
        peer = self.connect(line)
        self.assertTrue(self.answers(peer))
        line.cut()
        self.assertEqual(peer.recv(1), b"")
        self.assertEqual(self.connect(line).recv(1), b"")
        line.restore()
        self.assertTrue(self.answers(self.connect(line)))
        self.assertEqual(line.connections, 2)

    def test_a_reset_is_a_reset_and_the_next_gets_through(self):
        line = self.line()
        peer = self.connect(line)
        self.assertTrue(self.answers(peer))
        line.reset()
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)
        self.assertTrue(self.answers(self.connect(line)))

    def test_holds_a_bounded_number_of_bytes_while_it_stalls(self):
        line = self.line()
        peer = self.connect(line)
        line.stall()
        peer.settimeout(1)
        sent, bound = 0, 4 * CHUNK * CHUNKS_ON_THE_WAY + (32 << 20)  # and the kernel's buffers
        try:
            while sent < bound:
                sent += peer.send(b"x" * CHUNK)
        except TimeoutError:
            pass
        self.assertLess(sent, bound)


if __name__ == "__main__":
    unittest.main()
