"""collm backup while rounds run, the head's disk lost, collm restore: versions, rounds and the link
go on."""
import os
import shutil
import subprocess
import sys
import unittest

from cluster import free_ports, until
from learning_cluster import TinyLearningCluster, accepted

COLLM = sys.argv.pop()


class Backup(unittest.TestCase):
    def collm(self, c, *words):
        return subprocess.run([COLLM, *words, "-f", c.manifest], capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)

    def a_second_head_is_refused(self, c):
        """Its ports are its own, its state is not."""
        with open(c.manifest) as f:
            text = f.read()
        for port in (c.head, c.native, c.link, c.a, c.b):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_ports(1)[0]}")
        done = subprocess.run([COLLM, "up", "--once", "-f", "-"], input=text, capture_output=True,
                              text=True, timeout=60, cwd=c.dir.name)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("another head works with " + os.path.join(c.dir.name, "state"), done.stderr)

    def doctor_knows_that_it_runs(self, c):
        done = self.collm(c, "doctor", "--quick")
        self.assertIn("not tried: this cluster runs", done.stdout, done.stderr)
        self.assertNotIn("end what listens there", done.stdout)

    def a_damaged_registry_names_its_mend(self, c, file):
        for beside in ("-wal", "-shm"):
            if os.path.exists(file + beside):
                os.remove(file + beside)
        with open(file, "r+b") as f:
            f.write(b"\0" * 4096)
        done = self.collm(c, "up", "--once")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"{file}: ", done.stderr)
        self.assertIn("collm restore a backup", done.stderr)

    def test_a_head_comes_back_from_a_backup_that_was_taken_in_the_middle_of_a_round(self):
        with TinyLearningCluster(COLLM, steps=100) as c:
            first = c.ended(1)
            until("round 2 is open", lambda: c.round(2), 60)
            self.a_second_head_is_refused(c)
            self.doctor_knows_that_it_runs(c)
            backup, state = os.path.join(c.dir.name, "backup"), os.path.join(c.dir.name, "state")
            done = self.collm(c, "backup", backup)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("sites", os.listdir(backup), "what sites train on stays with them")
            self.assertIn("is not empty", self.collm(c, "backup", backup).stderr)
            self.assertIn("is not empty", self.collm(c, "restore", backup).stderr,
                          "nothing is overwritten")

            c.kill_head(c.node_pids())
            self.a_damaged_registry_names_its_mend(c, os.path.join(state, "registry.db"))
            os.rename(state, state + ".lost")
            done = self.collm(c, "restore", backup)
            self.assertEqual(done.returncode, 0, done.stderr)
            shutil.move(state + ".lost/sites", state)
            c.start()
            until("both nodes serve again", c.serving, 60)
            again = c.round(1)
            self.assertEqual(accepted(again), accepted(first))
            self.assertEqual((again["state"], again["version"]), (first["state"], first["version"]))
            second = c.ended(2)
            self.assertEqual(len(accepted(second)), 2, second.get("reason"))
            self.assertGreater(int(second["version"]), int(first["version"]))
            status, answer = c.complete(c.a, "kitchen order 1")
            self.assertEqual(status, 200, answer)


if __name__ == "__main__":
    unittest.main(verbosity=2)
