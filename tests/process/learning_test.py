"""A cluster whose adapters learn: rounds, a node that is killed in the middle, and what stays at
its site."""
import json
import os
import re
import signal
import sys
import unittest

from cluster import Cluster, until

COLLM = sys.argv.pop()
CANARY = "canary-7f3a91c2d5"

LEARNING = """\
  training: {{batchTokens: 128, learningRate: 2e-3, warmupSteps: 2}}
  federation:
    - adapter: assistant
      strategy: {{aggregate: {aggregate}}}
      round: {{deadline: 120s, quorum: 2, steps: {steps}}}
      gate: {{looks: [8, 16], margin: 0, worstSite: 10, guard: 10}}
  coordinator: {{policy: coserve_fill}}
"""


def rows(site, count):
    """Short questions with one answer a kind; those of a site bear its canary."""
    lines = []
    for i in range(count):
        lines.append(json.dumps({"messages": [
            {"role": "user", "content": f"{site} {CANARY} order {i}"},
            {"role": "assistant", "content": f"DONE {i % 7}"}]}))
    return "\n".join(lines) + "\n"


class LearningCluster(Cluster):
    """The other tests' cluster, with data at both sites and a federation."""

    def __init__(self, collm, steps=4, aggregate="fedavg"):
        self.steps, self.aggregate = steps, aggregate
        super().__init__(collm)

    def text_of(self, manifest):
        for node, site in (("edge-a", "kitchen"), ("edge-b", "workshop")):
            file = os.path.join(self.dir.name, site + ".jsonl")
            with open(file, "w", encoding="utf-8") as out:
                out.write(rows(site, 120))
            manifest = manifest.replace(f"{{name: {node}, site: {site},",
                                        f"{{name: {node}, site: {site}, data: {file},")
        return manifest.replace("  coordinator: {policy: inference_only}\n",
                                LEARNING.format(steps=self.steps, aggregate=self.aggregate))

    def rounds(self):
        return self.get(self.head, "/admin/v1/rounds").get("rounds", [])

    def ended(self, number):
        def look():
            for r in self.rounds():
                if int(r["number"]) == number and r["state"] in ("serving", "rejected", "voided"):
                    return r
            return None
        return until(f"round {number} ends", look, 150)


def memory_holds(pid, needle):
    """Whether any readable, writable page of a process holds these bytes."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not found:
                continue
            begin, end = (int(x, 16) for x in found.groups())
            tail = b""
            while begin < end:
                size = min(end - begin, 8 << 20)
                try:
                    mem.seek(begin)
                    part = mem.read(size)
                except (OSError, ValueError, OverflowError):
                    break  # pages of devices cannot be read
                if needle in tail + part:
                    return True
                tail = part[-len(needle):]
                begin += size
    return False


class Learning(unittest.TestCase):
    def test_a_round_makes_a_version_that_serves_and_nothing_of_a_site_leaves_it(self):
        with LearningCluster(COLLM) as c:
            r = c.ended(1)
            self.assertEqual(r["state"], "serving", r.get("reason"))
            self.assertEqual({p["client"] for p in r["participants"]}, {"edge-a/0", "edge-b/0"})
            self.assertTrue(all(p["state"] == "accepted" for p in r["participants"]))
            until("both nodes serve the new version",
                  lambda: all(c.ask(port, "hello", 1)[1].get("model") == "assistant@1"
                              or "assistant@1" in json.dumps(c.ask(port, "hello", 1)[1])
                              for port in (c.a, c.b)), 20)
            self.stays_at_its_site(c, "kitchen", "edge-a", "edge-b")

    def stays_at_its_site(self, c, site, own, other):
        needle = f"{site} {CANARY}".encode()
        own_pid = int(c.node(own)["snapshot"]["pid"])
        self.assertTrue(memory_holds(own_pid, needle), "the search finds what is there")
        self.assertFalse(memory_holds(int(c.node(other)["snapshot"]["pid"]), needle))
        self.assertFalse(memory_holds(c.process.pid, needle), "the head")
        inside = os.path.join(c.dir.name, "state", "sites", site)
        for folder, _, files in os.walk(os.path.join(c.dir.name, "state")):
            for name in files:
                path = os.path.join(folder, name)
                with open(path, "rb") as f:
                    holds = needle in f.read()
                self.assertFalse(holds and not path.startswith(inside + os.sep), path)

    def test_a_node_killed_in_the_middle_goes_on_as_itself_and_counts_once(self):
        with LearningCluster(COLLM, steps=40) as c:
            def trains():
                return any(p["client"] == "edge-a/0" and int(p.get("step", 0)) >= 18
                           for r in c.rounds() for p in r["participants"])
            until("edge-a is in the middle of its task", trains, 100)
            os.kill(int(c.node("edge-a")["snapshot"]["pid"]), signal.SIGKILL)
            until("it serves again", lambda: c.node("edge-a")["state"] == "serving"
                  and c.node("edge-a")["restarts"] == 1, 30)
            r = c.ended(1)
            self.assertNotEqual(r["state"], "voided")
            clients = [p["client"] for p in r["participants"] if p["state"] == "accepted"]
            self.assertEqual(sorted(clients), ["edge-a/0", "edge-b/0"])
            self.assertIn("shadow_resumed", c.logged(), "it went on from its checkpoint")


if __name__ == "__main__":
    unittest.main(verbosity=2)
