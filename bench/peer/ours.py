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
         "--threads", row["threads"], "--prefill", prefill, "--context", a.context,
         "--steps", steps, "--runs", runs,
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
def cluster(a, threads):
    """Port of the node's gateway, and seconds from the start of the process to ready."""
    with tempfile.TemporaryDirectory(prefix="collm-peers-") as folder:
        head, native, link, node = free_ports(4)
        manifest = Path(folder, "cluster.yaml")
        manifest.write_text(MANIFEST.format(
            model=a.model, state=Path(folder, "state"), threads=threads, head=head,
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
        with cluster(a, a.threads) as (_, seconds):
            found.append(seconds)
    return found[1:]


def request_bytes(port, model, tokens):
    body = json.dumps({"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0,
                       "stream": True, "ignore_eos": True}).encode()
    return (b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (port, len(body))) + body


def first_byte_seconds(to, request):
    """From sending a request over an open socket to its first event, without a client's parsing."""
    start = time.perf_counter()
    to.sendall(request)
    reply = b""
    while b"data:" not in reply:
        reply += received(to, reply)
    took = time.perf_counter() - start
    while b"\r\n0\r\n\r\n" not in reply:  # the end of a chunked body
        reply += received(to, reply)
    if not reply.startswith(b"HTTP/1.1 200"):
        fail(f"the gateway answered {reply[:500]!r}")
    return took


def received(to, so_far):
    part = to.recv(65536)
    return part or fail(f"the gateway closed after {so_far[:500]!r}")


def computing(port):
    """Seconds that the engine's steps took for first tokens so far, and of how many requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {end: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                      if line.startswith(f"collm_request_prefill_time_seconds_{end}"))
             for end in ("sum", "count")}
    return found["sum"], found["count"]


def computing_after(port, count):
    """The same once `count` requests are in: telemetry hears of an answer after its client."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        seconds, counted = computing(port)
        if counted >= count:
            return seconds
        time.sleep(0.002)
    return fail(f"the node counts {counted} first tokens of {count}")


def ttft_ms(a, threads):
    """Times to the first token of an idle cluster over HTTP, and what of each the engine computed.

    Both of the same request, so that a slow moment counts on both sides.
    """
    over_http, engine = [], []
    with cluster(a, threads) as (port, _):
        to = socket.create_connection(("127.0.0.1", port), timeout=60)
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, counted = computing(port)
        for i in range(TTFT_REQUESTS):
            tokens = [1000 + (i * 7919 + j * 131) % 40000 for j in range(TTFT_TOKENS)]
            request = request_bytes(port, a.model.stem, tokens)
            over_http.append(1e3 * first_byte_seconds(to, request))
            now = computing_after(port, counted + i + 1)
            engine.append(1e3 * (now - before))
            before = now
        to.close()
    added = [h - e for h, e in zip(over_http[1:], engine[1:])]  # the first opens the way
    return {"http": statistics.median(over_http[1:]), "engine": statistics.median(engine[1:]),
            "added": statistics.median(added), "threads": threads,
            "prompt_tokens": TTFT_TOKENS, "requests": TTFT_REQUESTS - 1, "cores": os.cpu_count()}
