"""A node on another machine: token, join, serve; restarts of either side; revocation."""
import os
import signal
import subprocess
import sys
import unittest

from cluster import until
from listeners import listeners
from remote_nodes import RemoteCluster

COLLM = sys.argv.pop()


class Join(unittest.TestCase):
    def test_a_node_elsewhere_joins_serves_and_is_revoked(self):
        with RemoteCluster(COLLM) as c:
            self.waits_for_its_node(c)
            token = c.token("edge-b", "--ttl", "5m")
            c.run_node("edge-b", "--join", token)
            c.serves("edge-b")
            self.answers(c)
            self.listens_nowhere_else(c)
            self.used_token_is_refused(c, token)
            self.node_holds_what_it_needs(c)
            self.node_restarts(c)
            self.head_restarts(c)
            self.is_revoked(c)
            self.joins_again(c)
            self.tells_no_token(c, token)

    def waits_for_its_node(self, c):
        self.assertEqual(c.node("edge-b")["state"], "lost")
        self.assertIn("has not joined", c.node("edge-b")["reason"])
        status, body = c.complete(c.head, site="workshop")
        self.assertEqual(status, 503, body)
        self.assertEqual(c.complete(c.head, site="kitchen")[0], 200)
        refused = c.verb("join-token", "--node", "edge-a")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is started by this head", refused.stderr)

    def answers(self, c):
        for port, more in ((c.b, {}), (c.head, {"site": "workshop"})):
            status, body = c.complete(port, **more)
            self.assertEqual(status, 200, body)
            self.assertEqual(body["model"], "assistant@0")

    def listens_nowhere_else(self, c):
        for pid, ports in ((c.process.pid, (c.head, c.native, c.link, c.enrol, c.a)),
                           (c.node("edge-a")["snapshot"]["pid"], (c.a,)),
                           (c.started["edge-b"].pid, (c.b,))):
            self.assertEqual(listeners(pid), {("tcp", "127.0.0.1", p) for p in ports})

    def used_token_is_refused(self, c, token):
        again = subprocess.run(
            [COLLM, "node", "--join", token, "--dir", os.path.join(c.dir.name, "thief")],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(again.returncode, 1, again.stderr)
        self.assertIn("this join token of node 'edge-b' was used already", again.stderr)

    def node_holds_what_it_needs(self, c):
        served = os.path.join(c.folder("edge-b"), "sites", "workshop", "edge-b", "served")
        until("it keeps what it serves", lambda: os.path.isdir(served))
        self.assertEqual(sorted(os.listdir(c.folder("edge-b"))),
                         ["audit", "cluster.yaml", "incarnation", "link", "sites"])
        self.assertEqual(os.listdir(os.path.dirname(served)), ["served"])
        self.assertEqual(sorted(os.listdir(os.path.join(c.folder("edge-b"), "link"))),
                         ["ca.crt", "edge-b.node.crt", "edge-b.node.key", "head.address"])
        on_head = os.listdir(os.path.join(c.dir.name, "state", "link"))
        self.assertNotIn("edge-b.node.key", on_head)

    def node_restarts(self, c):
        self.assertEqual(c.end_node("edge-b"), 0, "it drains and ends in order")
        until("the head sees it go", lambda: c.node("edge-b")["state"] != "serving")
        c.start_again("edge-b")
        c.serves("edge-b")
        c.end_node("edge-b", signal.SIGKILL)
        c.start_again("edge-b")
        c.serves("edge-b")
        self.answers(c)

    def head_restarts(self, c):
        c.kill_head(c.local_pids())
        status, body = c.complete(c.b)
        self.assertEqual(status, 200, "a site stands alone")
        c.start()
        until("the head's own node serves", c.serving, 60)
        c.serves("edge-b")
        self.answers(c)

    def is_revoked(self, c):
        done = c.verb("node", "revoke", "edge-b")
        self.assertEqual(done.returncode, 0, done.stderr)
        until("its link is closed", lambda: c.node("edge-b")["state"] == "lost"
              and "revoked" in c.node("edge-b")["reason"])
        self.assertEqual(c.complete(c.head, site="workshop")[0], 503)
        until("it is told why", lambda: "was revoked" in c.node_log("edge-b"))
        c.end_node("edge-b")
        c.kill_head(c.local_pids())
        c.start()
        until("the head's own node serves", c.serving, 60)
        c.start_again("edge-b")
        until("it is told again", lambda: c.node_log("edge-b").count("was revoked") > 1)
        self.assertIn("has not joined", c.node("edge-b")["reason"])
        c.end_node("edge-b")

    def tells_no_token(self, c, used):
        """Nor one that is still good."""
        for token in (used, c.token("edge-b")):
            secret = token.rsplit("/", 1)[1]
            self.assertGreater(len(secret), 40)
            told = {**c.tells((c.head, c.a, c.b)), **c.written()}
            self.assertIn("nodes/token", told[f"{c.head}/admin/v1/audit"])
            self.assertIn("node_joined", told[f"{c.head}/admin/v1/events"])
            self.assertEqual([where for where, text in told.items() if secret in text], [])

    def joins_again(self, c):
        c.join("edge-b")
        c.serves("edge-b")
        self.answers(c)


if __name__ == "__main__":
    unittest.main()
