"""The signing core, sans I/O: values and a time in, headers out. It imports no clock, network or AWS library.

`spec` holds the rules; `_python` is the twin that reads like AWS's text. This module picks the twin, and
nothing else does.
"""

from typing import Final

from ._python import (
    Signature,
    SigningKey,
    body_buffer,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    format_amz_date,
    payload_hash,
    refuse_dot_segments,
    request_target,
    sign,
    signing_key,
    split_url,
    string_to_sign,
)

backend: Final = "python"

__all__ = [
    "Signature",
    "SigningKey",
    "backend",
    "body_buffer",
    "canonical_headers",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "format_amz_date",
    "payload_hash",
    "refuse_dot_segments",
    "request_target",
    "sign",
    "signing_key",
    "split_url",
    "string_to_sign",
]
