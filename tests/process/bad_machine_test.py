"""A machine that gives no more memory, has a full disk, or whose clock jumps: requests go on, or
end with a reason, and afterwards all is as before. The same for longer and under load, measured:
`./dev bench faults`."""
import http.client
import os
import signal
import sys
import unittest

from bad_machine import HalfBodies, MemoryGroup, OtherClock, SmallDisk, no_more_memory
from cluster import Cluster, Tiny, lives, until

COLLM = sys.argv.pop()


class TinyCluster(Tiny, Cluster):
    pass


def pid_of(c, name):
    return c.node(name)["snapshot"]["pid"]


class Memory(unittest.TestCase):
    def test_a_node_without_memory_answers_or_says_why_and_goes_on_afterwards(self):
        with TinyCluster(COLLM) as c:
            pid = pid_of(c, "edge-a")
            with no_more_memory(pid), HalfBodies(c.a, 14, 1_000_000) as held:
                ends = [self.end_of(c, "hello") for _ in range(10)]
                self.assertEqual(c.complete(c.b)[0], 200, "its neighbour sees nothing")
            # 500: the step that lacked it; broken: not even a connection could be had.
            self.assertLessEqual(set(ends), {200, 500, 503, "broken"}, ends)
            # 400: one that was read, and is too long a prompt; 408: a slow machine took too long.
            self.assertLessEqual({status for status, _ in held.ends}, {400, 408, 503, None},
                                 held.ends)
            self.assertIn("there is no memory for this request", [why for _, why in held.ends])
            self.assertEqual(pid_of(c, "edge-a"), pid, "and it lives")
            until("both nodes serve", c.serving)
            until("it answers again", lambda: self.end_of(c, "hello") == 200)

    @staticmethod
    def end_of(c, text):
        """The status; what is refused or failed says why."""
        try:
            status, body = c.complete(c.a, text)
        except (OSError, http.client.HTTPException):
            return "broken"
        assert status == 200 or body["error"]["message"], (status, body)
        return status


class MemoryGroups(unittest.TestCase):
    def test_a_node_that_the_kernel_ends_for_its_memory_is_replaced_and_says_so(self):
        with MemoryGroup() as group:
            if group.folder is None:
                self.skipTest("no right to make a control group for memory")
            with TinyCluster(COLLM) as c:
                self.ended_and_replaced(c, group)

    def ended_and_replaced(self, c, group):
        pid = pid_of(c, "edge-a")
        group.holds(pid, 4 << 20)
        with HalfBodies(c.a, 14, 1_000_000) as held:
            until("the kernel ends it", lambda: not lives(pid))
            self.assertEqual(c.complete(c.b)[0], 200, "its neighbour sees nothing")
            until("another one serves", lambda: c.node("edge-a").get("snapshot", {})
                  .get("pid") not in (None, pid) and c.serving())
        # 400: one that waited for the process that came, and is too long a prompt; 408: for long.
        self.assertLessEqual({status for status, _ in held.ends}, {400, 408, 503, None},
                             held.ends)
        self.assertIn("signal 9, as by hand or by the kernel where memory ends", c.logged())
        self.assertEqual(c.complete(c.a)[0], 200)


class Clock(unittest.TestCase):
    def test_a_clock_that_jumps_a_day_ahead_and_back_changes_nothing(self):
        with OtherClock() as clock:
            if clock.environment is None:
                self.skipTest("libfaketime is not installed")
            with TinyCluster(COLLM, environment=clock.environment) as c:
                before = self.created(c)
                pids = c.node_pids()
                for offset, day in (("+1d", 86400), ("+0", 0)):
                    clock.set(offset)
                    for port, more in ((c.a, {}), (c.b, {}), (c.head, {"site": "kitchen"})):
                        status, body = c.complete(port, **more)
                        self.assertEqual(status, 200, body)
                    self.assertGreaterEqual(self.created(c), before + day, "it jumped")
                    told = c.node("edge-a")["snapshot"]["uptimeMs"]
                    until("a beat", lambda t=told: c.node("edge-a")["snapshot"]["uptimeMs"] > t)
                    self.assertTrue(c.serving())
                self.assertEqual(c.node_pids(), pids, "nobody was replaced")

    @staticmethod
    def created(c):
        return c.complete(c.a)[1]["created"]


class Disk(unittest.TestCase):
    def test_requests_go_on_and_a_node_comes_back_while_the_heads_disk_is_full(self):
        with SmallDisk() as disk:
            if disk.path is None:
                self.skipTest("no right to mount a small disk")

            class OnSmallDisk(TinyCluster):
                def text_of(self, manifest):
                    return disk.keeps_state_of(self, super().text_of(manifest))

            with OnSmallDisk(COLLM) as c:
                pid = pid_of(c, "edge-a")
                with disk.full():
                    self.assertEqual(c.complete(c.a)[0], 200)
                    os.kill(pid, signal.SIGKILL)
                    until("another one serves", lambda: c.node("edge-a").get("snapshot", {})
                          .get("pid") not in (None, pid) and c.serving(), 30)
                    for port, more in ((c.a, {}), (c.head, {"site": "workshop"})):
                        status, body = c.complete(port, **more)
                        self.assertEqual(status, 200, body)
                self.assertEqual(c.complete(c.a)[0], 200)
                self.assertTrue(c.serving())


if __name__ == "__main__":
    unittest.main(verbosity=2)
