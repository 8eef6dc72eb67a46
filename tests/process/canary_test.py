"""Real clusters: a candidate that live requests judge, and replicas that only train."""
import http.client
import os
import re
import sys
import threading
import unittest

from cluster import until
from learning_cluster import TinyLearningCluster

COLLM = sys.argv.pop()

CANARY = """\
  training: {{batchTokens: 128, learningRate: 2e-3, warmupSteps: 2}}
  federation:
    - adapter: assistant
      round: {{deadline: 120s, quorum: 2, steps: {steps}}}
      gate: {{looks: [8, 16], margin: 0, worstSite: 10, guard: 10,
             canary: {{share: 0.5, completions: 6, maxTime: 30s}}}}
  coordinator: {{policy: coserve_fill}}
"""

SPLIT = """\
  training: {{batchTokens: 128, learningRate: 2e-3, warmupSteps: 2}}
  federation:
    - adapter: assistant
      round: {{deadline: 120s, steps: {steps}}}
      gate: {{looks: [8, 16], margin: 0, worstSite: 10, guard: 10}}
  coordinator: {{policy: static_split, trainShare: 0.5}}
"""


class ClusterThatWaits(TinyLearningCluster):
    """Its sites have no data, so no round opens, before they are given some."""

    def __init__(self, collm, **more):
        super().__init__(collm, data=(), **more)

    def text_of(self, manifest):
        for node, site in (("edge-a", "kitchen"), ("edge-b", "workshop")):
            os.mkdir(self.folder(site))
            manifest = manifest.replace(f"{{name: {node}, site: {site},",
                                        f"{{name: {node}, site: {site}, data: {self.folder(site)},")
        return super().text_of(manifest)

    def folder(self, site):
        return os.path.join(self.dir.name, site)

    def give_data(self):
        for site in ("kitchen", "workshop"):
            with open(os.path.join(self.folder(site), "a.jsonl"), "w", encoding="utf-8") as out:
                out.write(self.rows(site, 120))


def overloaded(status, answer):
    """A refusal that says when to come again: a machine that stood still makes one."""
    return status == 503 and answer["error"]["code"] == "server_is_overloaded"


class Clients:
    """One client a gateway, each with one request after the other, about four a second. Whatever
    is neither an answer nor `overloaded` is wrong."""

    def __init__(self, cluster, ports):
        self.answered, self.wrong, self.over = {}, [], threading.Event()
        self.threads = [threading.Thread(target=self.play, args=(cluster, p)) for p in ports]

    def play(self, cluster, port):
        while not self.over.wait(0.25):
            try:
                status, answer = cluster.complete(port, "hello", 2)
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
                continue
            if status == 200:
                self.answered[answer["model"]] = self.answered.get(answer["model"], 0) + 1
            elif not overloaded(status, answer):
                self.wrong.append((status, answer))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()


class Canary(unittest.TestCase):
    def test_a_candidate_answers_a_share_of_live_requests_before_it_serves(self):
        with ClusterThatWaits(COLLM, steps=4, terms=CANARY) as c, \
                Clients(c, (c.a, c.b)) as clients:
            until("60 requests of a minute are answered",
                  lambda: sum(clients.answered.values()) >= 70, 60)
            c.give_data()
            until("a candidate is a canary", lambda: "canary_answers" in c.logged(), 90)
            judged = until("the canary is judged", lambda: next(
                (r for r in c.rounds() if "canary:" in r.get("reason", "")
                 and r["state"] in ("serving", "rejected")), None), 60)
            number = judged["version"]
            counts = re.search(r"canary: no worse than the serving version on live traffic "
                               r"\((\d+) answers", judged["reason"])
            self.assertTrue(counts, judged["reason"])
            self.assertGreaterEqual(int(counts.group(1)), 6)
            self.assertEqual(judged["state"], "serving")
            self.assertIn(f"assistant@{number}", clients.answered)
            self.assertIn(f"canary_answers: assistant@{number}", c.logged())
            until("it, or a later one, is what the bare name means at both sites", lambda: all(
                int(c.complete(port, "hello", 1)[1]["model"].split("@")[1]) >= number
                for port in (c.a, c.b)), 20)
            self.assertEqual(clients.wrong, [])


class StaticSplit(unittest.TestCase):
    def test_what_is_set_apart_trains_and_answers_nobody(self):
        with TinyLearningCluster(COLLM, steps=4, terms=SPLIT, one_site=True) as c:
            for _ in range(20):
                status, answer = c.complete(c.head, "hello", 2, site="kitchen")
                self.assertEqual(status, 200, answer)
            for status, answer in (c.complete(c.b, "hello", 1), c.call(c.b, "GET", "/ready")):
                self.assertEqual(status, 503)
                self.assertIn("edge-b only trains (policy static_split)", str(answer))
            self.assertEqual(c.call(c.a, "GET", "/ready")[0], 200)
            r = c.ended(1)
            self.assertEqual([p["client"] for p in r["participants"]], ["edge-b/0"])
            self.assertNotEqual(r["state"], "voided", r.get("reason"))
            steps = r'collm_iteration_tokens_total_count{engine="%s"[^}]*} ([0-9.e+]+)'
            served = {n: re.search(steps % f"{n}/0", c.get(port, "/metrics"))
                      for n, port in (("edge-a", c.a), ("edge-b", c.b))}
            self.assertGreater(float(served["edge-a"].group(1)), 20)
            self.assertEqual(float(served["edge-b"].group(1)), 0)
            units = r'collm_training_units_total{engine="edge-[ab]/0"[^}]*} [1-9]'
            self.assertIsNone(re.search(units, c.get(c.a, "/metrics")))
            self.assertIsNotNone(re.search(units, c.get(c.b, "/metrics")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
