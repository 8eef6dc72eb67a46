"""Every node of a site is restarted, one after the other, while requests come: none fails."""
import sys
import threading
import unittest

from cluster import Cluster, OneSite, Patient, until

COLLM = sys.argv.pop()


class TwoOfOneSite(Patient, OneSite, Cluster):
    pass


class Clients:
    """Clients of these gateways, each with one request after the other. Who is told to come back
    (503: its node drains) does, where `may_be_told`; `wrong` is any other answer than 200."""

    def __init__(self, c, ports, may_be_told=False):
        self.c, self.over, self.answered, self.wrong = c, threading.Event(), 0, []
        self.may_be_told = may_be_told
        self.threads = [threading.Thread(target=self.ask, args=(p,)) for p in ports]
        for t in self.threads:
            t.start()

    def ask(self, port):
        while not self.over.is_set():
            try:
                status, body = self.c.ask(port, "Tell me about bread.", 8, site="kitchen")
            except OSError as e:
                status, body = "broken", str(e)
            if status == 200:
                self.answered += 1
            elif status == 503 and self.may_be_told:
                self.over.wait(1)  # the least that a Retry-After can say
            else:
                self.wrong.append((status, body))

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(60)


class RollingRestart(unittest.TestCase):
    def restarted_under(self, clients, c):
        try:
            for name in ("edge-a", "edge-b"):
                done = c.verb("drain", name, "--restart")
                self.assertEqual(done.returncode, 0, done.stderr)
                until(f"{name} serves again", lambda n=name: c.node(n)["state"] == "serving", 60)
                before = clients.answered
                until("requests are answered meanwhile", lambda b=before:
                      clients.answered > b + 3, 60)
        finally:
            clients.stop()
        self.assertEqual(clients.wrong, [])
        self.assertGreater(clients.answered, 10)

    def test_p12_a_rolling_restart_under_load_fails_no_request(self):
        with TwoOfOneSite(COLLM) as c:
            self.restarted_under(Clients(c, [c.head] * 3), c)
            # At the nodes' own gateways nobody finds a closed door: who connects while a process
            # is away waits for the next one.
            self.restarted_under(Clients(c, [c.a, c.b, c.a], may_be_told=True), c)


if __name__ == "__main__":
    unittest.main(verbosity=2)
