"""The rules of the near cache by themselves, without a server: a plain telling of what
was heard, which forgets nothing and looks through all of it, says what a cache may keep."""

import time
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from cache_notify._core import Core, Entry, Part
from cache_notify._heard import MAX_HEARD
from cache_notify._payload import Change

DEFINITION = "cache_notify/definition/1"
FOREVER = float("inf")


class Counts:
    """Metrics that only count."""

    def __init__(self):
        self.counts = {}

    def count(self, event, reason="", n=1):
        self.counts[event, reason] = self.counts.get((event, reason), 0) + n


def make(max_entries=100, max_bytes=None, size_of=None):
    core = Core(max_entries, max_bytes, size_of, Counts())
    core.extend_lease(FOREVER)
    return core


def part(domain="d", tenant="t", key=None, version=1, shared=0):
    return Part(tenant, domain, key, version, shared)


def entry(*parts, value="v", expires=FOREVER, **how):
    return Entry(value, "token", parts, expires, **how)


# ------------------------------------------------------------- against the plain telling

def folded(key):
    return None if key is None else key.lower()


def names_key(change, key):
    """Is a change one of this key (None: of the domain), as far as it tells its keys?"""
    return key is None or change.keys is None or folded(key) in map(folded, change.keys)


@dataclass
class Telling:
    """Everything that was heard, and what is held."""

    heard: list = field(default_factory=list)       # of Changes; None: forgotten
    held: dict = field(default_factory=dict)

    def known(self):
        """With their numbers, those that nothing made us forget."""
        last = max((i for i, change in enumerate(self.heard) if change is None), default=-1)
        return [(i, change) for i, change in enumerate(self.heard) if i > last]

    def more(self, since, tenant, part, version):
        """Was more than this version told since then, of this tenant's part?"""
        own = [(i, c) for i, c in self.known() if (c.tenant, c.domain) == (tenant, part.domain)]
        for group in ([(i, c) for i, c in own if part.key is None or
                       (c.keys is not None and names_key(c, part.key))],
                      [(i, c) for i, c in own if part.key is not None and c.keys is None]):
            # What was told before concerns older fills: theirs is the higher of both.
            if group and group[-1][0] >= since and max(c.version for _, c in group) > version:
                return True
        return False

    def lacks(self, since, part):
        if self.more(since, None, part, part.shared_version):
            return True
        if part.tenant is not None and not part.internal:
            return self.more(since, part.tenant, part, part.version)
        return any(i >= since and c.domain == part.domain and names_key(c, part.key)
                   for i, c in self.known())

    def refuses(self, since, parts):
        return None in self.heard[since:] or any(self.lacks(since, part) for part in parts)

    @staticmethod
    def outdates(change, parts):
        concerned = [p for p in parts if p.domain == change.domain and names_key(change, p.key)
                     and (change.tenant is None or p.tenant in (None, change.tenant))]
        return bool(concerned) and any(
            p.internal or (p.shared_version < change.version if change.tenant is None else
                           p.tenant is None or (p.tenant == change.tenant
                                                and p.version < change.version))
            for p in parts if p.domain == change.domain)

    def hear(self, change):
        self.heard.append(change)
        self.held = {name: parts for name, parts in self.held.items()
                     if not self.outdates(change, parts)}


tenants = st.sampled_from([None, "t", "u"])
domains = st.sampled_from(["d", "e", DEFINITION])
keys = st.sampled_from(["1", "k", "K"])
versions = st.integers(0, 6)
parts = st.builds(Part, tenants, domains, st.none() | keys, versions, versions)
changes = st.builds(Change, tenants, domains, versions,
                    st.none() | st.lists(keys, max_size=2).map(tuple))
names = st.sampled_from(["a", "b", "c"])


class Rules(RuleBasedStateMachine):
    """What happens in any order to a cache, and to the plain telling."""

    fills = Bundle("fills")

    def __init__(self):
        super().__init__()
        self.core, self.telling, self.leased = make(), Telling(), True

    @rule(target=fills)
    def begin(self):
        return self.core.ticket(), len(self.telling.heard)

    @rule(change=changes)
    def hear(self, change):
        self.core.hear(change)
        self.telling.hear(change)

    @rule(tenant=tenants, domain=domains)
    def write(self, tenant, domain):
        # Nobody has asked how this tenant is spelled: it may be anybody's.
        self.core.hear_own(tenant, domain)
        self.telling.hear(Change(None, domain, FOREVER))

    @rule(fill=fills, name=names, parts=st.lists(parts, min_size=1, max_size=3))
    def store(self, fill, name, parts):
        ticket, since = fill
        refuses = self.telling.refuses(since, parts)
        assert self.core.outdated(ticket, parts) == refuses
        unknown = self.core.outdated(ticket, None)
        assert unknown == (len(self.telling.heard) > since)
        kept = self.core.store(name, entry(*parts), ticket)
        assert kept == (self.leased and not refuses)
        if kept:
            self.telling.held[name] = parts

    @rule(name=names)
    def forget(self, name):
        self.core.forget(name)
        self.telling.held.pop(name, None)

    @rule()
    def reset(self):
        self.core.reset()
        self.telling.heard.append(None)
        self.telling.held = {}

    @rule()
    def listen_anew(self):
        self.core.listen_anew()
        self.telling.heard.append(None)
        self.telling.held = {name: parts for name, parts in self.telling.held.items()
                             if not any(p.internal for p in parts)}

    @rule()
    def lose(self):
        self.core.end_lease()
        self.leased = False

    @rule()
    def find_again(self):
        self.core.extend_lease(FOREVER)
        self.leased = True

    @invariant()
    def same(self):
        for name in ("a", "b", "c"):
            held = name in self.telling.held
            assert (self.core.peek(name) is not None) == held
            assert (self.core.find(name) is not None) == (held and self.leased)
        assert len(self.core) == len(self.telling.held)
        watched = {(p.domain, p.tenant, folded(p.key), name)
                   for name, parts in self.telling.held.items() for p in parts}
        assert watched == {(domain, tenant, key, name)
                           for domain, by_tenant in self.core._watching.items()
                           for tenant, by_key in by_tenant.items()
                           for key, found in by_key.items() for name in found}
        assert all(by_key for by_tenant in self.core._watching.values()
                   for by_key in by_tenant.values())
        for domain in ("d", "e", DEFINITION):
            for tenant in (None, "t", "u"):
                holds = any(d == domain and (tenant is None or of in (None, tenant))
                            for d, of, _, _ in watched)
                assert self.core.heard.holding(tenant, domain) == ([self.core] if holds else [])
        for domain, tenant in (("d", None), ("d", "t"), ("e", "u")):
            told = [c.version for _, c in self.telling.known()
                    if (c.tenant, c.domain) == (tenant, domain)]
            assert self.core.heard_version(tenant, domain) == max(told, default=None)


Rules.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None,
                                   derandomize=True)
TestRules = Rules.TestCase


# ------------------------------------------------------------------------- one by one

def test_expiry_and_what_may_be_served_after():
    core = make()
    now = time.monotonic()
    core.store("late", entry(part(), expires=now + 0.2, serve_on_error=1.0), core.ticket())
    core.store("plain", entry(part(), expires=now + 0.2), core.ticket())
    core.store("busy", entry(part(), serve_while_revalidating=1.0), core.ticket())
    assert core.find("late") is not None and core.peek("late") is not None
    assert core.hits == 1
    time.sleep(0.25)
    assert core.peek("late") is None and len(core) == 3
    assert core.find("late") is None and core.find("plain") is None and len(core) == 1
    assert core.hits == 1
    assert core.ended("late").ended == core.ended("late").expires
    assert core.ended("plain") is None
    before = time.monotonic()
    core.hear(Change("t", "d", 2))
    assert before <= core.ended("busy").ended <= time.monotonic()
    assert core.metrics.counts["drops", "expired"] == 2
    assert core.metrics.counts["drops", "changed"] == 1
    core.store("busy", entry(part(version=2)), core.ticket())
    assert core.ended("busy") is None


def test_what_was_read_last_is_kept():
    core = make(max_entries=2)
    core.store("a", entry(part(domain="of a")), core.ticket())
    core.store("b", entry(part(domain="of b")), core.ticket())
    assert core.find("a") is not None
    core.store("c", entry(part(domain="of c")), core.ticket())
    assert [core.peek(name) is not None for name in "abc"] == [True, False, True]
    assert set(core._watching) == {"of a", "of c"}
    assert core.heard.holding("t", "of b") == []
    core.store("c", entry(part(domain="of c"), value="again"), core.ticket())
    assert core.find("c").value == "again" and len(core) == 2
    assert "replaced" in {reason for event, reason in core.metrics.counts if event == "drops"}


def test_size():
    core = make(max_bytes=10, size_of=len)
    assert core.store("a", entry(part(), value="x" * 10), core.ticket())
    assert not core.store("b", entry(part(), value="x" * 11), core.ticket())
    assert core.metrics.counts["refusals", "too_large"] == 1
    assert core.find("a") is not None and core.peek("b") is None
    assert core.store("b", entry(part(), value="x"), core.ticket())
    assert core.peek("a") is None and len(core) == 1
    by_pickle = make(max_bytes=1000)
    assert by_pickle.store("a", entry(part(), value="x" * 500), by_pickle.ticket())
    assert not by_pickle.store("b", entry(part(), value="x" * 1000), by_pickle.ticket())


def test_why():
    core = make()
    assert core.why_gone("a") == "not there before"
    ticket = core.ticket()
    core.hear(Change("t", "d", 2))
    assert not core.store("a", entry(part()), ticket)
    assert core.metrics.counts == {("refusals", "outdated"): 1}
    core.reset("listener_lost")
    assert core.metrics.counts["resets", "listener_lost"] == 1


def test_without_a_listener():
    core = make()
    core.end_lease()
    assert not core.listening
    assert not core.store("a", entry(part()), core.ticket())
    assert core.metrics.counts == {("refusals", "not_listening"): 1}


def test_own_writes_of_a_tenant_that_is_spelled_otherwise():
    core = make()
    core.learn_spelling("T", [part()])
    core.store("mine", entry(part(version=10)), core.ticket())
    core.store("other", entry(part(tenant="u")), core.ticket())
    ticket = core.ticket()
    core.hear_own("T", "d")
    assert core.peek("mine") is None
    assert core.peek("other") is not None
    assert not core.outdated(ticket, [part(tenant="u")])
    core.hear_own("nobody", "d")
    assert core.peek("other") is None


@pytest.mark.parametrize("key", ["k", None])
def test_more_than_can_be_remembered(monkeypatch, key):
    monkeypatch.setattr("cache_notify._heard.MAX_HEARD", 6)
    core = make()
    core.store("held", entry(part(domain="held")), core.ticket())
    ticket = core.ticket()
    for i in range(4):
        core.hear(Change("t", f"d{i}", 1, None if key is None else (key,)))
    assert core.outdated(ticket, [part(domain="never heard of")])
    assert core.find("held") is not None
    assert len(core.heard._floors) + len(core.heard._all_keys) <= 6
    assert MAX_HEARD == 100_000


def test_keys_of_one_domain_beyond_what_is_remembered(monkeypatch):
    monkeypatch.setattr("cache_notify._heard.MAX_HEARD", 8)
    core = make()
    whole = part(tenant=None, key="k9", version=99, shared=99)
    ticket = core.ticket()
    for i in range(3):
        core.hear(Change("t", "d", 1, (f"k{i}",)))
    assert not core.outdated(ticket, [whole])
    core.hear(Change("t", "d", 1, ("k9",)))
    assert core.outdated(ticket, [whole])


def test_a_core_that_leaves_is_told_nothing():
    core = make()
    core.store("a", entry(part(), part(domain="e", tenant=None)), core.ticket())
    assert core.heard.holding("t", "d") == [core] == core.heard.holding("t", "e")
    core.heard.leave(core)
    assert core.heard.holding("t", "d") == [] == core.heard.holding(None, "e")
    core.forget("a")
    assert len(core) == 0


def test_what_another_core_has_noted():
    core = make()
    core.store("a", entry(part(key="K")), core.ticket())
    ticket = core.ticket()
    core.drop_outdated(Change("t", "d", 1, ("k",)))
    core.drop_outdated(Change("t", "d", 2, ("j",)))
    assert core.peek("a") is not None
    core.drop_outdated(Change("t", "d", 2, ("k",)))
    assert core.peek("a") is None
    assert not core.outdated(ticket, [part()])
