/* JSON (RFC 8259, to the letter) that is read without being built: whether text is valid, and what of a `_bulk` answer
 * failed. `_python_json.py` says the same in Python, and what counts as what.
 *
 * Nothing here needs the GIL, keeps state or recurses. `text` is `size` bytes and, behind them, one that is 0, as
 * CPython's str and bytes have it: so no byte is looked at without one to stop at.
 */
#ifndef OSV4_JSON_H
#define OSV4_JSON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility push(hidden)
#endif

/* How many containers may be open at once: what Jackson, and so OpenSearch, reads by default. */
enum { OSV4_JSON_MAX_DEPTH = 1000 };

typedef enum {
    OSV4_JSON_VALID,
    OSV4_JSON_INVALID,
    OSV4_JSON_TOO_DEEP,
    OSV4_JSON_NOT_AN_OBJECT,
    OSV4_JSON_NO_MEMORY
} osv4_json_verdict;

/* One item of an answer, as bytes of its text. */
typedef struct {
    size_t position, start, size;
} osv4_json_item;

typedef struct {
    size_t count;           /* of the items */
    osv4_json_item *failed; /* those that did not succeed, in their order */
    size_t failed_count, failed_capacity;
    size_t offset; /* unless valid: of the first token that does not belong where it is, or `size` */
} osv4_json_answer;

/* Whether `text` is one JSON object with nothing but white space around it; what is not valid begins at `*offset`. */
osv4_json_verdict osv4_json_check_object(const char *text, size_t size, size_t *offset);

/* Read the answer to a `_bulk` request. Whatever the verdict, `answer` is osv4_json_answer_free's afterwards. */
osv4_json_verdict osv4_json_scan_bulk_answer(const char *text, size_t size, osv4_json_answer *answer);
void osv4_json_answer_free(osv4_json_answer *answer);

#if defined(__GNUC__) && !defined(_WIN32)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
