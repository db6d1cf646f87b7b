# cython: auto_pickle=False, freethreading_compatible=True

"""The compiled twin of `_python`: the same functions, values and errors, for requests as they usually are.

`_sign` reads a request first. A plain one, ASCII in exact built-in types with nothing to
refuse or to normalise, is written in its canonical form straight into one buffer, hashed and signed there. Any other is
left to the Python twin as a whole, so what is rare, and every error, has one implementation. `_cython.pxd` is the index.
JSON is read by csrc/json.c, whatever it is; the Python twin has the words for its errors.
"""

import hashlib
import sysconfig
from functools import lru_cache

cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_CheckExact, PyDict_Copy, PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport isfinite
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, memcpy

from . import _python, _python_bulk, _python_json, spec
from ._python import (
    Signature,
    UrlParts,
    body_buffer,
    check_key_parts,
    format_amz_date,
    timestamp_of,
)
from ._secrets import RequestHeaders, clear_frames

# A buffer on the stack holds the usual request; a longer one gets a block of its own.
cdef enum:
    _STACK_BYTES = 4096
    _MAX_HEADERS = 24
    _MAX_PARAMETERS = 32
    # What is in the buffer besides `Request.size`, the payload's hash and the scope: a second hash, separators, and the
    # constant parts of the string to sign.
    _FIXED_BYTES = 256
    _HEX_SIZE = 64
    _DIGEST_SIZE = 32
    _PREFIX_SIZE = 6
    # "/", ", SignedHeaders=", ", Signature=" and the signature.
    _AUTHORIZATION_BYTES = 1 + 16 + 12 + 64
    # "-9223372036854775808", and the null that snprintf writes.
    _MAX_INT_BYTES = 21


cdef inline int _check_self(object self, object kind) except -1:
    # A method of a compiled class takes any object for self where it is called on the class.
    if not isinstance(self, kind):
        raise TypeError(f"{kind.__name__}: a method needs an instance of it, not of {type(self).__name__}")
    return 0


# --- tables, built from spec -------------------------------------------------------------------------------

cdef uint8_t _UNRESERVED[256]   # 1: stands for itself in UriEncode
cdef uint8_t _PATH_KEPT[256]    # the same, and the slash
cdef uint8_t _PATH_SAFE[256]    # 1: may stand raw in the path of a request target
cdef uint8_t _QUERY_SAFE[256]   # 1: may stand raw in its query, and is not a plus
cdef uint8_t _HOST[256]         # 1: stands for itself in a host name's normal form
cdef uint8_t _LOWER[256]        # a token's character in lower case; 0: none may have it
cdef uint8_t _UPPER[256]        # the same in upper case
cdef uint8_t _HEX_VALUE[256]    # 1 + the value of a hex digit; 0: it is none
cdef uint8_t _JSON_SAFE[256]    # 1: ASCII that stands for itself in a JSON string
cdef const char *_HEX_DIGITS = b"0123456789ABCDEF"


cdef int _build_tables() except -1:
    cdef int code
    for code in range(128):
        char = chr(code)
        _UNRESERVED[code] = char in spec.UNRESERVED
        _PATH_KEPT[code] = char in spec.UNRESERVED or char == "/"
        _PATH_SAFE[code] = char in spec.UNRESERVED or char in spec.PATH_SAFE
        _QUERY_SAFE[code] = (char in spec.UNRESERVED or char in spec.QUERY_SAFE) and char != "+"
        _HOST[code] = spec.HOST.fullmatch(char) is not None and char == char.lower()
        if spec.TOKEN.fullmatch(char) is not None:
            _LOWER[code] = ord(char.lower())
            _UPPER[code] = ord(char.upper())
        _JSON_SAFE[code] = code >= 0x20 and char not in '"\\'
        if char in "0123456789abcdefABCDEF":
            _HEX_VALUE[code] = 1 + int(char, 16)
    return 0


_build_tables()

cdef str _KEY_PREFIX = spec.KEY_PREFIX
cdef bytes _TO_SIGN_START = f"{spec.ALGORITHM}\n".encode()
cdef bytes _AUTHORIZATION_START = f"{spec.ALGORITHM} Credential=".encode()
cdef str _AUTHORIZATION = spec.AUTHORIZATION
cdef str _AMZ_DATE = spec.AMZ_DATE
cdef str _CONTENT_SHA256 = spec.CONTENT_SHA256
cdef str _SECURITY_TOKEN = spec.SECURITY_TOKEN
cdef str _EMPTY_PAYLOAD_HASH = spec.EMPTY_PAYLOAD_HASH
cdef str _UNSIGNED_PAYLOAD = spec.UNSIGNED_PAYLOAD
cdef type _RequestHeaders = RequestHeaders


# --- small pieces ------------------------------------------------------------------------------------------


cdef inline bint _is_ascii(object text, Span *span) noexcept:
    if not PyUnicode_CheckExact(text) or not PyUnicode_IS_COMPACT_ASCII(text):
        return False
    span.text = <const char *>PyUnicode_DATA(text)
    span.size = PyUnicode_GET_LENGTH(text)
    return True


cdef inline str _text(const char *text, Py_ssize_t size):
    result = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(result), text, size)
    return <str>result


cdef inline char *_put(char *out, const char *text, Py_ssize_t size) noexcept nogil:
    memcpy(out, text, size)
    return out + size


cdef inline char *_put_name(char *out, const Header *header) noexcept nogil:
    cdef Span name = header.name
    cdef Py_ssize_t at
    if header.is_ours:
        return _put(out, name.text, name.size)
    for at in range(name.size):
        out[at] = _LOWER[<uint8_t>name.text[at]]
    return out + name.size


cdef inline Span _stripped(Span value) noexcept nogil:
    while value.size and value.text[0] == c" ":
        value.text += 1
        value.size -= 1
    while value.size and value.text[value.size - 1] == c" ":
        value.size -= 1
    return value


cdef inline char *_put_trimmed(char *out, Span value) noexcept nogil:
    cdef Py_ssize_t at
    if memchr(value.text, c" ", value.size) == NULL:
        return _put(out, value.text, value.size)
    value = _stripped(value)
    for at in range(value.size):
        if value.text[at] != c" " or value.text[at - 1] != c" ":
            out[0] = value.text[at]
            out += 1
    return out


cdef inline char *_put_escaped(char *out, uint8_t byte) noexcept nogil:
    out[0] = c"%"
    out[1] = _HEX_DIGITS[byte >> 4]
    out[2] = _HEX_DIGITS[byte & 15]
    return out + 3


cdef inline char *_put_encoded(char *out, const char *text, Py_ssize_t size, const uint8_t *kept) noexcept nogil:
    cdef Py_ssize_t at
    cdef uint8_t byte
    for at in range(size):
        byte = <uint8_t>text[at]
        if kept[byte]:
            out[0] = byte
            out += 1
        else:
            out = _put_escaped(out, byte)
    return out


cdef inline char *_put_decoded_and_encoded(char *out, const char *text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef uint8_t byte, high, low
    while at < size:
        byte = <uint8_t>text[at]
        if byte == c"+":
            byte = c" "
        elif byte == c"%" and at + 2 < size:
            high, low = _HEX_VALUE[<uint8_t>text[at + 1]], _HEX_VALUE[<uint8_t>text[at + 2]]
            if high and low:
                byte = ((high - 1) << 4) | (low - 1)
                at += 2
        if _UNRESERVED[byte]:
            out[0] = byte
            out += 1
        else:
            out = _put_escaped(out, byte)
        at += 1
    return out


# --- the URL -----------------------------------------------------------------------------------------------


cdef bint _read_url(Request *request, Span url) noexcept nogil:
    cdef const char *at = url.text
    cdef const char *end = url.text + url.size
    cdef const char *mark
    cdef int default_port, port = 0, digits = 0
    # With a space or a control character in it, a URL is escaped first, or refused.
    if osv4_has_byte_below_or_del(url.text, url.size, 0x21):
        return False
    if url.size > 8 and memcmp(at, b"https://", 8) == 0:
        at += 8
        default_port = 443
    elif url.size > 7 and memcmp(at, b"http://", 7) == 0:
        at += 7
        default_port = 80
    else:
        return False
    mark = <const char *>memchr(at, c"#", end - at)
    if mark != NULL:
        end = mark

    request.host.text = at
    while at < end and _HOST[<uint8_t>at[0]]:
        at += 1
    request.host.size = at - request.host.text
    if request.host.size == 0 or at[-1] == c".":
        return False
    if at < end and at[0] == c":":
        at += 1
        while at < end and digits < 6 and c"0" <= at[0] <= c"9":
            port = 10 * port + (at[0] - c"0")
            digits += 1
            at += 1
        if digits == 0 or request.host.text[request.host.size + 1] == c"0" or port > 65535:
            return False
        if port != default_port:
            request.host.size += 1 + digits
    if at < end and at[0] != c"/" and at[0] != c"?":
        return False

    request.path.text = at
    mark = <const char *>memchr(at, c"?", end - at)
    request.path.size = (end if mark == NULL else mark) - at
    request.query.text = end if mark == NULL else mark + 1
    request.query.size = end - request.query.text
    return _is_normal(request.path)


def split_url(url):
    cdef Span span
    cdef Request request
    if not _is_ascii(url, &span) or not _read_url(&request, span):
        return _python.split_url(url)
    return UrlParts(
        "https" if span.text[4] == c"s" else "http",
        _text(request.host.text, request.host.size),
        _text(request.path.text, request.path.size) if request.path.size else "/",
        _text(request.query.text, request.query.size),
    )


# --- step 1: the canonical request -------------------------------------------------------------------------


cdef inline bint _is_normal(Span path) noexcept nogil:
    cdef Py_ssize_t at, dots
    for at in range(path.size - 1):
        if path.text[at] != c"/":
            continue
        if path.text[at + 1] == c"/":
            return False
        # An index whose name begins with a dot is usual; a segment of one or two dots is not.
        dots = 0
        while dots < 2 and at + 1 + dots < path.size and path.text[at + 1 + dots] == c".":
            dots += 1
        if dots and (at + 1 + dots == path.size or path.text[at + 1 + dots] == c"/"):
            return False
    return True


def canonical_path(path):
    cdef Span span
    cdef Py_ssize_t at
    if not _is_ascii(path, &span) or span.size == 0 or span.text[0] != c"/" or not _is_normal(span):
        return _python.canonical_path(path)
    for at in range(span.size):
        if not _PATH_KEPT[<uint8_t>span.text[at]]:
            break
    else:
        return path
    cdef char *buffer = <char *>PyMem_Malloc(3 * span.size)
    if buffer == NULL:
        raise MemoryError
    try:
        return _text(buffer, _put_encoded(buffer, span.text, span.size, _PATH_KEPT) - buffer)
    finally:
        PyMem_Free(buffer)


cdef inline int _compare(Span left, Span right) noexcept nogil:
    cdef Py_ssize_t common = min(left.size, right.size)
    cdef int order = memcmp(left.text, right.text, common)
    if order == 0:
        return (left.size > right.size) - (left.size < right.size)
    return order


cdef char *_put_query(char *out, const char *query, Py_ssize_t size) noexcept nogil:
    """Append the canonical query, or return NULL for one of more parameters than are sorted here.

    It needs room for six times `size` and one more byte for each parameter, `size` at most: where the parameters do not
    stand in order yet, they are encoded behind the place where they belong, and then copied there one by one.
    """
    cdef Parameter parameters[_MAX_PARAMETERS]
    cdef Parameter parameter
    cdef char *start = out
    cdef const char *end = query + size
    cdef const char *stop
    cdef const char *equals
    cdef int count = 0, at
    cdef bint in_order = True
    cdef char *copy
    while query < end:
        stop = <const char *>memchr(query, c"&", end - query)
        if stop == NULL:
            stop = end
        if stop > query:
            if count == _MAX_PARAMETERS:
                return NULL
            equals = <const char *>memchr(query, c"=", stop - query)
            if equals == NULL:
                equals = stop
            if count:
                out[0] = c"&"
                out += 1
            parameter.name.text = out
            out = _put_decoded_and_encoded(out, query, equals - query)
            parameter.name.size = out - parameter.name.text
            out[0] = c"="
            out += 1
            parameter.value.text = out
            if equals < stop:
                out = _put_decoded_and_encoded(out, equals + 1, stop - equals - 1)
            parameter.value.size = out - parameter.value.text
            at = count
            while at and _compare_parameters(&parameters[at - 1], &parameter) > 0:
                parameters[at] = parameters[at - 1]
                at -= 1
                in_order = False
            parameters[at] = parameter
            count += 1
        query = stop + 1
    if in_order:
        return out
    copy = out
    for at in range(count):
        if at:
            copy = _put(copy, b"&", 1)
        copy = _put(copy, parameters[at].name.text, parameters[at].name.size)
        copy = _put(copy, b"=", 1)
        copy = _put(copy, parameters[at].value.text, parameters[at].value.size)
    return _put(start, out, copy - out)


cdef inline int _compare_parameters(const Parameter *left, const Parameter *right) noexcept nogil:
    cdef int order = _compare(left.name, right.name)
    return order if order else _compare(left.value, right.value)


def canonical_query(query):
    cdef Span span
    cdef char *buffer
    cdef char *end
    if not _is_ascii(query, &span):
        return _python.canonical_query(query)
    if span.size == 0:
        return ""
    buffer = <char *>PyMem_Malloc(8 * span.size + 2)
    if buffer == NULL:
        raise MemoryError
    try:
        end = _put_query(buffer, span.text, span.size)
        return _python.canonical_query(query) if end == NULL else _text(buffer, end - buffer)
    finally:
        PyMem_Free(buffer)


def request_target(path, query=""):
    cdef Span span
    if _is_ascii(path, &span) and span.size and span.text[0] == c"/" and _is_normal(span) and _is_safe(span, _PATH_SAFE):
        if _is_ascii(query, &span) and _is_safe(span, _QUERY_SAFE):
            return f"{path}?{query}" if span.size else path
    return _python.request_target(path, query)


cdef bint _is_safe(Span text, const uint8_t *safe) noexcept nogil:
    """Whether all that is not safe is an escape in upper-case hex."""
    cdef Py_ssize_t at = 0
    while at < text.size:
        if safe[<uint8_t>text.text[at]]:
            at += 1
        elif text.text[at] == c"%" and at + 2 < text.size and _is_upper_hex(text.text[at + 1]) and _is_upper_hex(text.text[at + 2]):
            at += 3
        else:
            return False
    return True


cdef inline bint _is_upper_hex(char character) noexcept nogil:
    return _HEX_VALUE[<uint8_t>character] != 0 and character < c"a"


# --- hashing -----------------------------------------------------------------------------------------------

cdef enum:
    # From this size on the GIL is released for the hash of a body. bench/gil.py: 18 us of hashing, to which the release
    # adds 0.03 when nobody waits; two threads then hash 1.9 times as much. Of smaller bodies they gain less; and beside a
    # thread that computes, which keeps what it was given for up to 5 ms, each release costs much more than the hash.
    _GIL_RELEASE_MIN_BYTES = 32768
    # Without instructions for SHA-256, OpenSSL's assembly makes up for what hashlib costs from here on.
    _HASHLIB_MIN_BYTES = 2048

    # The same for JSON, which is read at 1.4 GB/s: 90 us, to which the release adds nothing that can be measured when nobody
    # waits; two threads then read 1.8 times as much. The answer to 500 documents is smaller.
    _JSON_GIL_RELEASE_MIN_BYTES = 131072

cdef Py_ssize_t _gil_release_min_bytes = _GIL_RELEASE_MIN_BYTES
cdef Py_ssize_t _json_gil_release_min_bytes = _JSON_GIL_RELEASE_MIN_BYTES
cdef bint _use_openssl = False
cdef bint _is_portable = False
cdef bint _FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
cdef int64_t _YEAR_10000_S = 253402300800


def hash_paths():
    """The ways to compute SHA-256 that can run here, the fastest first."""
    cdef const char *names[8]
    cdef size_t count = osv4_sha256_paths(names, 8)
    return (*[names[at].decode() for at in range(count)], "openssl")


def hash_path():
    """The way that is in use."""
    return "openssl" if _use_openssl else osv4_sha256_path().decode()


def select_hash_path(path):
    """Use another way. For the start of a process and for tests: nothing may be signing meanwhile.

    Raises:
        ValueError: a way that is not among `hash_paths()`.
    """
    global _use_openssl, _is_portable
    if path not in hash_paths():
        raise ValueError(f"no way to compute SHA-256 is called {path!r} here; there are: {', '.join(hash_paths())}")
    if path != "openssl":
        osv4_sha256_select(path.encode())
    _use_openssl = path == "openssl"
    _is_portable = path == "portable"
    # Keys hold what the way that derived them needs.
    signing_key.cache_clear()
    _latest.moment = None


def set_gil_release_min_bytes(size):
    """Release the GIL from another size on, of bodies and JSON; None is the usual one. For bench/gil.py and tests."""
    global _gil_release_min_bytes, _json_gil_release_min_bytes
    _gil_release_min_bytes = _GIL_RELEASE_MIN_BYTES if size is None else size
    _json_gil_release_min_bytes = _JSON_GIL_RELEASE_MIN_BYTES if size is None else size


cdef inline bint _is_for_hashlib(Py_ssize_t size) noexcept:
    return _use_openssl or (_is_portable and size >= _HASHLIB_MIN_BYTES)


cdef int _take_digest(bytes found, uint8_t *digest) except -1:
    if found is None or len(found) != _DIGEST_SIZE:
        raise ValueError("hashlib's SHA-256 is not what it should be")
    memcpy(digest, PyBytes_AS_STRING(found), _DIGEST_SIZE)
    return 0


cdef int _sha256(const char *data, Py_ssize_t size, uint8_t *digest) except -1:
    if _is_for_hashlib(size):
        _take_digest(hashlib.sha256(data[:size]).digest(), digest)
    else:
        osv4_sha256(<const uint8_t *>data, size, digest)
    return 0


cdef int _hash_buffer(object buffer, const char *data, Py_ssize_t size, uint8_t *digest) except -1:
    """Hash what `buffer`, which the caller holds, has at `data`."""
    if _is_for_hashlib(size):
        _take_digest(hashlib.sha256(buffer).digest(), digest)
    elif size < _gil_release_min_bytes:
        osv4_sha256(<const uint8_t *>data, size, digest)
    else:
        with nogil:
            osv4_sha256(<const uint8_t *>data, size, digest)
    return 0


cdef int _payload_hash(object body, char *hex) except -1:
    cdef uint8_t digest[_DIGEST_SIZE]
    cdef Py_buffer view
    if body is None:
        memcpy(hex, PyUnicode_DATA(_EMPTY_PAYLOAD_HASH), _HEX_SIZE)
        return 0
    buffer = body_buffer(body) if not PyBytes_CheckExact(body) else body
    if PyBytes_CheckExact(buffer):
        _hash_buffer(buffer, PyBytes_AS_STRING(buffer), PyBytes_GET_SIZE(buffer), digest)
    else:
        PyObject_GetBuffer(buffer, &view, PyBUF_FULL_RO)
        try:
            _hash_buffer(buffer, <const char *>view.buf, view.len, digest)
        finally:
            PyBuffer_Release(&view)
    osv4_hex(digest, _DIGEST_SIZE, hex)
    return 0


def payload_hash(body):
    cdef char hex[_HEX_SIZE]
    _payload_hash(body, hex)
    return _text(hex, _HEX_SIZE)


# --- step 4: the signature ---------------------------------------------------------------------------------


@cython.final
cdef class SigningKey:
    def __init__(self, secret_key, day, region, service):
        cdef uint8_t key[_DIGEST_SIZE]
        cdef char *secret
        cdef const char *text
        cdef Py_ssize_t size
        cdef Py_ssize_t prefix_size = len(_KEY_PREFIX)
        check_key_parts(secret_key, day, region, service)
        self.credential_scope = f"{day}/{region}/{service}/{spec.TERMINATOR}"
        self._by_openssl = None
        if _use_openssl:
            self._by_openssl = _python.SigningKey(secret_key, day, region, service)
            return
        text = PyUnicode_AsUTF8AndSize(secret_key, &size)
        secret = <char *>PyMem_Malloc(prefix_size + size)
        if secret == NULL:
            raise MemoryError
        memcpy(secret, PyUnicode_DATA(_KEY_PREFIX), prefix_size)
        memcpy(secret + prefix_size, text, size)
        osv4_hmac_key_init(&self._states, <const uint8_t *>secret, prefix_size + size)
        osv4_wipe(secret, prefix_size + size)
        PyMem_Free(secret)
        for part in (day, region, service, spec.TERMINATOR):
            text = PyUnicode_AsUTF8AndSize(part, &size)
            osv4_hmac(&self._states, <const uint8_t *>text, size, key)
            osv4_hmac_key_init(&self._states, key, _DIGEST_SIZE)
        osv4_wipe(key, _DIGEST_SIZE)

    cdef int _signature(self, const char *message, Py_ssize_t size, char *hex) except -1:
        cdef uint8_t mac[_DIGEST_SIZE]
        if self._by_openssl is not None:
            _take_digest(bytes.fromhex(self._by_openssl.signature(message[:size].decode())), mac)
            osv4_hex(mac, _DIGEST_SIZE, hex)
        else:
            osv4_hmac(&self._states, <const uint8_t *>message, size, mac)
            osv4_hex(mac, _DIGEST_SIZE, hex)
        return 0

    def signature(self, string_to_sign):
        _check_self(self, SigningKey)
        if self.credential_scope is None:
            raise ValueError("a SigningKey that was not initialised")
        cdef char hex[_HEX_SIZE]
        cdef bytes message = string_to_sign.encode()
        self._signature(message, len(message), hex)
        return _text(hex, _HEX_SIZE)

    def __repr__(self):
        return f"<SigningKey {self.credential_scope}>"

    def __reduce__(self):
        raise TypeError("a SigningKey cannot be pickled: it is secret, and cheap to derive again")

    def __dealloc__(self):
        osv4_wipe(&self._states, sizeof(self._states))


@lru_cache(maxsize=spec.SIGNING_KEY_CACHE_SIZE)
def signing_key(secret_key, day, region, service):
    return SigningKey(secret_key, day, region, service)


@cython.final
cdef class Moment:
    pass


@cython.final
cdef class Latest:
    pass


cdef Latest _latest = Latest()


cdef Moment _moment(object timestamp, object secret_key, object region, object service):
    """The date and signing key of a time: the latest ones again, or new ones; None for a time out of the ordinary."""
    cdef double seconds
    cdef int64_t second
    cdef Moment moment
    if PyFloat_CheckExact(timestamp):
        seconds = PyFloat_AS_DOUBLE(timestamp)
    elif PyLong_CheckExact(timestamp) and 0 <= timestamp < _YEAR_10000_S:
        seconds = timestamp
    else:
        return None
    if not 0 <= seconds < _YEAR_10000_S:
        return None
    second = <int64_t>seconds
    with cython.critical_section(_latest):
        moment = _latest.moment
    if (
        moment is not None
        and moment.second == second
        and moment.secret_key is secret_key
        and moment.region is region
        and moment.service is service
    ):
        return moment
    moment = Moment.__new__(Moment)
    moment.second = second
    moment.amz_date = format_amz_date(second)
    moment.secret_key = secret_key
    moment.region = region
    moment.service = service
    try:
        moment.key = signing_key(secret_key, moment.amz_date[:8], region, service)
    except (TypeError, ValueError):  # the Python twin looks at the method, the URL and the headers first
        return None
    with cython.critical_section(_latest):
        _latest.moment = moment
    return moment


# --- step 5: the headers -----------------------------------------------------------------------------------


cdef inline int _compare_names(Span left, Span right) noexcept nogil:
    cdef Py_ssize_t at
    cdef int order
    for at in range(min(left.size, right.size)):
        order = <int>_LOWER[<uint8_t>left.text[at]] - <int>_LOWER[<uint8_t>right.text[at]]
        if order:
            return order
    return (left.size > right.size) - (left.size < right.size)


cdef inline bint _is_named(Span name, const char *lower, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at
    if name.size != size:
        return False
    for at in range(size):
        if _LOWER[<uint8_t>name.text[at]] != <uint8_t>lower[at]:
            return False
    return True


cdef bint _insert(Request *request, Span name, Span value, bint is_ours) noexcept nogil:
    cdef int at = request.count
    cdef int order
    if at == _MAX_HEADERS:
        return False
    while at:
        order = _compare_names(request.headers[at - 1].name, name)
        if order == 0:
            return False
        if order < 0:
            break
        request.headers[at] = request.headers[at - 1]
        at -= 1
    request.headers[at].name = name
    request.headers[at].value = value
    request.headers[at].is_ours = is_ours
    request.count += 1
    # A name stands twice in the canonical request, with a separator or two behind it, and once more in Authorization.
    request.size += 2 * name.size + value.size + 3
    return True


cdef bint _read_header(Request *request, object name, object value, bint with_token, object further) except -1:
    cdef Span name_span, value_span, prefix
    cdef Py_ssize_t at
    if not _is_ascii(name, &name_span) or not _is_ascii(value, &value_span) or name_span.size == 0:
        return False
    for at in range(name_span.size):
        if not _LOWER[<uint8_t>name_span.text[at]]:
            return False
    if osv4_has_byte_below_or_del(value_span.text, value_span.size, 0x20):
        return False

    if _is_named(name_span, b"host", 4):
        if request.has_own_host:
            return False
        request.has_own_host = True
        request.host = _stripped(value_span)
        return request.host.size != 0
    prefix = Span(name_span.text, min(name_span.size, _PREFIX_SIZE))
    if _is_named(prefix, b"x-amz-", _PREFIX_SIZE):
        if _is_named(name_span, b"x-amz-content-sha256", 20):
            request.own_payload_hash = _stripped(value_span)
        elif _is_named(name_span, b"x-amz-date", 10):
            return True
        elif with_token and _is_named(name_span, b"x-amz-security-token", 20):
            return True
        return _insert(request, name_span, value_span, False)
    if further and name.lower() in further:
        return _insert(request, name_span, value_span, False)
    return True


cdef inline bint _is_dict(object headers) noexcept:
    return PyDict_CheckExact(headers) or Py_TYPE(<PyObject *>headers) == <PyTypeObject *>_RequestHeaders


cdef bint _read_headers(Request *request, object headers, bint with_token, object further) except -1:
    cdef Py_ssize_t position = 0
    cdef PyObject *name
    cdef PyObject *value
    if headers is None:
        return True
    if _is_dict(headers):
        while PyDict_Next(headers, &position, &name, &value):
            if not _read_header(request, <object>name, <object>value, with_token, further):
                return False
        return True
    for pair in <list>headers:
        if type(pair) is not tuple or len(<tuple>pair) != 2:
            return False
        if not _read_header(request, (<tuple>pair)[0], (<tuple>pair)[1], with_token, further):
            return False
    return True


cdef bint _read(
    Request *request, Span method, Span url, object headers, Span amz_date, Span token, object further
) except -1:
    cdef Py_ssize_t at
    request.method = method
    request.has_own_host = False
    request.own_payload_hash = Span(NULL, 0)
    request.count = 0
    # All of a URL may be escaped; its query has equals signs added, and is written twice where it must be sorted.
    request.size = method.size + 8 * url.size
    if method.size == 0:
        return False
    for at in range(method.size):
        if not _UPPER[<uint8_t>method.text[at]]:
            return False
    if not _read_url(request, url) or not _read_headers(request, headers, token.size != 0, further):
        return False
    if request.own_payload_hash.text == NULL and not _insert(request, Span(b"x-amz-content-sha256", 20), Span(NULL, 0), True):
        return False
    return (
        _insert(request, Span(b"host", 4), request.host, True)
        and _insert(request, Span(b"x-amz-date", 10), amz_date, True)
        and (token.size == 0 or _insert(request, Span(b"x-amz-security-token", 20), token, True))
    )


cdef bint _write(Request *request, Span payload_hash, char *out, Canonical *canonical) noexcept nogil:
    cdef Py_ssize_t at
    cdef int index
    canonical.text = out
    canonical.hash_in_headers = NULL
    for at in range(request.method.size):
        out[at] = _UPPER[<uint8_t>request.method.text[at]]
    out = _put(out + request.method.size, b"\n", 1)
    if request.path.size:
        out = _put_encoded(out, request.path.text, request.path.size, _PATH_KEPT)
    else:
        out = _put(out, b"/", 1)
    out = _put(out, b"\n", 1)
    if request.query.size:
        out = _put_query(out, request.query.text, request.query.size)
        if out == NULL:
            return False
    out = _put(out, b"\n", 1)
    for index in range(request.count):
        out = _put_name(out, &request.headers[index])
        out = _put(out, b":", 1)
        if request.headers[index].value.text == NULL:
            canonical.hash_in_headers = out
            out = _put(out, payload_hash.text, payload_hash.size)
        else:
            out = _put_trimmed(out, request.headers[index].value)
        out = _put(out, b"\n", 1)
    out = _put(out, b"\n", 1)
    canonical.signed_headers.text = out
    for index in range(request.count):
        if index:
            out = _put(out, b";", 1)
        out = _put_name(out, &request.headers[index])
    canonical.signed_headers.size = out - canonical.signed_headers.text
    out = _put(out, b"\n", 1)
    canonical.hash_at_end = out
    canonical.end = _put(out, payload_hash.text, payload_hash.size)
    return True


cdef object _sign(
    object method,
    object url,
    object body,
    object headers,
    object access_key,
    object secret_key,
    object token,
    object region,
    object service,
    object timestamp,
    object further,
    bint unsigned_payload,
    bint with_stages,
):
    """Sign a plain request, whose headers or `Signature` it returns; None for any other."""
    cdef Span method_span, url_span, access_span, token_span, date_span, scope_span, hash_span
    cdef Request request
    cdef Canonical canonical
    cdef Moment moment
    cdef uint8_t digest[_DIGEST_SIZE]
    cdef char stack[_STACK_BYTES]
    cdef char *buffer = stack
    cdef char *to_sign
    cdef char *end
    cdef char *out
    cdef Py_ssize_t size
    cdef dict result

    if not (_is_ascii(method, &method_span) and _is_ascii(url, &url_span) and _is_ascii(access_key, &access_span)):
        return None
    token_span = Span(b"", 0)
    if token is not None and not _is_ascii(token, &token_span):
        return None
    if type(headers) is list or type(headers) is tuple:
        headers = list(headers)
    elif _is_dict(headers):
        # To look a name up in `further` may run other code, and other threads may run anyway without a GIL: neither
        # may change the headers that are being read.
        if further or _FREE_THREADED:
            headers = list((<dict>headers).items())
    elif headers is not None:
        return None
    if not PyUnicode_CheckExact(secret_key) or type(region) is not str or type(service) is not str:
        return None
    moment = _moment(timestamp, secret_key, region, service)
    if moment is None:
        return None

    # From here to the hash of the body the spans are borrowed from objects that are held by the caller or above.
    if not _is_ascii(moment.amz_date, &date_span) or not _is_ascii(moment.key.credential_scope, &scope_span):
        return None
    if not _read(&request, method_span, url_span, headers, date_span, token_span, further):
        return None
    if request.own_payload_hash.text != NULL:
        hash_span = request.own_payload_hash
    else:
        _is_ascii(_UNSIGNED_PAYLOAD if unsigned_payload else _EMPTY_PAYLOAD_HASH, &hash_span)
    size = request.size + hash_span.size + scope_span.size + _FIXED_BYTES
    if size > _STACK_BYTES:
        buffer = <char *>PyMem_Malloc(size)
        if buffer == NULL:
            raise MemoryError
    try:
        if not _write(&request, hash_span, buffer, &canonical):
            return None
        if request.own_payload_hash.text == NULL and not unsigned_payload and body is not None:
            _payload_hash(body, canonical.hash_in_headers)
            memcpy(canonical.hash_at_end, canonical.hash_in_headers, _HEX_SIZE)
        _sha256(canonical.text, canonical.end - canonical.text, digest)

        to_sign = canonical.end
        end = _put(to_sign, PyBytes_AS_STRING(_TO_SIGN_START), PyBytes_GET_SIZE(_TO_SIGN_START))
        end = _put(end, date_span.text, date_span.size)
        end = _put(end, b"\n", 1)
        end = _put(end, scope_span.text, scope_span.size)
        end = _put(end, b"\n", 1)
        osv4_hex(digest, _DIGEST_SIZE, end)
        end += _HEX_SIZE

        size = access_span.size + scope_span.size + canonical.signed_headers.size + _AUTHORIZATION_BYTES
        size += PyBytes_GET_SIZE(_AUTHORIZATION_START)
        authorization = PyUnicode_New(size, 127)
        out = <char *>PyUnicode_DATA(authorization)
        out = _put(out, PyBytes_AS_STRING(_AUTHORIZATION_START), PyBytes_GET_SIZE(_AUTHORIZATION_START))
        out = _put(out, access_span.text, access_span.size)
        out = _put(out, b"/", 1)
        out = _put(out, scope_span.text, scope_span.size)
        out = _put(out, b", SignedHeaders=", 16)
        out = _put(out, canonical.signed_headers.text, canonical.signed_headers.size)
        out = _put(out, b", Signature=", 12)
        moment.key._signature(to_sign, end - to_sign, out)

        result = {_AUTHORIZATION: authorization, _AMZ_DATE: moment.amz_date}
        if token_span.size:
            result[_SECURITY_TOKEN] = token
        if canonical.hash_in_headers != NULL:
            result[_CONTENT_SHA256] = _text(canonical.hash_at_end, hash_span.size)
        if not with_stages:
            return result
        return Signature(
            result,
            _text(canonical.text, canonical.end - canonical.text),
            _text(to_sign, end - to_sign),
            moment.key.credential_scope,
            _text(canonical.signed_headers.text, canonical.signed_headers.size),
        )
    finally:
        if buffer != stack:
            PyMem_Free(buffer)


def sign(
    method,
    url,
    body,
    headers,
    access_key,
    secret_key,
    token,
    region,
    service,
    timestamp,
    further_headers=frozenset(),
    unsigned_payload=False,
):
    signature = _sign(
        method, url, body, headers, access_key, secret_key, token, region, service, timestamp, further_headers,
        unsigned_payload, True,
    )
    if signature is not None:
        return signature
    return _python.sign(
        method, url, body, headers, access_key, secret_key, token, region, service, timestamp, further_headers,
        unsigned_payload,
    )


cdef class RequestSigner:
    def __init__(self, source, clock, region, service, further_headers, unsigned_payload):
        self.source = source
        self._kept = source.kept
        self._clock = clock
        self.region = region
        self.service = service
        self.further_headers = further_headers
        self.unsigned_payload = unsigned_payload

    def region_of(self, url):
        raise NotImplementedError

    def sign(self, method, url, body=None, headers=None, *, at=None):
        _check_self(self, RequestSigner)
        return self._run(method, url, body, headers, at, False)

    def _signature(self, method, url, body, headers, at):
        _check_self(self, RequestSigner)
        return self._run(method, url, body, headers, at, True)

    cdef object _run(self, object method, object url, object body, object headers, object at, bint with_stages):
        # Held here: a clock, a region or credentials may run code that initialises this object anew.
        cdef Kept kept = self._kept
        try:
            region = self.region_of(url) if self.region is None else self.region
            timestamp = self._clock() if at is None else timestamp_of(at)
            snapshot = None
            if kept is not None:
                # One reading of the clock serves for both where it is the same clock.
                has_read = at is None and self._clock is kept._clock
                snapshot = kept._current(timestamp if has_read else kept._clock())
            if snapshot is None:
                snapshot = self.source.snapshot()
            if not isinstance(snapshot, tuple):
                snapshot = tuple(snapshot)
            access_key, secret_key, token = <tuple>snapshot
            signed = _sign(
                method, url, body, headers, access_key, secret_key, token, region, self.service, timestamp,
                self.further_headers, self.unsigned_payload, with_stages,
            )
            if signed is not None:
                return signed
            signature = _python.sign(
                method, url, body, headers, access_key, secret_key, token, region, self.service, timestamp,
                self.further_headers, self.unsigned_payload,
            )
            return signature if with_stages else signature.headers
        except BaseException as error:
            clear_frames(error)
            raise


RequestSigner.sign.__doc__ = _python.RequestSigner.sign.__doc__


@cython.final
cdef class Kept:
    def __init__(self, credentials, clock, generation):
        self._credentials = credentials
        self._clock = clock
        self._generation = generation

    # Not `cdef public`: that is in a critical section of its own in some versions of Cython only.
    @property
    def generation(self):
        with cython.critical_section(self):
            return self._generation

    @generation.setter
    def generation(self, generation):
        with cython.critical_section(self):
            # Kept until later: as it goes, code of the credentials may run, for which the section would be left.
            previous = self._generation
            self._generation = generation

    def current(self):
        _check_self(self, Kept)
        return self._current(self._clock())

    cdef object _current(self, object now):
        with cython.critical_section(self):
            generation = self._generation
            credentials = self._credentials
        if not isinstance(generation, tuple):
            raise TypeError(f"generation: a tuple is needed, not {type(generation).__name__}")
        # In this order: see the Python twin.
        if (
            credentials._expiry_time is (<tuple>generation)[0]
            and credentials._frozen_credentials is (<tuple>generation)[1]
            and <double>now < <double>(<tuple>generation)[2]
        ):
            return (<tuple>generation)[3]
        return None


osv4_sha256_init()
_is_portable = hash_path() == "portable"


# --- JSON --------------------------------------------------------------------------------------------------

cdef int _MAX_PLAIN_DEPTH = _python_json.MAX_PLAIN_DEPTH

cdef object _unfit(str argument, osv4_json_verdict verdict, size_t offset, Py_ssize_t size):
    if verdict == OSV4_JSON_NO_MEMORY:
        return MemoryError()
    if verdict == OSV4_JSON_TOO_DEEP:
        reason = _python_json.TOO_DEEP
    elif verdict == OSV4_JSON_NOT_AN_OBJECT:
        reason = _python_json.NOT_AN_OBJECT
    else:
        reason = _python_json.INVALID
    return _python_json.unfit(argument, reason, offset, size)


def scan_bulk_answer(answer):
    cdef Span span
    cdef osv4_json_answer found
    cdef osv4_json_verdict verdict
    cdef osv4_json_item item
    cdef size_t at
    if not _is_ascii(answer, &span):
        if not PyBytes_CheckExact(answer):
            answer = _python_json.utf8_of_answer(answer)
        span.text = PyBytes_AS_STRING(answer)
        span.size = PyBytes_GET_SIZE(answer)
    if span.size < _json_gil_release_min_bytes:
        verdict = osv4_json_scan_bulk_answer(span.text, span.size, &found)
    else:
        with nogil:
            verdict = osv4_json_scan_bulk_answer(span.text, span.size, &found)
    try:
        if verdict != OSV4_JSON_VALID:
            raise _unfit("answer", verdict, found.offset, span.size)
        failed = []
        for at in range(found.failed_count):
            item = found.failed[at]
            failed.append((item.position, span.text[item.start:item.start + item.size]))
        return found.count, failed
    finally:
        osv4_json_answer_free(&found)


def check_json_object(line):
    cdef size_t offset
    cdef osv4_json_verdict verdict
    cdef const char *text
    cdef const char *newline
    cdef Py_ssize_t size
    if not PyBytes_CheckExact(line):
        line = _python_json.bytes_of_line(line)
    text = PyBytes_AS_STRING(line)
    size = PyBytes_GET_SIZE(line)
    newline = <const char *>memchr(text, c"\n", size)
    if newline != NULL:
        raise _python_json.unfit("line", _python_json.NEWLINE, newline - text, size)
    if size < _json_gil_release_min_bytes:
        verdict = osv4_json_check_object(text, size, &offset)
    else:
        with nogil:
            verdict = osv4_json_check_object(text, size, &offset)
    if verdict != OSV4_JSON_VALID:
        raise _unfit("line", verdict, offset, size)


cdef bint _is_plain(PyObject *value, int depth) noexcept:
    # A container is held while it is looked into: without a GIL, what it is in may let go of it as soon as a critical
    # section of its own begins. With one, nothing changes meanwhile: no code but this runs.
    cdef PyTypeObject *kind = Py_TYPE(value)
    cdef bint is_plain
    if kind == &PyUnicode_Type or kind == &PyLong_Type or kind == &PyBool_Type or value == <PyObject *>None:
        return True
    if kind == &PyFloat_Type:
        return isfinite(PyFloat_AS_DOUBLE(<object>value))
    if depth == _MAX_PLAIN_DEPTH:
        return False
    if kind == &PyDict_Type:
        container = <object>value
        with cython.critical_section(container):
            is_plain = _is_plain_dict(container, depth + 1)
        return is_plain
    if kind == &PyList_Type:
        container = <object>value
        with cython.critical_section(container):
            is_plain = _is_plain_list(container, depth + 1)
        return is_plain
    if kind == &PyTuple_Type:
        container = <object>value
        return _is_plain_tuple(container, depth + 1)
    return False


cdef bint _is_plain_dict(object pairs, int depth) noexcept:
    cdef PyObject *name
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    while PyDict_Next(pairs, &at, &name, &value):
        if Py_TYPE(name) != &PyUnicode_Type:
            return False
        if Py_TYPE(value) != &PyUnicode_Type and not _is_plain(value, depth):
            return False
    return True


cdef bint _is_plain_list(object values, int depth) noexcept:
    cdef Py_ssize_t at = 0
    while at < PyList_GET_SIZE(values):
        if not _is_plain(<PyObject *>PyList_GET_ITEM(values, at), depth):
            return False
        at += 1
    return True


cdef bint _is_plain_tuple(object values, int depth) noexcept:
    cdef Py_ssize_t at
    for at in range(PyTuple_GET_SIZE(values)):
        if not _is_plain(<PyObject *>PyTuple_GET_ITEM(values, at), depth):
            return False
    return True


def is_plain_json(value):
    return _is_plain(<PyObject *>value, 0)


cdef object _encode_plain(object value, object dumps):
    if Py_TYPE(<PyObject *>value) == &PyUnicode_Type or not _is_plain(<PyObject *>value, 0):
        return None
    try:
        return dumps(value)
    except TypeError:
        return None


def encode_plain(value, dumps):
    return _encode_plain(value, dumps)


cdef frozenset _METADATA = _python_bulk.METADATA
cdef frozenset _RENAMED = _python_bulk.RENAMED


cdef tuple _expand(object document):
    cdef PyObject *name
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    # A copy of its own, which no other thread changes, and which becomes the data where the document holds those itself.
    cdef dict data = PyDict_Copy(document)
    cdef list names = []
    while PyDict_Next(data, &at, &name, &value):
        if Py_TYPE(name) != &PyUnicode_Type:
            return _python_bulk.expand_action(document)
        if <object>name in _METADATA:
            names.append(<object>name)
    op_type = data.pop("_op_type", "index")
    source = data.get("_source", data)
    if source is not data and Py_TYPE(<PyObject *>source) != &PyDict_Type:
        return _python_bulk.expand_action(document)
    cdef dict metadata = {}
    for known in names:
        if known in _RENAMED:
            metadata.setdefault(known[1:], data[known])
        else:
            metadata[known] = data[known]
    if source is data:
        for known in names:
            del data[known]
    return {op_type: metadata}, None if op_type == "delete" else source


def expand_action(document):
    if not PyDict_CheckExact(document):
        raise TypeError(f"document: a dict is needed, not {type(document).__name__}")
    return _expand(document)


cdef bint _append(ActionLine *line, const char *text, Py_ssize_t size) noexcept:
    if _ACTION_BYTES - line.size < size:
        return False
    memcpy(line.text + line.size, text, size)
    line.size += size
    return True


cdef bint _append_text(ActionLine *line, object text) noexcept:
    cdef Span span
    cdef Py_ssize_t at
    if not _is_ascii(text, &span):
        return False
    for at in range(span.size):
        if not _JSON_SAFE[<uint8_t>span.text[at]]:
            return False
    return _append(line, b'"', 1) and _append(line, span.text, span.size) and _append(line, b'"', 1)


cdef bint _append_value(ActionLine *line, object value) noexcept:
    cdef int overflow
    cdef long long number
    if not PyLong_CheckExact(value):
        return _append_text(line, value)
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or _ACTION_BYTES - line.size < _MAX_INT_BYTES:
        return False
    line.size += snprintf(line.text + line.size, _MAX_INT_BYTES, b"%lld", number)
    return True


cdef bint _write_action(ActionLine *line, object document, object op_type) except -1:
    cdef PyObject *name
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    cdef bint is_first = True
    line.size = 0
    if not (_append(line, b"{", 1) and _append_text(line, op_type) and _append(line, b":{", 2)):
        return False
    while PyDict_Next(document, &at, &name, &value):
        if Py_TYPE(name) != &PyUnicode_Type:
            return False
        if <object>name in _METADATA:
            if <object>name in _RENAMED or not (is_first or _append(line, b",", 1)):
                return False
            if not (_append_text(line, <object>name) and _append(line, b":", 1) and _append_value(line, <object>value)):
                return False
            is_first = False
    return _append(line, b"}}", 2)


cdef dict _without_metadata(object document):
    cdef dict data = PyDict_Copy(document)
    data.pop("_op_type", None)
    for name in document:
        if name in _METADATA:
            del data[name]
    return data


cdef Py_ssize_t _put_line(bytearray body, Py_ssize_t size, const char *line, Py_ssize_t line_size) except -1:
    cdef Py_ssize_t needed = size + line_size + 1
    if PyByteArray_GET_SIZE(body) < needed:
        PyByteArray_Resize(body, needed + needed // 2)
    cdef char *out = PyByteArray_AS_STRING(body) + size
    memcpy(out, line, line_size)
    out[line_size] = b"\n"
    return needed


def take_plain(
    documents, dumps, Py_ssize_t chunk_size, Py_ssize_t max_bytes, bytearray body not None, list ends not None,
    list data not None
):
    cdef Py_ssize_t size = ends[len(ends) - 1] if ends else 0
    if size < 0:
        raise ValueError("ends: negative")
    cdef Py_ssize_t count = len(ends)
    cdef Py_ssize_t end
    cdef ActionLine action
    cdef bytes line, raw
    cdef tuple expanded
    cdef bint is_written
    for document in documents:
        if not PyDict_CheckExact(document):
            return document, None, None
        op_type = document.get("_op_type", "index")
        document_data = document.get("_source", document)
        is_written = False
        if document_data is document or PyDict_CheckExact(document_data):
            with cython.critical_section(document):
                is_written = _write_action(&action, document, op_type)
        if is_written:
            if op_type == "delete":
                document_data = None
            elif document_data is document:
                document_data = _without_metadata(document)
        else:
            try:
                expanded = _expand(document)
            except TypeError:
                return document, None, None
            line = _encode_plain(expanded[0], dumps)
            document_data = expanded[1]
            if line is None or (document_data is None and "delete" not in expanded[0]):
                return document, None, None
        raw = None
        if document_data is not None:
            raw = _encode_plain(document_data, dumps) if PyDict_CheckExact(document_data) else None
            if raw is None:
                return document, None, None
        if is_written:
            end = _put_line(body, size, action.text, action.size)
        else:
            end = _put_line(body, size, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
        if raw is not None:
            end = _put_line(body, end, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
        if end > max_bytes:
            return document, bytes(body[size:end]), document_data
        size = end
        ends.append(size)
        data.append(document_data)
        count += 1
        if count >= chunk_size:
            break
    return None
