"""kill -9 of the head and of a node in the states of a round, at their durable calls: the round
resumes and ends in the same bytes, and nothing counts twice. All of them: ./dev kills."""
import concurrent.futures
import sys
import unittest

from killed import KilledCluster

LIBRARY = sys.argv.pop()
COLLM = sys.argv.pop()
STEPS = 18  # a checkpoint after 16, and one at the end
# It dies with that record half written, so what it tells of has been done and is not known; or when
# it is durable and nobody has been told.
HEAD = [("head", 1, "opened at="), ("head", 1, "fdatasync rounds.db-wal"),
        ("head", 1, "accepted at="), ("head", 1, "summed at="), ("head", 1, "candidate at="),
        ("head", 1, "passed at="), ("head", 1, "serving at=")]
HEAD_STATES = ["not opened", "opened", "uploading", "closed", "summed", "at the gate", "passed"]
# In the last round: before its first checkpoint is whole, after it, after the last one.
CHECKPOINTS = "sites/workshop/edge-b/checkpoints"
NODE = [("edge-b", 1, f"{call} {CHECKPOINTS}") for call in ("write", "rename", "rename")]


def two_rounds(deaths):
    """Of a cluster of its own, with the deaths in each; the second starts from what the first made,
    with its moments."""
    with KilledCluster(COLLM, LIBRARY, STEPS) as c:
        died, sums = [], []
        for number, deaths_now in enumerate(deaths, 1):
            died += c.play(number, deaths_now)
            sums.append(c.sums(number))
        return died, sums, c.said()


class Killed(unittest.TestCase):
    def test_a_round_ends_in_the_same_bytes_whichever_process_died_in_it(self):
        """Two clusters, each undisturbed in the round in which the other's processes die."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            (heads, sums, said), (nodes, others_sums, others_said) = pool.map(
                two_rounds, [(HEAD, []), ([], NODE)])
        self.assertEqual([d["state"] for d in heads], HEAD_STATES, heads)
        self.assertEqual([d["call"].split()[0] for d in nodes], ["write", "rename", "rename"])
        self.assertEqual(sums, others_sums)
        for step in (16, 18):
            self.assertIn(f"round 2 at step {step}", others_said, "it went on from its checkpoint")
        for word in ("damaged", "round_failure", "checkpoint_failed", "passed_over"):
            self.assertNotIn(word, said + others_said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
