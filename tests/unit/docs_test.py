"""The documents say what the tree holds: series, folders, and links that lead somewhere."""
import pathlib
import re
import sys
import unittest

from include_matrix_test import MATRIX

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERIES = re.compile(r"\b(?:collm|caf)_[a-z0-9_]+\b")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


class the_documents(unittest.TestCase):
    def test_metrics_are_all_told_and_nothing_else(self):
        told = {name for row in text_of("docs/METRICS.md").splitlines() if row.startswith("| `")
                for name in SERIES.findall(row.split("|")[1])}
        exposed = {name for source in ("actors/metrics.cpp", "gateway/operations.cpp")
                   for literal in re.findall(r'"([^"\n]*)"', text_of(source))
                   for name in SERIES.findall(literal)}
        self.assertEqual(exposed, told)

    def test_the_architecture_has_a_row_for_each_folder(self):
        rows = re.findall(r"^\| ([a-z]+)/ \|", text_of("docs/ARCHITECTURE.md"), re.MULTILINE)
        self.assertEqual(sorted(MATRIX), sorted(rows))

    def test_the_architecture_names_what_each_folder_may_include(self):
        for line in text_of("docs/ARCHITECTURE.md").splitlines():
            row = re.match(r"\| ([a-z]+)/ \|[^|]*\|([^|]*)\|", line)
            if not row or row[2].strip() == "all above":
                continue
            told = set(re.findall(r"[a-z]+", re.sub(r"\([^)]*\)", "", row[2]))) - {"nothing"}
            allowed = {entry.split(":")[0] for entry in MATRIX[row[1]][0]}
            self.assertEqual(allowed, told, row[1])

    def test_each_pain_has_a_case_of_its_number(self):
        cases = "".join(f.read_text(encoding="utf-8") for f in (ROOT / "tests").rglob("*_test.*"))
        pains = re.findall(r"^\| P(\d+) \|", text_of("docs/ARCHITECTURE.md"), re.MULTILINE)
        without = [p for p in pains if not re.search(rf"\b(test_(\d_)?)?p{p}_[a-z]", cases)]
        self.assertEqual(without, [])
        self.assertGreater(len(pains), 15)

    def test_links_lead_to_files(self):
        for document in documents():
            for target in LINK.findall(document.read_text(encoding="utf-8")):
                if "://" in target:
                    continue
                place = document.parent / target
                self.assertTrue(place.exists(), f"{document.relative_to(ROOT)} links {target}")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
