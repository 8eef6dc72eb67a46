"""./dev itself: what it says when something is missing. Fakes of programs come first in PATH."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = "".join(f"source cmake/dev/{name}.sh; " for name in ("say", "packages", "downloads"))
DPKG = "echo 'g++ installed'; echo 'cmake installed'; echo 'mold config-files'; exit 1"


class dev_script(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.fakes = pathlib.Path(folder.name, "fakes")
        self.fakes.mkdir()
        self.cache = pathlib.Path(folder.name, "cache")

    def fake(self, name, body):
        path = self.fakes / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run_bash(self, command, **environment):
        path = f"{self.fakes}:{os.environ['PATH']}"
        kept = {"PATH": path, "COLLM_CACHE": str(self.cache), "HOME": str(self.cache), "CI": "true"}
        return subprocess.run(["bash", "-c", "set -euo pipefail; " + command], cwd=ROOT, text=True,
                              env=kept | environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)

    def refusal(self, command, **environment):
        """The one sentence with which the command refused."""
        done = self.run_bash(command, **environment)
        self.assertNotEqual(0, done.returncode, done.stdout)
        sentences = [line for line in done.stderr.splitlines() if line.startswith("./dev: ")]
        self.assertEqual(1, len(sentences), done.stderr)
        return sentences[0]

    def test_help_names_every_verb(self):
        done = self.run_bash("./dev help")
        self.assertEqual(0, done.returncode, done.stderr)
        verbs = ("run build test check simtest fuzz kills nightly bench interop fetch golden fmt "
                 "tidy help")
        for verb in verbs.split():
            self.assertRegex(done.stdout, rf"(?m)^  {verb}\b")

    def test_an_unknown_verb_is_refused_by_name(self):
        self.assertIn("there is no verb tset", self.refusal("./dev tset"))

    def test_a_seed_that_is_none_is_refused_before_anything_is_built(self):
        self.assertIn("'7x' is neither", self.refusal("./dev simtest 7x"))

    def test_a_manifest_that_is_not_there_is_refused_before_anything_is_built(self):
        self.assertIn("no manifest nowhere.yaml", self.refusal("./dev run nowhere.yaml"))

    def test_another_processor_is_refused(self):
        self.fake("uname", "echo aarch64")
        self.assertIn("x86_64 machine", self.refusal(SOURCES + "need build"))

    def test_packages_that_are_half_removed_count_as_missing(self):
        self.fake("dpkg-query", DPKG)
        done = self.run_bash(SOURCES + "missing_packages 'g++ cmake mold ninja-build'")
        self.assertEqual(["mold", "ninja-build"], done.stdout.split())

    def test_nothing_missing_means_no_word_and_no_apt(self):
        self.fake("dpkg-query", "shift 3; for name; do echo \"$name installed\"; done")
        self.fake("apt-get", "echo called >&2; exit 1")
        done = self.run_bash(SOURCES + "install_packages build test tidy")
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))

    def test_without_root_and_sudo_the_command_to_run_is_told(self):
        self.fake("dpkg-query", DPKG)
        self.fake("id", "echo 1000")
        command = SOURCES + "command() { [ \"$2\" != sudo ]; }; install_packages build"
        self.assertIn("as root, run 'apt-get install", self.refusal(command))

    def test_sudo_that_wants_a_password_is_told_where_there_is_no_terminal(self):
        self.fake("dpkg-query", DPKG)
        self.fake("id", "echo 1000")
        self.fake("sudo", "exit 1")
        self.assertIn("sudo wants a password", self.refusal(SOURCES + "install_packages build"))

    def test_no_network_for_debian_is_one_sentence(self):
        self.fake("dpkg-query", DPKG)
        self.fake("id", "echo 0")
        self.fake("apt-get", "exit 100")
        self.assertIn("no network", self.refusal(SOURCES + "install_packages build"))

    def test_sizes_are_told_before_packages_are_fetched(self):
        self.fake("dpkg-query", DPKG)
        self.fake("id", "echo 0")
        self.fake("apt-get", "case \"$*\" in *--print-uris*) echo \"'u' a.deb 41000000 h\";"
                             " echo \"'v' b.deb 2000000 h\";; *) echo \"APT $*\";; esac")
        done = self.run_bash(SOURCES + "install_packages build")
        self.assertIn("43 MB to download", done.stdout)
        self.assertLess(done.stdout.index("43 MB"), done.stdout.index("APT -q install -y"))

    def test_another_distribution_is_refused(self):
        release = self.fakes / "os-release"
        release.write_text('ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora 41"\n')
        refusal = self.refusal(SOURCES + f"check_distribution {release}")
        self.assertIn("this is Fedora 41", refusal)
        self.assertIn("use Debian 12", refusal)

    def test_no_network_for_wheels_is_one_sentence_and_leaves_nothing(self):
        self.fake("python3", "echo 'no route' >&2; exit 1")
        self.assertIn("no network", self.refusal(SOURCES + "download"))
        self.assertEqual([], [path.name for path in self.cache.iterdir()])

    def test_a_wheel_with_another_hash_is_refused(self):
        self.fake("python3", "while [ \"$1\" != -d ]; do shift; done; echo evil >\"$2/a.whl\"")
        self.assertIn("another hash", self.refusal(SOURCES + "download"))
        self.assertEqual([], [path.name for path in self.cache.iterdir()])

    def test_a_full_disk_is_told_before_the_download(self):
        self.fake("df", "echo h; echo 'd 100 90 10 90% /'")
        self.fake("python3", "echo called; exit 1")
        self.assertIn("no disk space", self.refusal(SOURCES + "download"))

    def test_a_cache_that_cannot_be_written_is_refused(self):
        self.cache.write_text("a file in its place")
        self.assertIn("no permission to write", self.refusal(SOURCES + "download"))

    def test_a_libtorch_that_is_none_is_refused(self):
        self.assertIn("is no libtorch", self.refusal(SOURCES + "download", COLLM_TORCH="/nowhere"))

    def test_a_complete_cache_needs_neither_words_nor_network(self):
        pin = self.run_bash(SOURCES + "torch_dir; node_dir; model_file").stdout.split()
        torch, node, model = map(pathlib.Path, pin)
        for path in (torch / "include/ATen/core/Tensor.h", torch / "lib/libtorch_cpu.so",
                     torch / "lib/libc10.so", node / "lib/node_modules/npm/bin/npm-cli.js", model,
                     node / "bin/node"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o755)
        self.fake("python3", "echo called >&2; exit 1")
        done = self.run_bash(SOURCES + "download")
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))

    def test_every_pin_is_whole(self):
        rows = [line.split() for line in (ROOT / "cmake/dev/pins.txt").read_text().splitlines()
                if not line.startswith("#")]
        self.assertGreater(len(rows), 3)
        for name, version, _, size, digest in rows:
            self.assertRegex(digest, r"^[0-9a-f]{64}$", name)
            self.assertGreater(int(size), 1000, name)
            self.assertRegex(version, r"^\d+(\.\d+)+$", name)


class unpack_wheel(unittest.TestCase):
    def unpack(self, *rules):
        import zipfile
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        wheel = pathlib.Path(folder.name, "a.whl")
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("a/lib/one.so", "1")
            archive.writestr("a/lib/../../../two.so", "2")
        self.out = pathlib.Path(folder.name, "out")
        return subprocess.run([sys.executable, ROOT / "cmake/dev/unpack_wheel.py", wheel, self.out,
                               *rules], text=True, stderr=subprocess.PIPE, check=False)

    def test_keeps_only_what_was_asked(self):
        self.assertEqual(0, self.unpack("a/lib/one.so=lib/one.so").returncode)
        self.assertEqual("1", (self.out / "lib/one.so").read_text())
        self.assertEqual(1, sum(path.is_file() for path in self.out.rglob("*")))

    def test_names_a_member_that_is_absent(self):
        self.assertIn("holds no a/bin/", self.unpack("a/bin/=bin/").stderr)

    def test_refuses_a_member_that_climbs_out(self):
        self.assertIn("points outside", self.unpack("a/=./").stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
