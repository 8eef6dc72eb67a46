"""A node whose line to the head breaks while it trains: it joins again over TLS, the round goes on,
what it sent counts once. One behind a slow line is not lost. One that stands still at the deadline:
the round ends without it."""
import os
import signal
import sys
import unittest

from cluster import in_slices, until
from learning_cluster import ENDED, LEARNING, accepted
from relay import Relay
from remote_nodes import RemoteLearningCluster

COLLM = sys.argv.pop()
CLIENTS = {"edge-a/0", "edge-b/0"}


class Rejoin(unittest.TestCase):
    def test_p16_a_node_that_is_cut_off_in_mid_round_joins_again_and_its_update_counts_once(self):
        with RemoteLearningCluster(COLLM, steps=300, standing=False) as c, Relay(c.link) as line:
            c.join_behind("edge-b", line)
            job = c.call(c.head, "POST", "/admin/v1/jobs",
                         {"model": "assistant", "federation": {"rounds": 4}})[1]["id"]
            self.cut_while_it_trains(c, line)
            self.answers_lost_when_its_update_is_due(c, line)
            self.killed_behind_a_reset_line(c, line)
            done = until("the job ends", lambda: c.job(job)["state"] == "succeeded" and c.job(job),
                         60)
            rounds = [c.ended(n) for n in range(1, 5)]
            for r in rounds:
                self.assertEqual([p["client"] for p in r["participants"]],
                                 sorted({p["client"] for p in r["participants"]}), "each once")
                self.assertEqual(set(accepted(r)), CLIENTS, r)
            self.assertEqual(float(done["tokens"]), sum(float(p["tokens"]) for r in rounds
                                                        for p in r["participants"]))
            versions = [int(r["version"]) for r in rounds]
            self.assertEqual(versions, sorted(set(versions)), "a version a round, none twice")
            self.assertGreater(line.connections, 3)
            self.stands_alone_with_what_it_learned(c)

    def stands_alone_with_what_it_learned(self, c):
        """Its head is gone and its process is another one: it serves what it served."""
        last = max((r for r in c.rounds() if r["state"] == "serving"),
                   key=lambda r: int(r["version"]))
        learned = f"assistant@{last['version']}"
        until("it serves what the last round made",
              lambda: c.complete(c.b, "hello")[1].get("model") == learned)
        kept = os.path.join(c.folder("edge-b"), "sites", "workshop", "edge-b", "served", "versions")

        def is_kept():
            with open(kept, "rb") as f:
                return f"round:{last['number']}\0".encode() in f.read()
        until("it keeps that", is_kept)
        c.kill_head(c.local_pids())
        c.end_node("edge-b", signal.SIGKILL)
        c.start_again("edge-b")

        def first_answer():
            assert c.started["edge-b"].poll() is None, c.node_log("edge-b")
            try:
                status, body = c.complete(c.b, "hello")
            except OSError:
                return False
            return status == 200 and body["model"]
        self.assertEqual(until("it answers", first_answer), learned)

    def while_it_trains(self, c, number, act):
        """Acts when the round trains and edge-b has not delivered; all nodes stand still then."""
        def look():
            r = c.round(number)
            if not r:
                return False
            self.assertNotIn(r["state"], ENDED, "it was caught in time")
            return r["state"] == "training" and "edge-b/0" not in accepted(r)
        nodes = [*c.local_pids(), c.started["edge-b"].pid]
        try:
            in_slices(f"round {number} trains", nodes, look)
            act()
        finally:
            for pid in nodes:
                os.kill(pid, signal.SIGCONT)

    def away(self, c):
        until("the head sees it gone", lambda: c.node("edge-b")["state"] == "lost")

    def cut_while_it_trains(self, c, line):
        self.while_it_trains(c, 1, line.cut)
        self.away(c)
        line.restore()
        c.serves("edge-b")
        c.ended(1)

    def answers_lost_when_its_update_is_due(self, c, line):
        """What it says arrives, what the head says does not: it has to say it again."""
        self.while_it_trains(c, 2, lambda: line.stall(there=False))
        self.away(c)  # the node takes the silence for a loss, and its update is owed or unanswered
        line.cut()
        line.restore()
        c.serves("edge-b")
        c.ended(2)

    def killed_behind_a_reset_line(self, c, line):
        self.while_it_trains(c, 3, line.reset)
        c.end_node("edge-b", signal.SIGKILL)
        c.start_again("edge-b")
        c.serves("edge-b")
        c.ended(3)


class SlowUplink(unittest.TestCase):
    def test_a_node_behind_fifty_kilobytes_a_second_answers_learns_and_is_not_lost(self):
        with RemoteLearningCluster(COLLM, steps=20, standing=False) as c, \
                Relay(c.link, delay=0.3, rate=50_000) as line:
            c.join_behind("edge-b", line)
            c.call(c.head, "POST", "/admin/v1/jobs",
                   {"model": "assistant", "federation": {"rounds": 1}})
            self.assertEqual(c.complete(c.head, "hello", site="workshop")[0], 200)
            self.assertEqual(set(accepted(c.ended(1))), CLIENTS)
            self.assertEqual(c.complete(c.head, "hello", site="workshop")[0], 200)
            self.assertEqual(line.connections, 1, "its line held")


class Straggler(unittest.TestCase):
    def test_p17_a_node_that_stands_still_at_the_deadline_holds_nobody(self):
        terms = LEARNING.replace("deadline: 600s, quorum: 2", "deadline: 20s, quorum: 1")
        with RemoteLearningCluster(COLLM, steps=300, standing=False, terms=terms) as c:
            c.join("edge-b")
            c.serves("edge-b")
            c.call(c.head, "POST", "/admin/v1/jobs",
                   {"model": "assistant", "federation": {"rounds": 2}})
            frozen, others = c.started["edge-b"].pid, c.local_pids()

            def under_way():
                r = c.round(1)
                return r and r["state"] in ("assigned", "training")
            try:
                in_slices("round 1 is under way", [*others, frozen], under_way)
                self.assertNotIn("edge-b/0", accepted(c.round(1)), "it was caught in time")
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
                first = c.ended(1)
                self.assertEqual(set(accepted(first)), {"edge-a/0"}, first)
                self.assertEqual(c.complete(c.a, "hello")[0], 200)
            finally:
                for pid in (*others, frozen):
                    os.kill(pid, signal.SIGCONT)
            c.serves("edge-b")
            second = c.ended(2)
            self.assertIn("edge-a/0", accepted(second), second)
            self.assertEqual(c.complete(c.b, "hello")[0], 200)


if __name__ == "__main__":
    unittest.main()
