#!/usr/bin/python3
"""The rule language: errors and their places, canonical text, ids, review, differences, zones; TAP."""

import os
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "dom0", "net"))

import rules_compile  # noqa: E402
import rules_decompile  # noqa: E402
import rules_image  # noqa: E402
import rules_review  # noqa: E402
import rules_zones  # noqa: E402
from rules_parse import RulesError, parse  # noqa: E402

COMMAND = os.path.join(TOP, "dom0", "net", "rules.py")
EXAMPLE = """\
zone web = dom web1, dom web2
set bad : net timeout 1d
rate syn = 200 cps burst 400 per src
default drop log deny sample 1/16
r1: drop  from uplink ip @bad                       log deny as "blocklist"
r2: pass  from uplink to zone web port {80,443} proto tcp limit syn else drop log new
r3: pass  from zone web to dom db1 port 5432 proto tcp log end
r4: drop  from domains to domains                    log deny           # isolation by default
r5: pass  from domains to uplink proto {tcp,udp,icmp} log end
r6: pass  from domains to router port {53,67,4555,5351} proto udp
"""

# Text, line, column, a part of what is said.
ERRORS = [
    ("pas from any", 1, 1, "'pas' is not expected here, but"),
    ("pass\nbogus x", 2, 1, "'bogus'"),
    ("pass frm any", 1, 6, "'from'"),
    ("passfrom any", 1, 1, "'passfrom' is not a word"),
    ("pass from anyone", 1, 11, "'anyone' is not a word"),
    ("pass from an", 1, 11, "'an' is not expected"),
    ("pass from domain web1", 1, 11, "'domain' is not a word"),
    ("pass proto tcpx", 1, 12, "'tcpx' is not a word"),
    ("pass proto {tcp, udp", 1, 21, "the end"),
    ("pass from dom", 1, 14, "a domain's name"),
    ("pass from any port 70000", 1, 20, "from 0 to 65535"),
    ("pass from any port 90-80", 1, 20, "ends before it begins"),
    ("pass from any ip 10.0.0.1/8", 1, 18, "host bits"),
    ("pass from any ip 10.0.0.256", 1, 18, "no address"),
    ("pass from any ip 10.0.0.9-10.0.0.1", 1, 18, "ends before it begins"),
    ("pass from any ip 10.0.0.9-::1", 1, 18, "of its kind"),
    ("pass from any ip ::ffff:1.2.3.4", 1, 18, "is IPv4"),
    ("pass from any ip ::fffe:ffff:ffff-::1:0:0:0", 1, 18, "across IPv4"),
    ("pass from any ip @bad", 1, 19, "no set 'bad'"),
    ("pass from zone web", 1, 16, "no zone 'web'"),
    ("zone web = zone web", 1, 17, "no zone 'web'"),
    ("pass limit syn", 1, 12, "no rate 'syn'"),
    ("pass tagged x", 1, 13, "no tag 'x'"),
    ("pass from any ip $x", 1, 19, "no let 'x'"),
    ("let x = 80\npass from any ip $x", 2, 19, "has ports"),
    ("let x = {80, 10.0.0.1}", 1, 5, "both addresses and ports"),
    ("set x : port\npass from any ip @x", 2, 19, "set of port"),
    ("set x : ip\nset x : net", 2, 5, "already, in line 1"),
    ("set x : ip = {10.0.0.0/8}", 1, 15, "single addresses"),
    ("set x : port = {http}", 1, 17, "an element"),
    ("set x : ip.port = {10.0.0.1}", 1, 20, "ADDRESS:PORT"),
    ("set x : mac = {00:11:22:33:44}", 1, 16, "Ethernet"),
    ("set x : ip size 70000", 1, 17, "from 1 to 65536"),
    ("a: drop\na: drop", 2, 1, "rule 'a' already, in line 1"),
    ("drop from any from any", 1, 15, "'from' already"),
    ("drop flags S/SA", 1, 6, "proto tcp"),
    ("drop proto tcp flags S/A", 1, 22, "among those looked at"),
    ("drop type 3", 1, 6, "proto icmp"),
    ("drop to any port 80 proto icmp", 1, 6, "ports need"),
    ("drop from not any", 1, 11, "nowhere"),
    ("reject with rst", 1, 1, "proto tcp"),
    ("rate a = 0 cps", 1, 10, "from 1"),
    ("rate a = 1 cps burst 100000", 1, 22, "an hour"),
    ("default drop\ndefault drop", 2, 9, "already, in line 1"),
    ("drop ttl 0s", 1, 10, "a time"),
    ("drop dscp 64", 1, 11, "from 0 to 63"),
    ('drop log as "x', 1, 13, "a text in quotes"),
    ("drop log sample 1/0", 1, 17, "from 1"),
    ("drop class fast", 1, 12, "'express'"),
]


def compiled(text):
    return rules_compile.compile(parse(text))


class Language(unittest.TestCase):
    def test_errors_tell_their_places(self):
        for text, line, column, part in ERRORS:
            with self.subTest(text=text), self.assertRaises(RulesError) as caught:
                parse(text)
            e = caught.exception
            self.assertEqual((e.line, e.column), (line, column), f"{text!r}: {e}")
            self.assertIn(part, str(e), text)

    def test_keywords_are_names_where_names_stand(self):
        text = "zone from = dom to, label pass\nset set : ip\ndrop from zone from ip @set tag tag\ndrop tagged tag\n"
        self.assertEqual(str(parse(text)).count("zone from"), 2)

    def test_text_is_canonical(self):
        once = str(parse(EXAMPLE))
        self.assertEqual(str(parse(once)), once)
        self.assertEqual(parse("let l = {80, 443}\npass to any port $l").rules, parse("pass to any port {80,443}").rules)

    def test_too_many(self):
        for text, word in (("set s{} : ip", "sets"), ("zone z{} = any", "zones"), ("rate r{} = 1 cps", "rates"),
                           ("count tag t{}", "tags"), ("count proto {}", "protocols")):
            with self.subTest(word=word), self.assertRaises(RulesError) as caught:
                parse("\n".join(text.format(n) for n in range(257 if word != "protocols" else 200)))
            self.assertIn(f"at most {({'sets': 256, 'zones': 252, 'rates': 256, 'tags': 32, 'protocols': 14})[word]}",
                          str(caught.exception))


class Images(unittest.TestCase):
    def test_back_and_forth(self):
        data, names = compiled(EXAMPLE)
        text = str(rules_decompile.decompile(data, names))
        self.assertEqual(text, str(parse(EXAMPLE)))
        self.assertEqual(compiled(text), (data, names))

    def test_long_lists_become_sets(self):
        ports = ",".join(str(p) for p in range(0, 200, 2))
        nets = ",".join(f"10.{n}.0.0/24" for n in range(0, 200, 2))
        data, names = compiled(f"pass from any ip {{{nets},own}} to any port {{{ports}}}\n")
        image = rules_image.unpack(data)
        self.assertEqual(len(image.sets), 2)
        self.assertEqual(len(image.matches), 3)
        self.assertIn("10.198.0.0/24", str(rules_decompile.decompile(data, names)))

    def test_foreign_names_are_refused(self):
        data, names = compiled(EXAMPLE)
        for key, value in (("tags", ["x"]), ("sets", ["good"]), ("zones", {}), ("rates", [])):
            with self.assertRaises(rules_image.Broken):
                rules_decompile.decompile(data, names | {key: value})
        for bad in (b"", data[:-1], data + b"\0", bytes(len(data))):
            with self.assertRaises(rules_image.Broken):
                rules_decompile.decompile(bad, names)

    def test_ids_stay(self):
        def ids(text):
            return [(r.id, r.digest) for r in rules_image.unpack(compiled(text)[0]).rules]
        before = ids("a: drop to any port 80\npass\npass\ncount\n")
        after = ids("count\na: drop to any port 81\npass note \"so\"\n")
        self.assertEqual(len({i for i, _ in before}), 4)
        self.assertEqual(before[3], after[0])
        self.assertEqual(before[0][0], after[1][0])
        self.assertNotEqual(before[0][1], after[1][1])
        self.assertEqual(before[1], after[2])

    def test_biggest(self):
        text = "".join(f"pass from dom d{n % 200} to any port {n} proto tcp\n" for n in range(8192))
        self.assertEqual(len(rules_image.unpack(compiled(text)[0]).rules), 8192)
        with self.assertRaises(RulesError):
            parse(text + "drop\n")
        with self.assertRaises(RulesError):
            compiled("".join(f"pass from dom d{n}\n" for n in range(253)))

    def test_big_sets(self):
        data, _ = compiled("set s : port = {0-65535}\nset n : net = {" +
                           ",".join(f"10.{n >> 8}.{n & 255}.0/25" for n in range(5000)) + "}\n")
        used = [s for s in rules_image.unpack(data).slots if s.rest]
        self.assertEqual(len(used), 65536 + 5000)


class Review(unittest.TestCase):
    def check(self, text, *lines):
        self.assertEqual([n for n, _ in rules_review.warnings(parse(text)) if n], list(lines), text)

    def test_unreachable(self):
        self.check(EXAMPLE)
        self.check("drop from domains\npass from dom a\n", 2)
        self.check("drop from domains ttl 5s\npass from dom a\n")
        self.check("rate r = 1 cps\ndrop from domains limit r else next\npass from dom a\n")
        self.check("count from domains\npass from dom a\n")
        self.check("drop to any port 80-90\npass to any port {80,85-90}\npass to any port 91\n", 2)
        self.check("drop from not dom a\npass from not domains\npass from dom a\n", 2)
        self.check("drop to any ip not 10.0.0.0/8\npass to any ip not 0.0.0.0/0\n", 2)
        self.check("zone z = dom a, uplink 1\ndrop to domains\npass to zone z\npass to dom b\n", 4)
        self.check("drop proto tcp\npass proto {tcp,udp}\npass proto tcp flags S/SA\n", 3)

    def test_unused(self):
        texts = [t for _, t in rules_review.warnings(parse("zone z = any\nset s : ip\nrate r = 1 cps\ncount tag t\n"))]
        self.assertEqual(len(texts), 4)

    def test_difference(self):
        def diff(a, b):
            return rules_review.difference(parse(a), parse(b))
        self.assertEqual(diff(EXAMPLE, str(parse(EXAMPLE))), [])
        self.assertEqual(diff("a: drop\nb: pass\n", "b: pass\na: drop\n")[0][:6], "moved:")
        self.assertEqual(diff("set s : ip\n", "set s : ip = {10.0.0.1}\n"),
                         ["- set s : ip", "+ set s : ip = {10.0.0.1}"])
        self.assertEqual(diff("pass\n", "default reject\n"), ["- default drop", "+ default reject", "- pass"])


class Zones(unittest.TestCase):
    def test_masks(self):
        _, names = compiled("zone a = dom web1, uplink 1\nzone b = zone a, label blue\n"
                            "drop from vif 3.1 to zone b\ndrop from uplink 1 to router\n")
        I = rules_zones.Interface
        for iface, zones in ((I("domain", "web1", 1), {0, 1, 4, 5}), (I("uplink", index=1), {0, 2, 4, 5, 7}),
                             (I("uplink"), {0, 2}), (I("router"), {0, 3}), (I("domain", "x", 3, 1), {0, 1, 6}),
                             (I("domain", "x", 9, 0, frozenset({"blue"})), {0, 1, 5})):
            self.assertEqual(rules_zones.mask(names, iface), sum(1 << z for z in zones), iface)


class Command(unittest.TestCase):
    def run_it(self, *args):
        return subprocess.run([COMMAND, *args], capture_output=True, text=True, cwd=self.folder.name)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.write("good", EXAMPLE)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        with open(os.path.join(self.folder.name, name), "w", encoding="utf-8") as f:
            f.write(text)

    def test_nothing_half_done(self):
        self.write("bad", EXAMPLE + "pass fro any\n")
        self.assertEqual(self.run_it("compile", "good", "image").returncode, 0)
        before = self.run_it("decompile", "image").stdout
        done = self.run_it("compile", "bad", "image")
        self.assertEqual(done.returncode, 2)
        self.assertIn("bad:11:6: 'fro'", done.stderr)
        self.assertEqual(self.run_it("decompile", "image").stdout, before)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["bad", "good", "image", "image.names"])

    def test_diff(self):
        self.run_it("compile", "good", "image")
        self.assertEqual(self.run_it("diff", "good", "image").returncode, 0)
        self.write("other", EXAMPLE + "count\n")
        done = self.run_it("diff", "image", "other")
        self.assertEqual((done.returncode, done.stdout[:7]), (1, "+ count"))

    def test_no_abbreviations(self):
        self.assertEqual(self.run_it("comp", "good", "image").returncode, 2)


class Tap(unittest.TextTestResult):
    def report(self, test, ok):
        self.stream.write(f"{ok} {self.testsRun} - {test.id().partition('.')[2]}\n")

    def addSuccess(self, test):
        self.report(test, "ok")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.report(test, "not ok")

    def addError(self, test, err):
        super().addError(test, err)
        self.report(test, "not ok")


if __name__ == "__main__":
    runner = unittest.TextTestRunner(stream=sys.stdout, resultclass=Tap, verbosity=0)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    sys.exit(not runner.run(suite).wasSuccessful())
