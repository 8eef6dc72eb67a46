"""bench/soak.py: what is found to be wrong with a run. bench/client_load.py: how a request ends."""
import argparse
import http.server
import pathlib
import sys
import threading
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import client_load  # noqa: E402
import soak  # noqa: E402

A = argparse.Namespace(minutes=1)


def watch(head=(100, 100), nodes=(300, 300), kills=()):
    def rows(first, last):
        return [(at, first if at < 45 else last) for at in range(0, 60, 5)]
    return types.SimpleNamespace(begun=0, memory={"head": rows(*head), "nodes": rows(*nodes)},
                                 kills=[{"at": k, "victim": "edge-a", "whole_after_s": 2}
                                        for k in kills])


def requests(last_quarter=0.5, how=None, at=20.0):
    all_ = [{"begun": n / 4, "ended": n / 4 + (last_quarter if n >= 180 else 0.5),
             "how": "answered", "why": ""} for n in range(240)]
    if how:
        all_.append({"begun": at, "ended": at + 1, "how": how, "why": "reset"})
    return all_


class Soak(unittest.TestCase):
    def wrong(self, *args, **how):
        return soak.judged(requests(*args), watch(**how), A)["wrong"]

    def test_a_flat_run_is_right(self):
        self.assertEqual(self.wrong(), [])

    def test_memory_that_grows_and_latency_that_grows_are_wrong(self):
        self.assertIn("memory of the head", self.wrong(head=(100, 106))[0])
        self.assertIn("memory of the nodes", self.wrong(nodes=(300, 316))[0])
        self.assertIn("p99", self.wrong(0.6)[0])

    def test_a_failure_needs_a_kill_nearby(self):
        self.assertIn("without a fault", self.wrong(0.5, "failed")[0])
        self.assertEqual(self.wrong(0.5, "failed", kills=[20.5]), [])
        self.assertEqual(self.wrong(0.5, "failed", kills=[10]), [])
        self.assertTrue(self.wrong(0.5, "failed", kills=[40]))

    def test_a_request_that_never_ended_is_wrong(self):
        lost = requests()
        lost[3]["how"] = None
        self.assertIn("accounted", soak.judged(lost, watch(), A)["wrong"][0])


class Played(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.server.plays
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Outcome(unittest.TestCase):
    def of(self, status, body=b"", **headers):
        server = http.server.HTTPServer(("127.0.0.1", 0), Played)
        server.plays = (status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        try:
            return client_load.outcome(server.server_address[1], "x", 4)
        finally:
            thread.join()
            server.server_close()

    WHOLE = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'

    def test_an_answer_has_a_reason_and_an_end(self):
        self.assertEqual(self.of(200, self.WHOLE)[0], "answered")
        self.assertEqual(self.of(200, self.WHOLE[:-16])[0], "failed")
        self.assertEqual(self.of(200, b"data: [DONE]\n\n")[0], "failed")
        self.assertEqual(self.of(200, b'data: {"error": {"message": "gone"}}\n\n'),
                         ("failed", "gone"))

    def test_a_refusal_says_when_to_come_back(self):
        self.assertEqual(self.of(503, Retry_After="2")[0], "refused")
        self.assertEqual(self.of(429, Retry_After="2")[0], "refused")
        self.assertEqual(self.of(503)[0], "failed")
        self.assertEqual(self.of(500, Retry_After="2")[0], "failed")

    def test_nobody_listening_is_a_failure(self):
        self.assertEqual(client_load.outcome(1, "x", 4)[0], "failed")


if __name__ == "__main__":
    unittest.main()
