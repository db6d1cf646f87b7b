"""No traceback shows a secret, its frames' locals included: what rich, Sentry and `pytest -l` print."""

import asyncio
import hmac
import re
import socket
import struct
import sys
import threading
import traceback
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import opensearchpy
import pytest
import requests
import trustme
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import ProfileNotFound

import opensearch_sigv4
from loops import run as run_on_a_loop
from opensearch_sigv4 import (
    AWSV4SignerAsyncAuth,
    SigV4Signer,
    connect,
    connect_async,
)
from opensearch_sigv4.core._secrets import RequestHeaders, clear_frames, without_secrets
from opensearch_sigv4.testing import LocalDomain
from oracles import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from transports import TRANSPORTS, all_transports

# Another published example, so that its domain refuses what it signs.
WRONG_SECRET = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
SECRETS = (SECRET_KEY, WRONG_SECRET, TOKEN)
SIGNATURE = re.compile(r"Signature=[0-9a-f]{64}")


def signing_keys():
    """The keys of yesterday, today and tomorrow, as a repr shows bytes, and in hex."""
    for secret in (SECRET_KEY, WRONG_SECRET):
        for day in (-1, 0, 1):
            key = f"AWS4{secret}".encode()
            date = f"{datetime.now(UTC) + timedelta(day):%Y%m%d}"
            for part in (date, REGION, "es", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
                yield from (repr(key)[2:-1], key.hex())


def chain(error):
    """It and all that led to it, whether Python would show that or not."""
    found, pending = [], [error]
    while pending:
        current = pending.pop()
        if current is not None and current not in found:
            found.append(current)
            pending += [current.__cause__, current.__context__]
            pending += [arg for arg in current.args if isinstance(arg, BaseException)]
            pending += getattr(current, "exceptions", ())
    return found


def printed(error):
    """All that a printer of tracebacks could find."""
    texts = []
    for one in chain(error):
        texts += [repr(one), str(one), repr(vars(one)), *getattr(one, "__notes__", ())]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            for name, value in frame.f_locals.items():
                with suppress(AttributeError):  # an object that was not made whole
                    texts.append(f"{name}={value!r}")
    return "\n".join(texts)


def tells_a_secret(thing):
    """Whether a text, or all that could be printed of an error, holds one."""
    text = printed(thing) if isinstance(thing, BaseException) else thing
    return SIGNATURE.search(text) is not None or any(secret in text for secret in (*SECRETS, *signing_keys()))


def failure(function, *args, kind=Exception, **kwargs):
    """What it raises."""
    with pytest.raises(kind) as raised:
        function(*args, **kwargs)
    return raised.value


# --- what goes wrong -----------------------------------------------------------------------------------------


class Misbehaving:
    """A server that does `behave(connection)` once the head of a request is there, and then resets the connection."""

    def __init__(self, behave):
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with suppress(OSError), socket.create_connection(self._listener.getsockname()) as connection:
            connection.sendall(b"stop")
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with connection, suppress(OSError):
                if connection.recv(4, socket.MSG_WAITALL) == b"stop":
                    return
                self._behave(connection)


def keep_silent(connection):
    while connection.recv(65536):
        pass


def answering(answer):
    def behave(connection):
        connection.recv(65536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        keep_silent(connection)

    return behave


HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
SERVERS = {
    "a reset while it is sent": lambda connection: None,
    "a reset while it is answered": lambda connection: (connection.recv(65536), connection.sendall(HALF)),
    "no answer": answering(b""),
    "half an answer": answering(HALF),
    "what is no answer": answering(b"what\r\n\r\n"),
    "no end of a header": answering(b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000),
    "a timeout": keep_silent,
}
REFUSED_INPUT = {
    "a URL": {"url": "/logs\n/_doc"},
    "a segment": {"url": "/logs/_doc/.."},
    "a header": {"headers": {"x-amz-a": "1\r2"}},
    "a surrogate": {"headers": {"x-amz-a": "\ud800"}},
    "a host": {"headers": {"host": ""}},
    "a method": {"method": "GE T"},
}


@contextmanager
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def transports():
    with all_transports() as transports:
        yield transports


@pytest.fixture(params=[kind.name for kind in TRANSPORTS])
def transport(request, transports):
    return transports[request.param]


@pytest.fixture(scope="module")
def signed_domain():
    with LocalDomain() as domain:
        domain.add_credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
        yield domain


def target(url, *, ca_certs=None):
    """What a transport makes a client of."""
    credentials = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
    return SimpleNamespace(url=url, region=REGION, service="es", credentials=credentials, ca_certs=ca_certs)


def failing(transport, domain, *, credentials=None, method="POST", url="/logs/_search", headers=None, **options):
    def send():
        client.transport.perform_request(method, url, headers=headers, body=b"{}" * 200_000)

    options = {"max_retries": 0, "timeout": 5, **options}
    with transport.client(domain, credentials=credentials, **options) as client:
        return failure(send)


def hides_what_it_sends(transport):
    """Of requests' and http.client's frames between its auth object and the socket nobody tells us that they ended."""
    return transport.name != "requests"


@pytest.mark.parametrize("name", SERVERS)
def test_what_goes_wrong_on_the_way(transport, name):
    with Misbehaving(SERVERS[name]) as server:
        error = failing(transport, target(server.url), **({"timeout": 0.05} if name == "a timeout" else {}))
    assert isinstance(error, (opensearchpy.ConnectionError, opensearchpy.ConnectionTimeout, UnicodeError))
    assert tells_a_secret(error) is False or not hides_what_it_sends(transport)


def test_a_connection_that_is_refused(transport):
    with closed_port() as server:
        error = failing(transport, target(server.url))
    assert isinstance(error, opensearchpy.ConnectionError)
    assert tells_a_secret(error) is not hides_what_it_sends(transport)  # which shows what this test can see


def test_a_certificate_that_is_not_trusted(transport, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with LocalDomain(https=True, upstream="http://127.0.0.1:1") as domain:
        error = failing(transport, target(domain.url, ca_certs=str(other)))
        assert domain.requests == ()
    assert tells_a_secret(error) is False or not hides_what_it_sends(transport)


@pytest.mark.parametrize("name", REFUSED_INPUT)
def test_input_that_is_refused(transport, name, signed_domain):
    error = failing(transport, target(signed_domain.url), **REFUSED_INPUT[name])
    assert tells_a_secret(error) is False


def test_what_httpx_refuses_behind_the_auth(transport, signed_domain):
    if transport.name.startswith("httpx"):
        error = failing(transport, target(signed_domain.url), headers={"x-meta": " 1"})
        assert "Illegal header value" in str(error)
        assert tells_a_secret(error) is False


@pytest.mark.parametrize("transport", ["urllib3", "aiohttp"], indirect=True)
def test_a_refusal_that_quotes_the_request(transport, signed_domain, caplog):
    """As AWS's does: all headers that should have been signed, session token included."""
    caplog.set_level("DEBUG", "opensearch")
    error = failing(transport, signed_domain, credentials=Credentials(ACCESS_KEY, WRONG_SECRET, TOKEN))
    assert error.status_code == 403
    assert "x-amz-security-token:" in str(error)
    assert tells_a_secret(error) is False
    assert tells_a_secret(caplog.text) is False


# --- credentials ---------------------------------------------------------------------------------------------


def no_answer():
    secret = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN).get_frozen_credentials()
    raise ConnectionError(f"could not be fetched for {secret[0]}")


def refreshable():
    metadata = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "token": TOKEN, "expiry_time": "2015-08-30T12:36Z"}
    return RefreshableCredentials.create_from_metadata(metadata, no_answer, "test")


UNFIT = {
    "a callable that fails": lambda: no_answer,
    "a refresh that fails": refreshable,
    "a key with a line end": lambda: Credentials(ACCESS_KEY, SECRET_KEY + "\n", TOKEN),
    "a token with a line end": lambda: Credentials(ACCESS_KEY, SECRET_KEY, TOKEN + "\n"),
    "a callable's key": lambda: lambda: SimpleNamespace(access_key=ACCESS_KEY, secret_key=f"{SECRET_KEY}\0", token=""),
    "a callable's named tuple": lambda: lambda: ReadOnlyCredentials(ACCESS_KEY, SECRET_KEY, f"{TOKEN}\n"),
    "an object's key": lambda: type("Own", (), {"access_key": "a", "secret_key": f"{SECRET_KEY}\n", "token": TOKEN})(),
    "bytes": lambda: Credentials(ACCESS_KEY, SECRET_KEY.encode(), TOKEN),
}


@pytest.mark.parametrize("name", UNFIT)
def test_credentials_that_cannot_be_had(transport, name, signed_domain):
    error = failing(transport, target(signed_domain.url), credentials=UNFIT[name]())
    assert tells_a_secret(error) is False


@pytest.mark.parametrize("name", UNFIT)
def test_the_signer_and_the_callables(name):
    signer = SigV4Signer(UNFIT[name](), REGION)
    asynchronous = AWSV4SignerAsyncAuth(UNFIT[name](), REGION)
    url = "https://localhost/"
    assert tells_a_secret(failure(signer.sign, "GET", url)) is False
    assert tells_a_secret(failure(signer.explain, "GET", url)) is False
    with pytest.warns(RuntimeWarning) if name == "a refresh that fails" else nullcontext():
        assert tells_a_secret(failure(asynchronous, "GET", url)) is False


def test_a_coroutine_that_fails():
    async def fetch():
        secret = (SECRET_KEY, TOKEN)
        await asyncio.sleep(0)
        raise ConnectionError(f"not fetched: {len(secret)}")

    async def search():
        async with connect_async("http://127.0.0.1:1", region=REGION, credentials=fetch) as client:
            await client.search()

    assert tells_a_secret(failure(run_on_a_loop, search())) is False


def test_those_who_wait_for_one_fetch():
    """The error of each, and what they have of the first one's."""
    held, errors = threading.Event(), []

    class Session:
        def get_credentials(self):
            secret = (SECRET_KEY, TOKEN)
            held.wait(10)
            raise ConnectionError(f"not fetched: {len(secret)}")

    signer = SigV4Signer(Session(), REGION)
    threads = [
        threading.Thread(target=lambda: errors.append(failure(signer.sign, "GET", "https://localhost/")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    held.set()
    for thread in threads:
        thread.join(10)
    assert [tells_a_secret(error) for error in errors] == [False] * 4


def test_a_source_by_itself():
    def fetch():
        secret = (SECRET_KEY, TOKEN)
        raise ConnectionError(f"not fetched: {len(secret)}")

    source = opensearch_sigv4.credentials.source_of(SimpleNamespace(get_credentials=fetch))
    assert tells_a_secret(failure(source.snapshot)) is False


def test_profiles_of_others(monkeypatch, tmp_path):
    """botocore has read all of them when it finds that one is missing."""
    path = tmp_path / "credentials"
    path.write_text(f"[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    for make in (connect, connect_async):
        error = failure(make, "https://localhost:9200", profile="wrok", kind=ProfileNotFound)
        assert tells_a_secret(error) is False
    client = connect("https://localhost:9200", region=REGION, profile="wrok")
    assert tells_a_secret(failure(client.info, kind=ProfileNotFound)) is False


# --- each core -----------------------------------------------------------------------------------------------


class Source:
    kept = None

    def snapshot(self):
        return opensearch_sigv4.credentials.Snapshot(ACCESS_KEY, SECRET_KEY, TOKEN)


class Unread:
    """Headers of which the second cannot be read: the first is in the twin's hands."""

    def items(self):
        yield "x-amz-a", "1"
        raise RuntimeError


BAD = {
    "method": {"method": "G\n"},
    "url": {"url": "https://localhost/\x7f"},
    "no url": {"url": None},
    "host": {"headers": {"Host": " "}},
    "header": {"headers": [("x-amz-a", "1"), ("x-amz-b", "\n")]},
    "headers": {"headers": Unread()},
    "body": {"body": object()},
    "text": {"body": "\ud800"},
    "at": {"at": datetime(2015, 8, 30)},
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["sign", "_signature"])
def test_both_cores(core, name, method):
    signer = core.RequestSigner(Source(), lambda: 0, REGION, "es", frozenset(), False)
    arguments = {"method": "GET", "url": "https://localhost/", "body": None, "headers": None, "at": None} | BAD[name]
    at = {"at": arguments.pop("at")} if method == "sign" else {}
    error = failure(getattr(signer, method), *arguments.values(), **at, **({} if at else {"at": BAD[name].get("at")}))
    assert tells_a_secret(error) is False


def test_the_dict_of_a_request_is_signed_as_any_other(core):
    signer = core.RequestSigner(Source(), lambda: 0, REGION, "es", frozenset({"accept"}), False)
    headers = {"host": "search.internal", "accept": "a/b", "x-amz-a": "ü"}
    url = "https://localhost/"
    assert (signer.sign("GET", url, None, headers) == signer.sign("GET", url, None, RequestHeaders(headers))) is True


# --- what is printed of what is there ------------------------------------------------------------------------


def test_the_headers_of_a_request():
    headers = RequestHeaders({"host": "h", "authorization": "Basic a", "X-Amz-Security-Token": TOKEN, "x-amz-a": b"1"})
    shown = "{'host': 'h', 'authorization': 'REDACTED', 'X-Amz-Security-Token': 'REDACTED', 'x-amz-a': b'1'}"
    assert repr(headers) == str(headers) == f"{headers}" == shown
    assert headers["X-Amz-Security-Token"] == TOKEN


def test_the_headers_of_requests():
    credentials = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
    auth = opensearch_sigv4.RequestsAWSV4SignerAuth(credentials, REGION)
    request = requests.Request("GET", "https://localhost/", auth=auth, headers={"accept": "a/b"}).prepare()
    assert tells_a_secret(repr(request.headers)) is False
    assert "'accept': 'a/b'" in repr(request.headers)
    assert tells_a_secret(request.headers["Authorization"])
    assert type(request.headers.copy()) is requests.structures.CaseInsensitiveDict


@pytest.mark.parametrize("quoted", [TOKEN, TOKEN.replace("/", "\\/")])
def test_a_token_in_an_answer(quoted):
    headers = RequestHeaders({"X-Amz-Security-Token": TOKEN})
    assert (without_secrets(f'{{"message": "{quoted}:"}}', headers) == '{"message": "REDACTED:"}') is True
    assert without_secrets("REDACTED", RequestHeaders()) == "REDACTED"


# --- frames --------------------------------------------------------------------------------------------------


def fails(secret=SECRET_KEY):
    raise LookupError(len(secret))


def wraps(kind):
    """Raise an error that came of another one, which has the frame of `fails`."""
    try:
        fails()
    except LookupError as error:
        if kind == "cause":
            raise ValueError from error
        if kind == "context":
            raise ValueError  # noqa: B904
        one = ValueError(error) if kind == "argument" else ExceptionGroup("several", [error])
    raise one


@pytest.mark.parametrize("kind", ["cause", "context", "argument", "group"])
def test_all_that_led_to_an_error(kind):
    error = failure(wraps, kind)
    assert tells_a_secret(error)
    clear_frames(error)
    assert tells_a_secret(error) is False
    assert "in fails" in "".join(traceback.format_exception(chain(error)[1]))


def test_what_the_caller_was_handling_is_left_alone():
    def client():
        try:
            raise ValueError
        except ValueError as error:
            clear_frames(error)
            return error

    def caller():
        try:
            fails()
        finally:
            assert client().__context__ is sys.exception()

    assert tells_a_secret(failure(caller))


def test_an_error_without_frames():
    clear_frames(None)
    error = ValueError()
    error.__context__ = error
    clear_frames(error)


def test_what_waits_goes_on():
    """A task that has caught an error which another one raises, too, is not ended by what clears it there."""
    shared, steps = LookupError(), []

    async def handles():
        local = "kept"
        try:
            raise shared
        except LookupError:
            await asyncio.sleep(0)
            steps.append(local)

    def generates():
        try:
            raise shared
        except LookupError:
            yield 1
            yield 2

    async def main():
        task, generator = asyncio.create_task(handles()), generates()
        await asyncio.sleep(0)
        next(generator)
        try:
            raise shared
        except LookupError as error:
            clear_frames(error)
        await task
        return next(generator)

    previous = sys.gettrace()
    for trace in (previous, lambda *_: None):  # a debugger's frames refer to its function
        sys.settrace(trace)
        try:
            assert run_on_a_loop(main()) == 2
        finally:
            sys.settrace(previous)
    assert steps == ["kept", "kept"]
