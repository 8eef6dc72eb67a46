"""Every node of a site is restarted, one after the other, while requests come: none fails."""
import sys
import threading
import unittest

from cluster import Cluster, OneSite, Patient, until

COLLM = sys.argv.pop()


class TwoOfOneSite(Patient, OneSite, Cluster):
    pass


class Clients:
    """A few clients of the head, each with one request after the other; `wrong` is not 200."""

    def __init__(self, c, count):
        self.c, self.over, self.answered, self.wrong = c, threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]
        for t in self.threads:
            t.start()

    def ask(self):
        while not self.over.is_set():
            try:
                status, body = self.c.ask(self.c.head, "Tell me about bread.", 8, site="kitchen")
            except OSError as e:
                status, body = "broken", str(e)
            if status == 200:
                self.answered += 1
            else:
                self.wrong.append((status, body))

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(60)


class RollingRestart(unittest.TestCase):
    def test_p12_a_rolling_restart_under_load_fails_no_request(self):
        with TwoOfOneSite(COLLM) as c:
            clients = Clients(c, 3)
            try:
                for name in ("edge-a", "edge-b"):
                    done = c.verb("drain", name, "--restart")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    until(f"{name} serves again", lambda n=name: c.node(n)["state"] == "serving",
                          60)
                    before = clients.answered
                    until("requests are answered meanwhile", lambda b=before:
                          clients.answered > b + 3, 60)
            finally:
                clients.stop()
            self.assertEqual(clients.wrong, [])
            self.assertGreater(clients.answered, 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
