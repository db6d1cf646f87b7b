"""The command line in this process, with each output searched for what must never be in one."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest

from opensearch_sigv4.cli._commands import cli

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "EXAMPLE/TOKEN+of/a+session=="
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
SESSION_KEYS = {**KEYS, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE2", "AWS_SESSION_TOKEN": TOKEN}
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SIGNATURE = re.compile(rb"Signature=([0-9a-f]{64})")


class Commands:
    """Runs commands; `domain`, if set, is the LocalDomain whose received signatures no output may hold."""

    def __init__(self, capfdbinary, monkeypatch):
        self._capfdbinary = capfdbinary
        self._monkeypatch = monkeypatch
        self.domain = None
        logger = logging.getLogger("opensearch")  # the command changes both
        monkeypatch.setattr(logger, "propagate", logger.propagate)
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))

    def __call__(self, *arguments, stdin=b"", keys=KEYS):
        with self._monkeypatch.context() as patch:
            for name, value in keys.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as exited:
                cli([str(argument) for argument in arguments])
        output = self._capfdbinary.readouterr()
        written = output.out + output.err
        secrets = [keys[name].encode() for name in _SECRETS if keys.get(name)]
        received = () if self.domain is None else self.domain.requests
        for request in received:
            secrets += _SIGNATURE.findall(dict(request.headers).get(b"Authorization", b""))
        assert any(secret in written for secret in secrets) is False
        assert _SIGNATURE.search(written) is None
        assert b"Traceback" not in written
        return SimpleNamespace(stdout=output.out, stderr=output.err.decode(), status=exited.value.code)
