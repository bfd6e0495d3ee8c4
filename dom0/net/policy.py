"""The rules in force: their text, compiled, in the hypervisor, and which interface is in which zones.

What the hypervisor does not keep of a ruleset - names, and what zones consist of - is in STATE,
beside the generation that it belongs to; so a daemon that is started again goes on.
"""

import errno
import hashlib
import json
import os
import pathlib

import rules_compile
import rules_parse
import rules_zones
from hypercall import BY_SERAI, NOTE_MAX, PUNT, UPLINK
from log_records import RULES_TEXT

FILE = pathlib.Path("/etc/serai/net.rules")
STATE = pathlib.Path("/var/lib/serai/net/rules.json")


class Refused(Exception):
    """Rules that are not installed; the text says why."""


def interface(vif, name):
    if vif.kind == UPLINK:
        return rules_zones.Interface("uplink", index=vif.handle)
    if vif.kind == PUNT:
        return rules_zones.Interface("router")
    return rules_zones.Interface("domain", name, vif.domid, vif.handle)


def compile_text(text):
    try:
        return rules_compile.compile(rules_parse.parse(text))
    except rules_parse.RulesError as why:
        raise Refused(f"{FILE}:{why}") from why


def note_of(text):
    """What the audit log has of a ruleset: all of it, or its digest."""
    data = text.encode()
    return text if len(data) <= NOTE_MAX else f"bytes={len(data)} sha256={hashlib.sha256(data).hexdigest()}"


class Policy:
    def __init__(self, state=STATE):
        self.state = state

    def load(self):
        try:
            return json.loads(self.state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"generation": 0, "names": {"zones": {}}, "text": ""}

    def known(self, router):
        """What is in force, as far as it is known: rules that were not confirmed are forgotten."""
        known, generation = self.load(), router.generation()
        before = known.get("before")
        if before and generation == known["generation"] + 1:
            self.save(generation, before["names"], before["text"])
            return self.load()
        return known

    def save(self, generation, names, text, before=None):
        """As a whole or not at all; 'before': what comes back if this is not confirmed."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        new = self.state.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as f:
            json.dump({"generation": generation, "names": names, "text": text, "before": before}, f)
            f.flush()
            os.fsync(f.fileno())
        new.replace(self.state)

    def zones(self, names, vif, name):
        return rules_zones.mask(names, interface(vif, name))

    def install(self, router, text, domain_names, generation=None, seconds=0):
        """Takes the place of 'generation' (None: whichever is in force), with 'seconds' not 0 only
        until it is not confirmed in time; returns the new one."""
        image, names = compile_text(text)
        before = self.known(router) if seconds else None
        if generation is None:
            generation = router.generation()
        zones = {v.vif: self.zones(names, v, domain_names.get(v.domid, "")) for v in router.vifs()}
        try:
            router.note(RULES_TEXT, generation + 1, after=note_of(text), origin=BY_SERAI)
            new = router.install(image, generation, zones, seconds=seconds)
        except OSError as why:
            if why.errno == errno.EBUSY:
                raise Refused(f"generation {generation} is not in force any more: somebody else has "
                              "installed rules meanwhile; look at them, then try again") from why
            if why.errno == errno.EAGAIN:
                raise Refused("the rules in force wait to be confirmed: 'serai net rule confirm' or "
                              "'serai net rule rollback' comes first") from why
            if why.errno == errno.ENOBUFS:
                raise Refused("the audit log is full, and no change is made without a record: logd.py must run") from why
            raise Refused(f"the hypervisor does not take the rules: {why.strerror}") from why
        self.save(new, names, text, before)
        return new

    def decide(self, router, op):
        """Rules that wait stay, or go; the generation then in force."""
        known = self.known(router)
        try:
            new = router.decide(op, router.generation())
        except FileNotFoundError as why:
            raise Refused("no rules wait to be confirmed") from why
        if new == known["generation"]:
            self.save(new, known["names"], known["text"])
        self.known(router)
        return new

    def connect(self, router, vif, name):
        """Connects an interface in its zones; rules may change meanwhile."""
        while True:
            known = self.known(router)
            vif.generation = router.generation()
            vif.zones = self.zones(known["names"], vif, name)
            if known.get("before"):
                vif.zones_before = self.zones(known["before"]["names"], vif, name)
            try:
                return router.connect(vif)
            except OSError as why:
                if why.errno != errno.EBUSY or router.generation() == vif.generation:
                    raise
