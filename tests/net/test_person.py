"""Who changes something by a command is in the audit log before it is changed."""
import os
import sys
from unittest import mock

from host import Skip
import hypercall
import log_records
import person


class Router:
    """Takes notes of what is asked of it."""

    def __init__(self, full=False):
        self.asked, self.full = [], full

    def note(self, op, target, before="", after="", origin=hypercall.BY_DAEMON):
        if self.full:
            raise OSError(105, "no room")
        self.asked.append((op, target, after, origin))

    def change_lease(self, op, **order):
        self.asked.append(("lease", op))
        return 1, 4096

    def leases(self):
        return []


def command_module():
    try:
        import command
    except ModuleNotFoundError as why:
        raise Skip(f"there is no {why.name}") from why
    return command


def run(router, *words):
    command = command_module()
    with mock.patch.object(sys, "argv", ["serai-net", *words]), mock.patch.object(hypercall, "Router", lambda: router):
        return command.main()


def test_before_it_is_done():
    router = Router()
    assert run(router, "lease", "share", "192.0.2.1") == 0
    (op, _, after, origin), done = router.asked
    assert op == log_records.COMMAND and origin == hypercall.BY_SERAI and done == ("lease", command_module().SHARE)
    said = log_records.words(after)
    assert said["command"] == "lease,share,192.0.2.1" and said["user"] == person.user(os.getuid())
    assert said["parent"] == str(os.getppid()) and said["program"]


def test_leases_are_revoked():
    router = Router()
    assert run(router, "lease", "revoke", "7", "--drain", "60") == 0 and run(router, "lease", "unshare", "192.0.2.1") == 0
    assert [what for what in router.asked if what[0] == "lease"] == [("lease", 4), ("lease", 8)]


def test_whoever_only_looks_is_not_noted():
    router = Router()
    assert run(router, "lease", "list", "--json") == 0 and not router.asked


def test_what_cannot_be_noted_is_not_done():
    router = Router(full=True)
    assert run(router, "lease", "free", "7") == 1 and not router.asked


def test_words_stay_words():
    with mock.patch.object(person, "logged_in", lambda: "an admin"):
        said = log_records.words(person.said(["set", "add", "a b", "x\ny=z"]))
    assert said["login"] == "an_admin" and said["command"] == "set,add,a_b,x_y=z"


def test_who_logged_in_stays_who_he_is():
    for text, env, want in (("4294967295", {}, ""), ("", {"SUDO_USER": "eve"}, "eve"), ("0", {"SUDO_USER": "eve"}, "root")):
        with mock.patch.object(person, "proc", lambda *_, t=text: t), mock.patch.dict(os.environ, env, clear=True):
            assert person.logged_in() == want, text
