"""What explanations say where there is more to be said than a reason."""
import dataclasses

from host import Skip  # noqa: F401  (finds dom0/net)
import explain
import hypercall


def explained(**what):
    values = {f.name: 0 for f in dataclasses.fields(hypercall.Explained)}
    values.update(reply=b"", head=bytes(60), steps=[], owners=(None, None), flow="none", to=None)
    return hypercall.Explained(**{**values, **what})


def test_a_piece_without_its_first_one():
    for reason, more in (("frag-orphan", True), ("frag-overlap", False)):
        *_, verdict = explain.lines(explained(stage="packet", reason=reason), lambda n: f"interface {n}", [])
        assert verdict.startswith(f"verdict     not sent: {reason}") and ("2 seconds" in verdict) == more, verdict
