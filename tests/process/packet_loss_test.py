"""Packets between a node and its head are lost and come twice, so that others overtake them: the
kernel drops and doubles some in a network (a namespace) of this test's own. TCP mends that; a node
that beats is not taken for lost, and what is asked through the head is answered."""
import json
import os
import shutil
import subprocess
import sys
import unittest

from cluster import Patient, in_background, until
from learning_cluster import accepted
from remote_nodes import RemoteLearningCluster

COLLM = sys.argv[-1]
OF_A_HUNDRED = 3  # that one packet is lost four times, which takes over 2 s: 8e-7
OWN_NETWORK = ["unshare", "--user", "--map-root-user", "--net"]
OUTSIDE = "COLLM_TEST_OTHER_NETWORK"  # the one that this test left
os.environ["PATH"] += ":/usr/sbin:/sbin"  # Debian has nft and ip there
RULES = """
table inet lost {{
  chain arrives {{
    type filter hook input priority 0
    tcp dport {{ {ports} }} numgen random mod 100 < {share} counter drop
    tcp sport {{ {ports} }} numgen random mod 100 < {share} counter drop
  }}
}}
table ip doubled {{
  chain leaves {{
    type filter hook output priority 0
    tcp dport {{ {ports} }} numgen random mod 100 < {share} counter dup to 127.0.0.1 device "lo"
  }}
}}
"""


class LearningElsewhere(Patient, RemoteLearningCluster):
    pass


def network():
    return os.readlink("/proc/self/ns/net")


def nft(*arguments, rules=None):
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True,
                          input=rules).stdout


def packets_of_each_rule():
    rules = (item.get("rule", {}) for item in json.loads(nft("-j", "list", "ruleset"))["nftables"])
    return [e["counter"]["packets"] for r in rules for e in r.get("expr", []) if "counter" in e]


class PacketLoss(unittest.TestCase):
    def setUp(self):
        if os.environ.get(OUTSIDE, network()) == network():
            self.skipTest("no right to make a network of its own")
        if not (shutil.which("nft") and shutil.which("ip")):
            self.skipTest("nftables or iproute2 is not installed")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
            nft("-f", "-", rules=RULES.format(ports=9, share=OF_A_HUNDRED))
            nft("flush", "ruleset")
        except subprocess.CalledProcessError as e:
            self.skipTest(f"no packets can be dropped: {e.stderr}")

    def test_a_node_joins_answers_and_learns_though_three_of_a_hundred_packets_are_lost(self):
        with LearningElsewhere(COLLM, steps=40, standing=False) as c:
            nft("-f", "-", rules=RULES.format(ports=f"{c.link}, {c.enrol}", share=OF_A_HUNDRED))
            c.join("edge-b")
            c.serves("edge-b")
            c.call(c.head, "POST", "/admin/v1/jobs",
                   {"model": "assistant", "federation": {"rounds": 1}})
            asked = [in_background(self.ask, c, f"order {n}") for n in range(4)]
            for thread, answers in asked:
                thread.join(60)
                self.assertEqual(answers, [[200] * 10])
            ended = c.ended(1)
            self.assertEqual(set(accepted(ended)), {"edge-a/0", "edge-b/0"}, ended)
            until("it is heard", lambda: c.node("edge-b")["state"] == "serving")
            self.assertNotIn("node_lost", c.logged())
            there, back, doubled = packets_of_each_rule()
            self.assertTrue(there and back and doubled, (there, back, doubled))

    @staticmethod
    def ask(c, text):
        return [c.complete(c.head, text, site="workshop")[0] for _ in range(10)]


def may_have_own_network():
    try:
        return not subprocess.run([*OWN_NETWORK, "true"], capture_output=True,
                                  check=False).returncode
    except OSError:
        return False


if __name__ == "__main__":
    if OUTSIDE not in os.environ and may_have_own_network():
        os.environ[OUTSIDE] = network()
        os.execvp(OWN_NETWORK[0], [*OWN_NETWORK, sys.executable, *sys.argv])
    sys.argv.pop()
    unittest.main(verbosity=2)
