"""Style that a machine can see: columns, names, sizes, machine paths, notes to self.

Sizes are a ratchet: what is beyond a limit is listed in size_ratchet.txt (lines of a file, of its
longest function, lines wider than 100 columns), and only growth fails.
`python3 tests/unit/tidy_test.py --write` lists the sizes of now.
"""
import pathlib
import re
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATCHET = pathlib.Path(__file__).with_name("size_ratchet.txt")
COLUMNS_MAX = 100
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
CODE = {".cpp", ".hpp", ".capnp", ".py", ".ts", ".tsx", ".mts"}
TEXT = CODE | {".md", ".cmake", ".txt", ".sh", ".yaml", ".json", ".css", ".html"}
SKIPPED_FOLDERS = {".git", "node_modules", "state", "__pycache__", ".cache", "dist", "data"}
SKIPPED_FILES = {"package-lock.json", "LICENSE", "size_ratchet.txt"}

# What is banned, and what to write instead. Split words let this file pass itself.
BANNED = [
    (r"\bTODO\(now" r"\)", "do it now, or call it soon"),
    (r"(?<![\w.])/(?:home|root|Users)/\w", "no absolute path of one machine"),
    (r"(?<![\w.])/work/(?:main|shared)\b", "no absolute path of one machine"),
    (r"pypi\.o" r"rg|pythonhosted\.o" r"rg|registry\.npmj" r"s|deb\.debian\.o" r"rg",
     "no registry host: name the package"),
    (r"#include <bits/stdc\+\+" r"\.h>", "include what is used"),
]
BANNED_CODE = [
    (r"\bstd::thread\(.*\)\.detach\(\)", "a thread has an owner that joins it"),
    (r"\busing namespace std;", "name what is used"),
    (r"\bcatch \(\.\.\.\) ?\{ ?\}", "no swallowed error"),
]
# A program may poll another program; an actor, the engine and a test wait for what they need.
BANNED_SLEEP = (r"\bsleep_(?:for|until)\(", "wait for the event, not for a time")
SLEEPLESS = ("actors/", "coordinator/", "engine/", "gateway/", "link/", "tests/unit/",
             "tests/conformance/", "tests/simulation/", "tests/golden/")
FUNCTION_HEAD = re.compile(r"\)\s*(const|noexcept|override|->[^{;]*|:[^{;]*)*$")
BANNED_FILE_NAME = re.compile(r"(?:^|_)(utils?|common|helpers?|misc|manager)(?:_|\.|$)")


def files(root, suffixes):
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and path.suffix in suffixes and path.name not in SKIPPED_FILES \
                and not SKIPPED_FOLDERS & set(parts) and not parts[0].startswith("build"):
            yield path, "/".join(parts)


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def blank_violations(root):
    for path, name in files(root, CODE):
        for number, line in enumerate(lines_of(path), 1):
            if "\t" in line:
                yield f"{name}:{number}: a tab: use blanks"
            if line != line.rstrip():
                yield f"{name}:{number}: blanks at the end of the line"


def word_violations(root):
    for path, name in files(root, TEXT):
        rules = BANNED + (BANNED_CODE if path.suffix in (".cpp", ".hpp") else [])
        rules = rules + ([BANNED_SLEEP] if name.startswith(SLEEPLESS) else [])
        for number, line in enumerate(lines_of(path), 1):
            for pattern, advice in rules:
                if re.search(pattern, line) and "tidy:" not in line:
                    yield f"{name}:{number}: {line.strip()[:60]!r}: {advice}"


def name_violations(root):
    for path, name in files(root, TEXT):
        found = BANNED_FILE_NAME.search(path.name)
        if found:
            yield f"{name}: '{found[1]}' says nothing: name the file after what it holds"
        snake_case = re.fullmatch(r"[a-z0-9_.]+", path.name)
        if path.suffix in (".cpp", ".hpp", ".py", ".capnp") and not snake_case:
            yield f"{name}: file names are snake_case"
        if path.suffix == ".hpp" and "#pragma once" not in path.read_text(encoding="utf-8"):
            yield f"{name}: a header starts with #pragma once"


def function_sizes(path):
    """(first line, lines) of each C++ function: a top-level or member block that follows a ')' ."""
    start, depth_at_start, depth, before = None, 0, 0, ""
    for number, raw in enumerate(lines_of(path), 1):
        line = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'|//.*', "", raw)
        for position, character in enumerate(line):
            if character == "{":
                opening = (before + line[:position]).strip()
                if start is None and FUNCTION_HEAD.search(opening):
                    start, depth_at_start = number, depth
                depth += 1
            elif character == "}":
                depth -= 1
                if start is not None and depth == depth_at_start:
                    yield start, number - start + 1
                    start = None
        before = (before + line + " ")[-200:]
        if re.search(r"[;}]\s*$", line):
            before = ""


def sizes(root):
    """Beyond the limits: name -> lines of the file, name() -> lines of its longest function,
    name:wide -> how many of its lines are too wide."""
    found = {}
    for path, name in files(root, CODE):
        lines = lines_of(path)
        if len(lines) > FILE_LINES_MAX:
            found[name] = len(lines)
        wide = sum(len(line) > COLUMNS_MAX and "http" not in line for line in lines)
        if wide:
            found[name + ":wide"] = wide
        cpp = path.suffix in (".cpp", ".hpp")
        longest = max((size for _, size in function_sizes(path)), default=0) if cpp else 0
        if longest > FUNCTION_LINES_MAX:
            found[name + "()"] = longest
    return found


def allowed_sizes(text):
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {name: int(size) for size, name in rows}


def growth(found, allowed):
    for name, size in found.items():
        if size <= allowed.get(name, 0):
            continue
        if name.endswith(":wide"):
            yield (f"{name.removesuffix(':wide')}: {size} lines beyond {COLUMNS_MAX} columns, "
                   f"{allowed.get(name, 0)} allowed: ./dev fmt")
            continue
        what = "its longest function has" if name.endswith("()") else "the file has"
        standard = FUNCTION_LINES_MAX if name.endswith("()") else FILE_LINES_MAX
        limit = allowed.get(name, standard)
        yield f"{name.removesuffix('()')}: {what} {size} lines, {limit} allowed: divide it"


class the_tree(unittest.TestCase):
    def assert_none(self, violations):
        violations = list(violations)
        self.assertEqual(0, len(violations), "\n" + "\n".join(violations))

    def test_tabs_and_trailing_blanks(self):
        self.assert_none(blank_violations(ROOT))

    def test_banned_words(self):
        self.assert_none(word_violations(ROOT))

    def test_file_names_and_header_guards(self):
        self.assert_none(name_violations(ROOT))

    def test_sizes_do_not_grow(self):
        self.assert_none(growth(sizes(ROOT), allowed_sizes(RATCHET.read_text())))


class the_checker(unittest.TestCase):
    """Planted violations, so that a checker that sees nothing fails."""

    def plant(self, name, text):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = pathlib.Path(folder.name, name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return pathlib.Path(folder.name)

    def test_sees_tabs_and_trailing_blanks(self):
        self.assertEqual(2, len(list(blank_violations(self.plant("a.cpp", "\tint a; \n")))))

    def test_sees_banned_words(self):
        for text in ("// TODO" "(now) mend", "open(\"/ro" "ot/x\")", "pip from pypi" ".org",
                     "using namespace " "std;"):
            self.assertEqual(1, len(list(word_violations(self.plant("a.cpp", text)))), text)

    def test_sees_an_actor_that_sleeps_but_lets_a_program_poll(self):
        text = "std::this_thread::sleep" "_for(1s);"
        self.assertEqual(1, len(list(word_violations(self.plant("actors/a.cpp", text)))))
        self.assertEqual(0, len(list(word_violations(self.plant("cli/a.cpp", text)))))

    def test_sees_names_that_say_nothing(self):
        self.assertEqual(1, len(list(name_violations(self.plant("string_utils.cpp", "")))))
        self.assertEqual(1, len(list(name_violations(self.plant("Engine.cpp", "")))))
        self.assertEqual(1, len(list(name_violations(self.plant("engine.hpp", "int a;\n")))))

    def test_sees_long_files_and_functions(self):
        body = "int f(int a) {\n" + "  a += 1;\n" * 70 + "  return a;\n}\n"
        self.assertEqual({"a.cpp()": 73}, sizes(self.plant("a.cpp", body)))
        self.assertEqual({"a.cpp": 601}, sizes(self.plant("a.cpp", "int a;\n" * 601)))
        self.assertEqual({"a.hpp:wide": 2}, sizes(self.plant("a.hpp", ("x" * 101 + "\n") * 2)))
        self.assertEqual({}, sizes(self.plant("a.hpp", "x" * 100 + "\n")))
        table = "struct a {\n" + "  int b;\n" * 100 + "};\n"
        self.assertEqual({}, sizes(self.plant("a.cpp", table)))

    def test_only_growth_fails(self):
        self.assertEqual([], list(growth({"a.cpp": 700}, {"a.cpp": 700})))
        self.assertEqual(1, len(list(growth({"a.cpp": 701}, {"a.cpp": 700}))))
        self.assertEqual(1, len(list(growth({"b.cpp": 601}, {}))))
        self.assertEqual(1, len(list(growth({"b.cpp:wide": 1}, {}))))


def write_ratchet():
    head = "# Beyond the limits of tidy_test.py: lines, name. They may shrink, never grow.\n"
    lines = [f"{size} {name}\n" for name, size in sorted(sizes(ROOT).items())]
    RATCHET.write_text(head + "".join(lines))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_ratchet()
    else:
        unittest.main(argv=[sys.argv[0], "-v"])
