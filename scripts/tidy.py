#!/usr/bin/env python3
"""Holds the code to its bounds: sizes, names, banned words, include guards, build lists, and README's tables.

    scripts/tidy.py [ROOT]            prints file:line: what is wrong, and exits 1 if anything is
    scripts/tidy.py --write-tables    rewrites the tables of errors and metrics in README.md from the code

The limits only ever go down.
"""

import pathlib
import re
import sys

FUNCTION_LINES = 70
FILE_LINES = {".cc": 600, ".h": 300, ".py": 300}
LINE_CHARACTERS = {".cc": 100, ".h": 100, ".py": 120}
TOPS = ("libs", "services", "tests", "proto", "scripts", "deploy", ".ci")
SOURCES = (".cc", ".h")
TEXTS = (".cc", ".h", ".py", ".sh", ".md", ".txt", ".def", ".proto", ".js", ".json", ".yaml", ".yml", ".cmake", "")
ITSELF = ("scripts/tidy.py", "scripts/tidy_test.py")

# (pattern, why, where it is allowed). Searched in C++ without its comments.
BANNED = [
    (r"\babsl::(Mutex|Notification|BlockingCounter)\b", "ThreadSanitizer does not see it: use falaj::Mutex", ()),
    (r"\bthis_thread::sleep", "wait on a condition with a deadline, or take a Clock", ()),
    (r"(?<![\w.>])s?rand\(", "take a falaj::Random", ()),
    (r"\bsystem_clock\b", "take a falaj::Clock", ("libs/base/",)),
    (r"\b(class|struct)\s+(\[\[\w+\]\]\s*)?\w+(Manager|Handler|Processor|Helper|Utils?)\b",
     "name it after what it is in the domain", ()),
    (r"^\s*#\s*pragma\s+once", "use an include guard", ()),
]
# Searched in whole lines of every text.
BANNED_TEXT = [
    (r"\bFIXME\b|\bTODO\b(?!\(#\d+\))", "finish it, or name its issue: TODO(#12)"),
    (r"(?<![\w.])/(work|root|home/\w+)/", "no paths of a machine"),
]
STRINGS = r'(?:"(?:\\.|[^"\\])*"\s*)+'  # One C++ string, in as many pieces as it takes.
BANNED_NAMES = re.compile(r"(^|_)(utils?|common|helpers?|misc)$")


def files(root):
    """All text files of the project below ROOT, as (path, posix name), without build results."""
    for top in TOPS:
        for path in sorted((root / top).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix in TEXTS and not re.search(r"(node_modules|__pycache__|testdata)/", name):
                yield path, name
    for name in ("README.md", "CMakeLists.txt", "CMakePresets.json"):
        if (root / name).exists():
            yield root / name, name


def without_comments(text, keep_strings=False):
    """C++ with comments, and strings unless kept, blanked out; lines stay where they are."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match):
        word = match.group(0)
        if word[0] == "/":
            return "\n" * word.count("\n")
        return word if keep_strings else '""' + "\n" * word.count("\n")

    return token.sub(blank, text)


def functions(code):
    """(first line, length, name) of every function in C++ without comments and strings, lambdas included in theirs.

    Knows no grammar: a brace that opens anything but a namespace, class, enum or initialiser opens a function.
    """
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group(0).count("\n"), code, flags=re.M)
    scopes = []  # One entry an open brace: None for a scope, else (first line, name) of the outermost function.
    start, line = 0, 1
    for match in re.finditer(r"[{};\n]", code):
        mark = match.group(0)
        if mark == "\n":
            line += 1
            continue
        inside = scopes and scopes[-1] is not None
        if mark == "{":
            header = re.sub(r"^(?:\s*(?:public|private|protected)\s*:)+", "", code[start:match.start()])
            scope = re.match(r"\s*(?:template\s*<.*>\s*)?(?:inline\s+|typedef\s+)?"
                             r"(?:namespace|class|struct|enum|union|extern)\b", header, re.S)
            opens = not inside and not (scope and "(" not in header.split("{")[0].split("[[")[0]) \
                and not header.rstrip().endswith("=")
            name = re.search(r"([\w:~]+)\s*\(", header)
            first = line - header.strip().count("\n") if opens else 0
            scopes.append(scopes[-1] if inside else (first, name.group(1) if name else "?") if opens else None)
        elif mark == "}" and scopes:
            ended = scopes.pop()
            if ended and not (scopes and scopes[-1] is not None):
                yield ended[0], line - ended[0] + 1, ended[1]
        if not inside or not scopes or scopes[-1] is None:
            start = match.end()


def check_source(name, text):
    """Breaches of one C++ file."""
    code = without_comments(text)
    for pattern, why, homes in BANNED:
        for match in re.finditer(pattern, code, re.M):
            if not name.startswith(tuple(homes) or ("\0",)):
                yield code.count("\n", 0, match.start()) + 1, f"{match.group(0).strip()}: {why}"
    for first, length, function in functions(code):
        if length > FUNCTION_LINES:
            yield first, f"{function}: {length} lines; a function has at most {FUNCTION_LINES}"
    if name.endswith(".h"):
        guard = re.sub(r"\W", "_", name).upper() + "_"
        if not re.search(rf"^#ifndef {guard}\n#define {guard}\n", text, re.M):
            yield 1, f"wants the include guard {guard}"


def check_text(name, text):
    """Breaches of one text file."""
    suffix = pathlib.PurePosixPath(name).suffix
    lines = text.splitlines()
    if len(lines) > FILE_LINES.get(suffix, len(lines)):
        yield FILE_LINES[suffix], f"{len(lines)} lines; a {suffix} file has at most {FILE_LINES[suffix]}"
    for part in pathlib.PurePosixPath(name).with_suffix("").parts:
        if BANNED_NAMES.search(part):
            yield 1, f"{part}: name it after what it holds"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARACTERS.get(suffix, len(line)):
            yield number, f"{len(line)} characters; a line has at most {LINE_CHARACTERS[suffix]}"
        for pattern, why in BANNED_TEXT:
            match = re.search(pattern, line)
            if match:
                yield number, f"{match.group(0)}: {why}"


def unlisted(root, name):
    """True if no CMakeLists.txt in the file's folder, or above, builds this .cc file."""
    path = root / name
    for folder in path.parents:
        listing = folder / "CMakeLists.txt"
        if listing.exists():
            relative = re.escape(path.relative_to(folder).as_posix())
            if re.search(rf"(?<![\w./]){relative}(?![\w.])", listing.read_text()):
                return False
        if folder == root:
            return True
    return True


def error_rows(root):
    """README's table of errors, from libs/base/errors.def."""
    table = root / "libs/base/errors.def"
    reason = re.compile(r'^FALAJ_REASON\(k\w+, (\w+), k(\w+), (true|false), "(.*)"\)', re.M)
    for name, code, definite, sentence in reason.findall(table.read_text() if table.exists() else ""):
        code = re.sub(r"(?<!^)([A-Z])", r"_\1", code).upper()
        yield f"| `{name}` | {code} | {'yes' if definite == 'true' else 'no'} | {sentence} |"


def metric_rows(root):
    """README's table of metrics, from the names and help texts in the code."""
    helps = {}
    for path, name in files(root):
        if path.suffix not in SOURCES or name.startswith("tests/") or re.search(r"_test\.|/testing/", name):
            continue
        code = without_comments(path.read_text(), keep_strings=True).replace("\\\n", "\n")
        for match in re.finditer(rf'"(falaj_[a-z0-9_]+)"(?:\s*,\s*({STRINGS}|\w+))?', code):
            text = match.group(2) or ""
            if re.fullmatch(r"\w+", text):  # The help text is a constant of the same file.
                constant = re.search(rf"\b{text}(?:\[\])?\s*=\s*({STRINGS})", code)
                text = constant.group(1) if constant else ""
            text = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', text))
            texts = helps.setdefault(match.group(1), {})
            # A name without a help text behind it only repeats one that has it, or takes it from a variable.
            if text:
                texts.setdefault(text, name)
            where = texts.setdefault("", set())
            where.add("/".join(name.split("/")[:2]).replace("libs/telemetry", "every service"))
    for metric in sorted(helps):
        where = ", ".join(sorted(helps[metric].pop("")))
        yield f"| `{metric}` | {where} | {' / '.join(helps[metric])} |"


TABLES = (("errors", "| reason | code | definite | meaning |\n|---|---|---|---|", error_rows),
          ("metrics", "| metric | from | meaning |\n|---|---|---|", metric_rows))


def with_tables(root, readme):
    """README's text with each table between its two marks made anew."""
    for name, header, rows in TABLES:
        table = "\n".join([header, *rows(root)])
        readme = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m.group(1) + table + "\n" + m.group(2),
                        readme, flags=re.S)
    return readme


def check(root):
    """All breaches as 'file:line: what'."""
    found = []
    for path, name in files(root):
        text = path.read_text()
        breaches = [] if name in ITSELF else list(check_text(name, text))
        if path.suffix in SOURCES:
            breaches += check_source(name, text)
        if path.suffix == ".cc" and unlisted(root, name):
            breaches.append((1, "no CMakeLists.txt builds it"))
        found += [f"{name}:{line}: {what}" for line, what in sorted(breaches)]
    readme = root / "README.md"
    if readme.exists():
        now, wanted = readme.read_text().splitlines(), with_tables(root, readme.read_text()).splitlines()
        if now != wanted:
            row = next(line for line in wanted + now if (line in wanted) != (line in now))
            found.append(f"README.md:1: a table differs from the code (scripts/tidy.py --write-tables): {row}")
    return found


def main():
    if sys.argv[1:] == ["--write-tables"]:
        readme = pathlib.Path(__file__).resolve().parent.parent / "README.md"
        readme.write_text(with_tables(readme.parent, readme.read_text()))
        return 0
    found = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent))
    print("\n".join(found + [f"tidy: {len(found)} breaches"] if found else ["tidy: ok"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
