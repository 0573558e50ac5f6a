"""The protocols that the checker can run: the Python package, and the same with one of
its rules taken out, to show that the checker would notice."""

import contextvars
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../clients/python/src"))
from cache_notify import Cache  # noqa: E402
from cache_notify._core import Core  # noqa: E402
from cache_notify._flight import Flights  # noqa: E402
from cache_notify._redis_listener import RedisListener  # noqa: E402


class NotifyOnly(Cache):
    """Drops on NOTIFY, without versions: a fill that is under way when its
    notification arrives is stored afterwards."""

    class _Core(Core):
        def outdated(self, ticket, parts):
            return False


class QueryFirst(Cache):
    """Runs the query first and reads the versions afterwards: a change in
    between puts the old result under the new version."""

    def get(self, db, name, load, **options):
        if not options.get("fresh") and self.core.find(
                (name, options.get("tenant"), tuple(options["reads"]))) is None:
            early = load(db)
            return super().get(db, name, lambda _: early, **options)
        return super().get(db, name, load, **options)


class ForgetsKeys(Cache):
    """Drops by key, but does not remember of which keys it was told: a fill that
    is under way then is stored afterwards."""

    class _Core(Core):
        def _lacks(self, ticket, part):
            return part.key is None and super()._lacks(ticket, part)


class JoinsAnything(Cache):
    """Joins whatever flight there is: whoever comes after a change was heard gets a
    result from before it."""

    class _Flights(Flights):
        def _may_join(self, flight):
            return True

        def may_use(self, flight, joined_at):
            return flight.succeeded


class IgnoresTenants(Cache):
    """Compares entries of a whole domain with the shared payloads only."""

    class _Core(Core):
        def _drop_if_outdated(self, name, tenant, domain, version):
            entry = self._held.get(name)
            if tenant is None or any(part.tenant for part in entry.parts):
                super()._drop_if_outdated(name, tenant, domain, version)


class IgnoresSilence(Cache):
    """Serves from memory for as long as the connection is there, whether or not the server
    has answered of late."""

    class _Core(Core):
        def extend_lease(self, until):
            super().extend_lease(float("inf"))


class NestsAnything(Cache):
    """Takes results from memory, and from others, for parts of a result: these may lack a
    change that the versions of the whole have already."""

    def get(self, db, name, load, **options):
        return super().get(db, name, lambda db: contextvars.Context().run(load, db), **options)


class TrustsAnyBeat(Cache):
    """With a relay: takes an answer of Redis for a proof that the relay is alive."""

    class _RedisListener(RedisListener):
        def _trust(self, state, asked_at):
            self._proved(asked_at)


class TrustsOldBeats(Cache):
    """With a relay: takes a beat for a proof that was begun before it asked."""

    class _RedisListener(RedisListener):
        def _trust(self, state, asked_at):
            if state.beat != getattr(self, "_beat", None):
                self._beat = state.beat
                self._proved(asked_at)


class IgnoresGaps(Cache):
    """With a relay: goes on with the next frame that comes, wherever it had been."""

    class _RedisListener(RedisListener):
        def _read_stream(self, upto):
            self._last = upto


class GivesUp(Cache):
    """With a relay: once the connection to Redis is lost, never connects again."""

    class _RedisListener(RedisListener):
        def _failed(self, error):
            super()._failed(error)
            self._closed = True


class IgnoresResets(Cache):
    """Passes over a reset."""

    class _Core(Core):
        def reset(self, reason="reset"):
            if reason != "payload":
                super().reset(reason)


# Here the cache keeps its rules, and a step of what faults.py does is left out: of a
# switch-over as doc/operations.md has it, or of what DROP EXTENSION does by itself.
STEPS = {
    "counts_no_replicated_rows": "the tables of the new side lack fire_on_replica",
    "leaves_early": "the subscription is dropped while the old side is still written",
    "leaves_listeners": "the old side stays open, and listeners there",
    "leaves_readers": "the old side stays open, and readers there",
    "keeps_history": "no new_history() there",
    "forgets_origin": "DROP EXTENSION leaves nothing behind",
}

PROTOCOLS = {"full": Cache, "notify_only": NotifyOnly, "query_first": QueryFirst,
             "forgets_keys": ForgetsKeys, "joins_anything": JoinsAnything,
             "ignores_tenants": IgnoresTenants, "nests_anything": NestsAnything,
             "ignores_silence": IgnoresSilence,
             "trusts_any_beat": TrustsAnyBeat, "trusts_old_beats": TrustsOldBeats,
             "ignores_gaps": IgnoresGaps, "gives_up": GivesUp, "ignores_resets": IgnoresResets,
             **dict.fromkeys(STEPS, Cache)}
