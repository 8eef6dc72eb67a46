"""A request that ends its engine's process, or that its engine never comes back from: what it
costs, and what its client is told. tests/support/poison.cpp makes it so; the product cannot."""
import http.client
import sys
import unittest

from cluster import Cluster, OneSite, Tiny, in_background, until

POISON = sys.argv.pop()
COLLM = sys.argv.pop()
PROMPT = "K" * 48  # blocks of one token
RETRIES = 2        # of a request that nobody has accepted: actors/bridge.hpp


def poisoned(how):
    return {"LD_PRELOAD": POISON, "COLLM_POISON": how}


class TwoOfOneSite(OneSite, Tiny, Cluster):
    pass


class Impatient(Tiny, Cluster):
    limits = "promptTokens: 256, engineSilence: 10s"


def restarts(c):
    return sum(n["restarts"] for n in c.status()["nodes"])


class Crash(unittest.TestCase):
    def test_a_request_that_ends_each_process_is_refused_after_at_most_two_retries(self):
        with TwoOfOneSite(COLLM, environment=poisoned("crash")) as c:
            self.assertEqual(c.complete(c.head, site="kitchen")[0], 200)
            status, body = c.complete(c.head, PROMPT, site="kitchen")
            self.assertEqual(status, 503, body)
            self.assertEqual(body["error"]["code"], "server_is_overloaded")
            until("the site is whole again", c.serving, 60)
            ended = restarts(c)
            self.assertGreaterEqual(ended, 1)
            self.assertLessEqual(ended, 1 + RETRIES)
            self.assertIn("was killed by signal 6", c.logged())
            # Each node answers others, and nobody asks the poison again.
            for port in (c.a, c.b):
                self.assertEqual(c.complete(port)[0], 200)
            self.assertEqual(restarts(c), ended)

            # At a node's own gateway the connection ends with the process.
            with self.assertRaises((OSError, http.client.HTTPException)):
                c.complete(c.a, PROMPT)
            until("that one, too, comes back once", lambda: restarts(c) == ended + 1 and
                  c.serving(), 60)
            self.assertEqual(c.complete(c.a)[0], 200)


class Wedge(unittest.TestCase):
    def test_an_engine_that_never_comes_back_is_not_healthy_and_its_process_is_replaced(self):
        with Impatient(COLLM, environment=poisoned("wedge")) as c:
            pid = c.node("edge-a")["snapshot"]["pid"]
            self.assertEqual(c.call(c.a, "GET", "/health")[0], 200)
            _, lost = in_background(self.outcome, c)
            until("its health is told", lambda: c.call(c.a, "GET", "/health")[0] == 503, 40)
            status, body = c.call(c.a, "GET", "/ready")
            self.assertEqual(status, 503)
            self.assertIn("the loop of engine edge-a/0 made no turn for", str(body))
            self.assertEqual(c.complete(c.b)[0], 200, "its neighbour sees nothing")
            until("it is replaced", lambda: c.node("edge-a").get("snapshot", {}).get("pid")
                  not in (None, pid) and c.serving(), 60)
            until("its client is told", lambda: lost, 5)
            self.assertEqual(lost, ["the connection ended"])
            self.assertEqual(c.node("edge-a")["restarts"], 1)
            self.assertIn("exited with code 71", c.logged())
            self.assertIn("ending this process so that its supervisor replaces it", c.logged())
            self.assertEqual(c.call(c.a, "GET", "/health")[0], 200)
            self.assertEqual(c.complete(c.a)[0], 200)

    @staticmethod
    def outcome(c):
        try:
            return c.complete(c.a, PROMPT)
        except (OSError, http.client.HTTPException):
            return "the connection ended"


if __name__ == "__main__":
    unittest.main(verbosity=2)
