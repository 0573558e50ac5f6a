"""For tests of applications: does a loader read more than `reads` says, and caches that
need no server.

    from cache_notify.testing import FakeCache, check_reads

    def test_product(db):
        check_reads(db, lambda db: product.__wrapped__(db, "acme", 42),
                    reads=["product/42", "category"], tenant="acme")
"""

from ._check import MissingReads, check_reads, check_reads_async
from ._fake import AsyncFakeCache, FakeCache

__all__ = ["AsyncFakeCache", "FakeCache", "MissingReads", "check_reads", "check_reads_async"]
