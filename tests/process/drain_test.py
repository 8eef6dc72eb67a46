"""A drain has a deadline: what runs goes on until then, what still runs ends with its reason."""
import sys
import threading
import unittest

from cluster import PatientCluster, in_background, until

COLLM = sys.argv.pop()
LONG = 2500  # tokens: no machine says so many within the deadline


class Drain(unittest.TestCase):
    def test_what_runs_at_the_deadline_ends_with_its_reason_and_nothing_is_lost(self):
        with PatientCluster(COLLM) as c:
            self.is_refused_beyond_its_bounds(c)
            self.ends_what_still_runs(c)
            self.waits_for_what_ends_before(c)
            self.comes_back_when_asked_for(c)

    def is_refused_beyond_its_bounds(self, c):
        done = c.verb("drain", "edge-a", "--deadline", "11m")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--deadline: 11m is out of range", done.stderr)
        status, body = c.call(c.head, "POST", "/admin/v1/drain",
                              {"node": "edge-a", "deadline_ms": 600001})
        self.assertEqual((status, body["error"]["param"]), (400, "deadline_ms"))
        self.assertEqual(c.node("edge-a")["state"], "serving")

    def ends_what_still_runs(self, c):
        reasons = []
        asked = [self.asks(c, port, LONG, reasons.append, **more)
                 for port, more in ((c.a, {}), (c.a, {}), (c.head, {"site": "kitchen"}))]
        done = c.verb("drain", "edge-a", "--deadline", "100ms")
        for thread, box in asked:
            thread.join(60)
            finish, said = box[0]
            self.assertIsNone(finish)
            self.assertTrue(said, "what was streamed stays")
        self.assertEqual(
            reasons, 3 * ["edge-a was drained: this request was still running at the deadline"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("3 requests were still running at the deadline and were ended", done.stderr)
        until("its process ends in order", lambda: c.node("edge-a")["state"] == "stopped"
              and c.node("edge-a")["reason"] == "exited with code 0")
        self.assertRegex(c.logged(), "drain_deadline: 3 requests")
        self.assertEqual(c.ask(c.head, "Hello", 2, site="kitchen")[0], 503)

    def waits_for_what_ends_before(self, c):
        thread, box = self.asks(c, c.b, 40, self.fail)
        done = c.verb("drain", "edge-b", "--deadline", "5m")
        self.assertEqual(done.returncode, 0, done.stderr)
        thread.join(60)
        self.assertEqual(box[0][0], "length")

    def comes_back_when_asked_for(self, c):
        for node in ("edge-b", "edge-a"):  # one that ends now, one that ended long ago
            done = c.verb("drain", node, "--restart")
            self.assertEqual(done.returncode, 0, done.stderr)
        until("both serve again", c.serving)
        self.assertEqual(c.ask(c.b, "Hello", 2)[0], 200)

    def asks(self, c, port, tokens, on_error, **more):
        """A stream, once it has begun."""
        begun = threading.Event()
        running = in_background(c.stream, port, "Tell me a story about bread.", tokens,
                                lambda _: begun.set(), on_error, **more)
        self.assertTrue(begun.wait(30))
        return running


if __name__ == "__main__":
    unittest.main(verbosity=2)
