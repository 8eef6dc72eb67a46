"""The head or the uplink is away while a round runs: clients at the sites' gateways see nothing,
and the round goes on where it was. The head is frozen (SIGSTOP), or the line between it and a node
on another machine is cut (a relay).

    away.py COLLM head|uplink [SECONDS]      the long form, with a log on standard output
"""
import contextlib
import http.client
import os
import signal
import sys
import threading
import time
import unittest

from cluster import Tiny, in_background, lives, until
from learning_cluster import LEARNING, LearningCluster, accepted
from relay import Relay
from remote_nodes import RemoteNodes

EVERY_S = 0.5  # a request at each site


class Caller:
    """Asks one gateway again and again and keeps what it saw."""

    def __init__(self, c, port):
        self.c, self.port, self.end = c, port, threading.Event()
        self.ask = c.complete if isinstance(c, Tiny) else c.ask
        self.statuses, self.times = [], []
        self.thread, self.result = in_background(self.call)

    def call(self):
        while not self.end.wait(EVERY_S):
            start = time.monotonic()
            try:
                status, body = self.ask(self.port, f"Order {len(self.times)}", 4)
            except (OSError, http.client.HTTPException) as e:
                status, body = repr(e), None
            self.times.append(time.monotonic() - start)
            self.statuses.append(status if status == 200 else (status, body))

    def stop(self):
        """What failed; a refusal that says when to come again is none (a machine that stood still
        makes one)."""
        self.end.set()
        self.thread.join(70)
        return [s for s in self.statuses if s != 200 and not (
            s[0] == 503 and s[1]["error"]["code"] == "server_is_overloaded")]


def watch_away(seconds, still_away):
    """The fault's length, and nobody else may end it or stop this test meanwhile."""
    begun = last = time.monotonic()
    while last - begun < seconds:
        time.sleep(min(1.0, seconds - (last - begun)))
        still_away()
        now = time.monotonic()
        if now - last > 10:
            raise AssertionError(f"this test itself was stopped for {now - last:.0f} s: run it "
                                 "again when nobody stops it")
        last = now


@contextlib.contextmanager
def frozen_head(c):
    def freeze():
        os.kill(c.process.pid, signal.SIGSTOP)
    try:
        freeze()
        yield freeze
    finally:
        os.kill(c.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def cut_uplink(c, line):
    def cut_off():
        assert line.open_connections() == 0
    try:
        line.cut()
        until("the head sees it gone", lambda: c.node("edge-b")["state"] == "lost")
        yield cut_off
    finally:
        line.restore()


def live_through(c, fault, seconds, tell):
    """`fault` for so long, while round 1 of `c` trains; returns what is to be checked."""
    before = c.round(1)
    nodes = c.node_pids()
    tell(f"round 1 is {before['state']}, "
         + ", ".join(f"{p['client']} at step {p.get('step', 0)}" for p in before["participants"])
         + f", {float(before['remainingMs']) / 1000:.0f} s remain")
    callers = [Caller(c, port) for port in (c.a, c.b)]
    with fault as still_away:
        tell(f"away for {seconds:g} s")
        watch_away(seconds, still_away)
    tell("it is back")
    until("both nodes are heard again", lambda: heard_again(c), 60)
    after = c.ended(1)
    failed = [caller.stop() for caller in callers]
    for name, caller in zip(("kitchen", "workshop"), callers):
        times = sorted(caller.times)
        tell(f"{name}: {len(times)} requests, {len(times) - caller.statuses.count(200)} failed, "
             f"median {times[len(times) // 2] * 1000:.0f} ms, longest {times[-1] * 1000:.0f} ms")
    tell(f"round 1: {after['state']} ({after.get('reason', '')}), accepted "
         + ", ".join(sorted(accepted(after))))
    tell("the nodes' processes are " + ("the same" if nodes == c.node_pids() else "others"))
    return {"after": after, "failed": failed, "nodes": nodes,
            "answered": [len(caller.times) for caller in callers]}


def heard_again(c):
    return all(n["state"] == "serving" and int(n["beatAgeMs"]) < 3000
               for n in c.status()["nodes"])


def trains(c):
    r = c.round(1)
    return r and r["state"] == "training" and all(
        int(p.get("step", 0)) > 0 for p in r["participants"])


def check(test, c, fault, seconds, tell=lambda text: None):
    until("both sites train", lambda: trains(c), 120)
    seen = live_through(c, fault, seconds, tell)
    test.assertEqual(seen["failed"], [[], []], "clients of the sites see nothing")
    test.assertTrue(all(n > seconds / (4 * EVERY_S) for n in seen["answered"]), seen["answered"])
    test.assertEqual(c.node_pids(), seen["nodes"], "no node was replaced")
    test.assertTrue(all(map(lives, seen["nodes"])))
    test.assertIn(seen["after"]["state"], ("serving", "rejected"), seen["after"].get("reason"))
    test.assertEqual(sorted(accepted(seen["after"])), ["edge-a/0", "edge-b/0"])


class NodeElsewhere(RemoteNodes, LearningCluster):
    """The real model; a round waits for who is away longer than that takes."""

    def __init__(self, collm, seconds, **more):
        terms = LEARNING.replace("deadline: 600s", f"deadline: {int(seconds) + 600}s")
        super().__init__(collm, standing=False, terms=terms, **more)


def check_uplink(test, collm, seconds, tell):
    with NodeElsewhere(collm, seconds, steps=40) as c, Relay(c.link) as line:
        c.join_behind("edge-b", line)
        c.call(c.head, "POST", "/admin/v1/jobs",
               {"model": "assistant", "federation": {"rounds": 1}})
        check(test, c, cut_uplink(c, line), seconds, tell)


def main(collm, what, seconds=600):
    seconds = float(seconds)
    begun = time.monotonic()

    def tell(text):
        print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)

    test = unittest.TestCase()
    if what == "uplink":
        check_uplink(test, collm, seconds, tell)
    else:
        with LearningCluster(collm, steps=40) as c:
            check(test, c, frozen_head(c), seconds, tell)
    tell("nothing was seen by the sites' clients, and the round went on")


if __name__ == "__main__":
    main(*sys.argv[1:])
