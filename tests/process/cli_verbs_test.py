"""The built `collm` against a gateway that this test plays: what it sends, prints and returns."""
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

COLLM = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else pathlib.Path("build/bin/collm")
DEMO = pathlib.Path(__file__).parents[2] / "deploy/manifests/demo.yaml"
RECORD = {"adapter": "assistant", "number": 1, "digest": "ab" * 32, "source": "peft:lora",
          "state": "serving"}


def snapshot(node, site, port, answered):
    requests = {"answered": answered, "refused": 0, "failed": 0, "cancelled": 0, "inFlight": 0}
    return {"node": node, "site": site, "httpAddress": f"127.0.0.1:{port}", "kernelPath": "avx2",
            "requests": requests, "ledger": [{"name": "base", "bytes": 1000, "shared": True}]}


def status(port):
    nodes = [{"name": name, "site": site, "state": "serving", "restarts": 0, "beatAgeMs": 100,
              "reason": "", "snapshot": snapshot(name, site, port, 3)}
             for name, site in (("edge-a", "kitchen"), ("edge-b", "workshop"))]
    return {"cluster": "demo", "uptimeMs": 4000, "version": "0.1.0", "baseName": "small",
            "precision": "int8", "head": snapshot("head", "", port, 1), "nodes": nodes,
            "versions": [{"adapter": "assistant", "number": 0, "state": "serving"}],
            "inactive": []}


def refusal(message):
    return {"error": {"message": message, "type": "x", "param": None, "code": None}}


class Gateway(http.server.BaseHTTPRequestHandler):
    """Head and node in one; `server.calls` keeps what was asked."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def do_GET(self):
        self.server.calls.append(("GET", self.path, None, dict(self.headers)))
        if self.path == "/admin/v1/status":
            if self.headers.get("Authorization") == "Bearer of-a-tenant":
                return self.answer(401, refusal("this path needs the admin key"))
            shown = status(self.server.server_address[1])
            if self.server.is_node:
                shown.update(head=snapshot("edge-a", "kitchen", self.server.server_address[1], 1))
            return self.answer(200, shown)
        if self.path == "/v1/models":
            rows = [{"id": "small", "root": "small.gguf", "parent": None},
                    {"id": "assistant@0", "root": "initial", "parent": "small"}]
            return self.answer(200, {"object": "list", "data": rows})
        return self.answer(200, {"status": "ok"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.server.calls.append(("POST", self.path, body, dict(self.headers)))
        if self.path == "/admin/v1/shutdown":
            self.answer(200, {"status": "ok"})
            return threading.Thread(target=self.server.end, daemon=True).start()
        if self.path == "/admin/v1/drain" and body["node"] != "edge-a":
            return self.answer(404, refusal("no node 'moon'; there are edge-a, edge-b"))
        if body.get("lora_path", "").endswith("bad"):
            return self.answer(400, refusal("tensor q_proj.lora_A has rank 7"))
        if self.path.endswith("load_lora_adapter") or self.path == "/admin/v1/drain":
            return self.answer(200, RECORD)
        return self.stream(body)

    def stream(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        chat = self.path == "/v1/chat/completions"
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        for word in ("you ", "said ", prompt):
            piece = {"delta": {"content": word}} if chat else {"text": word}
            choice = {"index": 0, "finish_reason": None, **piece}
            self.event({"model": "assistant@0", "choices": [choice]})
        if prompt == "break":
            return
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        self.event({"model": "assistant@0", "choices": [last]})
        self.event({"model": "assistant@0", "choices": [], "usage": {"completion_tokens": 3}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, document):
        self.wfile.write(f"data: {json.dumps(document)}\n\n".encode())
        self.wfile.flush()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Gateway)
        self.calls, self.is_node = [], False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def posted(self):
        return [(path, body) for method, path, body, _ in self.calls if method == "POST"]


def collm(*words, stdin="", env=None, cwd=None):
    done = subprocess.run([COLLM.resolve(), *words], input=stdin, capture_output=True, text=True,
                          timeout=60, cwd=cwd, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


class ClusterVerbs(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.end)

    def collm(self, *words, **more):
        return collm(*words, "--url", self.server.url, **more)

    def test_status_shows_nodes_and_gives_json(self):
        code, out, _ = self.collm("status")
        self.assertEqual(code, 0)
        self.assertIn("edge-b  workshop  serving", out)
        self.assertNotIn("\x1b", out, "no colours into a pipe")
        code, out, _ = self.collm("status", "--output", "json")
        self.assertEqual(json.loads(out)["nodes"][0]["name"], "edge-a")

    def test_the_url_comes_from_the_environment_too(self):
        code, out, _ = collm("status", env={"COLLM_URL": self.server.url})
        self.assertEqual(code, 0, out)

    def test_a_key_is_sent_as_bearer(self):
        self.collm("status", "--key", "secret")
        self.assertEqual(self.server.calls[0][3]["Authorization"], "Bearer secret")

    def test_drain_names_the_node(self):
        code, out, _ = self.collm("drain", "edge-a")
        self.assertEqual(code, 0, out)
        self.assertEqual(self.server.posted(),
                         [("/admin/v1/drain",
                           {"node": "edge-a", "restart": False, "deadline_ms": 30000})])
        code, _, err = self.collm("drain", "moon")
        self.assertEqual(code, 1)
        self.assertIn("no node 'moon'; there are edge-a, edge-b", err)

    def test_a_drains_deadline_is_a_duration_within_bounds(self):
        for says, deadline_ms in (("0s", 0), ("1.5s", 1500), ("10m", 600000)):
            code, _, err = self.collm("drain", "edge-a", "--deadline", says)
            self.assertEqual(code, 0, err)
            self.assertEqual(self.server.posted()[-1][1]["deadline_ms"], deadline_ms)
        for says in ("11m", "-1s", "soon", "5"):
            code, _, err = self.collm("drain", "edge-a", f"--deadline={says}")
            self.assertNotEqual(code, 0, says)
            self.assertIn("--deadline: ", err)
        self.assertIn("from 0s to 600s", self.collm("drain", "edge-a", "--deadline", "11m")[2])
        self.assertEqual(len(self.server.posted()), 3)

    def test_down_waits_until_nobody_answers_and_sums_up(self):
        code, out, err = self.collm("down")
        self.assertEqual(code, 0, err)
        self.assertEqual(out, "demo is down: 7 answered, 0 refused, 0 failed, 0 cancelled in 4 s; "
                         "assistant@0\n")

    def test_a_tenants_key_is_enough_to_ask_where_it_is_known(self):
        for verb, stdin in ((("infer", "hello"), ""), (("chat",), "hello\n")):
            code, out, err = self.collm(*verb, "--site", "kitchen", "--key", "of-a-tenant",
                                        stdin=stdin)
            self.assertEqual(code, 0, err)
            self.assertIn("you said hello", out)
            self.assertEqual(self.server.posted()[-1][1]["site"], "kitchen",
                             "the gateway says whether the key may")
        self.assertIn("needs the admin key", self.collm("status", "--key", "of-a-tenant")[2])

    def test_down_ends_no_node_in_the_clusters_name(self):
        self.server.is_node = True
        code, _, err = self.collm("down")
        self.assertEqual(code, 2)
        self.assertIn("is the gateway of node edge-a, not the head's", err)
        self.assertEqual(self.server.posted(), [])

    def test_chat_keeps_the_conversation_and_ends_with_its_input(self):
        code, out, err = self.collm("chat", "--site", "workshop", "--system", "be short",
                                    stdin="one\ntwo\n")
        self.assertEqual(code, 0, err)
        self.assertIn("you said one\nassistant@0 · TTFT ", out)
        self.assertIn(" · edge-b\n", out)
        last = self.server.posted()[-1][1]
        roles = [m["role"] for m in last["messages"]]
        self.assertEqual(roles, ["system", "user", "assistant", "user"])
        self.assertEqual(last["messages"][2]["content"], "you said one")
        self.assertTrue(last["stream"])

    def test_chat_names_the_sites_there_are(self):
        code, _, err = self.collm("chat", stdin="hello\n")
        self.assertEqual(code, 2)
        self.assertIn("name a site with --site; there are: kitchen, workshop", err)

    def test_infer_names_the_sites_there_are(self):
        code, _, err = self.collm("infer", "hello")
        self.assertEqual(code, 2)
        self.assertIn("name a site with --site; there are: kitchen, workshop", err)

    def test_an_answer_that_breaks_off_is_a_failure(self):
        code, out, err = self.collm("infer", "break", "--site", "kitchen")
        self.assertEqual(code, 1)
        self.assertIn("broke off", err)

    def test_infer_prints_the_answer_alone_on_stdout(self):
        code, out, err = self.collm("infer", "hello", "--site", "kitchen")
        self.assertEqual((code, out), (0, "you said hello\n"))
        self.assertIn("assistant@0 · TTFT", err)
        code, out, _ = self.collm("infer", "--raw", "2+2=", "--site", "kitchen",
                                  "--output", "json")
        self.assertEqual(json.loads(out)["answer"], "you said 2+2=")
        self.assertEqual(self.server.posted()[-1][0], "/v1/completions")

    def test_adapter_load_sends_an_absolute_folder_and_shows_the_refusal(self):
        with tempfile.TemporaryDirectory() as folder:
            code, out, _ = self.collm("adapter", "load", "assistant", "lora", cwd=folder)
            self.assertEqual(code, 0)
            self.assertEqual(out, "assistant@1 serves (peft:lora, sha256 abababababab)\n")
            sent = self.server.posted()[0][1]["lora_path"]
            self.assertEqual(sent, str(pathlib.Path(folder).resolve() / "lora"))
            code, _, err = self.collm("adapter", "load", "assistant", "bad", cwd=folder)
        self.assertEqual(code, 2)
        self.assertIn("tensor q_proj.lora_A has rank 7", err)

    def test_adapter_list_shows_models(self):
        code, out, _ = self.collm("adapter", "list")
        self.assertEqual(code, 0)
        self.assertIn("assistant@0  small   initial", out)


class ManifestVerbs(unittest.TestCase):
    def test_the_built_in_manifest_is_planned_anywhere(self):
        with tempfile.TemporaryDirectory() as folder:
            code, out, err = collm("plan", "--output", "json", cwd=folder)
            self.assertEqual(code, 0, out + err)
            plan = json.loads(out)
            self.assertEqual([n["site"] for n in plan["nodes"]], ["kitchen", "workshop"])
            self.assertLess(plan["planned_bytes"], plan["budget_bytes"])
            state = str(pathlib.Path(folder).resolve() / "state")
            self.assertEqual(plan["head"]["state_dir"], state)
            self.assertFalse(any(pathlib.Path(folder).iterdir()), "a plan makes nothing")

    def test_validate_reads_standard_input_and_says_yes(self):
        code, out, err = collm("validate", "-f", "-", stdin=DEMO.read_text())
        self.assertEqual(code, 0, err)
        self.assertIn("stdin: valid: cluster demo, 2 nodes, 1 adapter", out)

    def test_a_program_without_its_torch_library_says_where_it_looked(self):
        with tempfile.TemporaryDirectory() as folder:
            alone = pathlib.Path(shutil.copy(COLLM, folder))
            model = DEMO.parents[2] / "tests/golden/data/untied/model.gguf"
            done = subprocess.run([alone, "bench", "engine", "--precision", "f32", "--model", model,
                                   "--only-perplexity", "--perplexity", DEMO],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(str(alone.with_name("libcollm_torch.so")), done.stderr)

    def test_doctor_finds_the_taken_port_and_its_mend(self):
        server = Server()
        self.addCleanup(server.end)
        manifest = DEMO.read_text().replace("127.0.0.1:8082", server.url[7:])
        code, out, _ = collm("doctor", "--quick", "-f", "-", stdin=manifest)
        self.assertEqual(code, 1, out)
        self.assertIn(f"{server.url[7:]} (edge-b): Address already in use -> end what", out)


class Up(unittest.TestCase):
    def test_names_all_taken_ports_before_it_starts_anything(self):
        manifest = DEMO.read_text()
        servers = [Server(), Server()]
        for server, port in zip(servers, ("127.0.0.1:8082", "127.0.0.1:8099")):
            self.addCleanup(server.end)
            manifest = manifest.replace(port, server.url[7:])
        with tempfile.TemporaryDirectory() as folder:
            code, out, err = collm("up", "-f", "-", stdin=manifest, cwd=folder)
            self.assertFalse(any(pathlib.Path(folder).iterdir()), "nothing is written")
        self.assertEqual(code, 1, out)
        for server in servers:
            self.assertIn(server.url[7:], err)
        self.assertIn("end what listens there (collm down", err)


if __name__ == "__main__":
    unittest.main()
