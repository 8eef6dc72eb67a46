"""A cluster whose adapters learn: rounds, a node that is killed in the middle, and what stays at
its site."""
import json
import os
import re
import signal
import struct
import sys
import tempfile
import unittest

from cluster import until
from long_prompt import beside_a_long_prompt
from learning_cluster import (CANARY, LEARNING, LearningCluster, TinyLearningCluster, accepted,
                              prompts)

TAP = sys.argv.pop()
COLLM = sys.argv.pop()
CONTROL = "control-5b2e88d04a"  # asked for at the head, so it must cross the link


def mappings(pid):
    """Every readable part of a process's memory, devices apart."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \d+ *(.*)", line)
            if found and not found[3].startswith(("/dev/", "[v")):
                yield int(found[1], 16), int(found[2], 16)


def memory_holds(pid, needles):
    """Whether a process holds any of these bytes."""
    longest = max(map(len, needles))
    with open(f"/proc/{pid}/mem", "rb") as mem:
        for begin, end in mappings(pid):
            tail = b""
            while begin < end:
                size = min(end - begin, 8 << 20)
                try:
                    mem.seek(begin)
                    part = mem.read(size)
                except (OSError, ValueError, OverflowError):
                    break  # unmapped meanwhile
                if any(n in tail + part for n in needles):
                    return True
                tail = part[-longest:]
                begin += size
    return False


def files_of(folder):
    for where, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(where, name)


def file_holds(path, needles):
    with open(path, "rb") as f:
        text = f.read()
    return any(n in text for n in needles)


def rows_with_bad_lines(site, count):
    """Also what a site cannot train on bears its canary: it is named by its line alone."""
    bad = [json.dumps({"messages": [{"role": f"{site} {CANARY}", "content": "?"},
                                    {"role": "assistant", "content": "!"}]}),
           f"{site} {CANARY} is no JSON"]
    return "\n".join(bad) + "\n" + prompts(site, count)


def as_text_and_tokens(text):
    """How a text can lie in memory or in a message: the tiny model's tokens are bytes behind three
    control tokens."""
    return [text.encode(), struct.pack(f"<{len(text)}i", *(3 + b for b in text.encode()))]


class BadLines(TinyLearningCluster):
    rows = staticmethod(rows_with_bad_lines)


class Learning(unittest.TestCase):
    def test_a_round_makes_a_version_that_serves(self):
        with LearningCluster(COLLM) as c:
            r = c.ended(1)
            self.assertEqual(r["state"], "serving", r.get("reason"))
            self.assertEqual({p["client"] for p in r["participants"]}, {"edge-a/0", "edge-b/0"})
            self.assertEqual(len(accepted(r)), 2)
            until("both nodes serve the new version",
                  lambda: all(c.ask(port, "hello", 1)[1].get("model") == "assistant@1"
                              for port in (c.a, c.b)), 20)

    def test_sites_of_unequal_ranks_learn_together(self):
        terms = LEARNING.replace("strategy: {{aggregate: {aggregate}}}", "strategy: stack_svd\n"
                                 "      ranks: [{{site: workshop, rank: 2}}]")
        with TinyLearningCluster(COLLM, standing=False, terms=terms) as c:
            c.call(c.head, "POST", "/admin/v1/jobs",
                   {"model": "assistant", "federation": {"rounds": 2}})
            for number in (1, 2):
                r = c.ended(number)
                self.assertIn(r["state"], ("serving", "rejected"), r.get("reason"))
                self.assertEqual(set(accepted(r)), {"edge-a/0", "edge-b/0"}, r)
            state = os.path.join(c.dir.name, "state")
            self.assertTrue(any(file_holds(os.path.join(state, name), [b"2,2,2,2"])
                                for name in os.listdir(state) if name.startswith("rounds.db")))

    def test_p7_a_long_prompt_and_training_do_not_freeze_a_running_stream(self):
        with LearningCluster(COLLM, steps=2000) as c:
            until("both sites train", lambda: c.round(1) and all(
                int(p.get("step", 0)) > 0 for p in c.round(1)["participants"]), 120)
            told = beside_a_long_prompt(self, c)
            print(told, file=sys.stderr)
            self.assertEqual(c.round(1)["state"], "training", "it trained all the time")

    def test_nothing_that_a_site_trains_on_leaves_it(self):
        with tempfile.TemporaryDirectory(prefix="collm-tap-") as tap, \
                BadLines(COLLM, environment={"LD_PRELOAD": TAP, "COLLM_TLS_TAP": tap}) as c:
            secrets = as_text_and_tokens(CANARY)
            answer = c.complete(c.a, f"kitchen {CANARY} of a caller", 2)[1]
            done = c.call(c.a, "POST", "/v1/feedback",
                          {"request_id": answer["id"], "answer": f"right is {CANARY}"})
            self.assertEqual(done[0], 200, done)
            asked = c.complete(c.head, f"{CONTROL} at the head", 2, site="kitchen")
            self.assertEqual(asked[0], 200, asked)
            for number in (1, 2):
                c.ended(number)
            self.assertIn("2 bad", c.logged(), "bad lines are told")
            own, other = (int(c.node(n)["snapshot"]["pid"]) for n in ("edge-a", "edge-b"))
            self.assertTrue(memory_holds(own, secrets), "the search finds what is there")
            self.assertFalse(memory_holds(c.process.pid, secrets), "the head's memory")
            with open(os.path.join(c.dir.name, "workshop.jsonl"), encoding="utf-8") as f:
                self.assertIn(CANARY, f.read(), "both sites' data bear it")
            kitchen = as_text_and_tokens(f"kitchen {CANARY}")
            self.assertFalse(memory_holds(other, kitchen), "the other site's memory")
            self.on_the_link(tap, secrets)
            sites = os.path.join(c.dir.name, "state", "sites") + os.sep
            data = [os.path.join(c.dir.name, s + ".jsonl") for s in ("kitchen", "workshop")]
            for path in files_of(c.dir.name):
                if not path.startswith(sites) and path not in data:
                    self.assertFalse(file_holds(path, secrets), path)
            for path in files_of(os.path.join(sites, "workshop")):
                self.assertFalse(file_holds(path, kitchen), path)

    def on_the_link(self, tap, secrets):
        """In plain, as the processes handed it to TLS and got it from there."""
        taken = list(files_of(tap))
        control = as_text_and_tokens(CONTROL)
        self.assertTrue(any(file_holds(t, control) for t in taken), "the tap sees what crosses")
        self.assertTrue(any(file_holds(t, [b"edge-a/0"]) for t in taken), "and the shadows' words")
        for path in taken:
            self.assertFalse(file_holds(path, secrets), path)

    def test_a_node_killed_in_the_middle_goes_on_as_itself_and_counts_once(self):
        with TinyLearningCluster(COLLM, steps=2000) as c:
            def trains():
                return any(p["client"] == "edge-a/0" and int(p.get("step", 0)) >= 18
                           for r in c.rounds() for p in r["participants"])
            pid = int(c.node("edge-a")["snapshot"]["pid"])
            until("edge-a is in the middle of its task", trains)
            os.kill(pid, signal.SIGKILL)
            until("it serves again", lambda: c.node("edge-a")["state"] == "serving"
                  and c.node("edge-a")["restarts"] == 1, 30)
            r = c.ended(1)
            self.assertNotEqual(r["state"], "voided")
            clients = [p["client"] for p in r["participants"] if p["state"] == "accepted"]
            self.assertEqual(sorted(clients), ["edge-a/0", "edge-b/0"])
            self.assertIn("shadow_resumed", c.logged(), "it went on from its checkpoint")


if __name__ == "__main__":
    unittest.main(verbosity=2)
