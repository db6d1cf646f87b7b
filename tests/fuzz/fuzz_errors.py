"""What is read out of a refusal: no text makes anything raise, what comes out is bounded, and no token is in it.

An input is choices, a text, three headers of the answer, and a header of the request, with 0xFF between them. In each,
0x01 stands for the session token, 0x02 for the token as in a query, 0x03 for what was signed, 0x04 for that in JSON.
"""

import json
import ssl
from datetime import UTC, datetime

from botocore.credentials import Credentials
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, TransportError
from urllib3.exceptions import NewConnectionError, ProtocolError

from fuzzing import END, fields_of, instrumented, main, text_of

with instrumented():
    from opensearch_sigv4 import SigV4Signer, responses
    from opensearch_sigv4._advice import note_for
    from opensearch_sigv4._difference import first_difference, server_canonical_request, server_string_to_sign
    from opensearch_sigv4.core._secrets import without_secrets

TOKEN = "AQoDYXdzEPT//////////wEXAMPLE+token=="
QUOTED = "AQoDYXdzEPT%2F%2F%2F%2F%2F%2F%2F%2F%2F%2FwEXAMPLE%2Btoken%3D%3D"
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", TOKEN)
SIGNERS = [SigV4Signer(CREDENTIALS, "us-east-1", service) for service in ("es", "aoss")]
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
STATUSES = (403, 401, 400, 402, 404, 413, 429, 500, 502, 503, 504, 200, "N/A", "TIMEOUT")
HOSTS = ("search-logs-abc.us-east-1.es.amazonaws.com", "abc.eu-west-1.aoss.amazonaws.com", "localhost:9200")
PATHS = ("/logs/_search", "/", "/logs/_refresh", "/a%20b/_doc/1?refresh=true", f"/a?X-Amz-Security-Token={QUOTED}")
CAUSES = (
    lambda text: text,
    lambda text: ProtocolError(text, ConnectionResetError(text)),
    lambda text: NewConnectionError(None, text),
    lambda text: ssl.SSLError(1, text),
    lambda text: TimeoutError(text),
    lambda text: RuntimeError(RuntimeError(text), *[OSError(number) for number in range(30)]),
)
# A note quotes a path, and two lines of up to 120 characters, each of which may be an escape of ten.
MAX_NOTE_CHARACTERS = 5_000


def check(data):
    choices, *texts = fields_of(data, 6)
    choices = [*choices, 0, 0, 0, 0, 0, 0]
    status = STATUSES[choices[0] % len(STATUSES)]
    host, path = HOSTS[choices[1] % len(HOSTS)], PATHS[choices[2] % len(PATHS)]
    signer = SIGNERS[choices[3] % len(SIGNERS)]
    method, url = ("GET", "POST", "PUT", "HEAD")[choices[4] % 4], f"https://{host}{path}"
    explained = signer.explain(method, url, b"{}", at=NOW)
    signed = explained.canonical_request
    text, error_type, date, other, sent = (filled(text_of(text), signed) for text in texts)

    check_text(status, text, error_type, date)
    check_exception(status, text, choices[5])
    check_difference(text, signed)

    answer = {"x-amzn-errortype": error_type, "date": date, "content-type": other}
    headers = {"x-amz-meta": sent.encode("utf-8", "replace") if choices[5] % 2 else sent, **explained.headers}
    if choices[5] & 64:
        headers["Authorization"] = sent
    tried = [[], [responses.Cause.SKEWED], [responses.Cause.EXPIRED]][choices[5] % 3]
    for cause in (responses.cause_of(status, text, error_type), *responses.Cause):
        note = note_for(cause, status, text, answer, method, url, headers, None if choices[5] & 32 else signer, tried)
        if note is not None:
            assert len(note) < MAX_NOTE_CHARACTERS, note
            assert not shows_token(note), "a note shows the token"
            note.encode()
    assert TOKEN not in without_secrets(text, headers)


def filled(text, signed):
    text = text.replace("\x03", signed).replace("\x04", json.dumps(signed)[1:-1])
    return text.replace("\x01", TOKEN).replace("\x02", QUOTED)


def shows_token(text):
    return TOKEN in text or QUOTED in text


def check_text(status, text, error_type, date):
    message = responses.message_of(text)
    assert isinstance(message, str)
    assert len(message) <= max(len(text), 1)
    assert isinstance(responses.cause_of(status, text, error_type), responses.Cause)
    for told in (responses.server_time(date), responses.skewed_server_time(text)):
        assert told is None or -1e12 < told < 1e12, told
    responses.is_safe("POST", text)


def check_exception(status, text, choice):
    cause = CAUSES[choice % len(CAUSES)](text)
    for error in (
        TransportError(status, text, {}),
        TransportError(status, cause),
        TransportError(status, {"error": text}, {"error": {"reason": text}}),
        OpenSearchConnectionError("N/A", text, cause),
        ConnectionTimeout("TIMEOUT", text, cause),
        RuntimeError(cause),
    ):
        assert isinstance(responses.meaning_of(error), responses.Meaning)
        if isinstance(error, TransportError):
            limit = responses.size_limit(error)
            assert limit is None or 0 < limit < 10**16


def check_difference(text, signed):
    server_string_to_sign(text)
    theirs = server_canonical_request(text)
    for one, other in ((signed, theirs or text), (theirs or text, signed)):
        difference = first_difference(one, other)
        if difference is not None:
            shown = f"{difference}{difference!r}"
            assert len(shown) < 2 * MAX_NOTE_CHARACTERS
            assert not shows_token(shown), "a difference shows the token"
            shown.encode()
    assert first_difference(signed, signed) is None


MARKER = b"The Canonical String for this request should have been"
TEXTS = (
    b'{"message":"The security token included in the request is expired"}',
    b'{"Message":"The security token included in the request is invalid: \x01"}',
    b'{"message":"Signature expired: 20150830T120000Z is now earlier than 20150830T123100Z (20150830T123600Z - 5 min"}',
    b"Signature not yet current: 20150830T120000Z is still later than 20150830T123100Z (20150830T123600Z + 5 min.)",
    b'{"message":"Credential should be scoped to a valid region, not \'us-east-1\'."}',
    b'{"message":"The request signature we calculated does not match the signature you provided.\\n\\n'
    + MARKER
    + b"\\n'\x04'\\n\\n"
    b"The String-to-Sign should have been\\n'AWS4-HMAC-SHA256\\n'\\n\"}",
    b"The request signature we calculated does not match "
    + MARKER
    + b"\n'POST\n/\nb=\x02&c\nhost:h\netag:\x01\n\nhost\nff'",
    b"The request signature we calculated does not match "
    + MARKER
    + b"\n'GET\n/logs/_search\n\nhost:\x01\n\nhost\nff'",
    b'{"message":"Missing Authentication Token"}',
    b'{"message":"User: anonymous is not authorized to perform: es:ESHttpGet"}',
    b'{"status":403,"request-id":"1","error":{"reason":"403 Forbidden","type":"Forbidden"}}',
    b'{"error":{"type":"security_exception","reason":"no permissions for [indices:data/read] and User [name=\x01]"}}',
    b"403 Request throttled due to too many requests /_bulk",
    b'{"Message":"Request size exceeded 10485760 bytes"}',
    b"unable to support a refresh policy; Document ID is not supported",
    b'{"message":' + b"[" * 2000,
    b'{"message":' + b"9" * 5000 + b"}",
    b'  {  "message"  :  "x' + b"y" * 17_000,
)
HEADERS = (
    (b"ExpiredTokenException:http://", b"Sun, 30 Aug 2015 12:36:00 GMT", b"application/json", b"a"),
    (b"InvalidSignatureException", b"30 Aug 15 12:36 +0000", b"\x01", b"\x01"),
    (b"", b"0", b"text/html", b"\xc3\xbc"),
    (
        b"AccessDeniedException",
        b"Fri, 31 Dec 9999 23:59:59 -9999",
        b"",
        b"Credential=a/b, SignedHeaders=host;x-amz-meta, ",
    ),
)


def seeds():
    for number, text in enumerate(TEXTS):
        choices = bytes((number % 3, number, number, number, number, number * 7))
        yield END.join((choices, text, *HEADERS[number % len(HEADERS)]))


if __name__ == "__main__":
    main(check, seeds)
