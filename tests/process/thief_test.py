"""Somebody has a copy of one remote node's folder: what it gives, and what ends it."""
import glob
import os
import shutil
import subprocess
import sys
import unittest

from cluster import free_ports, until
from remote_nodes import RemoteCluster

COLLM = sys.argv.pop()


class Thief(unittest.TestCase):
    def test_a_stolen_folder_is_its_nodes_place_until_it_is_revoked_and_no_more(self):
        with RemoteCluster(COLLM) as c:
            c.join("edge-b")
            c.serves("edge-b")
            c.end_node("edge-b")
            stolen = shutil.copytree(c.folder("edge-b"),
                                     os.path.join(c.dir.name, "thief", "edge-b"))
            thief = self.starts(c, stolen)
            try:
                self.takes_the_place_until_revoked(c)
            finally:
                thief.kill()
                thief.wait()

    def takes_the_place_until_revoked(self, c):
        until("the thief has the node's place", lambda: c.node("edge-b")["state"] == "serving")
        revoked = c.verb("node", "revoke", "edge-b")
        self.assertEqual(revoked.returncode, 0, revoked.stderr)
        until("its link is closed", lambda: c.node("edge-b")["state"] == "lost")
        until("the thief is told", lambda: "was revoked" in self.said(c))
        c.join("edge-b")  # the owner's, with a new token, while the thief still tries
        c.serves("edge-b")
        self.assertEqual(c.complete(c.head, site="workshop")[0], 200)
        self.assertEqual(c.complete(c.head, site="kitchen")[0], 200)

    def test_the_folder_holds_no_key_but_the_nodes_own(self):
        with RemoteCluster(COLLM) as c:
            c.join("edge-b")
            c.serves("edge-b")
            c.end_node("edge-b")
            files = [f for f in glob.glob(os.path.join(c.folder("edge-b"), "**"), recursive=True)
                     if os.path.isfile(f)]
            keys = [f for f in files if b"PRIVATE KEY" in self.bytes_of(f)]
            self.assertEqual([os.path.basename(f) for f in keys], ["edge-b.node.key"])
            for other in ("edge-a.node", "ca.key", "head.key", "jobs.db", "registry.db"):
                self.assertEqual([f for f in files if other in f], [])

    @staticmethod
    def bytes_of(file):
        with open(file, "rb") as f:
            return f.read()

    @staticmethod
    def starts(c, folder):
        """On a machine of the thief's, where the node's port is free."""
        manifest = os.path.join(folder, "cluster.yaml")
        with open(manifest) as f:
            text = f.read()
        with open(manifest, "w") as f:
            f.write(text.replace(f"127.0.0.1:{c.b}", f"127.0.0.1:{free_ports(1)[0]}"))
        with open(os.path.join(c.dir.name, "thief.log"), "w") as log:
            return subprocess.Popen([COLLM, "node", "edge-b", "--dir", folder], stdout=log,
                                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    @staticmethod
    def said(c):
        with open(os.path.join(c.dir.name, "thief.log")) as log:
            return log.read()


if __name__ == "__main__":
    unittest.main()
