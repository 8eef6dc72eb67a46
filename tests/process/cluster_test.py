"""The built binary as a cluster: answers, metrics, adapters loaded under load, killed and frozen nodes, drain and down."""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import unittest

from cluster import Cluster, in_background, until

COLLM = sys.argv.pop()


def write_peft_folder(folder, seed, layers=30, hidden=576, rank=2, scale=0.05):
    """A LoRA adapter for q_proj of SmolLM2-135M, as PEFT writes it."""
    rng = random.Random(seed)
    header, blob = {}, b""
    for layer in range(layers):
        for part, rows, columns in (("A", rank, hidden), ("B", hidden, rank)):
            values = [rng.uniform(-scale, scale) for _ in range(rows * columns)]
            data = struct.pack(f"<{len(values)}f", *values)
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
            header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [len(blob), len(blob) + len(data)]}
            blob += data
    text = json.dumps(header).encode()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + blob)
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}, f)


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(COLLM).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()

    def test_answers_name_their_version_and_repeat_byte_for_byte(self):
        c = self.cluster
        status, first = c.ask(c.a, "What is the capital of France?")
        self.assertEqual(status, 200, first)
        self.assertEqual(first["model"], "assistant@0")
        self.assertIn("assistant@0", first["system_fingerprint"])
        again = c.ask(c.b, "What is the capital of France?")[1]
        self.assertEqual(first["choices"][0]["message"], again["choices"][0]["message"])
        base = c.ask(c.a, "What is the capital of France?", model="smollm2-135m-instruct")[1]
        # B = 0: the initial adapter answers as the base does, through the LoRA path.
        self.assertEqual(first["choices"][0]["message"], base["choices"][0]["message"])

    def test_the_head_routes_by_site_and_refuses_a_request_without_one(self):
        c = self.cluster
        status, body = c.ask(c.head, "Hello")
        self.assertEqual(status, 400)
        self.assertIn("kitchen", body["error"]["message"])
        status, body = c.ask(c.head, "Hello", site="workshop")
        self.assertEqual(status, 200, body)
        self.assertEqual(body["model"], "assistant@0")
        status, body = c.ask(c.head, "Hello", site="garage")
        self.assertEqual(status, 400)

    def test_models_metrics_health_and_version(self):
        c = self.cluster
        ids = [m["id"] for m in c.get(c.a, "/v1/models")["data"]]
        self.assertEqual(ids[0], "smollm2-135m-instruct")
        self.assertIn("assistant", ids)
        c.ask(c.a, "Hello")
        metrics = c.get(c.a, "/metrics")
        self.assertIn("collm_time_to_first_token_seconds_bucket", metrics)
        self.assertIn("caf_actor_mailbox_size", metrics)
        for port in (c.head, c.a, c.b):
            self.assertEqual(c.call(port, "GET", "/health")[0], 200)
            self.assertEqual(c.call(port, "GET", "/ready")[0], 200)
            self.assertEqual(c.call(port, "GET", "/version")[0], 200)

    def test_node_processes_share_the_pages_of_one_base(self):
        shares = []
        for name in ("edge-a", "edge-b"):
            pid = self.cluster.node(name)["snapshot"]["pid"]
            resident = proportional = 0
            inside = False
            with open(f"/proc/{pid}/smaps") as smaps:
                for line in smaps:
                    if "-" in line.split(" ")[0]:
                        inside = ".base" in line
                    elif inside and line.startswith("Rss:"):
                        resident += int(line.split()[1])
                    elif inside and line.startswith("Pss:"):
                        proportional += int(line.split()[1])
            self.assertGreater(resident, 50_000, "the base is mapped")
            shares.append(proportional / resident)
        for share in shares:
            self.assertLess(share, 0.7, "pages of the base are shared between the two processes")

    def test_p4_loading_an_adapter_under_load_changes_no_running_answer(self):
        c = self.cluster
        prompt = "Tell me a story about a lighthouse and a storm."
        quiet = c.stream(c.a, prompt, 120)
        self.assertEqual(quiet[0], "length")
        folder = os.path.join(c.dir.name, "adapters", "second")
        write_peft_folder(folder, seed=7)
        started = threading.Event()
        running = [in_background(c.stream, c.a, prompt, 120, lambda text: started.set()) for _ in range(4)]
        self.assertTrue(started.wait(30))
        status, body = c.call(c.a, "POST", "/v1/load_lora_adapter", {"lora_name": "assistant", "lora_path": folder})
        self.assertEqual(status, 200, body)
        for thread, box in running:
            thread.join(60)
            self.assertEqual(box[0], quiet)
        after = c.ask(c.a, prompt, 40)[1]
        self.assertEqual(after["model"], "assistant@1")
        self.assertNotEqual(after["choices"][0]["message"]["content"], quiet[1][: len(after["choices"][0]["message"]["content"])])
        bad = os.path.join(c.dir.name, "adapters", "bad")
        write_peft_folder(bad, seed=8, hidden=570)
        status, body = c.call(c.a, "POST", "/v1/load_lora_adapter", {"lora_name": "assistant", "lora_path": bad})
        self.assertEqual(status // 100, 4, body)
        self.assertIn("q_proj.lora_A", body["error"]["message"])
        self.assertEqual(c.ask(c.a, prompt, 4)[1]["model"], "assistant@1")

    def test_p8_beyond_capacity_requests_are_refused_with_a_time_to_come_back(self):
        c = self.cluster
        text = "word " * 1500
        asked = [in_background(c.call, c.b, "POST", "/v1/completions",
                               {"model": "assistant", "prompt": f"{i} {text}", "max_tokens": 2, "temperature": 0}, None, 120)
                 for i in range(40)]
        statuses = []
        for thread, box in asked:
            thread.join(120)
            statuses.append(box[0])
        kinds = {s for s, _ in statuses}
        self.assertLessEqual(kinds, {200, 503}, statuses)
        self.assertIn(200, kinds)
        self.assertIn(503, kinds)
        for status, body in statuses:
            if status == 503:
                self.assertEqual(body["error"]["code"], "server_is_overloaded", body)

    def test_verbs_of_the_command_line_speak_to_it(self):
        c = self.cluster
        url = f"http://127.0.0.1:{c.head}"
        done = subprocess.run([COLLM, "status", "--url", url, "--output", "json"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["nodes"]), 2)
        done = subprocess.run([COLLM, "infer", "Hello", "--site", "kitchen", "--url", url], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())


class Faults(unittest.TestCase):
    def test_p11_a_killed_and_a_frozen_node_are_noticed_and_replaced(self):
        with Cluster(COLLM) as c:
            other = in_background(c.stream, c.b, "Count the stars.", 200)
            begun = threading.Event()
            cut = in_background(c.stream, c.a, "Count the waves.", 400, lambda text: begun.set())
            self.assertTrue(begun.wait(30))
            pid = c.node("edge-a")["snapshot"]["pid"]
            os.kill(pid, signal.SIGKILL)
            until("the status tells", lambda: c.node("edge-a")["state"] in ("lost", "restarting", "starting"), 5)
            cut[0].join(10)
            self.assertIsNone(cut[1][0][0], "only what streamed from it breaks")
            until("it serves again", lambda: c.node("edge-a")["state"] == "serving", 15)
            until("and answers", lambda: answers(c, c.a), 15)
            self.assertEqual(c.node("edge-a")["restarts"], 1)
            other[0].join(60)
            self.assertEqual(other[1][0][0], "length", "the other site saw nothing")

            pid = c.node("edge-b")["snapshot"]["pid"]
            os.kill(pid, signal.SIGSTOP)
            try:
                until("silence is noticed", lambda: c.node("edge-b")["state"] != "serving", 10)
                until("it is replaced", lambda: c.node("edge-b")["state"] == "serving"
                      and c.node("edge-b").get("snapshot", {}).get("pid") not in (None, pid), 30)
            finally:
                resume(pid)
            until("and answers", lambda: answers(c, c.b), 15)

    def test_drain_and_down_end_in_order(self):
        with Cluster(COLLM) as c:
            url = f"http://127.0.0.1:{c.head}"
            running = in_background(c.stream, c.a, "Tell me about bread.", 100)
            done = subprocess.run([COLLM, "drain", "edge-a", "--url", url], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            running[0].join(60)
            self.assertIn(running[1][0][0], ("length", "http 503"))
            self.assertEqual(c.ask(c.b, "Hello", 4)[0], 200)
            done = subprocess.run([COLLM, "down", "--url", url], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(c.process.wait(45), 0)

    def test_a_taken_port_is_refused_by_its_number(self):
        with Cluster(COLLM) as c:
            done = subprocess.run([COLLM, "up", "-f", c.manifest, "--once"], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, f"{c.link}|{c.head}|{c.native}")


class Threads(unittest.TestCase):
    def test_placement_thread_serves_in_one_process(self):
        with Cluster(COLLM, placement="thread") as c:
            self.assertEqual(c.ask(c.a, "Hello", 4)[0], 200)
            self.assertEqual(c.ask(c.b, "Hello", 4)[0], 200)
            self.assertEqual(c.ask(c.head, "Hello", 4, site="kitchen")[0], 200)
            pids = {n["snapshot"]["pid"] for n in c.status()["nodes"]}
            self.assertEqual(pids, {c.process.pid})


def answers(c, port):
    try:
        return c.ask(port, "Hello", 2)[0] == 200
    except OSError:
        return False


def resume(pid):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # its supervisor has ended it, as it should


if __name__ == "__main__":
    unittest.main()
