"""The include matrix: which folder may include and link which, and where third parties are at home.

The tables below are the law that docs/ARCHITECTURE.md draws. A violation names the line and what
would be right.
"""
import pathlib
import re
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# folder | folders, or faces of folders, that it may include | third parties at home there
MATRIX_TEXT = """
messages    |                                             | capnp capnp-json
text        | messages:terms                              | pcre2 json
engine      | messages:terms text                         | torch json openssl openmp
coordinator | messages:terms                              |
federation  | messages:terms                              |
store       | messages:terms                              | sqlite openssl json
demo        | messages:terms                              | json
actors      | messages text engine:api coordinator federation store | caf spdlog prometheus
link        | messages actors:interfaces gateway:port     | capnp capnp-rpc caf openssl
gateway     | messages text                               | boost openssl json spdlog capnp-json
dashboard   | gateway:asset                               |
deploy      | messages text engine coordinator federation store demo actors link gateway \
dashboard | yaml caf spdlog openssl
bench       | messages text engine coordinator federation demo | json boost openssl
cli         | messages:terms deploy bench demo            | cli11 json boost
"""
# A face: the headers of a folder that others may see, and the CMake target that stands for it.
FACES = {
    "messages:terms": ("messages_terms", ["messages/ids.hpp", "messages/limits.hpp",
                                          "messages/result.hpp", "messages/assert.hpp",
                                          "messages/json_text.hpp", "messages/shown_text.hpp"]),
    "engine:api": ("engine_api", ["engine/executor.hpp", "engine/engine.hpp", "engine/training.hpp",
                                  "engine/model/gguf*",
                                  "engine/adapter/adapter.hpp"]),
    "actors:interfaces": ("actors", ["actors/interfaces.hpp", "actors/caf.hpp",
                                     "actors/replies.hpp"]),
    "gateway:asset": ("gateway", ["gateway/asset.hpp"]),
    "gateway:port": ("gateway", ["gateway/nodes_port.hpp", "gateway/port.hpp",
                                 "gateway/prompt.hpp"]),
}
# Third party -> include prefixes (the longest match wins) and CMake targets.
THIRD_PARTIES = {
    "torch": (["torch/", "ATen/", "c10/"], ["torch_cpu"]),
    "caf": (["caf/"], ["caf_core"]),
    "capnp": (["capnp/", "kj/"], ["CapnProto::capnp", "CapnProto::kj"]),
    "capnp-rpc": (["capnp/rpc", "capnp/ez-rpc", "capnp/capability", "kj/compat/tls", "kj/async"],
                  ["CapnProto::capnp-rpc", "CapnProto::kj-async", "CapnProto::kj-tls"]),
    "capnp-json": (["capnp/compat/json"], ["CapnProto::capnp-json"]),
    "boost": (["boost/"], []),
    "openssl": (["openssl/"], ["OpenSSL::SSL", "OpenSSL::Crypto"]),
    "json": (["nlohmann/"], ["nlohmann_json::nlohmann_json"]),
    "spdlog": (["spdlog/", "fmt/"], ["spdlog::spdlog"]),
    "yaml": (["yaml-cpp/"], ["PkgConfig::YAMLCPP"]),
    "cli11": (["CLI/"], ["CLI11::CLI11"]),
    "sqlite": (["sqlite3.h"], ["SQLite::SQLite3"]),
    "pcre2": (["pcre2.h"], ["PkgConfig::PCRE2"]),
    "openmp": (["omp.h"], ["OpenMP::OpenMP_CXX"]),
    "prometheus": (["prometheus/"], ["prometheus-cpp::core"]),
    "benchmark": (["benchmark/"], ["benchmark::benchmark"]),
    "gtest": (["gtest/", "gmock/"], ["GTest::gtest", "GTest::gmock", "GTest::gtest_main"]),
}
SYSTEM_FOLDERS = ("sys/", "netinet/", "arpa/", "linux/", "net/")
BANNED_FOLDERS = {"utils", "util", "common", "helpers", "helper", "misc"}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def parse_matrix(text):
    rows = (line.split("|") for line in text.strip().splitlines())
    return {folder.strip(): (folders.split(), parties.split()) for folder, folders, parties in rows}


MATRIX = parse_matrix(MATRIX_TEXT)
PARTY_OF_TARGET = {target: party for party, (_, targets) in THIRD_PARTIES.items()
                   for target in targets}


def homes(party):
    return ", ".join(name for name, row in MATRIX.items() if party in row[1]) or "none"


def in_face(header, face):
    return any(header.startswith(entry[:-1]) if entry.endswith("*") else header == entry
               for entry in FACES[face][1])


def third_party(header):
    found = [(len(prefix), party) for party, (prefixes, _) in THIRD_PARTIES.items()
             for prefix in prefixes if header.startswith(prefix)]
    return max(found)[1] if found else None


def judge_folder(folder, header):
    """None if `folder` may include our `header`, else what it may include."""
    target = header.split("/")[0]
    allowed = MATRIX[folder][0]
    if target == folder or target in allowed:
        return None
    if any(face.startswith(target + ":") and in_face(header, face) for face in allowed):
        return None
    return f"{folder}/ may include only {', '.join(allowed) or 'nothing of ours'}"


def judge_third_party(folder, path, party):
    if party == "caf" and path != "actors/caf.hpp":
        return "CAF is included by actors/caf.hpp only: include that"
    if party in MATRIX[folder][1] or party == "benchmark" and path.endswith("_bench.cpp"):
        return None
    return f"{party} is not at home in {folder}/ (home: {homes(party)})"


def judge_include(folder, path, kind, header):
    """None if the include is allowed, else one sentence."""
    if header == "torch/torch.h":
        return "it costs 15 s a file: take ATen/core/Tensor.h and single-operator headers"
    party = third_party(header)
    if party:
        return judge_third_party(folder, path, party)
    if kind == "<":
        plain = "/" not in header or header.startswith(SYSTEM_FOLDERS)
        return None if plain else "an unknown third party: give it a home in the matrix"
    if header.split("/")[0] not in MATRIX:
        return 'name our headers from the root of the tree, as "folder/file.hpp"'
    return judge_folder(folder, header)


def includes(root, folder):
    """(path, line number, < or quote, header) of each include below a folder."""
    for file in sorted((root / folder).rglob("*.[ch]pp")):
        if "node_modules" in file.parts:
            continue
        path = file.relative_to(root).as_posix()
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                yield path, number, *match.groups()


def include_violations(root):
    for folder in MATRIX:
        for path, number, kind, header in includes(root, folder):
            reason = judge_include(folder, path, kind, header)
            if reason:
                yield f"{path}:{number} includes {header}: {reason}"


def test_violations(root):
    """Tests may include every folder; torch and CAF stay behind our own headers there too."""
    for path, number, _, header in includes(root, "tests"):
        party = third_party(header)
        if party == "torch" and not path.split("/")[-1].startswith("engine_"):
            yield f"{path}:{number} includes {header}: only tests/*/engine_* may look at torch"
        if party == "caf" and not path.startswith(("tests/simulation/", "tests/support/")):
            yield f"{path}:{number} includes {header}: CAF comes by actors/caf.hpp only"


def may_link(folder, name):
    """Whether a target of `folder` may link the target of ours called `name`."""
    allowed = MATRIX[folder][0]
    for face, (target, _) in FACES.items():
        owner = face.split(":")[0]
        if name == target and (face in allowed or owner in allowed or owner == folder):
            return True
    return name == folder or name in allowed


def link_violations(root):
    ours = set(MATRIX) | {target for target, _ in FACES.values()}
    for folder, (_, parties) in MATRIX.items():
        file = root / folder / "CMakeLists.txt"
        text = re.sub(r"#.*", "", file.read_text()) if file.exists() else ""
        for call in re.findall(r"target_link_libraries\(([^)]*)\)", text):
            target, *linked = call.split()
            for name in linked:
                party = PARTY_OF_TARGET.get(name, "benchmark")
                if name in ours and not may_link(folder, name):
                    yield f"{folder}/CMakeLists.txt: {target} links {name}: not in the matrix"
                elif party not in parties + ["benchmark"]:
                    yield f"{folder}/CMakeLists.txt: {target} links {name}: home: {homes(party)}"


def folder_violations(root):
    for path in sorted(root.rglob("*")):
        ours = not {"node_modules", ".git", "build"} & set(path.parts)
        if ours and path.name in BANNED_FOLDERS and path.is_dir():
            yield f"{path.relative_to(root)}: no drawers; name the folder after what it is"
    for path in sorted(root.glob("*/CMakeLists.txt")):
        folder = path.parent.name
        if folder not in MATRIX and folder != "tests" and not folder.startswith("build"):
            yield f"{folder}/ is not in the matrix: give it a row"


class the_tree(unittest.TestCase):
    def assert_none(self, violations):
        violations = list(violations)
        self.assertEqual(0, len(violations), "\n" + "\n".join(violations))

    def test_includes_follow_the_matrix(self):
        self.assert_none(include_violations(ROOT))

    def test_tests_reach_torch_and_caf_through_ours(self):
        self.assert_none(test_violations(ROOT))

    def test_cmake_links_follow_the_matrix(self):
        self.assert_none(link_violations(ROOT))

    def test_no_drawers_and_no_unknown_folders(self):
        self.assert_none(folder_violations(ROOT))

    def test_the_matrix_has_no_cycle(self):
        graph = {folder: {entry.split(":")[0] for entry in row[0]}
                 for folder, row in MATRIX.items()}
        settled = set()
        while graph:
            free = [folder for folder, needs in graph.items() if needs <= settled]
            self.assertTrue(free, f"these folders include each other in a ring: {sorted(graph)}")
            settled.update(free)
            graph = {folder: needs for folder, needs in graph.items() if folder not in settled}


class the_checker(unittest.TestCase):
    """Planted violations, so that a checker that sees nothing fails."""

    def plant(self, path, text):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = pathlib.Path(folder.name, path)
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return pathlib.Path(folder.name)

    def assert_seen(self, violations, words):
        violations = list(violations)
        self.assertEqual(1, len(violations), violations)
        self.assertIn(words, violations[0])

    def assert_include_seen(self, path, header, words):
        root = self.plant(path, f"#include {header}\n")
        self.assert_seen(include_violations(root), words)

    def test_sees_a_folder_that_includes_another(self):
        self.assert_include_seen("coordinator/a.cpp", '"engine/engine.hpp"', "may include only")

    def test_sees_the_carrier_where_only_terms_are_allowed(self):
        self.assert_include_seen("text/a.cpp", '"messages/msg.hpp"', "text/")
        fine = self.plant("text/a.cpp", '#include "messages/ids.hpp"\n')
        self.assertEqual([], list(include_violations(fine)))

    def test_sees_third_parties_away_from_home(self):
        for header, words in (("<ATen/core/Tensor.h>", "torch"), ("<sqlite3.h>", "sqlite"),
                              ("<caf/send.hpp>", "CAF"), ("<torch/torch.h>", "15 s"),
                              ("<unheard/of.h>", "unknown"), ('"port.hpp"', "from the root")):
            self.assert_include_seen("gateway/a.cpp", header, words)

    def test_sees_rpc_outside_of_the_link(self):
        self.assert_include_seen("messages/a.cpp", "<capnp/rpc.h>", "capnp-rpc")

    def test_sees_torch_and_caf_in_tests(self):
        for header in ("ATen/core/Tensor.h", "caf/send.hpp"):
            root = self.plant("tests/unit/link_test.cpp", f"#include <{header}>\n")
            self.assert_seen(test_violations(root), header)

    def test_sees_links_that_are_not_in_the_matrix(self):
        for line, words in (("text PUBLIC messages", "text links messages"),
                            ("text PRIVATE torch_cpu", "home: engine")):
            root = self.plant("text/CMakeLists.txt", f"target_link_libraries({line})\n")
            self.assert_seen(link_violations(root), words)

    def test_sees_drawers_and_strangers(self):
        self.assert_seen(folder_violations(self.plant("gateway/utils/a.cpp", "")), "no drawers")
        self.assert_seen(folder_violations(self.plant("extras/CMakeLists.txt", "")), "a row")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
