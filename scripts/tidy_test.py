#!/usr/bin/env python3
"""Plants breaches of every rule in small source trees and checks that tidy.py and check_layers.py find them."""

import pathlib
import tempfile
import unittest

import check_layers
import tidy

CMAKE = "falaj_library(x SRCS a.cc)\n"
HEADER = "#ifndef LIBS_X_A_H_\n#define LIBS_X_A_H_\n#endif  // LIBS_X_A_H_\n"


class Tree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, files):
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


class Tidy(Tree):
    def found(self, text, name="libs/x/a.cc", **others):
        self.write({"libs/x/CMakeLists.txt": CMAKE, name: text, **others})
        return "\n".join(tidy.check(self.root))

    def test_clean_tree_is_clean(self):
        self.assertEqual(self.found("int Sum(int a) { return a; }\n", **{"libs/x/a.h": HEADER}), "")

    def test_long_function_is_found_and_one_at_the_limit_is_not(self):
        for lines, found in ((tidy.FUNCTION_LINES, False), (tidy.FUNCTION_LINES + 1, True)):
            body = "  Use(\"}\");  // }\n" * (lines - 2)
            for head in ("void Long(int a) {", "TEST(Long, Sentence) {", "auto Long() -> std::vector<int> {"):
                text = f"namespace falaj {{\nclass A {{\n void Ok() {{}}\n}};\n{head}\n{body}}}\n}}  // namespace falaj\n"
                self.assertEqual("a function has at most" in self.found(text), found, (lines, head))

    def test_long_constructor_with_braced_members_is_found(self):
        body = "  Use();\n" * tidy.FUNCTION_LINES
        self.assertIn("a function has at most", self.found("A::A(int a) : a_{a}, b_{} {\n" + body + "}\n"))

    def test_method_in_a_class_is_measured_and_the_class_is_not(self):
        methods = "  void Short() {\n    Use();\n  }\n" * 40
        self.assertEqual(self.found("class A : public B {\n public:\n" + methods + "};\n"), "")
        body = "    Use();\n" * tidy.FUNCTION_LINES
        self.assertIn("libs/x/a.cc:3: Long:", self.found("class A {\n public:\n  void Long() {\n" + body + "  }\n};\n"))

    def test_long_file_and_long_line_are_found(self):
        self.assertIn("a .cc file has at most", self.found("int a;\n" * 601))
        self.assertIn("a line has at most 100", self.found("// " + "x" * 98 + "\n"))

    def test_banned_words_are_found(self):
        for word in ("absl::Mutex mu;", "absl::Notification n;", "absl::BlockingCounter c(1);", "int x = rand();",
                     "std::this_thread::sleep_for(s);", "auto t = std::chrono::system_clock::now();",
                     "class LogManager {};", "struct AckHandler {};", "class [[nodiscard]] IoHelper {};",
                     "// FIXME", "// TODO: later", 'const char* p = "/root/x";'):
            self.assertIn("libs/x/a.cc:2:", self.found("int a;\n" + word + "\n"), word)

    def test_banned_words_in_comments_and_longer_words_are_not(self):
        for word in ("// absl::Mutex", '"rand()";', "int operand(int);", "grand(1);", "// TODO(#12): x",
                     "class HandlerTable {};"):
            self.assertEqual(self.found(word + "\n"), "", word)

    def test_missing_guard_and_pragma_once_are_found(self):
        found = self.found("int a;\n", **{"libs/x/a.h": "#pragma once\n"})
        self.assertIn("LIBS_X_A_H_", found)
        self.assertIn("use an include guard", found)

    def test_file_that_is_not_built_is_found(self):
        self.assertIn("no CMakeLists.txt builds it", self.found("int a;\n", name="libs/x/aa.cc"))

    def test_dumping_grounds_are_found(self):
        for name in ("libs/utils/a.h", "libs/x/string_helpers.h", "libs/x/common.h"):
            self.assertIn("name it after what it holds", self.found(HEADER, name=name), name)

    def test_readme_tables_must_equal_the_code(self):
        self.write({"libs/base/errors.def": 'FALAJ_REASON(kNotHere, NOT_HERE, kNotFound, true, "Gone.")\n',
                    "README.md": "<!-- errors -->\n<!-- /errors -->\n<!-- metrics -->\n<!-- /metrics -->\n"})
        source = 'void F() { Add("falaj_x_total",\n      "What "\n "it is."); }\n'
        self.assertIn("README.md:1: a table differs", self.found(source))
        readme = self.root / "README.md"
        readme.write_text(tidy.with_tables(self.root, readme.read_text()))
        self.assertIn("| `NOT_HERE` | NOT_FOUND | yes | Gone. |", readme.read_text())
        self.assertIn("| `falaj_x_total` | libs/x | What it is. |", readme.read_text())
        self.assertEqual(self.found(source), "")
        self.assertIn("README.md:1: a table differs", self.found(source.replace("_x_", "_y_")))


class Layers(Tree):
    def found(self, name, include):
        self.write({name: f"int a;\n#include {include}\n"})
        found = check_layers.check(self.root)
        (self.root / name).unlink()
        return bool(found)

    def test_breaches_are_found(self):
        for name, include in (("libs/base/a.h", '"libs/record/batch.h"'), ("libs/record/a.cc", '"libs/raft/log.h"'),
                              ("libs/raft/a.cc", "<thread>"), ("libs/raft/a.cc", "<chrono>"),
                              ("libs/raft/a.cc", '"grpcpp/grpcpp.h"'), ("libs/rpc/a.cc", '"rocksdb/db.h"'),
                              ("services/storage/a.cc", '"rocksdb/db.h"'), ("libs/cluster/a.h", "<fstream>"),
                              ("libs/log/a.cc", '"prometheus/counter.h"'), ("libs/rpc/a.cc", '"civetweb.h"'),
                              ("libs/client/a.cc", '"falaj/internal/v1/raft.pb.h"'),
                              ("libs/cluster/a.cc", '"falaj/internal/v1/raft.grpc.pb.h"'),
                              ("libs/new/a.cc", "<vector>"), ("libs/rpc/a.cc", '"services/gateway/a.h"'),
                              ("services/gateway/a.cc", '"services/storage/a.h"')):
            self.assertTrue(self.found(name, include), (name, include))

    def test_what_is_allowed_is_not_found(self):
        for name, include in (("libs/log/a.cc", '"rocksdb/db.h"'), ("libs/client/a.cc", '"libs/rpc/channel.h"'),
                              ("libs/raft/a_test.cc", "<fstream>"), ("libs/raft/a.cc", '"falaj/internal/v1/raft.pb.h"'),
                              ("services/cli/dev.cc", '"services/storage/a.h"'), ("libs/raft/a.cc", "<vector>"),
                              ("services/gateway/a.cc", '"services/gateway/b.h"')):
            self.assertFalse(self.found(name, include), (name, include))


if __name__ == "__main__":
    unittest.main()
