"""PAINS.md P7: a running stream beside prompts of 3,500 tokens."""
import threading
import time

from cluster import in_background, let_in

TOKENS = 3500
TRIES = 3


class Reader:
    """A stream at edge-a that runs until it is hung up, and the times of its chunks."""

    def __init__(self, c):
        self.times, self.begun, self.enough = [], threading.Event(), threading.Event()
        self.thread, _ = in_background(c.stream, c.a, "Tell me about rivers.", 4000, self.on_chunk)

    def on_chunk(self, _):
        self.times.append(time.monotonic())
        if len(self.times) == 20:
            self.begun.set()
        if self.enough.is_set():
            raise ConnectionAbortedError("the reader hangs up")

    def hang_up(self):
        self.enough.set()
        self.thread.join(60)

    def gaps(self, start, end):
        """Between its chunks in this time, from its start and until its end, s."""
        during = [start] + [t for t in self.times if start < t < end] + [end]
        return [b - a for a, b in zip(during, during[1:])]


def ask_long(test, c, start):
    """One long prompt, token ids that no cache holds; returns what the replica told meanwhile."""
    prompt = [100 + (start + i) * 7919 % 40000 for i in range(TOKENS)]

    def ask():
        try:
            return let_in(c.call, c.a, "POST", "/v1/completions",
                          {"model": "assistant", "prompt": prompt, "max_tokens": 1,
                           "temperature": 0}, None, 60)
        except TimeoutError:
            return None

    long, answer = in_background(ask)
    read = trained = 0  # tokens a second; on a slow machine running streams go first
    while long.is_alive():
        replica = c.get(c.a, "/admin/v1/status")["head"]["replicas"][0]
        read = max(read, replica["promptTokensPerSecond"])
        trained = max(trained, replica.get("unitMs", 0))
        long.join(0.5)
    test.assertTrue(answer, "it was not let in")
    if answer[0]:
        test.assertEqual(answer[0][0], 200, answer)
        test.assertEqual(answer[0][1]["usage"]["prompt_tokens"], TOKENS)
    else:
        test.assertGreater(read, 0, "held back, never starved")
    return trained


def beside_a_long_prompt(test, c):
    """Streams at edge-a, asks long prompts there, and checks the largest gap of the stream: a
    machine that stands still for a moment spoils one of them, a stream that freezes all."""
    reader = Reader(c)
    test.assertTrue(reader.begun.wait(60))
    quiet = sorted(reader.gaps(reader.times[0], reader.times[19]))[10]
    # A step with prefill may take a quarter of the TTFT promise (2 s). As much again, and some
    # decode steps, are for a machine that has other work.
    allowed = 2 * 0.25 * 2.0 + 8 * quiet
    told = []
    try:
        for i in range(TRIES):
            asked = time.monotonic()
            trained = ask_long(test, c, i)
            stopped = time.monotonic()
            gaps = reader.gaps(asked, stopped)
            told.append(f"prompt {stopped - asked:.2f} s, {len(gaps) - 1} chunks meanwhile, "
                        f"largest gap {max(gaps):.3f} s, before {quiet:.3f} s, training at most "
                        f"{trained:.0f} ms a second")
            if max(gaps) < min(allowed, max((stopped - asked) / 2, 0.25 * 2.0 + 8 * quiet)):
                return told[-1]
    finally:
        reader.hang_up()
    test.fail(f"each time a gap over {allowed:.2f} s, or half the prompt: " + "; ".join(told))
    return None
