"""A cluster that is stopped: what runs has the time that the documents promise, then all ends."""
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import unittest

from cluster import STOP_MAX, Cluster, PatientCluster, in_background, lives, until

COLLM = sys.argv.pop()
TOKENS = 60  # long enough to be stopped in, and over in 30 s on a machine ten times slower
LONG = 2500  # tokens, in eight choices each of six requests: no engine says so many in 30 s
AT_DEADLINE = ": this request was still running at the deadline"
CACHE = pathlib.Path(os.environ.get("COLLM_CACHE", "~/.cache/collm")).expanduser()
HALF = 16  # s: more than half of the 30 s that what runs may go on
BEGUN = "finishing what runs, 30 s at most"


def asks_all(test, c, questions, tokens=TOKENS):
    """Answers, once all have begun: asked at once, before any of them has taught a node how much of
    its cache others like it would fill. Each question: (port, on_error, what else it says)."""
    begun = [threading.Event() for _ in questions]
    running = [in_background(c.stream, port, "Tell me a story about bread.", tokens,
                             lambda _, event=event: event.set(), on_error, **more)
               for event, (port, on_error, more) in zip(begun, questions)]
    for event, (thread, box) in zip(begun, running):
        until("an answer begins or ends", lambda e=event, b=box: e.is_set() or b, STOP_MAX)
        test.assertTrue(event.is_set(), box)
    return running


def asks(test, c, port, **more):
    return asks_all(test, c, [(port, None, more)])[0]


def is_answered(test, running):
    thread, box = running
    thread.join(STOP_MAX)
    test.assertEqual(box[0][0], "length")


@contextlib.contextmanager
def standing_still(pids):
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGCONT)


class Stop(unittest.TestCase):
    def test_what_runs_is_answered_to_its_end_by_node_processes(self):
        with PatientCluster(COLLM) as c:
            pids = c.node_pids()
            asked = self.asks_everywhere(c)
            # They stand still until the stop has begun, so that their answers surely run then, and
            # are asked without a verb: a head gives nodes up after three seconds of silence.
            with standing_still(pids):
                self.assertEqual(c.call(c.head, "POST", "/admin/v1/shutdown", {})[0], 200)
                until("the stop has begun", lambda: BEGUN in c.logged())
                self.assertEqual([box for _, box in asked], [[], [], []])
            self.ends(c, asked)

    def test_what_runs_is_answered_to_its_end_by_nodes_in_the_heads_process(self):
        with PatientCluster(COLLM, placement="thread") as c:
            # No part of one process can stand still until another begins to stop: that the answers
            # run then is likely, at a second or so each, and not asserted.
            asked = self.asks_everywhere(c)
            done = c.verb("down")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.ends(c, asked)

    def test_a_demo_that_is_stopped_ends_in_order_and_reports_nothing(self):
        for how in ("SIGTERM", "down"):
            with self.subTest(how), PatientCluster(COLLM, flags=["--demo"]) as c:
                until("the demo has begun", lambda: "requests of the demo" in c.logged())
                pids = c.node_pids()
                if how == "down":
                    done = c.verb("down")
                    self.assertEqual(done.returncode, 0, done.stderr)
                else:
                    c.process.send_signal(signal.SIGTERM)
                self.assertEqual(c.process.wait(STOP_MAX), 0)
                self.assertEqual(list(filter(lives, pids)), [])
                said = c.logged()
                self.assertIn("the demo was stopped before its end; there is no report", said)
                self.assertIn(BEGUN, said)
                self.assertNotIn("Benchmark Result", said, "no table of half a demo")

    def test_a_cluster_that_still_packs_its_model_is_stopped_at_once_and_leaves_nothing(self):
        for placement in ("process", "thread"):  # nodes pack, the head packs
            with self.subTest(placement), tempfile.TemporaryDirectory() as cache:
                os.symlink(CACHE / "models", os.path.join(cache, "models"))
                c = Cluster(COLLM, placement, environment={"COLLM_CACHE": cache})
                try:
                    bases = os.path.join(cache, "bases")
                    until("packing has begun", lambda: os.path.isdir(bases))
                    c.process.send_signal(signal.SIGTERM)
                    self.assertEqual(c.process.wait(STOP_MAX), 0)
                    self.assertEqual(os.listdir(bases), [], "it was not packed to its end")
                    self.assertIn("packing was stopped", c.logged())
                finally:
                    c.__exit__()

    def asks_everywhere(self, c):
        return [asks(self, c, c.a), asks(self, c, c.b), asks(self, c, c.head, site="kitchen")]

    def ends(self, c, asked):
        for running in asked:
            is_answered(self, running)
        self.assertEqual(c.process.wait(STOP_MAX), 0)


class SlowStop(unittest.TestCase):
    def test_what_still_runs_at_the_deadline_ends_with_that_reason_wherever_it_came_in(self):
        with PatientCluster(COLLM, placement="thread") as c:
            at_head, at_node = [], []
            asked = asks_all(self, c, [(c.head, at_head.append, {"site": "kitchen", "n": 8})] * 5
                             + [(c.a, at_node.append, {"n": 8})], LONG)
            c.process.send_signal(signal.SIGTERM)
            for thread, box in asked:
                thread.join(STOP_MAX)
                self.assertEqual(box[0][0], None, "no machine is so fast")
            self.assertEqual(c.process.wait(STOP_MAX), 0)
            node, head = (who + AT_DEADLINE for who in ("edge-a was drained",
                                                        "the head was stopped"))
            self.assertEqual(at_node, [node])
            # Both deadlines pass in the same moment, and who asked at the head hears of the first.
            self.assertEqual(len(at_head), 5, at_head)
            self.assertLessEqual(set(at_head), {node, head})

    def test_a_node_that_is_slow_to_finish_is_not_ended_before_its_time(self):
        with PatientCluster(COLLM) as c:
            pid = int(c.node("edge-a")["snapshot"]["pid"])
            running = asks(self, c, c.a)
            with standing_still([pid]):
                c.process.send_signal(signal.SIGTERM)
                until("the other node is gone", lambda: not self.answers(c, c.b))
                # The promise is one of time, so time has to pass; nothing computes meanwhile.
                end = time.monotonic() + HALF
                until("half of the promised time is over",
                      lambda: time.monotonic() > end or not lives(pid), 2 * HALF)
                self.assertTrue(lives(pid), "its answer has half of its time left")
                self.assertFalse(running[1], "the answer is not over yet")
            is_answered(self, running)
            self.assertEqual(c.process.wait(STOP_MAX), 0)

    @staticmethod
    def answers(c, port):
        try:
            return c.call(port, "GET", "/health")[0] > 0
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
