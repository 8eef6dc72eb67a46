"""Clusters with nodes that the head does not start: they join with a token, from a folder of their
own, and are ended by pid."""
import os
import re
import signal
import subprocess

from cluster import STOP_MAX, Cluster, Tiny, free_ports, until
from learning_cluster import TinyLearningCluster


class RemoteNodes:
    """Mixed into a Cluster: makes `remote` nodes of its manifest remote ones."""
    remote = ("edge-b",)

    def text_of(self, manifest):
        self.enrol = free_ports(1)[0]
        self.started = {}
        text = super().text_of(manifest)
        for name in self.remote:
            text, changed = re.subn(rf"(name: {name}, .*?placement: )process", r"\1remote", text)
            assert changed == 1, text
        return text.replace(f"    listen: 127.0.0.1:{self.link}\n",
                            f"    listen: 127.0.0.1:{self.link}\n"
                            f"    enrol: 127.0.0.1:{self.enrol}\n")

    def serving(self):
        """The head's own nodes; the others come when they come."""
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError("collm up ended: " + self.log.read())
        try:
            return all(n["state"] == "serving" for n in self.status()["nodes"]
                       if n["name"] not in self.remote)
        except OSError:
            return False

    def folder(self, node):
        return os.path.join(self.dir.name, "machines", node)

    def token(self, node, *more):
        made = self.verb("join-token", "--node", node, *more)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def run_node(self, node, *arguments, environment=None):
        """A node process on what is meant to be another machine; its log grows in its folder's
        neighbour."""
        os.makedirs(os.path.dirname(self.folder(node)), exist_ok=True)
        log = open(self.folder(node) + ".log", "a")
        self.started[node] = subprocess.Popen(
            [self.collm, "node", *arguments, "--dir", self.folder(node)], stdout=log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**self.environment, **(environment or {})})
        log.close()
        return self.started[node]

    def join(self, node, **more):
        return self.run_node(node, "--join", self.token(node), **more)

    def start_again(self, node, **more):
        return self.run_node(node, node, **more)

    def join_behind(self, node, line):
        """Joins, and from then on reaches the head's link through that relay."""
        self.join(node)
        self.serves(node)
        assert self.end_node(node) == 0
        with open(os.path.join(self.folder(node), "link", "head.address"), "w") as f:
            f.write(f"127.0.0.1:{line.port}\n")
        self.start_again(node)
        self.serves(node)

    def node_log(self, node):
        with open(self.folder(node) + ".log") as log:
            return log.read()

    def serves(self, node, seconds=30):
        def look():
            process = self.started[node]
            assert process.poll() is None, self.node_log(node)
            return self.node(node)["state"] == "serving"
        return until(f"{node} serves", look, seconds)

    def end_node(self, node, how=signal.SIGTERM):
        process = self.started.pop(node)
        if process.poll() is None:
            process.send_signal(how)
            process.wait(STOP_MAX)
        return process.returncode

    def local_pids(self):
        return [int(n["snapshot"]["pid"]) for n in self.status()["nodes"]
                if n["name"] not in self.remote and n.get("snapshot")]

    def __exit__(self, *exception):
        for node in list(self.started):
            self.end_node(node, signal.SIGKILL)
        super().__exit__(*exception)


class RemoteCluster(RemoteNodes, Tiny, Cluster):
    """One node that the head starts, one elsewhere; nothing learns."""


class RemoteLearningCluster(RemoteNodes, TinyLearningCluster):
    """Sites that learn, of which some run elsewhere."""
