"""`collm adapt` and every verb about training, against a cluster that runs."""
import json
import os
import sys
import unittest

from cluster import until
from learning_cluster import ENDED, TinyLearningCluster, accepted, prompts

COLLM = sys.argv.pop()


class Verbs(unittest.TestCase):
    """One cluster, whose kitchen begins without data and whose rounds are asked for by jobs; the
    cases go in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = TinyLearningCluster(COLLM, steps=40, data=("workshop",),
                                          standing=False).__enter__()
        until("the adapter is registered", lambda: cls.cluster.status().get("versions"))

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()

    def said(self, *arguments):
        """What a verb printed, as JSON."""
        done = self.cluster.verb(*arguments, "--output", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def shown(self, *arguments):
        done = self.cluster.verb(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, *arguments):
        done = self.cluster.verb(*arguments)
        self.assertIn(done.returncode, (1, 2), done.stdout)
        return done.stderr

    def file(self, name, text):
        path = os.path.join(self.cluster.dir.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def test_1_adapt_forecasts_names_bad_lines_and_follows_its_job_to_the_end(self):
        lines = prompts("kitchen", 120).splitlines(keepends=True)
        lines[2:2] = ["this is no JSON\n"]
        lines[50:50] = ['{"prompt": "no answer"}\n']
        mine = self.file("mine.jsonl", "".join(lines))
        done = self.cluster.verb("adapt", mine, "--site", "kitchen", "--rounds", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"122 lines, about \d+ tokens; one pass takes about [0-9.]+ "
                                      r"min at a third of the [1-9]\d* tokens/s")
        self.assertRegex(done.stderr, r"training holds [0-9.]+ (K|M)iB there")
        self.assertIn("line 3: no JSON", done.stderr)
        self.assertIn("line 51: completion is a string, not empty", done.stderr)
        self.assertIn("120 lines are new, 0 were known, 2 are bad", done.stderr)
        self.assertRegex(done.stderr, "succeeded, 2 rounds, [12] versions went live")
        self.assertRegex(done.stdout, r"held-out data of kitchen: better by [0-9.]+ nats a token "
                                      r"than before \([12] version")
        again = self.said("adapt", mine, "--site", "kitchen", "--rounds", 1, "--no-wait")
        self.assertEqual((again["added"], again["known"], again["bad"]), (0, 120, 2))
        self.assertEqual([b["line"] for b in again["bad_lines"]], [3, 51])
        self.assertGreater(again["forecast"]["minutes_per_pass"], 0)
        until("that job too ends", lambda: self.job(again["job"])["state"] == "succeeded", 60)

    def job(self, job):
        return self.said("job", "show", job)

    def test_2_adapt_names_what_is_wrong_before_it_sends_anything(self):
        empty = self.file("empty.jsonl", "")
        self.assertIn("empty", self.refused("adapt", empty, "--site", "kitchen"))
        mine = self.file("one.jsonl", prompts("kitchen", 1))
        self.assertIn("kitchen", self.refused("adapt", mine, "--site", "garage"))
        self.assertIn("nowhere.jsonl", self.refused("adapt", mine.replace("one", "nowhere"),
                                                    "--site", "kitchen"))

    def test_3_jobs_are_made_listed_shown_and_cancelled(self):
        made = self.said("job", "create", "assistant", "--rounds", "7")
        self.assertIn(made["id"], [j["id"] for j in self.said("job", "list")["jobs"]])
        self.assertRegex(self.shown("job", "show", made["id"]), r"\d/7")
        self.assertEqual(self.said("job", "cancel", made["id"])["state"], "cancelled")
        self.assertIn("cancelled", self.shown("job", "list"))
        self.assertIn("collm job list", self.refused("job", "show", "ftjob-none"))
        self.assertIn("assistant", self.refused("job", "create", "stranger"))

    def test_4_rounds_are_listed_shown_replayed_and_closed(self):
        rounds = self.said("round", "list")["rounds"]
        self.assertGreaterEqual(len(rounds), 2)
        one = self.said("round", "show", "1")
        self.assertEqual(sorted(accepted(one)), ["edge-a/0", "edge-b/0"])
        text = self.shown("round", "show", "1")
        self.assertIn("edge-a/0", text)
        self.assertIn("serving", text)
        self.assertIn("collm round list", self.refused("round", "show", "999"))
        again = self.said("round", "replay", "1", "--without", "edge-a/0")
        self.assertEqual(again["updates"], 1)
        self.assertNotEqual(again["digest"], again["original"])
        self.assertIn("rounds that built on it and would change too: 2",
                      self.shown("round", "replay", "1", "--without", "edge-b/0"))
        self.assertRegex(self.refused("round", "replay", "1", "--without", "edge-x"),
                         "it has: edge-(a/0, edge-b|b/0, edge-a)/0")
        # Two replicas and a quorum of two: a round closes by itself or not at all.
        job = self.said("job", "create", "assistant", "--rounds", "9")["id"]
        until("closing a round without its updates is refused", lambda: "below its quorum" in
              self.refused("round", "close"), 60)
        self.shown("job", "cancel", job)
        self.rounds_rest()

    def rounds_rest(self):
        """Nothing more is learnt: the last round that a cancelled job opened is over."""
        until("no round runs", lambda: all(
            r["state"] in ENDED for r in self.said("round", "list")["rounds"]), 120)

    def test_5_a_promotion_is_explained(self):
        first = self.said("explain", "promotion", "assistant@1")
        self.assertEqual(first["version"]["source"], "round:1")
        self.assertEqual({s["site"] for s in first["sites"]}, {"kitchen", "workshop", "(guard)"})
        self.assertGreater(first["lower"], 0)
        text = self.shown("explain", "promotion", "assistant@1")
        self.assertIn("better than the serving version", text)
        self.assertIn("made by round 1", text)
        self.assertIn("assistant@99", self.refused("explain", "promotion", "assistant@99"))

    def test_6_a_version_is_exported_as_peft_and_as_gguf(self):
        folder = os.path.join(self.cluster.dir.name, "peft")
        gguf = os.path.join(self.cluster.dir.name, "lora.gguf")
        self.shown("adapter", "export", "assistant@1", "--peft", folder, "--gguf", gguf, "-f",
                   self.cluster.manifest)
        with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as f:
            config = json.load(f)
        self.assertEqual((config["peft_type"], config["r"], config["lora_alpha"]), ("LORA", 8, 16))
        with open(gguf, "rb") as f:
            self.assertEqual(f.read(4), b"GGUF")
        # The way back: what was exported answers as the version does.
        loaded = self.said("adapter", "load", "copy", folder)
        until("both nodes have it", lambda: self.cluster.complete(
            self.cluster.b, "kitchen order 3", 1, "copy")[0] == 200, 20)
        self.assertEqual(loaded["adapter"], "copy")
        self.assertIn("say where to", self.refused("adapter", "export", "assistant@1", "-f",
                                                   self.cluster.manifest))

    def test_7_a_rollback_lets_the_version_before_serve_again(self):
        def serves():
            return self.cluster.complete(self.cluster.a, "kitchen", 1)[1]["model"]
        before = self.said("explain", "promotion")["version"]
        self.assertIn("serves again", self.shown("rollback", "assistant"))
        now = self.said("explain", "promotion")["version"]
        self.assertLess(int(now["number"]), int(before["number"]))
        until("requests are answered by it",
              lambda: serves() == f"assistant@{now['number']}", 10)
        self.assertEqual(self.said("explain", "promotion", f"assistant@{before['number']}")
                         ["version"]["state"], "rolledBack")


if __name__ == "__main__":
    unittest.main(verbosity=2)
