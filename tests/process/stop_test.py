"""A cluster that is stopped: what runs has the time that the documents promise, then all ends."""
import os
import signal
import sys
import threading
import time
import unittest

from cluster import Cluster, Patient, in_background, lives, until

COLLM = sys.argv.pop()
HALF = 16  # s: more than half of the 30 s that what runs may go on


class PatientCluster(Patient, Cluster):
    pass


class Stop(unittest.TestCase):
    def test_what_runs_is_answered_to_its_end_wherever_its_node_lives(self):
        for placement in ("process", "thread"):
            with self.subTest(placement), PatientCluster(COLLM, placement=placement) as c:
                asked = [self.asks(c, c.a), self.asks(c, c.b), self.asks(c, c.head, site="kitchen")]
                done = c.verb("down")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(c.process.wait(60), 0)
                for thread, box in asked:
                    thread.join(60)
                    self.assertEqual(box[0][0], "length")

    def test_a_node_that_is_slow_to_finish_is_not_ended_before_its_time(self):
        with PatientCluster(COLLM) as c:
            pid = int(c.node("edge-a")["snapshot"]["pid"])
            thread, box = self.asks(c, c.a)
            os.kill(pid, signal.SIGSTOP)
            try:
                c.process.send_signal(signal.SIGTERM)
                until("the other node is gone", lambda: not self.answers(c, c.b))
                # The promise is one of time, so time has to pass; nothing computes meanwhile.
                end = time.monotonic() + HALF
                until("half of the promised time is over",
                      lambda: time.monotonic() > end or not lives(pid), 2 * HALF)
                self.assertTrue(lives(pid), "its answer has half of its time left")
                self.assertFalse(box, "the answer is not over yet")
            finally:
                if lives(pid):
                    os.kill(pid, signal.SIGCONT)
            thread.join(60)
            self.assertEqual(box[0][0], "length")
            self.assertEqual(c.process.wait(60), 0)

    def asks(self, c, port, **more):
        """An answer of a second or so, once it has begun."""
        begun = threading.Event()
        running = in_background(c.stream, port, "Tell me a story about bread.", 300,
                                lambda _: begun.set(), **more)
        self.assertTrue(begun.wait(30))
        return running

    @staticmethod
    def answers(c, port):
        try:
            return c.call(port, "GET", "/health")[0] > 0
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
