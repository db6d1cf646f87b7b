# The index of `_cython.pyx`: every C declaration and internal function, with what it does.

from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t, uint8_t


cdef extern from "sha256.h":
    ctypedef struct osv4_hmac_key:
        pass

    int osv4_sha256_init()
    int osv4_sha256_select(const char *path)
    const char *osv4_sha256_path()
    size_t osv4_sha256_paths(const char **names, size_t capacity)
    void osv4_sha256(const uint8_t *data, size_t size, uint8_t *digest) nogil
    void osv4_hmac_key_init(osv4_hmac_key *key, const uint8_t *secret, size_t size)
    void osv4_hmac(const osv4_hmac_key *key, const uint8_t *message, size_t size, uint8_t *mac)
    void osv4_hex(const uint8_t *data, size_t size, char *hex)
    void osv4_wipe(void *memory, size_t size)


cdef extern from "text.h":
    # Whether ASCII text holds a byte below `floor`, or DEL.
    bint osv4_has_byte_below_or_del(const char *text, size_t size, uint8_t floor) nogil


cdef extern from "json.h":
    ctypedef enum osv4_json_verdict:
        OSV4_JSON_VALID
        OSV4_JSON_INVALID
        OSV4_JSON_TOO_DEEP
        OSV4_JSON_NOT_AN_OBJECT
        OSV4_JSON_NO_MEMORY

    ctypedef struct osv4_json_item:
        size_t position
        size_t start
        size_t size

    ctypedef struct osv4_json_answer:
        size_t count
        osv4_json_item *failed
        size_t failed_count
        size_t offset

    osv4_json_verdict osv4_json_check_object(const char *text, size_t size, size_t *offset) nogil
    osv4_json_verdict osv4_json_scan_bulk_answer(const char *text, size_t size, osv4_json_answer *answer) nogil
    void osv4_json_answer_free(osv4_json_answer *answer) nogil


cdef extern from "Python.h":
    PyTypeObject *Py_TYPE(PyObject *)
    PyTypeObject PyBool_Type
    PyTypeObject PyDict_Type
    PyTypeObject PyFloat_Type
    PyTypeObject PyList_Type
    PyTypeObject PyLong_Type
    PyTypeObject PyTuple_Type
    PyTypeObject PyUnicode_Type
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    void *PyUnicode_DATA(object)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *size) except NULL


# Characters of an object that is held for as long as they are used.
ctypedef struct Span:
    const char *text
    Py_ssize_t size


# One header that is signed. The name may be of any case, the value is not trimmed; NULL stands for the payload's hash.
ctypedef struct Header:
    Span name
    Span value
    bint is_ours  # the name is in lower case already


# What `_read` found out about a plain request: all that its canonical form is written from.
ctypedef struct Request:
    Span method
    Span host
    Span path
    Span query
    Span own_payload_hash  # the caller's X-Amz-Content-SHA256; NULL if there is none
    Header headers[24]     # those that are signed, sorted by name
    int count
    bint has_own_host
    Py_ssize_t size        # an upper bound of what is written of all this


# One name and value of a query, encoded, in the buffer.
ctypedef struct Parameter:
    Span name
    Span value


# A canonical request in a buffer, and the places in it that are needed again.
ctypedef struct Canonical:
    char *text
    char *end
    char *hash_in_headers  # NULL where the caller's own header is signed
    char *hash_at_end
    Span signed_headers


# The key of one secret, day, region and service: HMAC's states after it. Wiped when it goes, and what
# led to it at once; of what OpenSSL does instead, nothing is promised. test_memory.py reads the memory.
cdef class SigningKey:
    cdef osv4_hmac_key _states
    cdef object _by_openssl  # the Python twin's key, instead of the states, where OpenSSL does the hashing
    cdef readonly str credential_scope

    # The HMAC of a message as 64 hex characters.
    cdef int _signature(self, const char *message, Py_ssize_t size, char *hex) except -1


# The date of one second and the signing key that was used in it. Never changed once it is shared.
cdef class Moment:
    cdef int64_t second
    cdef str amz_date
    cdef object secret_key
    cdef object region
    cdef object service
    cdef SigningKey key


# Holds the latest moment for all threads; to be touched in its critical section, which is free where there is a GIL.
cdef class Latest:
    cdef Moment moment


cdef int _check_self(object self, object kind) except -1

# Whether `text` is an exact str of ASCII alone; its characters.
cdef bint _is_ascii(object text, Span *span) noexcept
cdef str _text(const char *text, Py_ssize_t size)
cdef Span _stripped(Span value) noexcept nogil

# Append to the buffer and return its new end.
cdef char *_put(char *out, const char *text, Py_ssize_t size) noexcept nogil
cdef char *_put_name(char *out, const Header *header) noexcept nogil
cdef char *_put_trimmed(char *out, Span value) noexcept nogil
cdef char *_put_escaped(char *out, uint8_t byte) noexcept nogil
cdef char *_put_encoded(char *out, const char *text, Py_ssize_t size, const uint8_t *kept) noexcept nogil
cdef char *_put_decoded_and_encoded(char *out, const char *text, Py_ssize_t size) noexcept nogil
cdef char *_put_query(char *out, const char *query, Py_ssize_t size) noexcept nogil

cdef int _compare(Span left, Span right) noexcept nogil
cdef int _compare_parameters(const Parameter *left, const Parameter *right) noexcept nogil

# Whether a path has no empty segment and none of one or two dots, so that it need not be normalised.
cdef bint _is_normal(Span path) noexcept nogil
cdef bint _is_safe(Span text, const uint8_t *safe) noexcept nogil
cdef bint _is_upper_hex(char character) noexcept nogil

# SHA-256 the way that was chosen: of small internal text, of a caller's buffer, of a body as 64 hex characters.
cdef bint _is_for_hashlib(Py_ssize_t size) noexcept
cdef int _take_digest(bytes found, uint8_t *digest) except -1
cdef int _sha256(const char *data, Py_ssize_t size, uint8_t *digest) except -1
cdef int _hash_buffer(object buffer, const char *data, Py_ssize_t size, uint8_t *digest) except -1
cdef int _payload_hash(object body, char *hex) except -1

cdef Moment _moment(object timestamp, object secret_key, object region, object service)

# Fill `request`; False where anything about it is not plain, so that the Python twin has to take it.
cdef bint _read(
    Request *request, Span method, Span url, object headers, Span amz_date, Span token, object further
) except -1
cdef bint _read_url(Request *request, Span url) noexcept nogil
# Whether headers are a dict, or the connections' own kind of one, which differs in its repr only.
cdef bint _is_dict(object headers) noexcept
cdef bint _read_headers(Request *request, object headers, bint with_token, object further) except -1
cdef bint _read_header(Request *request, object name, object value, bint with_token, object further) except -1
# Keep the headers sorted; False for a name that is there already, or one too many.
cdef bint _insert(Request *request, Span name, Span value, bint is_ours) noexcept nogil
cdef int _compare_names(Span left, Span right) noexcept nogil
cdef bint _is_named(Span name, const char *lower, Py_ssize_t size) noexcept nogil

# Write the canonical request; False where its query has more parameters than are sorted here.
cdef bint _write(Request *request, Span payload_hash, char *out, Canonical *canonical) noexcept nogil


# Botocore's refreshable credentials, and the generation of them that was read last, for all threads: see Latest.
cdef class Kept:
    cdef object _credentials
    cdef object _clock
    cdef object _generation

    cdef object _current(self, object now)


# What signs requests: a source of credentials, a clock, and what all its signatures have in common.
cdef class RequestSigner:
    cdef readonly object source
    cdef Kept _kept
    cdef object _clock
    cdef readonly object region
    cdef readonly object service
    cdef readonly object further_headers
    cdef readonly bint unsigned_payload

    cdef object _run(self, object method, object url, object body, object headers, object at, bint with_stages)


# The ValueError for text that C found unfit, as the Python twin words it.
cdef object _unfit(str argument, osv4_json_verdict verdict, size_t offset, Py_ssize_t size)

# Whether a value, inside of `depth` containers, is plain; those in a container that nobody changes meanwhile are.
cdef bint _is_plain(PyObject *value, int depth) noexcept
cdef bint _is_plain_dict(object pairs, int depth) noexcept
cdef bint _is_plain_list(object values, int depth) noexcept
cdef bint _is_plain_tuple(object values, int depth) noexcept

# What orjson makes of a plain value; None where it is not plain.
cdef object _encode_plain(object value, object dumps)
# An exact dict as (action, data).
cdef tuple _expand(object document)


# An action as it is being written; one that is longer is left to orjson.
cdef enum:
    _ACTION_BYTES = 1024

cdef struct ActionLine:
    char text[_ACTION_BYTES]
    Py_ssize_t size


# Each writes what orjson would, and is false for what does not fit, or is no ASCII text without escapes or int.
cdef bint _append(ActionLine *line, const char *text, Py_ssize_t size) noexcept
cdef bint _append_text(ActionLine *line, object text) noexcept
cdef bint _append_value(ActionLine *line, object value) noexcept
cdef bint _write_action(ActionLine *line, object document, object op_type) except -1
# What is left of a document that is its own data.
cdef dict _without_metadata(object document)
# A line into a body of this size, with its newline; the new size.
cdef Py_ssize_t _put_line(bytearray body, Py_ssize_t size, const char *line, Py_ssize_t line_size) except -1
