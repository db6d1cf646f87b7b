"""The signing core, sans I/O: values and a time in, headers out. It imports no clock, network or AWS library.

`spec` holds the rules; `_python` is the twin that reads like AWS's text, `_cython` the compiled one, with the same
results and errors. `_python_json` and `_python_bulk` are the former's parts about JSON and about documents, which cost
bulk indexing most next to signing.

This module picks the twin and the way to compute SHA-256, and nothing else reads the environment variables that say so:

    OPENSEARCH_SIGV4_NO_EXTENSIONS=1   the Python twin, although the extension is there
    OPENSEARCH_SIGV4_HASH=openssl      hashlib for everything, as on a FIPS host; or another of `hash_paths()`
"""

import os
import warnings
from importlib import import_module

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
    check_head,
    check_json_object,
    encode_plain,
    expand_action,
    format_amz_date,
    hash_path,
    hash_paths,
    is_plain_json,
    payload_hash,
    refuse_dot_segments,
    request_target,
    scan_bulk_answer,
    select_hash_path,
    sign,
    signing_key,
    split_url,
    string_to_sign,
    take_plain,
    timestamp_of,
)

#: The twin in use: "cython" or "python".
backend = "python"

# What has no compiled form is the Python twin's.
_COMPILED = (
    "Kept",
    "RequestSigner",
    "SigningKey",
    "canonical_path",
    "canonical_query",
    "check_json_object",
    "encode_plain",
    "expand_action",
    "hash_path",
    "hash_paths",
    "is_plain_json",
    "payload_hash",
    "request_target",
    "scan_bulk_answer",
    "select_hash_path",
    "sign",
    "signing_key",
    "split_url",
    "take_plain",
)

if os.environ.get("OPENSEARCH_SIGV4_NO_EXTENSIONS", "0") in ("", "0"):
    try:
        _twin = import_module("._cython", __name__)
        # All of it or nothing: an extension left by another version may lack a name, and the twins must not be mixed.
        _compiled = {name: getattr(_twin, name) for name in _COMPILED}
    except Exception as error:  # a broken or foreign extension, a second interpreter in this process
        if not (isinstance(error, ModuleNotFoundError) and error.name == f"{__name__}._cython"):  # It was not built.
            warnings.warn(
                f"the compiled core cannot be loaded, signing in Python instead: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    else:
        globals().update(_compiled)
        backend = "cython"

_chosen_path = os.environ.get("OPENSEARCH_SIGV4_HASH", "")
if _chosen_path not in ("", "auto"):
    try:
        select_hash_path(_chosen_path)
    except ValueError as _error:
        raise ValueError(f"OPENSEARCH_SIGV4_HASH: {_error}") from None

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
    "check_head",
    "check_json_object",
    "encode_plain",
    "expand_action",
    "format_amz_date",
    "hash_path",
    "hash_paths",
    "is_plain_json",
    "payload_hash",
    "refuse_dot_segments",
    "request_target",
    "scan_bulk_answer",
    "select_hash_path",
    "sign",
    "signing_key",
    "split_url",
    "string_to_sign",
    "take_plain",
    "timestamp_of",
]
