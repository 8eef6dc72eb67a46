"""kill -9 of the head in the states of a round: the round resumes and counts nothing twice."""
import contextlib
import os
import signal
import sys
import unittest

import away
from cluster import in_slices, until
from learning_cluster import ENDED, TinyLearningCluster, accepted

COLLM = sys.argv.pop()
COURSE = ("opened", "assigned", "training", "uploading", "closed", "summed", "candidate", "gate",
          "canary", "serving", "rejected", "voided")
# What a look from outside can catch; closed, summed and candidate last as long as a write
# (learning_crash_test dies in each of them).
KILLED_IN = ("assigned", "training", "uploading", "gate")


def tell(text):
    print(text, file=sys.stderr)


def reached(state, wanted):
    return COURSE.index(state) >= COURSE.index(wanted)


class HeadCrash(unittest.TestCase):
    def test_p15_a_head_killed_in_each_state_of_a_round_resumes_it_and_counts_nothing_twice(self):
        with TinyLearningCluster(COLLM, steps=300, standing=False) as c:
            job = c.call(c.head, "POST", "/admin/v1/jobs",
                         {"model": "assistant", "federation": {"rounds": len(KILLED_IN)}})[1]["id"]
            died_in = [self.killed(c, number, wanted)
                       for number, wanted in enumerate(KILLED_IN, 1)]
            print("died in: " + ", ".join(died_in), file=sys.stderr)
            self.assertLessEqual({"training", "uploading", "gate"}, set(died_in))
            done = until("the job ends", lambda: c.job(job)["state"] == "succeeded"
                         and c.job(job), 60)
            self.assertEqual(int(done["done"]), len(KILLED_IN))
            rounds = [c.round(n) for n in range(1, len(KILLED_IN) + 1)]
            self.assertEqual(float(done["tokens"]), sum(float(p["tokens"]) for r in rounds
                                                        for p in r["participants"]))
            versions = [int(r["version"]) for r in rounds]
            self.assertEqual(versions, sorted(set(versions)), "a version a round, none twice")

    def killed(self, c, number, wanted):
        """Kills the head in the round's state `wanted`; returns the state that it died in."""
        nodes = c.node_pids()
        try:
            if wanted == "uploading":  # one site is done, the other is not
                self.at(c, number, "training", nodes)
                before = self.at(c, number, wanted, nodes[:1])
            elif wanted == "gate":  # it waits for the first site, which is done and stopped
                self.at(c, number, "training", nodes)
                self.at(c, number, "training", nodes[:1], lambda found: self.ahead(found) > 50)
                self.at(c, number, "training", nodes, accepted)
                before = self.at(c, number, wanted, nodes[1:])
            else:
                before = self.at(c, number, wanted, nodes)
            c.process.kill()
        finally:
            for pid in nodes:
                with contextlib.suppress(ProcessLookupError):  # one that ran ended with its head
                    os.kill(pid, signal.SIGCONT)
        self.assertNotIn(before["state"], ENDED, "it was caught in time")
        c.kill_head(nodes)
        c.start()
        until("both nodes serve", c.serving, 60)
        after = c.ended(number)
        self.assertIn(after["state"], ("serving", "rejected"), after.get("reason"))
        self.assertEqual(sorted(accepted(after)), ["edge-a/0", "edge-b/0"])
        for client, digest in accepted(before).items():
            self.assertEqual(accepted(after)[client], digest, "what counted counts as it was")
        made_of = c.get(c.head, f"/admin/v1/explain?adapter=assistant&version={after['version']}")
        self.assertEqual(sorted(u["digest"] for u in made_of["updates"]),
                         sorted(accepted(after).values()))
        return before["state"]

    def test_a_head_frozen_while_a_round_runs_is_seen_by_no_site_and_the_round_goes_on(self):
        with TinyLearningCluster(COLLM, steps=4000) as c:
            away.check(self, c, away.frozen_head(c), 8, tell)

    @staticmethod
    def ahead(found):
        """Steps of the first node's client more than of the second's."""
        steps = [int(p.get("step", 0)) for p in
                 sorted(found["participants"], key=lambda p: p["client"])]
        return steps[0] - steps[1]

    @staticmethod
    def at(c, number, wanted, pids, holds=lambda _: True):
        """The round once it is `wanted` and something holds of it, by nodes that are stopped
        then."""
        def look():
            found = c.round(number)
            return found if found and reached(found["state"], wanted) and holds(found) else None
        return in_slices(f"round {number} is {wanted}", pids, look, slice_s=0.1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
