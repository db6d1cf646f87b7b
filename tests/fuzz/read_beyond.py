"""A wrong read in the compiled core, on purpose: a sanitizer that does not end this process is not there.

The body is a ctypes array that claims twice the memory that it has, so that `payload_hash` reads on in C.
"""

import ctypes

from opensearch_sigv4.core import _cython

SIZE = 256

allocate = ctypes.CDLL(None).malloc
allocate.restype = ctypes.c_void_p
allocate.argtypes = [ctypes.c_size_t]
_cython.payload_hash((ctypes.c_char * (2 * SIZE)).from_address(allocate(SIZE)))
