"""Test results in the Test Anything Protocol, for the scenarios of test/interop."""


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def ok(self, passed, name, *details):
        """Says whether it passed; details are told if not. Returns passed."""
        self.count += 1
        self.failed += not passed
        print(f"{'' if passed else 'not '}ok {self.count} - {name}", flush=True)
        for detail in details if not passed else ():
            print(f"# {detail!r}", flush=True)
        return passed

    def equal(self, got, expected, name):
        return self.ok(got == expected, name, {"got": got, "expected": expected})

    def done(self):
        """Ends the results; the exit status."""
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed else 0
