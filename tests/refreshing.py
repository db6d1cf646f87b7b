"""botocore's refreshable credentials, with a clock that a test moves and a refresh that it holds up.

Secrets are compared as booleans, so that a red test prints none.
"""

import threading
from datetime import UTC, datetime, timedelta

from botocore.credentials import RefreshableCredentials

KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
OTHER_KEYS = ("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY")
FIRST = (*KEYS, "AQoDYXdzEPT//////////wEXAMPLE1")
SECOND = (*OTHER_KEYS, "AQoDYXdzEPT//////////wEXAMPLE2")
SECRETS = (KEYS[1], OTHER_KEYS[1], "wEXAMPLE", *KEYS[:1], *OTHER_KEYS[:1])

TIMEOUT_S = 30
THREADS = 16
MINUTES = 60
ADVISORY, MANDATORY, EXPIRED = 12 * MINUTES, 5 * MINUTES, -1  # seconds to expiry, in botocore's windows


def shows_secret(*things):
    return any(secret in str(thing) or secret in repr(thing) for thing in things for secret in SECRETS)


def same(snapshot, values):
    return tuple(snapshot) == tuple(values)


def refreshers():
    return [thread for thread in threading.enumerate() if thread.name == "opensearch-sigv4-credentials"]


def join_refreshers():
    for thread in refreshers():
        thread.join(TIMEOUT_S)
    assert not refreshers()


class Clock:
    """A time_fetcher that stands still until it is told."""

    def __init__(self):
        self.now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += timedelta(seconds=seconds)


class Refresher:
    """A refresh_using that counts its calls, may be held up, may fail, and renews for an hour by its clock."""

    def __init__(self, clock=None, values=SECOND, lifetime=3600):
        self.clock = clock or (lambda: datetime.now(UTC))
        self.values, self.lifetime = values, lifetime
        self.calls = 0
        self.error = None  # makes the exception to raise
        self.raised = []
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self):
        self.calls += 1
        self.called.set()
        assert self.go_on.wait(TIMEOUT_S)
        if self.error is not None:
            self.raised.append(self.error())
            raise self.raised[-1]
        access_key, secret_key, token = self.values
        expiry_time = (self.clock() + timedelta(seconds=self.lifetime)).isoformat()
        return {"access_key": access_key, "secret_key": secret_key, "token": token, "expiry_time": expiry_time}


def refreshable(expires_in, refresher, values=FIRST, **options):
    if isinstance(refresher.clock, Clock):
        options["time_fetcher"] = refresher.clock
    expiry = refresher.clock() + timedelta(seconds=expires_in)
    return RefreshableCredentials(*values, expiry, refresher, "test", **options)
