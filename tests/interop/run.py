"""./dev interop: two clusters on free ports, and the stock clients and libraries against them.

    run.py [PART...]      openai, pycapnp, training; all of them when none is named

openai and pycapnp ask the built-in cluster. `training` begins with an adapter made by peft, trains
it by the stock openai package on a cluster in f32, and compares the imported and the exported
adapter's logprobs with peft's and llama.cpp's.
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
COLLM = TREE / os.environ.get("build_folder", "build") / "bin" / "collm"
CACHE = pathlib.Path(os.environ.get("COLLM_CACHE", pathlib.Path.home() / ".cache/collm"))
MODEL = CACHE / "models/smollm2-135m-instruct.gguf"
ORACLE = CACHE / "oracle/bin/python"
SERVING = TREE / "deploy" / "manifests" / "demo.yaml"
PARTS = ("openai", "pycapnp", "training")
UP_SECONDS_MAX = 90
STOP_SECONDS_MAX = 40
TOLERANCE = 1e-3  # of a logprob in f32, ours beside peft's

LEARNING = """\
apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {{name: interop}}
spec:
  model: {{source: smollm2-135m-instruct, precision: f32}}
  memory: {{budget: 4Gi}}
  adapters:
    - {{name: assistant, rank: 8, alpha: 16, path: {adapter}}}
  head:
    stateDir: ./state
    gateway: {{http: 127.0.0.1:8080}}
    listen: 127.0.0.1:8099
  nodes:
    - {{name: edge-a, site: kitchen, kvCache: 256Mi, gateway: {{http: 127.0.0.1:8081}}}}
    - {{name: edge-b, site: workshop, kvCache: 256Mi, gateway: {{http: 127.0.0.1:8082}}}}
  slo: {{ttft: 20s, tpot: 5s}}
  training: {{batchTokens: 128, learningRate: 2e-3, warmupSteps: 2, maxUnit: 1s}}
  federation:
    - adapter: assistant
      round: {{deadline: 300s, quorum: 2, steps: 6}}
      gate: {{looks: [8, 16], margin: 0, worstSite: 10, guard: 10}}
"""


def with_free_ports(manifest):
    """The manifest with every port replaced by a free one, and the old port -> new port map."""
    sockets, ports = [], {}
    for old in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", manifest))):
        sockets.append(socket.create_server(("127.0.0.1", 0)))
        ports[old] = str(sockets[-1].getsockname()[1])
    for held in sockets:
        held.close()
    moved = re.sub(r"(127\.0\.0\.1:)(\d+)", lambda match: match[1] + ports[match[2]], manifest)
    return moved, ports


class Cluster:
    """A cluster of that manifest in a folder of its own; ends with it."""

    def __init__(self, folder, manifest, at):
        text, self.ports = with_free_ports(manifest)
        self.file = pathlib.Path(folder, "cluster.yaml")
        self.file.write_text(text)
        self.at, self.folder = at, folder

    def __enter__(self):
        self.process = subprocess.Popen([COLLM, "up", "-f", self.file], cwd=self.folder)
        try:
            for port in self.at:
                self.wait_ready(self.url(port))
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            ended = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            ended = f"not: it still ran {STOP_SECONDS_MAX} s after SIGTERM"
        if ended != 0:
            sys.exit(f"the cluster ended with {ended}")

    def url(self, port):
        return f"http://127.0.0.1:{self.ports[port]}"

    def wait_ready(self, url):
        deadline = time.monotonic() + UP_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"the cluster ended with {self.process.returncode} before it was ready")
            try:
                with urllib.request.urlopen(url + "/ready", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)  # a poll of another process
        sys.exit(f"{url}/ready did not answer 200 within {UP_SECONDS_MAX} s")


def passes(name, command):
    print(f"\n==> {name}", flush=True)
    return subprocess.run([str(c) for c in command], check=False).returncode == 0


def serve(parts):
    """Names of clients that failed. Nothing trains, for answers are compared with each other."""
    manifest = SERVING.read_text().replace("policy: coserve_fill", "policy: inference_only")
    with tempfile.TemporaryDirectory(prefix="collm-interop-") as folder, \
            Cluster(folder, manifest, ("8080", "8081")) as c:
        at = {"openai": c.url("8081") + "/v1", "pycapnp": f"127.0.0.1:{c.ports['8090']}"}
        return [name for name in parts if not passes(
            name, [sys.executable, HERE / f"{name}_client.py", at[name]])]


# -- the training half

def ask(url, path, body=None):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body else None,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.loads(reply.read())


def off_by(url, model, expected):
    """The largest difference between our logprobs and those expected; infinite where we say
    another token."""
    worst = 0.0
    for case in expected["cases"]:
        answer = ask(url, "/v1/completions", {
            "model": model, "prompt": case["prompt"], "max_tokens": len(case["steps"]),
            "temperature": 0, "logprobs": 20, "ignore_eos": True})["choices"][0]["logprobs"]
        for i, step in enumerate(case["steps"]):
            if answer["tokens"][i] != step["text"] or len(answer["top_logprobs"][i]) < 10:
                return float("inf")
            ours = [answer["token_logprobs"][i], *answer["top_logprobs"][i].values()]
            worst = max(worst, abs(ours[0] - step["logprobs"][0]),
                        *(min(abs(v - w) for w in step["logprobs"]) for v in ours))
    return worst


def apart(one, other):
    """How far the first logprobs of two expectations are from each other, at most."""
    return max(abs(a["steps"][0]["logprobs"][0] - b["steps"][0]["logprobs"][0])
               for a, b in zip(one["cases"], other["cases"]))


class Checks:
    def __init__(self):
        self.failed = []

    def add(self, name, good, told=""):
        print(f"{'ok   ' if good else 'FAIL '} {name}{': ' if told else ''}{told}", flush=True)
        if not good:
            self.failed.append(name)


def oracle(*arguments):
    done = subprocess.run([ORACLE, HERE / "peft_client.py", *map(str, arguments)], check=False,
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"peft_client.py {arguments[0]} failed:\n{done.stderr[-3000:]}")


def expected(folder, name):
    return json.loads(pathlib.Path(folder, name + ".json").read_text())


def export(cluster, folder, version):
    subprocess.run([COLLM, "adapter", "export", version, "--peft", folder / "exported", "--gguf",
                    folder / "exported.gguf", "-f", cluster.file, "--url", cluster.url("8080")],
                   check=True)


def train(folder):
    folder, checks = pathlib.Path(folder), Checks()
    print("\n==> peft: makes an adapter, and what it expects", flush=True)
    oracle("make", MODEL, folder)
    base, made = expected(folder, "base"), expected(folder, "made")
    with Cluster(folder, LEARNING.format(adapter=folder / "made"), ("8080", "8081", "8082")) as c:
        node, head = c.url("8081"), c.url("8080")
        print("\n==> peft: import", flush=True)
        told = off_by(node, "assistant@0", made)
        checks.add("a PEFT adapter answers as peft does", told < TOLERANCE, f"within {told:.2g}")
        told = off_by(node, "smollm2-135m-instruct", base)
        checks.add("the base answers as transformers do", told < TOLERANCE, f"within {told:.2g}")
        result = folder / "job.json"
        if not passes("openai: files and fine-tuning jobs", [
                sys.executable, HERE / "openai_training_client.py", node + "/v1",
                c.url("8082") + "/v1", head + "/v1", result]):
            return ["openai training"]
        version = json.loads(result.read_text())["model"]
        began = int(ask(head, "/admin/v1/rounds")["rounds"][0]["parent"])
        source = next(v["source"] for v in ask(head, "/admin/v1/status")["versions"]
                      if int(v["number"]) == began)
        checks.add("the round began from the imported adapter", source.startswith("peft:"), source)
        print("\n==> peft: export", flush=True)
        export(c, folder, version)
        oracle("expect", folder, "trained", folder / "exported")
        trained = expected(folder, "trained")
        checks.add("what is exported was trained", abs(trained["b_norm"] - made["b_norm"]) > 1e-3,
                   f"norm of B {made['b_norm']:.4f} before, {trained['b_norm']:.4f} after")
        told = off_by(node, version, trained)
        checks.add("peft answers with the export as we do", told < TOLERANCE, f"within {told:.2g}")
        told = apart(made, trained)
        checks.add("and otherwise than before training", told > 20 * TOLERANCE,
                   f"off by {told:.2g}")
    if not passes("llama.cpp: the exported GGUF LoRA", [
            sys.executable, HERE / "llama_cpp_client.py", folder / "base.gguf",
            folder / "exported.gguf", folder / "base.json", folder / "trained.json"]):
        checks.failed.append("llama.cpp")
    return checks.failed


def main(parts):
    for name in parts:
        if name not in PARTS:
            sys.exit(f"there is no part {name}: take {', '.join(PARTS)}")
    parts = parts or PARTS
    failed = []
    if serving := [name for name in parts if name != "training"]:
        failed += serve(serving)
    if "training" in parts:
        with tempfile.TemporaryDirectory(prefix="collm-interop-") as folder:
            failed += train(folder)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print("\nevery client passed")


if __name__ == "__main__":
    main(sys.argv[1:])
