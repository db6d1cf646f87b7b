"""Signers that we did not write, behind one call each: what `core.sign` is compared with."""

from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS_KEY = "AKIDEXAMPLE"
SESSION_KEY = "ASIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8"
    "YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6f"
    "E8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj"
    "2ICCR/oLxBA=="
)
REGION = "us-east-1"
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


def awscrt_authorization(method, target, headers, payload_hash, *, service="es", token=None):
    """AWS's C signer's Authorization for a request whose `headers` (name, value) are all to be signed."""
    from awscrt import auth as crt_auth  # not on every Python: free-threaded ones have no wheel of it
    from awscrt import http as crt_http

    request = crt_http.HttpRequest(method, target, crt_http.HttpHeaders(headers))
    config = crt_auth.AwsSigningConfig(
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY, token),
        region=REGION,
        service=service,
        date=AT,
        signed_body_value=payload_hash,
        signed_body_header_type=crt_auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    crt_auth.aws_sign_request(request, config).result(10)
    return request.headers.get("Authorization")


def botocore_canonical_request(method, url, headers, payload_hash, *, token=None):
    """botocore's canonical request; the caller keeps to where its rules and AWS's text agree."""
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, token), "es", REGION)
    request = AWSRequest(method, url, headers={**headers, "X-Amz-Content-SHA256": payload_hash})
    request.context["timestamp"] = AT.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    return signer.canonical_request(request)


def recoded_query(query):
    """A query in the one form in which botocore, which does not re-encode, follows AWS's text too."""
    pairs = []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        pairs.append([quote(unquote_to_bytes(text.replace("+", " ")), safe="") for text in (name, value)])
    return "&".join(f"{name}={value}" for name, value in pairs)
