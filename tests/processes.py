"""Other Python processes: what is decided at import, and how the package is built, can only be seen in new ones."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

from opensearch_sigv4 import SigV4Signer
from oracles import ACCESS_KEY, AT, REGION, SECRET_KEY, TOKEN

URL = "https://search-logs.us-east-1.es.amazonaws.com/logs/_search?q=a%20b"
BODY = b'{"query": {}}'

# Prints which core an interpreter uses, what it signs, and what it was warned of.
SIGN = f"""
import json, warnings
from datetime import datetime
from types import SimpleNamespace

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import opensearch_sigv4
    from opensearch_sigv4 import core
credentials = SimpleNamespace(access_key={ACCESS_KEY!r}, secret_key={SECRET_KEY!r}, token={TOKEN!r})
signer = opensearch_sigv4.SigV4Signer(credentials, {REGION!r})
print(json.dumps({{
    "backend": opensearch_sigv4.backend,
    "file": opensearch_sigv4.__file__,
    "hash_path": core.hash_path(),
    "signed": signer.sign("POST", {URL!r}, {BODY!r}, at=datetime.fromisoformat({AT.isoformat()!r})),
    "sources": sorted({{getattr(core, name).__module__ for name in ("sign", "RequestSigner", "SigningKey", "Kept")}}),
    "warnings": [f"{{warning.category.__name__}}: {{warning.message}}" for warning in caught],
}}), flush=True)
"""
PURE = ["opensearch_sigv4.core._python"]


def environment(**changes):
    """This process's environment without the settings that are under test; None removes one."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENSEARCH_SIGV4_", "PYTHON"))}
    ours.pop("CFLAGS", None)
    return {name: value for name, value in {**ours, **changes}.items() if value is not None}


def run(*command, timeout=300, cwd=None, **changes):
    return subprocess.run(
        [*map(str, command)],
        env=environment(**changes),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def sign_in_new_process(python=sys.executable, **changes):
    ran = run(python, "-c", SIGN, timeout=60, **changes)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def signed_here():
    credentials = SimpleNamespace(access_key=ACCESS_KEY, secret_key=SECRET_KEY, token=TOKEN)
    return SigV4Signer(credentials, REGION).sign("POST", URL, BODY, at=AT)
