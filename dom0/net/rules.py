#!/usr/bin/python3
"""Rules of the virtual firewall router: text to what the hypervisor takes, and back.

    rules.py check FILE              says what is wrong or odd
    rules.py compile FILE OUT        writes OUT, and OUT.names beside it
    rules.py decompile IMAGE         the text that IMAGE, with its IMAGE.names, came from
    rules.py diff OLD NEW            what two rulesets, texts or images, do not have in common

Exit status: 0; 1: diff found differences; 2: something is wrong, and nothing was written.
"""

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import rules_compile  # noqa: E402
import rules_decompile  # noqa: E402
import rules_image  # noqa: E402
import rules_parse  # noqa: E402
import rules_review  # noqa: E402


class Failure(Exception):
    """A message for the user."""


def read_text(path):
    try:
        return rules_parse.parse(pathlib.Path(path).read_text(encoding="utf-8"))
    except rules_parse.RulesError as e:
        raise Failure(f"{path}:{e}") from e
    except UnicodeDecodeError as e:
        raise Failure(f"{path}: not UTF-8: {e}") from e


def read_image(path):
    try:
        names = json.loads(pathlib.Path(path + ".names").read_text(encoding="utf-8"))
        return rules_decompile.decompile(pathlib.Path(path).read_bytes(), names)
    except (rules_image.Broken, ValueError) as e:
        raise Failure(f"{path}: {e}") from e


def read_either(path):
    with open(path, "rb") as f:
        is_image = f.read(4) == rules_image.MAGIC.to_bytes(4, "little")
    return read_image(path) if is_image else read_text(path)


def compiled(path):
    ruleset = read_text(path)
    try:
        return ruleset, *rules_compile.compile(ruleset)
    except rules_parse.RulesError as e:
        raise Failure(f"{path}:{e}") from e


def replace(path, data):
    """The whole file or the old one, whatever happens."""
    with open(path + ".new", "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + ".new", path)


def warn(path, ruleset):
    for line, text in rules_review.warnings(ruleset):
        print(f"{path}:{line}: warning: {text}" if line else f"{path}: warning: {text}", file=sys.stderr)


def check(args):
    ruleset, data, _ = compiled(args.file)
    warn(args.file, ruleset)
    print(f"{len(ruleset.rules)} rules, {len(data)} bytes")
    return 0


def compile_file(args):
    ruleset, data, names = compiled(args.file)
    warn(args.file, ruleset)
    replace(args.out + ".names", json.dumps(names, indent=1).encode() + b"\n")
    replace(args.out, data)
    return 0


def decompile(args):
    print(read_image(args.image), end="")
    return 0


def diff(args):
    found = rules_review.difference(read_either(args.old), read_either(args.new))
    print("".join(f"{line}\n" for line in found), end="")
    return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, act, words in (("check", check, ["file"]), ("compile", compile_file, ["file", "out"]),
                             ("decompile", decompile, ["image"]), ("diff", diff, ["old", "new"])):
        command = commands.add_parser(name, allow_abbrev=False)
        command.set_defaults(act=act)
        for word in words:
            command.add_argument(word)
    args = parser.parse_args()
    try:
        return args.act(args)
    except (Failure, OSError) as e:
        print(f"rules: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
