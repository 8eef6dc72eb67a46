"""bench/natural_clients.py: how rows are divided, and what the tables say."""
import importlib.util
import json
import pathlib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("natural_clients", ROOT / "bench/natural_clients.py")
study = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(study)


def dialogue(client, number, turns):
    return json.dumps({"client": client, "dialogue_id": f"{client}/{number}", "messages": [
        {"role": ("user", "assistant")[i % 2], "content": f"{client} {number} {i}"}
        for i in range(turns)]})


def plain(client, number):
    return json.dumps({"client": client, "prompt": f"question {number}", "completion": "answer"})


def line(arm, seed, step, losses, seconds=1.0):
    return {"arm": arm, "seed": seed, "step": step, "seconds": seconds, "tokens_of_all": 100,
            "clients": {name: {"loss": loss} for name, loss in losses.items()}}


class Division(unittest.TestCase):
    def test_no_prompt_is_in_two_parts(self):
        parts = study.divided([plain(c, i) for c in "ab" for i in range(200)], 2)
        seen = {p: {s["prompt"] for c in "ab" for s in of[c]} for p, of in parts.items()}
        self.assertEqual(200, sum(map(len, seen.values())))
        self.assertFalse(seen["train"] & seen["report"] or seen["train"] & seen["calibration"]
                         or seen["report"] & seen["calibration"])
        self.assertTrue(all(len(s) > 10 for s in seen.values()))

    def test_a_dialogue_gives_a_sample_for_each_answer_and_is_never_divided(self):
        parts = study.divided([dialogue("a", i, 6) for i in range(100)], 1)
        dialogues = {p: {s["messages"][0]["content"] for s in of["a"]} for p, of in parts.items()}
        self.assertEqual(100, sum(map(len, dialogues.values())))
        self.assertEqual(300, sum(len(of["a"]) for of in parts.values()))
        for s in parts["train"]["a"]:
            self.assertEqual("assistant", s["messages"][-1]["role"])

    def test_the_clients_with_most_rows_are_taken(self):
        rows = [plain("small", i) for i in range(3)] + [plain("large", i) for i in range(9)]
        self.assertEqual(["large"], list(study.divided(rows, 1)["train"]))


class Tables(unittest.TestCase):
    def setUp(self):
        self.lines = [line("base", 1, 0, {"a": 5, "b": 4})]
        for seed, shift in ((1, 0.0), (2, 0.2)):
            for arm in study.ARMS:
                self.lines.append(line(arm, seed, study.STEPS, {"a": 3 + shift, "b": 2}, 10))
            self.lines.append(line("alone", seed, 45, {"a": 2.5, "b": 2.5}, 11))
            self.lines.append(line("alone", seed, 50, {"a": 2, "b": 2}, 12))
            self.lines.append(line("pooled_one", seed, 45, {"a": 1, "b": 1}, 11))
            at = self.lines.index(study.line_at(self.lines, "fedavg", seed, study.STEPS))
            self.lines[at] = line("fedavg", seed, study.STEPS, {"a": 2.75, "b": 2.25}, 10.5)

    def test_alone_goes_on_until_it_took_as_long(self):
        self.assertEqual(45, study.step_in_time(self.lines, "alone", [1, 2], 10.5))
        self.assertEqual(study.STEPS, study.step_in_time(self.lines, "alone", [1, 2], 10))

    def test_pairs_are_counted_by_client_and_seed(self):
        c = study.compared(self.lines, [1, 2])
        same_steps = c["against_alone"]["fedavg"]["same_steps"]
        self.assertEqual((2, 4), (same_steps["won"], same_steps["of"]))
        self.assertAlmostEqual(0.05, same_steps["mean_gain"])
        self.assertAlmostEqual(-0.25, same_steps["worst_gain"])
        self.assertAlmostEqual(0, c["against_alone"]["fedavg"]["same_time"]["mean_gain"])

    def test_alone_is_also_compared_where_it_was_best(self):
        self.assertEqual(50, study.best_step(self.lines, "alone", [1, 2]))
        c = study.compared(self.lines, [1, 2])
        self.assertEqual("alone at its best", c["steps"][-1]["arm"])
        self.assertEqual(0, c["against_alone"]["fedavg"]["its_best"]["won"])

    def test_the_worst_client_is_the_one_with_the_highest_loss(self):
        row = study.row_of(self.lines, "alone", [1, 2], study.STEPS)
        self.assertEqual("a", row["worst"]["client"])
        self.assertAlmostEqual(3.1, row["worst"]["loss"]["mean"])
        self.assertAlmostEqual(0.1, row["worst"]["loss"]["half_range"])


if __name__ == "__main__":
    unittest.main()
