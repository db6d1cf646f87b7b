"""What a run of tests emits, searched for secrets: `python tests/emitted.py`, with the arguments of pytest.

Kept are the output of pytest, which captures none, and of the commands that the tests start, and what they and all
other processes log, at DEBUG. The secrets are those that were signed with meanwhile. This file is the plugin of that
pytest, too.
"""

import hmac
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Who else logs secrets, and why it is not ours to mend. What the first one logs has to be found.
NOT_OURS = {
    "emitted": "this file, to show that a secret which is there is seen",
    "botocore.auth": "the canonical request, with its session token: only LocalDomain's judge and the tests sign by it",
    "botocore.credentials": "what a refresh function raised, before we hear of it: a test's holds a secret",
    "hpack.hpack": "every header of HTTP/2, which httpx sends: we see neither the logger nor the connection",
    "opensearch-py's own connections": "what a domain answered, which after a wrong signature quotes the request",
}
# "token" is found in any log, and no secret.
MIN_SIZE = 16
SIGNATURE = re.compile(r"Signature=[0-9a-f]{64}")
DAY_S = 86_400
SCOPES = [(region, service) for region in ("us-east-1", "eu-central-1") for service in ("es", "aoss")]

# Run by each Python as it starts.
SITECUSTOMIZE = f"import runpy\nrunpy.run_path({__file__!r})['log_everything']()\n"


def logged_by(record):
    """The logger's name; or that one of opensearch-py's connections did it, and none of ours."""
    frame = sys._getframe(1)  # not this one, which would hold itself, and the record
    while record.name == "opensearch" and frame is not None:
        if frame.f_globals.get("__name__", "").startswith("opensearchpy.connection.http_"):
            return "opensearch-py's own connections"
        if frame.f_globals.get("__name__", "").startswith("opensearch_sigv4."):
            break
        frame = frame.f_back
    return record.name


class Log(logging.Handler):
    """Writes a line of JSON for each record: who logged it, and all text of the record."""

    def __init__(self, directory):
        super().__init__(logging.NOTSET)
        self._file = os.open(Path(directory, f"log-{os.getpid()}"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._write = os.write  # before those tests replace it that let nothing block an event loop

    def emit(self, record):
        text = self.format(record)  # with the traceback, if there is one
        self._write(self._file, json.dumps([logged_by(record), f"{text}\n{record.args!r}"]).encode() + b"\n")


def log_everything():
    logging.getLogger().addHandler(Log(os.environ["EMITTED_DIR"]))
    logging.getLogger().setLevel(logging.DEBUG)


def pytest_configure():
    from opensearch_sigv4 import credentials
    from oracles import SECRET_KEY

    directory, secrets = os.environ["EMITTED_DIR"], {SECRET_KEY}
    file, write = os.open(Path(directory, "secrets"), os.O_WRONLY | os.O_APPEND | os.O_CREAT), os.write
    checked, communicate = credentials._checked, subprocess.Popen.communicate

    def record_secrets(access_key, secret_key, token):
        for secret in (secret_key, token):
            if isinstance(secret, str) and len(secret) >= MIN_SIZE and secret not in secrets:
                secrets.add(secret)
                write(file, json.dumps(secret).encode() + b"\n")
        return checked(access_key, secret_key, token)

    def record_output(self, *args, **kwargs):
        outputs = communicate(self, *args, **kwargs)
        if "opensearch" not in Path(self.args[0]).name and "opensearch_sigv4.cli" not in self.args:
            return outputs  # of a process that prints what it signed to a test, or keys to botocore
        with open(Path(directory, f"output-{os.getpid()}"), "ab") as kept:
            for output in filter(None, outputs):
                kept.write(output if isinstance(output, bytes) else output.encode())
        return outputs

    write(file, json.dumps(SECRET_KEY).encode() + b"\n")
    logging.getLogger("emitted").debug("%s", SECRET_KEY)
    credentials._checked = record_secrets
    subprocess.Popen.communicate = record_output


def signing_keys(secret):
    """Its keys of yesterday and today, as a repr shows bytes, and in hex."""
    for day in (0, 1):
        date = time.strftime("%Y%m%d", time.gmtime(time.time() - day * DAY_S))
        for region, service in SCOPES:
            key = f"AWS4{secret}".encode("utf-8", "replace")
            for part in (date, region, service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            yield from (repr(key)[2:-1], key.hex())


def search(directory):
    """Where a secret stands, and what kind of one; and the same of the loggers that are not ours. Never the text."""
    signed_with = {json.loads(line) for line in (directory / "secrets").read_text().splitlines()}
    # Whatever holds a longer one holds the shorter as well.
    secrets = [one for one in signed_with if not any(other != one and other in one for other in signed_with)]
    keys = [key for secret in secrets for key in signing_keys(secret)]
    needles = dict.fromkeys(keys, "a signing key") | dict.fromkeys(secrets, "a secret key or session token")
    ours, others = [], []
    for path in (*directory.glob("output*"), *directory.glob("log-*")):
        lines = path.read_text(errors="replace").splitlines()
        records = (
            [json.loads(line) for line in lines] if path.name.startswith("log-") else [("", line) for line in lines]
        )
        everything = "\n".join(text for _, text in records)
        there = {needle: kind for needle, kind in needles.items() if needle in everything}
        for number, (logger, text) in enumerate(records, 1):
            found = {kind for needle, kind in there.items() if needle in text}
            if SIGNATURE.search(text):
                found.add("a signature")
            (others if logger in NOT_OURS else ours).extend(f"{path.name}:{number} {logger}: {kind}" for kind in found)
    return ours, others


def run(directory, *arguments):
    """Run pytest, keep what it emits in this directory; return its status, its last line, and what `search` finds."""
    directory = Path(directory)
    (directory / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(directory), str(Path(__file__).parent)])
    with open(directory / "output", "w") as output:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "emitted", "-p", "no:cacheprovider", *arguments],
            env={**os.environ, "PYTHONPATH": path, "EMITTED_DIR": str(directory)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=3600,
            check=False,
        )
    return ran.returncode, (directory / "output").read_text().splitlines()[-1], *search(directory)


def main():
    with tempfile.TemporaryDirectory() as directory:
        status, summary, ours, others = run(directory, *sys.argv[1:])
    print(*ours, sep="\n")
    print(f"{len(ours)} secrets emitted; {len(others)} by {', '.join(NOT_OURS)}")
    print(summary)
    return status or (1 if ours or not others else 0)


if __name__ == "__main__":
    sys.exit(main())
