"""./dev golden: runs the oracles of oracles.txt and compares what they write with the committed.

    golden.py            in a copy of the tree; fails where the oracles now say something else
    golden.py --write    in the tree itself; git diff shows what changed

Text and weights must be equal byte for byte; numbers in JSON to 1e-4, since torch's sums depend on
the machine's vector width.
"""
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

TREE = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("tests/golden", "text")  # where oracles write
TOLERANCE = 1e-4


def same_numbers(one, two):
    if isinstance(one, float) or isinstance(two, float):
        return math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same_numbers(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same_numbers, one, two))
    return one == two


def same(one, two):
    if not one.exists() or not two.exists():
        return False
    if one.read_bytes() == two.read_bytes():
        return True
    return one.suffix == ".json" and same_numbers(json.loads(one.read_text()),
                                                  json.loads(two.read_text()))


def differing(ours, theirs):
    for folder in FOLDERS:
        names = {path.relative_to(root) for root in (ours, theirs)
                 for path in (root / folder).rglob("*") if path.is_file()}
        yield from (str(name) for name in sorted(names)
                    if "__pycache__" not in name.parts and not same(ours / name, theirs / name))


def run_oracles(tree):
    lines = (TREE / "tests/golden/oracles.txt").read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            print(f"\n==> oracle: {line}", flush=True)
            script, *arguments = line.split()
            done = subprocess.run([sys.executable, tree / "tests/golden" / script, *arguments],
                                  cwd=tree / "tests/golden", check=False)
            if done.returncode:
                sys.exit(f"the oracle {script} failed for the reason above")


def check():
    with tempfile.TemporaryDirectory(prefix="collm-golden-") as copy:
        for folder in FOLDERS:
            shutil.copytree(TREE / folder, pathlib.Path(copy, folder))
        run_oracles(pathlib.Path(copy))
        found = list(differing(TREE, pathlib.Path(copy)))
    if found:
        sys.exit(f"the oracles now say something else in {', '.join(found)}: find out why, then "
                 "./dev golden --write")
    print("\nthe committed goldens are what the oracles say")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        run_oracles(TREE)
        print("\nwritten; git diff shows what changed")
    else:
        check()
