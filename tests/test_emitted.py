"""Nothing that a run of the tests emits at DEBUG holds a secret. `.ci/full` does this with all of them."""

from pathlib import Path

import emitted

TESTS = Path(__file__).parent
# Connections, faults, credentials, helpers, and the command.
FEW = [
    "test_secrets.py::test_what_goes_wrong_on_the_way[urllib3-half an answer]",
    "test_secrets.py::test_what_goes_wrong_on_the_way[aiohttp-what is no answer]",
    "test_secrets.py::test_a_refusal_that_quotes_the_request",
    "test_secrets.py::test_the_signer_and_the_callables",
    "test_helpers.py::test_idempotent_documents_are_never_unknown",
    "test_cli.py::test_to_a_url",
]


def test_what_some_tests_emit(tmp_path):
    status, summary, ours, others = emitted.run(tmp_path, *(str(TESTS / name) for name in FEW))
    assert status == 0, summary
    assert ours == []
    assert others != []  # what is there is found
