/* Questions about ASCII text that are asked of every request, eight bytes at a time. No Python, no state. */
#ifndef OPENSEARCH_SIGV4_TEXT_H
#define OPENSEARCH_SIGV4_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define OSV4_EACH_BYTE(value) (UINT64_C(0x0101010101010101) * (value))

/* Whether any byte of ASCII `text` is below `floor` (at most 0x7F) or DEL (0x7F).

   For bytes below 0x80, `byte - floor` sets the high bit exactly if byte < floor, and `byte + 1` exactly if byte is
   0x7F. A borrow or carry can cross into the next byte only out of one that has set its own bit already. */
static inline int
osv4_has_byte_below_or_del(const char *text, size_t size, uint8_t floor)
{
    uint64_t found = 0;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, text + at, 8);
        found |= (word - OSV4_EACH_BYTE(floor)) | (word + OSV4_EACH_BYTE(1));
    }
    for (; at < size; at++) {
        uint8_t byte = (uint8_t)text[at];
        found |= (uint64_t)(byte < floor || byte == 0x7F) << 7;
    }
    return (found & OSV4_EACH_BYTE(0x80)) != 0;
}

#endif
