"""Who it is that changes something by a command, for the audit log: the hypervisor sees domain 0 only."""
import os
import pathlib
import pwd

from hypercall import BY_SERAI
from log_records import COMMAND

NOBODY = 2**32 - 1  # the kernel's word for: has not logged in


def proc(path, pid="self"):
    try:
        return pathlib.Path(f"/proc/{pid}/{path}").read_text(encoding="utf-8", errors="replace").strip("\0\n")
    except OSError:
        return ""


def user(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def logged_in():
    """Who logged in, whatever he has become since (sudo, su); '': nobody, it is a service's."""
    text = proc("loginuid")
    if text.isdigit() and int(text) != NOBODY:
        return user(int(text))
    return os.environ.get("SUDO_USER", "")


def word(text):
    """Texts of audit records are words NAME=VALUE."""
    return "".join("_" if c.isspace() or not c.isprintable() else c for c in text)


def said(words):
    parent = os.getppid()
    found = {"user": user(os.getuid()), "login": logged_in(), "parent": parent, "program": proc("comm", parent)}
    return " ".join(f"{key}={word(str(value))}" for key, value in found.items() if value != "") + \
        " command=" + ",".join(map(word, words))


def note(router, words):
    """Before anything is changed; OSError: it cannot be written down, so it must not be done."""
    router.note(COMMAND, 0, after=said(words)[:4096], origin=BY_SERAI)
