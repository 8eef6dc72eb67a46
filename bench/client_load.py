"""Clients of a running cluster: Poisson arrivals of streamed chats at some gateways, and what
became of each."""
import http.client
import json
import random
import threading
import time


class Load:
    """Poisson arrivals at some gateways; every request ends in exactly one word. `text`: of a
    request, by its number; `key`: the tenant's; `more`: fields of every request beside the usual
    ones."""

    def __init__(self, ports, rate, tokens, seed, text="Order {}".format, key=None, **more):
        self.ports, self.text, self.key = ports, text, key
        self.tokens, self.more, self.over = tokens, more, threading.Event()
        self.lock, self.requests, self.running = threading.Lock(), [], []
        self.sources = [threading.Thread(target=self.arrive, args=(port, rate, seed + i))
                        for i, port in enumerate(ports)]
        for s in self.sources:
            s.start()

    def arrive(self, port, rate, seed):
        draw, number = random.Random(seed), 0
        while not self.over.wait(draw.expovariate(rate)):
            number += 1
            self.start(port, number)

    def start(self, port, number):
        thread = threading.Thread(target=self.ask, args=(port, self.text(number)))
        with self.lock:
            self.running = [t for t in self.running if t.is_alive()] + [thread]
            thread.start()

    def ask_now(self, count):
        """So many at once at the first gateway, beside the arrivals."""
        for number in range(count):
            self.start(self.ports[0], -number)

    def ask(self, port, text):
        request = {"port": port, "begun": time.monotonic(), "runs": False, "ended": None,
                   "how": None, "why": ""}
        with self.lock:
            self.requests.append(request)
        request.update(asked(port, text, self.tokens, self.key,
                             lambda: request.update(runs=True), **self.more))
        request["ended"] = time.monotonic()

    def streamed_now(self):
        """How many answers are being streamed at the first gateway."""
        with self.lock:
            return sum(r["runs"] and r["ended"] is None for r in self.requests
                       if r["port"] == self.ports[0])

    def stop(self):
        """Ends the arrivals and waits for all that were asked."""
        self.over.set()
        for t in self.sources:
            t.join()
        for t in self.running:
            t.join()
        return self.requests


def counted(requests):
    """How many of them ended in which word."""
    return {how: sum(r["how"] == how for r in requests)
            for how in ("answered", "refused", "failed")}


def outcome(port, text, tokens, **more):
    """(answered | refused | failed, why) of one streamed request."""
    end = asked(port, text, tokens, **more)
    return end["how"], end["why"]


def asked(port, text, tokens, key=None, on_piece=lambda: None, **more):
    """One streamed request to its end: `how` and `why`; `first_s`: from its beginning to the first
    token, `last_s`: to the last, of an answered one; `retry_s`: of a refused one. `on_piece` is
    called as each piece of the text comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        begun = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "assistant", "max_tokens": tokens, "temperature": 0, "stream": True,
             "ignore_eos": True, "messages": [{"role": "user", "content": text}], **more}),
            {"Content-Type": "application/json",
             **({"Authorization": f"Bearer {key}"} if key else {})})
        reply = connection.getresponse()
        if reply.status in (429, 503) and reply.getheader("Retry-After"):
            exact_ms = reply.getheader("retry-after-ms")
            return {"how": "refused", "why": f"{reply.status}",
                    "retry_s": int(exact_ms) / 1000 if exact_ms
                    else int(reply.getheader("Retry-After"))}
        if reply.status != 200:
            return {"how": "failed", "why": f"{reply.status}: {reply.read(300).decode()}"}
        return streamed(reply, begun, on_piece)
    except (OSError, http.client.HTTPException) as e:
        return {"how": "failed", "why": f"{type(e).__name__}: {e}"}
    finally:
        connection.close()


def streamed(reply, begun, on_piece):
    done, finish, first, last = False, None, None, None
    for line in reply:
        if line.strip() == b"data: [DONE]":
            done = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            if "error" in event:
                return {"how": "failed", "why": event["error"]["message"]}
            for choice in event.get("choices", []):
                finish = choice["finish_reason"] or finish
                if choice["delta"].get("content"):
                    last = time.monotonic() - begun
                    first = first or last
                    on_piece()
    if done and finish:
        return {"how": "answered", "why": "", "first_s": first, "last_s": last}
    return {"how": "failed", "why": "the stream broke off"}
