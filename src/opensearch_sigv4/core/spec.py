"""The rules of AWS Signature Version 4, each stated once; both twins build their tables from here.

Sources, named where a rule comes from them:
    [SIGN]  AWS IAM User Guide, "Create a signed AWS API request".
    [ELEM]  AWS IAM User Guide, "Elements of an AWS API request signature".
    [9110]  RFC 9110, HTTP Semantics.   [3986]  RFC 3986, URI Generic Syntax.
"""

import re
from typing import Final

# [SIGN] The algorithm by which the canonical request is hashed and the string to sign is signed.
ALGORITHM: Final = "AWS4-HMAC-SHA256"
# [SIGN] The key derivation starts from "AWS4" + the secret and ends with "aws4_request", as the scope does.
KEY_PREFIX: Final = "AWS4"
TERMINATOR: Final = "aws4_request"
AMZ_DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"

# [SIGN] An empty payload is hashed as the empty string.
EMPTY_PAYLOAD_HASH: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

# What `sign` sets, as it is spelled on the wire, and as it is compared.
AUTHORIZATION: Final = "Authorization"
AMZ_DATE: Final = "X-Amz-Date"
CONTENT_SHA256: Final = "X-Amz-Content-SHA256"
SECURITY_TOKEN: Final = "X-Amz-Security-Token"  # noqa: S105 - a header's name

# [SIGN] The host header and every x-amz-* header of a request must be signed.
SIGNED_PREFIX: Final = "x-amz-"

# Headers that something on the way to the service may add, change or drop. [SIGN] names connection,
# x-amzn-trace-id, user-agent, keep-alive, transfer-encoding, te, trailer, upgrade, proxy-authorization and
# proxy-authenticate. The others broke users: opensearch-py#1047 (accept-encoding, content-length), botocore#3643.
NEVER_SIGNED: Final = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)
NEVER_SIGNED_PREFIX: Final = "x-forwarded-"

# [SIGN] UriEncode leaves the unreserved characters of RFC 3986 and turns every other byte into %XY, in upper-case
# hex; a space is %20, never a plus. urllib.parse.quote leaves exactly these alone, so the Python twin needs no table.
UNRESERVED: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

# [3986] 3.3 and 3.4: what may stand raw in a path, and in a query, beside the unreserved ones. A target made
# of these alone passes urllib3, http.client and every hop unchanged; what else there is must be escaped first.
PATH_SAFE: Final = "/!$&'()*+,;=:@"
QUERY_SAFE: Final = PATH_SAFE + "?"

# [9110] 5.6.2: token. Methods and field names are tokens.
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Refused everywhere: what could end a header or a request line early, and what urlsplit would drop in silence.
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

# [3986] 3.2.2 and 3.2.3, without userinfo. Percent-encoded and non-ASCII names never reach a resolver.
HOST: Final = re.compile(r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~%-]+)?\])(?::([0-9]*))?")
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# One signing key serves one secret, day, region and service. A process rarely holds more than a few at once;
# the bound only keeps a program that signs for thousands of roles from growing.
SIGNING_KEY_CACHE_SIZE: Final = 128

# How many hosts, paths, queries and names the Python twin keeps in their canonical forms.
TEXT_CACHE_SIZE: Final = 256

# Region and service stand between the slashes of the credential scope, and in a header.
SCOPE_PART: Final = re.compile(r"[A-Za-z0-9._-]+")
