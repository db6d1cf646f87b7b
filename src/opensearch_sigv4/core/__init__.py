"""The signing core, sans I/O: values and a time in, headers out. It imports no clock, network or AWS library.

`spec` holds the rules; `_python` is the twin that reads like AWS's text, `_cython` the compiled one, with the same
results and errors. This module picks the twin and the way to compute SHA-256, and nothing else reads the environment
variables that say so:

    OPENSEARCH_SIGV4_NO_EXTENSIONS=1   the Python twin, although the extension is there
    OPENSEARCH_SIGV4_HASH=openssl      hashlib for everything, as on a FIPS host; or another of `hash_paths()`
"""

import os
import warnings

from ._python import (
    Kept,
    RequestSigner,
    Signature,
    SigningKey,
    body_buffer,
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    format_amz_date,
    hash_path,
    hash_paths,
    payload_hash,
    refuse_dot_segments,
    request_target,
    select_hash_path,
    sign,
    signing_key,
    split_url,
    string_to_sign,
    timestamp_of,
)

#: The twin in use: "cython" or "python".
backend = "python"

if os.environ.get("OPENSEARCH_SIGV4_NO_EXTENSIONS", "0") in ("", "0"):
    try:
        # What has no compiled form is the Python twin's.
        from ._cython import (  # type: ignore[no-redef]
            Kept,
            RequestSigner,
            SigningKey,
            canonical_path,
            canonical_query,
            hash_path,
            hash_paths,
            payload_hash,
            request_target,
            select_hash_path,
            sign,
            signing_key,
            split_url,
        )

        backend = "cython"
    except ModuleNotFoundError:
        pass  # An installation without the extension.
    except ImportError as error:
        warnings.warn(f"the compiled core cannot be loaded, signing in Python instead: {error}", stacklevel=2)

_chosen_path = os.environ.get("OPENSEARCH_SIGV4_HASH", "")
if _chosen_path not in ("", "auto"):
    select_hash_path(_chosen_path)

__all__ = [
    "Kept",
    "RequestSigner",
    "Signature",
    "SigningKey",
    "backend",
    "body_buffer",
    "canonical_headers",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "format_amz_date",
    "hash_path",
    "hash_paths",
    "payload_hash",
    "refuse_dot_segments",
    "request_target",
    "select_hash_path",
    "sign",
    "signing_key",
    "split_url",
    "string_to_sign",
    "timestamp_of",
]
