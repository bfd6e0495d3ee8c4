"""The rules in force: their text, compiled, in the hypervisor, and which interface is in which zones.

What the hypervisor does not keep of a ruleset - names, and what zones consist of - is in STATE,
beside the generation that it belongs to; so a daemon that is started again goes on.
"""

import errno
import json
import os
import pathlib

import rules_compile
import rules_parse
import rules_zones
from hypercall import UPLINK

FILE = pathlib.Path("/etc/serai/net.rules")
STATE = pathlib.Path("/var/lib/serai/net/rules.json")


class Refused(Exception):
    """Rules that are not installed; the text says why."""


def interface(vif, name):
    if vif.kind == UPLINK:
        return rules_zones.Interface("uplink", index=vif.handle)
    return rules_zones.Interface("domain", name, vif.domid, vif.handle)


def compile_text(text):
    try:
        return rules_compile.compile(rules_parse.parse(text))
    except rules_parse.RulesError as why:
        raise Refused(f"{FILE}:{why}") from why


class Policy:
    def __init__(self, state=STATE):
        self.state = state

    def load(self):
        try:
            return json.loads(self.state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"generation": 0, "names": {"zones": {}}, "text": ""}

    def save(self, generation, names, text):
        """As a whole or not at all."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        new = self.state.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as f:
            json.dump({"generation": generation, "names": names, "text": text}, f)
            f.flush()
            os.fsync(f.fileno())
        new.replace(self.state)

    def zones(self, names, vif, name):
        return rules_zones.mask(names, interface(vif, name))

    def install(self, router, text, domain_names, generation=None):
        """Takes the place of 'generation' (None: whichever is in force); returns the new one."""
        image, names = compile_text(text)
        if generation is None:
            generation = router.generation()
        zones = {v.vif: self.zones(names, v, domain_names.get(v.domid, "")) for v in router.vifs()}
        try:
            new = router.install(image, generation, zones)
        except OSError as why:
            if why.errno == errno.EBUSY:
                raise Refused(f"generation {generation} is not in force any more: somebody else has "
                              "installed rules meanwhile; look at them, then try again") from why
            raise Refused(f"the hypervisor does not take the rules: {why.strerror}") from why
        self.save(new, names, text)
        return new

    def connect(self, router, vif, name):
        """Connects an interface in its zones; rules may change meanwhile."""
        while True:
            known = self.load()
            vif.generation = router.generation()
            vif.zones = self.zones(known["names"], vif, name)
            try:
                return router.connect(vif)
            except OSError as why:
                if why.errno != errno.EBUSY or router.generation() == vif.generation:
                    raise
