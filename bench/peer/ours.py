"""Our engine alone, and a cluster of one engine over HTTP."""
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from peer.process import fail, measured

TTFT_TOKENS, TTFT_REQUESTS = 64, 61
READY_STARTS = 5
MANIFEST = """\
apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {{name: peers}}
spec:
  model: {{source: {model}, precision: int8}}
  memory: {{budget: 3Gi}}
  adapters:
    - {{name: assistant, rank: 8, alpha: 16, residency: site}}
  head:
    stateDir: {state}
    gateway: {{http: 127.0.0.1:{head}, capnp: 127.0.0.1:{native}}}
    listen: 127.0.0.1:{link}
  nodes:
    - {{name: only, site: kitchen, placement: process, threads: {threads}, kvCache: 256Mi,
        gateway: {{http: 127.0.0.1:{node}}}}}
  slo: {{ttft: 2s, tpot: 120ms}}
  coordinator: {{policy: inference_only}}
"""


def engine(a, row, shape, others):
    """`collm bench engine` as JSON, and its peak memory. shape: prefill, steps, sequences, runs."""
    prefill, steps, batches, runs = shape
    text, _, peak = measured(
        [a.collm, "bench", "engine", "--model", a.model, "--precision", row["type"],
         "--threads", row["threads"], "--prefill", prefill, "--steps", steps, "--runs", runs,
         "--adapters", row["adapters"], "--decode", ",".join(map(str, batches)),
         "--output", "json"], 600, others)
    return json.loads(text), peak


def perplexity(a, precision, window):
    text, _, _ = measured(
        [a.collm, "bench", "engine", "--model", a.model, "--precision", precision,
         "--only-perplexity", "--perplexity", a.text, "--tokens", a.windows * window,
         "--window", window, "--output", "json"], 1200, [])
    return json.loads(text)["perplexity"]["second_half"]


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def cluster(a):
    """Port of the node's gateway, and seconds from the start of the process to ready."""
    with tempfile.TemporaryDirectory(prefix="collm-peers-") as folder:
        head, native, link, node = free_ports(4)
        manifest = Path(folder, "cluster.yaml")
        manifest.write_text(MANIFEST.format(
            model=a.model, state=Path(folder, "state"), threads=a.threads, head=head,
            native=native, link=link, node=node), encoding="utf-8")
        with open(Path(folder, "up.log"), "w+", encoding="utf-8") as log:
            start = time.monotonic()
            process = subprocess.Popen([a.collm, "up", "-f", manifest], stdout=log, stderr=log,
                                       stdin=subprocess.DEVNULL)
            try:
                while not is_ready(node):
                    if process.poll() is not None or time.monotonic() - start > 60:
                        log.seek(0)
                        fail(f"collm up was not ready:\n{log.read()[-2000:]}")
                    time.sleep(0.002)
                yield node, time.monotonic() - start
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(45)


def ready_seconds(a):
    """Of several starts; the first warms the cache and does not count."""
    found = []
    for _ in range(READY_STARTS + 1):
        with cluster(a) as (_, seconds):
            found.append(seconds)
    return found[1:]


def first_byte_seconds(connection, model, tokens):
    """From sending a request to its first event, over a connection that stays open."""
    body = json.dumps({"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0,
                       "stream": True, "ignore_eos": True})
    start = time.perf_counter()
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    first = reply.readline()
    took = time.perf_counter() - start
    rest = reply.read()
    if reply.status != 200 or not first.startswith(b"data:"):
        fail(f"the gateway answered {reply.status}: {(first + rest)[:500]!r}")
    return took


def ttft_ms(a):
    """Median time to the first token of an idle cluster over HTTP, and of the engine alone."""
    with cluster(a) as (port, _):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        over_http = [first_byte_seconds(connection, a.model.stem,
                                        [1000 + (i * 7919 + j * 131) % 40000
                                         for j in range(TTFT_TOKENS)])
                     for i in range(TTFT_REQUESTS)]
        connection.close()
    row = {"type": "int8", "threads": a.threads, "adapters": 0}
    alone, _ = engine(a, row, (TTFT_TOKENS, 1, [1], TTFT_REQUESTS), [])
    return {"http": 1e3 * statistics.median(over_http[1:]),
            "engine": 1e3 * TTFT_TOKENS / alone["prefill"]["tokens_per_s"],
            "prompt_tokens": TTFT_TOKENS, "requests": TTFT_REQUESTS - 1,
            "cores": os.cpu_count()}
