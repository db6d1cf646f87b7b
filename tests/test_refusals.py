"""What was refused for a reason that can be mended is mended once, and explained otherwise, by both connections."""

import asyncio
import json
import logging
import re
import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import opensearchpy
import pytest
from botocore.credentials import Credentials
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import AsyncOpenSearch, AuthorizationException, OpenSearch, TransportError

import transports
from loops import run
from opensearch_sigv4 import (
    AsyncSigV4HttpConnection,
    SigV4HttpConnection,
    SigV4Signer,
    _signing,
    connect,
    connect_async,
)
from opensearch_sigv4.credentials import identity_of, source_of
from opensearch_sigv4.responses import (
    Cause,
    Meaning,
    cause_of,
    is_safe,
    meaning_of,
    message_of,
    server_time,
    skewed_server_time,
)
from opensearch_sigv4.testing import Fault, LocalDomain, in_turn
from refreshing import (
    FIRST,
    KEYS,
    SECOND,
    TIMEOUT_S,
    Refresher,
    refreshable,
    shows_secret,
)
from transports import Driven

HOUR = 3600


@pytest.fixture(params=["urllib3", "aiohttp"])
def client_of(request):
    """A function that returns a client of a domain, which is closed after the test."""
    with asyncio.Runner() as runner:
        clients = []

        def client_of(domain, **options):
            options = {"credentials": domain.credentials, "region": domain.region, "service": domain.service} | options
            if domain.ca_certs:
                options["ca_certs"] = domain.ca_certs
            if request.param == "urllib3":
                client = connect(domain.url, **options)
            else:
                client = connect_async(domain.url, **options)
                client = Driven(runner.run(client.__aenter__()), runner.run)
            clients.append(client)
            return client

        client_of.name = request.param
        yield client_of
        for client in clients:
            client.close()


def note_of(error):
    [note] = error.__notes__
    return note


# --- clock skew ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["es", "aoss"])
@pytest.mark.parametrize("offset", [-HOUR, HOUR, 90 * 24 * HOUR])
def test_a_clock_that_is_off_costs_one_request_of_a_host(client_of, caplog, service, offset):
    with LocalDomain(service=service, clock=lambda: time.time() + offset) as domain:
        client = client_of(domain)
        assert client.cat.indices() is not None
        assert (domain.refused, domain.verified) == (1, 1)
        client.cat.indices()
        another = client_of(domain)  # of the same host: it knows
        another.cat.indices()
        assert (domain.refused, domain.verified) == (1, 3)
    [record] = [record for record in caplog.records if record.name == "opensearch_sigv4._signing"]
    assert ("behind" if offset > 0 else "ahead of") in record.getMessage()


def test_a_clock_that_was_set_right_meanwhile(client_of):
    offset = HOUR
    with LocalDomain(clock=lambda: time.time() + offset) as domain:
        client = client_of(domain)
        client.cat.indices()
        offset = 0
        client.cat.indices()
        assert (domain.refused, domain.verified) == (2, 2)
        assert not _signing._clock_offsets
        offset = -HOUR
        client.cat.indices()
        assert (domain.refused, domain.verified) == (3, 3)


def test_a_clock_that_never_fits_is_corrected_once(client_of):
    """Each request is judged by a clock that has run on by an hour: nothing can be signed that fits."""
    times = iter(range(1, 100))
    with LocalDomain(clock=lambda: time.time() + next(times) * HOUR) as domain:
        with pytest.raises(AuthorizationException) as caught:
            client_of(domain).cat.indices()
        assert domain.refused == 2
    assert "clock skew" in note_of(caught.value)
    assert "in vain" in note_of(caught.value)


def test_a_body_is_sent_again_whole(client_of):
    with LocalDomain(clock=lambda: time.time() - HOUR) as domain:
        client = client_of(domain, http_compress=True)
        headers = {"X-Amz-Meta": "né", "content-type": "application/json"}
        client.transport.perform_request("PUT", "/logs/_doc/1", body={"text": "né " * 1000}, headers=headers)
        refused, verified = domain.requests
        assert (domain.refused, domain.verified) == (1, 1)
        assert refused.body == verified.body
        names = [name for name, _ in verified.headers]
        assert len(names) == len(set(names))
        dated = {b"x-amz-date", b"authorization"}
        assert [pair for pair in refused.headers if pair[0].lower() not in dated] == [
            pair for pair in verified.headers if pair[0].lower() not in dated
        ]


def test_the_time_of_a_host_that_is_reached_by_plain_http_is_not_believed(server):
    text = "Signature expired: 20150830T120000Z is now earlier than 20150830T123100Z (20150830T123600Z - 5 min.)"
    server.answer = (403, {}, json.dumps({"message": text}).encode())
    port = int(server.url.rpartition(":")[2])
    connection = SigV4HttpConnection("127.0.0.1", port=port, region="us-east-1", credentials=Credentials(*KEYS))
    connection.hostname = "search.example.com"  # as if it were there
    with pytest.raises(AuthorizationException) as caught:
        connection.perform_request("GET", "/")
    assert len(server.received) == 1
    assert "over TLS" in note_of(caught.value)
    connection.hostname = "127.0.0.1"
    with pytest.raises(AuthorizationException):
        connection.perform_request("GET", "/")
    assert len(server.received) == 3
    connection.close()


def test_a_permission_that_is_missing_is_no_matter_of_the_clock(client_of):
    with LocalDomain() as domain:
        domain.faults = lambda request: Fault.answer(403, '{"message":"no permissions for [x]"}')
        with pytest.raises(AuthorizationException):
            client_of(domain).cat.indices()
        assert domain.verified == 1


# --- credentials ---------------------------------------------------------------------------------------------


class Callable:
    def __init__(self, *answers):
        self.answers = answers
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return Credentials(*self.answers[min(self.calls, len(self.answers)) - 1])


def accept_second_only(domain):
    domain.add_credentials(*FIRST, expires_at=0)
    domain.add_credentials(*SECOND)


def test_refreshable_credentials_that_the_service_says_have_expired(client_of):
    with LocalDomain() as domain:
        accept_second_only(domain)
        refresher = Refresher()
        client = client_of(domain, credentials=refreshable(HOUR, refresher))
        for _ in range(3):
            client.cat.indices()
        assert refresher.calls == 1
        assert (domain.refused, domain.verified) == (1, 3)


def test_a_callable_and_a_session_are_asked_again(client_of):
    with LocalDomain() as domain:
        accept_second_only(domain)
        function = Callable(FIRST, SECOND)
        client_of(domain, credentials=function).cat.indices()
        assert (domain.refused, domain.verified) == (1, 1)

        session = Session()
        session.set_credentials(*FIRST)
        client = client_of(domain, credentials=session)
        with pytest.raises(AuthorizationException):
            client.cat.indices()
        assert (domain.refused, domain.verified) == (2, 1)
        session.set_credentials(*SECOND)
        client.cat.indices()
        assert (domain.refused, domain.verified) == (2, 2)


def test_a_file_in_which_somebody_has_put_a_new_token(client_of, monkeypatch, tmp_path):
    file = tmp_path / "credentials"

    def write(access_key, secret_key, token):
        file.write_text(
            f"[default]\naws_access_key_id={access_key}\naws_secret_access_key={secret_key}\naws_session_token={token}\n"
        )

    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with LocalDomain() as domain:
        accept_second_only(domain)
        write(*FIRST)
        client = client_of(domain, credentials=None)
        domain.add_credentials(*FIRST)
        client.cat.indices()
        domain.add_credentials(*FIRST, expires_at=0)
        write(*SECOND)
        client.cat.indices()
        assert (domain.refused, domain.verified) == (1, 2)


def test_static_credentials_that_expired_are_refused_once_and_explained(client_of):
    with LocalDomain() as domain:
        domain.add_credentials(*FIRST, expires_at=0)
        with pytest.raises(AuthorizationException) as caught:
            client_of(domain, credentials=Credentials(*FIRST)).cat.indices()
        assert (domain.refused, domain.verified) == (1, 0)
    assert "session token has expired" in note_of(caught.value)
    assert not shows_secret(note_of(caught.value), caught.value)


@pytest.mark.parametrize("has_token", [True, False])
def test_credentials_without_a_token_after_such_with_one(client_of, has_token):
    with LocalDomain() as domain:
        first, second = (FIRST, KEYS) if has_token else (SECOND[:2], FIRST)
        domain.add_credentials(*second)
        client_of(domain, credentials=Callable(first, second)).cat.indices()
        assert (domain.refused, domain.verified) == (1, 1)


def test_a_refresh_that_fails_leaves_the_refusal(client_of, caplog):
    with LocalDomain() as domain:
        accept_second_only(domain)
        refresher = Refresher()
        refresher.error = lambda: RuntimeError("STS is away")
        client = client_of(domain, credentials=refreshable(HOUR, refresher))
        for _ in range(3):
            with pytest.raises(AuthorizationException):
                client.cat.indices()
        assert refresher.calls == 1  # and not again for a while
        assert domain.refused == 3
    assert "STS is away" in caplog.text
    assert not shows_secret(*(record.getMessage() for record in caplog.records))


def test_many_threads_whose_token_has_expired_refresh_it_once():
    with LocalDomain() as domain:
        accept_second_only(domain)
        refresher = Refresher()
        with (
            connect(domain.url, credentials=refreshable(HOUR, refresher), region=domain.region) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            list(pool.map(lambda _: client.cat.indices(), range(64)))
        assert refresher.calls == 1
        assert domain.verified == 64
        assert domain.refused <= 8


def test_many_tasks_whose_token_has_expired_refresh_it_once():
    async def main(domain, credentials):
        async with connect_async(domain.url, credentials=credentials, region=domain.region) as client:
            await asyncio.gather(*(client.cat.indices() for _ in range(64)))

    with LocalDomain() as domain:
        accept_second_only(domain)
        refresher = Refresher()
        asyncio.run(main(domain, refreshable(HOUR, refresher)))
        assert refresher.calls == 1
        assert domain.verified == 64
        assert domain.refused <= 10


def test_closing_ends_what_asks_for_other_credentials():
    async def main(domain, refresher):
        client = connect_async(domain.url, credentials=refreshable(HOUR, refresher), region=domain.region)
        asking = asyncio.create_task(client.cat.indices())
        while not refresher.called.is_set():
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(AuthorizationException):
            await asking
        assert not refresher.go_on.is_set()
        refresher.go_on.set()

    with LocalDomain() as domain:
        accept_second_only(domain)
        refresher = Refresher()
        refresher.go_on.clear()
        run(main(domain, refresher))
        assert domain.refused == 1


def test_another_owner_of_the_credentials_may_have_refreshed_them_meanwhile():
    """A client of boto3's, for one, which holds botocore's lock while it does."""
    refresher = Refresher()
    credentials = refreshable(HOUR, refresher)
    source = source_of(credentials)
    refused = identity_of(source.snapshot())
    with credentials._refresh_lock, ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(source.renew, refused)
        while not source._flight:
            time.sleep(0.001)
        credentials._frozen_credentials = credentials._frozen_credentials._replace(token="another")
        credentials._refresh_lock.release()
        try:
            assert renewed.result(TIMEOUT_S)
        finally:
            credentials._refresh_lock.acquire()
    assert refresher.calls == 0
    assert source.snapshot().token == "another"
    assert source.renew(refused)  # at once: there are others already


def test_both_at_once_are_mended_and_then_there_is_an_end(client_of):
    with LocalDomain(clock=lambda: time.time() + HOUR) as domain:
        domain.add_credentials(*FIRST, expires_at=0)
        domain.add_credentials(*SECOND)
        client = client_of(domain, credentials=Callable(FIRST, FIRST, SECOND, SECOND, SECOND))
        client.cat.indices()
        assert domain.verified == 1
        assert domain.refused == 2
        domain.add_credentials(*SECOND, expires_at=0)
        with pytest.raises(AuthorizationException):
            client.cat.indices()
        assert domain.refused == 3


def test_a_callers_own_authorization_is_nobodys_to_renew(client_of):
    with LocalDomain(clock=lambda: time.time() + HOUR) as domain:
        client = client_of(domain)
        with pytest.raises(AuthorizationException):
            client.transport.perform_request("GET", "/", headers={"Authorization": "AWS4-HMAC-SHA256 other"})
        assert domain.refused == 1


# --- throttling ----------------------------------------------------------------------------------------------


def test_a_403_that_says_throttled_is_what_it_is(client_of):
    with LocalDomain() as domain:
        left = [Fault.answer(403), Fault.answer(403)]
        domain.faults = lambda request: left.pop() if left else None
        client = client_of(domain, retry_on_status=[429])
        client.cat.indices()
        assert domain.verified == 3
        domain.faults = lambda request: Fault.answer(403)
        with pytest.raises(TransportError) as caught:
            client_of(domain).cat.indices()
    assert caught.value.status_code == 429
    assert "send it again later" in note_of(caught.value)


# --- a connection that was kept alive ------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "is_repeated"),
    [
        ("GET", "/logs/_doc/1", True),
        ("HEAD", "/logs", True),
        ("POST", "/logs/_search", True),
        ("POST", "/_bulk", False),
        ("PUT", "/logs/_doc/1", False),
        ("DELETE", "/logs", False),
        ("GET", "/_search/scroll", False),
        ("POST", "/logs/_update/_search", False),  # of a document with that id
    ],
)
def test_a_kept_alive_connection_that_the_server_closes(
    client_of, local_domain, tls_domain, is_tls, method, path, is_repeated
):
    domain = tls_domain if is_tls else local_domain
    domain.reset()
    domain.faults = in_turn(Fault.stale())
    client = client_of(domain, max_retries=0)
    client.cat.indices()
    try:
        client.transport.perform_request(method, path, params={"ignore": [400, 404]})
    except opensearchpy.ConnectionError:
        assert not is_repeated
    else:
        assert is_repeated
    assert domain.verified == 1 + is_repeated


@pytest.mark.parametrize(("method", "is_repeated"), [("GET", True), ("POST", False)])
def test_an_answer_that_is_lost_on_a_kept_alive_connection(client_of, server, method, is_repeated):
    def answer(handler):
        if len(server.received) == 2:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        return 200, {}, b"{}"

    server.answer = answer
    client = client_of(Nowhere(server.url), max_retries=0)
    client.transport.perform_request("GET", "/")
    if is_repeated:
        client.transport.perform_request(method, "/")
    else:
        with pytest.raises(opensearchpy.ConnectionError):
            client.transport.perform_request(method, "/")
    assert len(server.received) == 2 + is_repeated


def test_a_new_connection_that_the_server_closes_is_not_tried_again(client_of, server):
    def answer(handler):
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return 200, {}, b"{}"

    server.answer = answer

    with pytest.raises(opensearchpy.ConnectionError):
        client_of(Nowhere(server.url), max_retries=0).transport.perform_request("GET", "/")
    assert len(server.received) == 1


# --- notes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "options", "told"),
    [
        ("es", {"region": "eu-west-1"}, "service='es', region='eu-west-1'"),
        ("es", {"service": "aoss"}, "service="),
        ("es", {"credentials": Credentials(KEYS[0], "x" * 40)}, "secret key does not belong"),
        ("es", {"credentials": Credentials("AKIDOTHER", "x" * 40)}, "does not know this access key"),
        ("aoss", {"credentials": Credentials(KEYS[0], "x" * 40)}, "data access policy"),
    ],
)
def test_a_refusal_says_what_to_change(client_of, service, options, told):
    with LocalDomain(service=service) as domain:
        with pytest.raises(AuthorizationException) as caught:
            client_of(domain, **options).cat.indices()
        assert domain.refused == 1
    assert type(caught.value) is AuthorizationException
    assert told in note_of(caught.value)
    assert not shows_secret(note_of(caught.value))


def test_what_something_between_changed_is_shown(client_of):
    kinds = {"urllib3": transports.Urllib3, "aiohttp": transports.Aiohttp}
    credentials = Credentials(*FIRST)
    with LocalDomain() as domain:
        domain.add_credentials(*FIRST)
        with asyncio.Runner() as runner:
            transport = kinds[client_of.name](runner.run)

            def change(request):
                request["headers"]["x-amz-meta"] = "changed"

            with (
                transport.client(domain, credentials=credentials) as client,
                transport.changing(client, change),
                pytest.raises(AuthorizationException) as caught,
            ):
                client.transport.perform_request("GET", "/", headers={"x-amz-meta": "mine"})
    note = note_of(caught.value)
    assert "x-amz-meta" in note
    assert "mine" in note
    assert "changed" in note
    assert not shows_secret(note)
    assert "wEXAMPLE" not in str(caught.value)  # nor what `es` quotes


def test_the_quoted_token_reaches_neither_log_nor_exception(client_of, caplog):
    caplog.set_level(logging.DEBUG, "opensearch")
    with LocalDomain() as domain:
        domain.add_credentials(*FIRST)
        with pytest.raises(AuthorizationException) as caught:
            client_of(domain, credentials=Credentials(FIRST[0], "x" * 40, FIRST[2])).cat.indices()
    assert "x-amz-security-token:REDACTED" in str(caught.value.info)
    everything = [str(caught.value), repr(caught.value), str(caught.value.info), note_of(caught.value), caplog.text]
    assert not any("wEXAMPLE1" in text for text in everything)


@pytest.mark.parametrize(
    ("method", "path", "params", "told"),
    [
        ("GET", "/", None, "has no `/`"),
        ("POST", "/logs/_refresh", None, "has no _refresh"),
        ("POST", "/logs/_doc", {"refresh": "true"}, "no refresh=true"),
    ],
)
def test_what_serverless_has_not(client_of, method, path, params, told):
    with LocalDomain(service="aoss") as domain:
        client = client_of(domain)
        with pytest.raises(TransportError) as caught:
            client.transport.perform_request(method, path, params=params, body={"a": 1} if params else None)
    assert told in note_of(caught.value)


def test_a_call_that_was_not_signed_is_told_so(client_of):
    with LocalDomain() as domain, pytest.raises(AuthorizationException) as caught:
        client_of(domain).transport.perform_request("GET", "/", headers={"authorization": "Basic eDp5"})
    assert "It was not signed" in note_of(caught.value)


class Nowhere:
    """As much of a LocalDomain as a client needs."""

    ca_certs, region, service, credentials = None, "us-east-1", "es", Credentials(*KEYS)

    def __init__(self, url, ca_certs=None):
        self.url, self.ca_certs = url, ca_certs


@pytest.fixture(scope="module")
def tls_domain():
    with LocalDomain(https=True) as domain:
        yield domain


def failure_of(client):
    with pytest.raises(TransportError) as caught:
        client.info()
    return caught.value


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://127.0.0.1:1", "Nothing listens on 127.0.0.1:1"), ("https://nowhere.invalid", "has no address here")],
)
def test_a_host_that_is_not_there(client_of, url, told):
    assert told in note_of(failure_of(client_of(Nowhere(url), max_retries=0)))


def test_a_handshake_that_fails(client_of, tls_domain, server):
    stranger = failure_of(client_of(Nowhere(tls_domain.url), max_retries=0))
    assert "issuer is not known" in note_of(stranger)
    another = failure_of(client_of(tls_domain, max_retries=0, ssl_assert_hostname="search.example.com"))
    assert "ssl_assert_hostname" in note_of(another)
    no_tls = failure_of(client_of(Nowhere(server.url.replace("http", "https")), max_retries=0))
    assert "does not speak TLS" in note_of(no_tls)
    assert {meaning_of(error) for error in (stranger, another, no_tls)} == {Meaning.REFUSED}
    assert {type(error) for error in (stranger, another, no_tls)} == {opensearchpy.SSLError}


@pytest.mark.parametrize(
    ("fault", "told"),
    [(Fault.timeout(), "no answer in time"), (Fault.reset(executed=True), "The answer was lost")],
)
def test_an_answer_that_did_not_come(client_of, local_domain, fault, told):
    local_domain.faults = lambda request: fault
    assert told in note_of(failure_of(client_of(local_domain, max_retries=0, timeout=0.2)))


def test_an_answer_in_place_of_which_the_connection_ended(client_of, server):
    def end(handler):
        raise ConnectionAbortedError

    server.answer = end
    assert "The answer was lost" in note_of(failure_of(client_of(Nowhere(server.url), max_retries=0)))


@pytest.mark.parametrize("compress", [False, True])
def test_a_connection_that_does_not_sign_is_told_so(client_of, local_domain, compress):
    kinds = {"urllib3": SigV4HttpConnection, "aiohttp": AsyncSigV4HttpConnection}
    port = int(local_domain.url.rpartition(":")[2])
    connection = kinds[client_of.name]("127.0.0.1", port=port, http_compress=compress)

    async def perform_and_close():
        try:
            await connection.perform_request("POST", "/_search", body=b"{}")
        finally:
            await connection.close()

    def perform():
        if client_of.name == "aiohttp":
            return run(perform_and_close())
        with closing(connection):
            return connection.perform_request("POST", "/_search", body=b"{}")

    with pytest.raises(AuthorizationException) as caught:
        perform()
    assert "It was not signed" in note_of(caught.value)


@pytest.mark.parametrize("status", [403, 429, 503])
@pytest.mark.parametrize("body", [b'"Too Many Requests"', b"[]", b"null", b"3", b"[" * 100_000])
def test_an_answer_that_is_json_and_no_object_is_opensearch_pys_error_all_the_same(client_of, server, status, body):
    server.answer = (status, {}, body)
    error = failure_of(client_of(Nowhere(server.url), max_retries=0))
    assert error.status_code == status


def test_ignoring_a_status_is_ignoring_the_one_that_is_raised(client_of, local_domain):
    local_domain.faults = lambda request: Fault.throttled(403)
    client = client_of(local_domain, max_retries=0)
    with pytest.raises(TransportError):
        client.transport.perform_request("GET", "/", params={"ignore": 403})
    client.transport.perform_request("GET", "/", params={"ignore": 429})


@pytest.mark.parametrize("escape", [str, lambda text: text.replace("=", "\\u003d").replace("/", "\\/")])
def test_whatever_secret_an_answer_quotes_is_hidden(client_of, server, caplog, escape):
    caplog.set_level(logging.DEBUG, "opensearch")

    def answer(handler):
        quoted = handler.headers["authorization"] + " " + str(handler.headers.get("x-amz-security-token"))
        text = f"Authorization header requires, Authorization={escape(quoted)}"
        return 403, {}, b'{"message":"' + text.encode() + b'"}'

    server.answer = answer
    client = client_of(Nowhere(server.url), credentials=Credentials(*KEYS, "TOKEN/EXAMPLE+1=="), max_retries=0)
    errors = [failure_of(client)]
    for headers in (
        {"authorization": "Basic aHVudGVyMg=="},
        {"authorization": "Basic aHVudGVyMg==", "X-Amz-Security-Token": "TOKEN/EXAMPLE+1=="},
    ):
        with pytest.raises(TransportError) as caught:
            client.transport.perform_request("GET", "/", headers=headers)
        errors.append(caught.value)
    texts = [text for error in errors for text in (str(error), repr(error), str(error.info))] + [caplog.text]
    signature = re.compile(r"Signature(=|.u003d)[0-9a-f]{64}|aHVudGVyMg|EXAMPLE\+1")
    assert not any(signature.search(text) for text in texts)


def test_a_renewal_that_raises_shows_no_secret_and_says_why_it_was_asked(client_of):
    def credentials():
        fresh = "-".join(["SECRET", "LOCAL"])
        if calls:
            raise RuntimeError("the vault is away")
        calls.append(fresh)
        return Credentials(*FIRST)

    calls = []
    with LocalDomain() as domain:
        accept_second_only(domain)
        with pytest.raises(RuntimeError, match="vault is away") as caught:
            client_of(domain, credentials=credentials).cat.indices()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    frames = shown[shown.index("perform_request") :]  # without this test's own
    assert "SECRET-LOCAL" not in frames.replace(repr(calls), "")
    assert "wEXAMPLE1" not in frames
    assert "asked again" in note_of(caught.value)


def test_a_subclass_with_slots_signs_by_the_hosts_clock(client_of):
    class Signer(SigV4Signer):
        __slots__ = ("__private", "team")

        def __init__(self, *args):
            super().__init__(*args)
            self.team, self.__private = "search", 1

        def sign(self, *args, **kwargs):
            assert (self.team, self.__private) == ("search", 1)
            return super().sign(*args, **kwargs)

    with LocalDomain(clock=lambda: time.time() + HOUR) as domain:
        signer = Signer(domain.credentials, domain.region)
        kinds = {"urllib3": (OpenSearch, SigV4HttpConnection), "aiohttp": (AsyncOpenSearch, AsyncSigV4HttpConnection)}
        client_class, connection_class = kinds[client_of.name]
        client = client_class(domain.url, http_auth=signer, connection_class=connection_class, max_retries=0)

        async def main():
            async with client:
                await client.cat.indices()

        if client_of.name == "aiohttp":
            run(main())
        else:
            with closing(client):
                client.cat.indices()
        assert (domain.refused, domain.verified) == (1, 1)


# --- what an answer means ------------------------------------------------------------------------------------

# Of OpenSearch 2.19.4 with its security plugin, to a user who may only read. To nobody it answers 401, `Unauthorized`.
NO_PERMISSIONS = (
    '{"error":{"root_cause":[{"type":"security_exception","reason":"no permissions for [indices:data/write/index] and '
    'User [name=reader, backend_roles=[readall], requestedTenant=null]"}],"type":"security_exception","reason":"no '
    "permissions for [indices:data/write/index] and User [name=reader, backend_roles=[readall], requestedTenant=null]"
    '"},"status":403}'
)


@pytest.mark.parametrize(
    ("status", "text", "error_type", "cause"),
    [
        (429, "", "", Cause.THROTTLED),
        (402, "", "", Cause.THROTTLED),
        (403, "403 Request throttled due to too many requests /_bulk", "", Cause.THROTTLED),
        (403, '{"message": "Request throttled due to too many requests"}', "", Cause.THROTTLED),
        (413, "", "", Cause.TOO_LARGE),
        (403, '{"message":"Signature expired: a is now earlier than b (c - 5 min.)"}', "", Cause.SKEWED),
        (403, '{"message":"Signature not yet current: a is still later than b (c + 5 min.)"}', "", Cause.SKEWED),
        (403, '{"message":"The security token included in the request is expired"}', "", Cause.EXPIRED),
        (403, "", "ExpiredTokenException", Cause.EXPIRED),
        (403, "", "UnrecognizedClientException:http://x", Cause.UNRECOGNIZED),
        (403, '{"message":"Credential should be scoped to a valid region. "}', "", Cause.SCOPE),
        (403, '{"message":"The request signature we calculated does not match the signature', "", Cause.UNEXPLAINED),
        (403, '{"message":"The request signature we calculated does not match"}', "", Cause.SIGNATURE),
        (403, '{"Message":"User: anonymous is not authorized to perform: es:ESHttpGet"}', "", Cause.UNSIGNED),
        (403, '{"Message":"User: arn:aws:iam::1:user/x is not authorized to perform: es:a"}', "", Cause.FORBIDDEN),
        (403, '{"error":{"type":"security_exception","reason":"Request throttled"}}', "", Cause.FORBIDDEN),
        (403, '{"error":{"type":"security_exception","reason":"Signature expired: "}}', "", Cause.FORBIDDEN),
        (403, NO_PERMISSIONS, "", Cause.FORBIDDEN),
        (403, '{"error":{"type":"cluster_block_exception","reason":"blocked by: [a]"}}', "", Cause.BLOCKED),
        (403, '{"error":{"type":"index_create_block_exception"},"status":403}', "", Cause.BLOCKED),
        (429, '{"error":{"type":"cluster_block_exception","reason":"disk usage exceeded"}}', "", Cause.BLOCKED),
        (429, '{"error":{"type":"x","reason":"cluster_block_exception"}}', "", Cause.THROTTLED),
        (403, '{"error":"cluster_block_exception"}', "", Cause.UNEXPLAINED),
        (401, "Unauthorized", "", Cause.UNEXPLAINED),
        (404, "Signature expired:", "", Cause.OTHER),
        (400, "", "", Cause.OTHER),
    ],
)
def test_causes(status, text, error_type, cause):
    assert cause_of(status, text, error_type) is cause


def test_a_text_that_is_too_long_to_be_parsed_still_says_why():
    text = '{"message":"The request signature we calculated does not match ' + "x" * 100_000 + '"}'
    assert cause_of(403, text) is Cause.SIGNATURE
    assert len(message_of(text)) < 20_000


@given(st.integers(100, 599), st.text(), st.text())
def test_any_answer_has_a_cause(status, text, error_type):
    assert isinstance(cause_of(status, text, error_type), Cause)
    skewed_server_time(text)
    server_time(text)
    is_safe("GET", text)


@given(st.from_regex(re.compile(r'(\{"[mM]essage": ?")?Signature [a-z ]{1,20}: .{0,80}'), fullmatch=False))
def test_any_text_of_skew(text):
    assert isinstance(skewed_server_time(text), float | None)


def test_a_collection_behind_a_name_of_ones_own():
    """Signed for es, which is what such a name is taken for: the likeliest cause comes first."""
    with LocalDomain(service="aoss") as domain:
        client = connect(domain.url, region=domain.region, credentials=domain.credentials)
        with client, pytest.raises(AuthorizationException) as refused:
            client.cat.indices()
    [note] = refused.value.__notes__
    assert "(unexplained). If a Serverless collection is behind it, pass service='aoss'. " in note
