"""A cluster as a careful operator opens it: TLS, keys, an admin key; and what it lets out.

No secret is in what it writes: this file's keys and prompts are words that occur nowhere else.
"""
import glob
import hashlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import unittest

from cluster import STOP_MAX, Cluster, Tiny, until

COLLM = sys.argv.pop()

KEYS = {"cook": "sesame-cook-5d1f", "waiter": "sesame-waiter-77aa", "smith": "sesame-smith-90b2",
        "admin": "sesame-admin-c3d4", "nobody": "sesame-nobody-e5f6"}
PROMPT = "quixotic zephyr lantern marmalade"
SECRETS = re.compile("|".join([*KEYS.values(), *PROMPT.split(), *(
    hashlib.sha256(k.encode()).hexdigest() for k in KEYS.values())]))


def sha256(key):
    return hashlib.sha256(KEYS[key].encode()).hexdigest()


def bearer(key):
    return {"Authorization": "Bearer " + KEYS[key]} if key else {}


class GuardedCluster(Tiny, Cluster):
    """Head and kitchen over TLS, the workshop's node plain on loopback."""

    def text_of(self, manifest):
        self.certificate = os.path.join(self.dir.name, "certificate.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=test", "-days", "1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", os.path.join(self.dir.name, "key.pem"), "-out", self.certificate],
            check=True, capture_output=True)
        tls = "tls: {certificate: certificate.pem, key: key.pem}"
        text = super().text_of(manifest)
        text = text.replace(f"http: 127.0.0.1:{self.head}, capnp: 127.0.0.1:{self.native}",
                            f"http: 127.0.0.1:{self.head}, {tls}")
        text = text.replace(f"gateway: {{http: 127.0.0.1:{self.a}}}",
                            f"gateway: {{http: 127.0.0.1:{self.a}, {tls}}}")
        tenants = "".join(
            f"    - {{name: {name}, keySha256: {sha256(name)}, site: {site}}}\n"
            for name, site in (("cook", "kitchen"), ("waiter", "kitchen"), ("smith", "workshop")))
        return text + "  tenants:\n" + tenants + f"  admin: {{keySha256: {sha256('admin')}}}\n"

    def start(self):
        self.process = subprocess.Popen(
            [self.collm, "up", "-f", self.manifest, "--log-level", "debug"], stdout=self.log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment)

    def status(self):
        return self.call(self.head, "GET", "/admin/v1/status", key="admin")[1]

    def connect(self, port, timeout=60):
        if port == self.b:
            return super().connect(port, timeout)
        context = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)

    def call(self, *arguments, key=None, headers=None, **more):
        return super().call(*arguments, headers={**bearer(key), **(headers or {})}, **more)

    def complete(self, port, text, key, **more):
        return self.call(port, "POST", "/v1/completions", {
            "model": "assistant", "prompt": text, "max_tokens": 4, "temperature": 0, **more},
                         key=key)

    def said(self, *arguments, port=None, key="admin", ca=True):
        flags = ["--url", f"https://127.0.0.1:{port or self.head}"]
        flags += ["--key", KEYS[key]] if key else []
        flags += ["--ca", self.certificate] if ca else []
        return subprocess.run([COLLM, *arguments, *flags], capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL)


class Ports(unittest.TestCase):
    """One cluster; the cases go in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = GuardedCluster(COLLM).__enter__()
        cls.told = []

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()

    def hits(self, port):
        text = self.cluster.call(port, "GET", "/metrics", key="admin")[1]
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("collm_prefix_cache_hits_total"))

    def test_1_the_verbs_speak_https_with_a_key(self):
        c = self.cluster
        done = c.said("status")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"https://127.0.0.1:{c.a}", done.stdout)
        done = c.said("infer", PROMPT, "--raw", "--site", "kitchen", "--max-tokens", "3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("edge-a", done.stdout + done.stderr)
        self.assertIn("--ca", c.said("status", ca=False).stderr)
        self.assertIn("admin key", c.said("status", key="cook").stderr)
        self.assertIn("admin key", c.said("status", key=None).stderr)

    def test_2_a_key_reaches_its_site_alone(self):
        c = self.cluster
        self.assertEqual(c.complete(c.a, PROMPT, "cook")[0], 200)
        self.assertEqual(c.complete(c.b, PROMPT, "smith")[0], 200)
        for key in ("smith", "nobody", None):
            self.assertEqual(c.complete(c.a, PROMPT, key)[0], 401, key)
        self.assertEqual(c.complete(c.b, PROMPT, "cook")[0], 401)
        self.assertEqual(c.complete(c.head, PROMPT, "cook")[0], 200)
        self.assertEqual(c.complete(c.head, PROMPT, "cook", site="workshop")[0], 403)

    def test_3_p13_a_second_tenant_sees_no_cache_hit(self):
        c = self.cluster
        text = "p13 " + PROMPT + " " + "a long common beginning of two prompts " * 3
        before = self.hits(c.a)
        self.assertEqual(c.complete(c.a, text, "cook")[0], 200)
        # Each answer is in the report of the next slot.
        until("the prompt is counted", lambda: self.queries(c.a) > 0)
        self.assertEqual(c.complete(c.a, text, "waiter", cache_salt="cook")[0], 200)
        asked = self.queries(c.a)
        self.assertEqual(c.complete(c.a, text, "cook")[0], 200)
        until("a hit of the same tenant's", lambda: self.hits(c.a) > before)
        until("all three are counted", lambda: self.queries(c.a) > asked)
        hit = self.hits(c.a) - before
        # One prompt's whole blocks of 16 tokens, and what the cases before had not reported yet:
        # had the second tenant found them, too, it were twice as many.
        whole = len(text) // 16 * 16
        self.assertGreaterEqual(hit, whole)
        self.assertLess(hit, 2 * whole)

    def queries(self, port):
        text = self.cluster.call(port, "GET", "/metrics", key="admin")[1]
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("collm_prefix_cache_queries_total"))

    def test_4_admin_acts_are_told_wherever_they_were_done(self):
        c = self.cluster
        self.assertEqual(c.call(c.b, "POST", "/v1/unload_lora_adapter", {"lora_name": "x"},
                                key="admin")[0], 404)
        self.assertEqual(c.call(c.b, "POST", "/v1/unload_lora_adapter", {"lora_name": "x"},
                                key="smith")[0], 401)
        self.assertEqual(c.call(c.head, "POST", "/admin/v1/drain", {"node": "edge-b"},
                                key="admin")[0], 200)
        done = c.said("audit", "--output", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        acts = [(a["gateway"], a["who"], a["what"], a["status"])
                for a in json.loads(done.stdout)["data"]]
        self.assertEqual(acts, [
            ("edge-b", "admin key", "POST /v1/unload_lora_adapter", 404),
            ("head", "admin key", "POST /admin/v1/drain", 200)])
        self.assertIn("drain", c.said("audit").stdout)

    def test_5_nobody_else_on_the_machine_may_read_the_state(self):
        state = os.path.join(self.cluster.dir.name, "state")
        found = [state, *glob.glob(os.path.join(state, "**"), recursive=True)]
        self.assertGreater(len(found), 5)
        # Certificates say nothing that a handshake does not.
        self.assertEqual([f for f in found if os.path.exists(f) and os.stat(f).st_mode & 0o077
                          and not f.endswith(".crt")], [])

    def test_6_no_key_and_no_prompt_is_in_what_it_writes_and_tells(self):
        c = self.cluster
        told = {}
        for body in ({"prompt": PROMPT, "max_tokens": -1}, {"prompt": PROMPT, "model": "missing"},
                     {"prompt": PROMPT * 100}):
            told[f"error {body}"] = str(c.call(c.a, "POST", "/v1/completions", body, key="cook"))
        told.update(c.tells((c.head, c.a), bearer("admin")))
        self.assertIn("node_joined", told[f"{c.head}/admin/v1/events"])
        self.assertIn("drain", told[f"{c.head}/admin/v1/audit"])
        c.process.terminate()
        self.assertEqual(c.process.wait(STOP_MAX), 0)
        told.update(c.written())
        self.assertGreater(len(told["log"]), 500, "debug logging says something")
        kept = {name for name, text in told.items() if SECRETS.search(text)}
        # The manifest, and the running one, hold the keys' hashes: that is what they are for.
        manifest = {name for name in kept if name.endswith("/cluster.yaml")}
        self.assertEqual(kept - manifest, set())
        self.assertEqual({name for name in manifest
                          if any(key in told[name] for key in KEYS.values())}, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
