"""Clients of a running cluster: Poisson arrivals of streamed chats at some gateways, and what
became of each."""
import http.client
import json
import random
import threading
import time


class Load:
    """Poisson arrivals at some gateways; every request ends in exactly one word. `more`: fields
    of every request beside the usual ones."""

    def __init__(self, ports, rate, tokens, seed, **more):
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
            thread = threading.Thread(target=self.ask, args=(port, f"Order {number}"))
            with self.lock:
                self.running = [t for t in self.running if t.is_alive()] + [thread]
            thread.start()

    def ask(self, port, text):
        request = {"port": port, "begun": time.monotonic(), "ended": None, "how": None, "why": ""}
        with self.lock:
            self.requests.append(request)
        request["how"], request["why"] = outcome(port, text, self.tokens, **self.more)
        request["ended"] = time.monotonic()

    def stop(self):
        """Ends the arrivals and waits for all that were asked."""
        self.over.set()
        for t in self.sources:
            t.join()
        for t in self.running:
            t.join()
        return self.requests


def outcome(port, text, tokens, **more):
    """(answered | refused | failed, why) of one streamed request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "assistant", "max_tokens": tokens, "temperature": 0, "stream": True,
             "ignore_eos": True, "messages": [{"role": "user", "content": text}], **more}),
            {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status in (429, 503) and reply.getheader("Retry-After"):
            return "refused", f"{reply.status}"
        if reply.status != 200:
            return "failed", f"{reply.status}: {reply.read(300).decode()}"
        done, finish = False, None
        for line in reply:
            if line.strip() == b"data: [DONE]":
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    return "failed", event["error"]["message"]
                finish = next((c["finish_reason"] for c in event.get("choices", [])
                               if c["finish_reason"]), finish)
        return ("answered", "") if done and finish else ("failed", "the stream broke off")
    except (OSError, http.client.HTTPException) as e:
        return "failed", f"{type(e).__name__}: {e}"
    finally:
        connection.close()
