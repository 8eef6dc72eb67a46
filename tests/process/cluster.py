"""A real cluster of real processes for the tests beside this file.

Started from a manifest of its own, ended by pid.
"""
import glob
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time

TINY_MODEL = pathlib.Path(__file__).parents[1] / "golden/data/untied/model.gguf"

# s: an ordered stop is over within a minute (docs/ARCHITECTURE.md); a test waits a little longer.
STOP_MAX = 65

MANIFEST = """\
apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {{name: test}}
spec:
  model: {{source: smollm2-135m-instruct, precision: int8}}
  memory: {{budget: 3Gi}}
  adapters:
    - {{name: assistant, rank: 8, alpha: 16, residency: site}}
  head:
    stateDir: {state}
    gateway: {{http: 127.0.0.1:{head}, capnp: 127.0.0.1:{native}}}
    listen: 127.0.0.1:{link}
  nodes:
    - {{name: edge-a, site: kitchen, placement: {placement}, threads: 1, kvCache: 256Mi,
        gateway: {{http: 127.0.0.1:{a}}}}}
    - {{name: edge-b, site: workshop, placement: {placement}, threads: 1, kvCache: 256Mi,
        gateway: {{http: 127.0.0.1:{b}}}}}
  slo: {{ttft: 2s, tpot: 120ms}}
  coordinator: {{policy: inference_only}}
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def lives(pid):
    """Whether that process runs; one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what, condition, seconds=30):
    """Polls other processes; the wait ends as soon as the condition holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def let_in(ask, *arguments, **more):
    """What it answers, asked again while it is refused for now, as a busy slow machine may."""
    def answer():
        found = ask(*arguments, **more)
        return None if found[0] in (503, "http 503") else found
    return until("it is let in", answer, 60)


def in_slices(what, pids, condition, seconds=60, slice_s=0.03):
    """Lets these processes run for a moment at a time until the condition holds, so that a fast
    machine does not run through it between two looks; they are stopped then."""
    def look():
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(slice_s)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return condition()
    return until(what, look, seconds)


class Cluster:
    def __init__(self, collm, placement="process", environment=None, flags=()):
        self.environment = {**os.environ, **(environment or {})}
        self.dir = tempfile.TemporaryDirectory(prefix="collm-test-")
        self.head, self.native, self.link, self.a, self.b = free_ports(5)
        state = os.path.join(self.dir.name, "state")
        self.manifest = os.path.join(self.dir.name, "cluster.yaml")
        with open(self.manifest, "w") as f:
            f.write(self.text_of(MANIFEST.format(
                state=state, head=self.head, native=self.native, link=self.link, a=self.a, b=self.b,
                placement=placement)))
        self.log = open(os.path.join(self.dir.name, "up.log"), "w+")
        self.collm, self.flags = collm, flags
        self.start()

    def start(self):
        """A head with its nodes, over what the state directory holds."""
        self.process = subprocess.Popen(
            [self.collm, "up", "-f", self.manifest, *self.flags], stdout=self.log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment)

    def node_pids(self):
        return [int(n["snapshot"]["pid"]) for n in self.status()["nodes"]]

    def kill_head(self, nodes):
        """kill -9; returns when its nodes, whose pids these are, have ended too, as they must."""
        self.process.kill()
        self.process.wait()
        until("nodes end with their head", lambda: not any(map(lives, nodes)), STOP_MAX)

    def verb(self, *arguments, timeout=120):
        """A verb of the command line at this cluster's head."""
        return subprocess.run([self.collm, *map(str, arguments), "--url",
                               f"http://127.0.0.1:{self.head}"], capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def text_of(self, manifest):
        return manifest

    def __enter__(self):
        try:
            until("both nodes serve", self.serving, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.seek(0)
        self.output = self.log.read()
        self.log.close()
        self.dir.cleanup()

    def logged(self):
        """All that the head and its nodes have logged so far."""
        logs = [self.log.name] + sorted(glob.glob(os.path.join(self.dir.name, "state/logs/*")))
        text = ""
        for log in logs:
            with open(log) as f:
                text += f.read()
        return text

    def serving(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError("collm up ended: " + self.log.read())
        try:
            return all(n["state"] == "serving" for n in self.status()["nodes"])
        except OSError:
            return False

    def status(self):
        return self.get(self.head, "/admin/v1/status")

    def node(self, name):
        return next(n for n in self.status()["nodes"] if n["name"] == name)

    def get(self, port, path):
        return self.call(port, "GET", path)[1]

    def connect(self, port, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def call(self, port, method, path, body=None, headers=None, timeout=60):
        return self.reply(port, method, path, body, headers, timeout)[:2]

    def reply(self, port, method, path, body=None, headers=None, timeout=60):
        """Status, body, headers."""
        connection = self.connect(port, timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload,
                               {"Content-Type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            data = reply.read()
            kind = reply.getheader("Content-Type", "")
            return (reply.status, json.loads(data) if "json" in kind else data.decode(),
                    reply.headers)
        finally:
            connection.close()

    def tells(self, ports, headers=None):
        """What these gateways tell an admin, by where."""
        told = {}
        for port in ports:
            for path in ("/metrics", "/admin/v1/status", "/admin/v1/audit", "/v1/models"):
                told[f"{port}{path}"] = str(self.call(port, "GET", path, headers=headers)[1])
            told[f"{port}/admin/v1/events"] = self.events(port, headers)
        return told

    def events(self, port, headers=None):
        """Those that a gateway still holds: they come between the first status and the next."""
        connection, text = self.connect(port), ""
        try:
            connection.request("GET", "/admin/v1/events", headers=headers or {})
            for line in connection.getresponse():
                text += line.decode()
                if text.count("event: status\n") == 2:
                    return text
        finally:
            connection.close()
        raise AssertionError("the events ended: " + text)

    def written(self):
        """The cluster's logs and files, by name."""
        texts = {"log": self.logged()}
        for file in glob.glob(os.path.join(self.dir.name, "**"), recursive=True):
            if os.path.isfile(file):
                with open(file, "rb") as f:
                    texts[file] = f.read().decode("latin-1")
        return texts

    def ask(self, port, text, max_tokens=16, model="assistant", **more):
        body = {"model": model, "max_tokens": max_tokens, "temperature": 0,
                "messages": [{"role": "user", "content": text}], **more}
        return self.call(port, "POST", "/v1/chat/completions", body)

    def stream(self, port, text, max_tokens, on_chunk=None, on_error=None, **more):
        """Returns (finish_reason or None, text). None: the stream broke, or ended with an error,
        whose message on_error gets."""
        connection = self.connect(port)
        out, finish = "", None
        try:
            body = {"model": "assistant", "max_tokens": max_tokens, "temperature": 0,
                    "stream": True, "ignore_eos": True,
                    "messages": [{"role": "user", "content": text}], **more}
            connection.request("POST", "/v1/chat/completions", json.dumps(body),
                               {"Content-Type": "application/json"})
            reply = connection.getresponse()
            if reply.status != 200:
                return f"http {reply.status}", reply.read().decode()
            for line in reply:
                if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    if on_error:
                        on_error(event["error"]["message"])
                    return None, out
                for choice in event["choices"]:
                    out += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
                    if on_chunk:
                        on_chunk(out)
        except (OSError, http.client.HTTPException):
            return None, out
        finally:
            connection.close()
        return finish, out


class Tiny:
    """Mixed into a Cluster: a tiny random model whose tokens are bytes; no chats, short prompts."""
    limits = "promptTokens: 256"

    def text_of(self, manifest):
        text = super().text_of(manifest).replace("source: smollm2-135m-instruct",
                                                 f"source: {TINY_MODEL}")
        text = text.replace("kvCache: 256Mi", "kvCache: 16Mi")
        return text + f"  limits: {{{self.limits}}}\n"

    def complete(self, port, text="hello", max_tokens=4, model="assistant", **more):
        return self.call(port, "POST", "/v1/completions", {
            "model": model, "prompt": text, "max_tokens": max_tokens, "temperature": 0, **more})


class OneSite:
    """Mixed into a Cluster: both nodes serve one site, so the head may send a request to either."""

    def text_of(self, manifest):
        return super().text_of(manifest).replace("site: workshop", "site: kitchen")


class Patient:
    """Mixed into a Cluster: it promises a minute, so that a busy machine, whose engines are slow,
    refuses nothing."""

    def text_of(self, manifest):
        return super().text_of(manifest).replace("ttft: 2s, tpot: 120ms", "ttft: 60s, tpot: 10s")


class PatientCluster(Patient, Cluster):
    pass


def in_background(function, *args, **more):
    """Runs function; returns (thread, box) with the result in box[0]."""
    box = []
    thread = threading.Thread(target=lambda: box.append(function(*args, **more)), daemon=True)
    thread.start()
    return thread, box
