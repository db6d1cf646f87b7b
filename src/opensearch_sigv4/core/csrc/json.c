#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Every function that reads returns where it stopped, or NULL once `failed` was told why and where. */
typedef struct {
    const uint8_t *text, *end;
    const uint8_t *error;
    osv4_json_verdict verdict;
} scanner;

/* A string without its quotes. */
typedef struct {
    const uint8_t *text;
    size_t size;
    int has_escapes;
} span;

static const uint8_t *failed(scanner *scan, osv4_json_verdict verdict, const uint8_t *at)
{
    scan->verdict = verdict;
    scan->error = at;
    return NULL;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static inline const uint8_t *skip_space(const uint8_t *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

static inline int is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* The value of a hex digit, or -1. */
static inline int hex_value(uint8_t byte)
{
    if (is_digit(byte))
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static inline int is_tail(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* How many bytes the UTF-8 character at `at`, which is none of ASCII, has; 0 if it is none (RFC 3629, 4). */
static inline size_t utf8_size(const uint8_t *at)
{
    const uint8_t first = at[0];
    if (first < 0xC2)
        return 0;
    if (first < 0xE0)
        return is_tail(at[1]) ? 2 : 0;
    if (first < 0xF0) {
        const uint8_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
        return at[1] >= low && at[1] <= high && is_tail(at[2]) ? 3 : 0;
    }
    if (first < 0xF5) {
        const uint8_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
        return at[1] >= low && at[1] <= high && is_tail(at[2]) && is_tail(at[3]) ? 4 : 0;
    }
    return 0;
}

/* How many bytes the escape at `at` has; 0 if it is none. */
static inline size_t escape_size(const uint8_t *at)
{
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        for (int digit = 2; digit < 6; digit++)
            if (hex_value(at[digit]) < 0)
                return 0;
        return 6;
    default:
        return 0;
    }
}

/* The first byte that is a quote, a backslash, a control character or none of ASCII, eight bytes at a time. As in
 * text.h, a borrow can only cross out of a byte that has set its own high bit, so the lowest one that is set is right. */
static inline const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 8) {
        uint64_t word, found;
        memcpy(&word, at, 8);
        found = word | (word - OSV4_EACH_BYTE(0x20)) | ((word ^ OSV4_EACH_BYTE('"')) - OSV4_EACH_BYTE(1)) |
                ((word ^ OSV4_EACH_BYTE('\\')) - OSV4_EACH_BYTE(1));
        found &= OSV4_EACH_BYTE(0x80);
        if (found) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return at + (__builtin_ctzll(found) >> 3);
#else
            break;
#endif
        }
        at += 8;
    }
    while (*at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* `at` is behind the opening quote; the result is at the closing one. */
static inline const uint8_t *skip_characters(scanner *scan, const uint8_t *at, int *has_escapes)
{
    *has_escapes = 0;
    for (;;) {
        size_t size;
        at = skip_plain(at, scan->end);
        if (*at == '"')
            return at;
        *has_escapes |= *at == '\\';
        size = *at == '\\' ? escape_size(at) : *at >= 0x80 ? utf8_size(at) : 0;
        if (size == 0)
            return failed(scan, OSV4_JSON_INVALID, at);
        at += size;
    }
}

/* As much as is a number; NULL, without more ado, if it does not even begin as one. */
static inline const uint8_t *skip_number(const uint8_t *at)
{
    const uint8_t *part;
    if (*at == '-')
        at++;
    if (!is_digit(*at))
        return NULL;
    if (*at == '0')
        at++;
    else
        while (is_digit(*at))
            at++;
    if (*at == '.' && is_digit(at[1]))
        for (at++; is_digit(*at);)
            at++;
    if (*at == 'e' || *at == 'E') {
        part = at + 1;
        if (*part == '+' || *part == '-')
            part++;
        if (is_digit(*part))
            for (at = part; is_digit(*at);)
                at++;
    }
    return at;
}

static inline const uint8_t *skip_literal(const uint8_t *at, const uint8_t *end, const char *literal, size_t size)
{
    return (size_t)(end - at) >= size && memcmp(at, literal, size) == 0 ? at + size : NULL;
}

/* A value that is no container. */
static inline const uint8_t *skip_scalar(scanner *scan, const uint8_t *at)
{
    const uint8_t *end;
    int has_escapes;
    switch (*at) {
    case '"':
        end = skip_characters(scan, at + 1, &has_escapes);
        return end == NULL ? NULL : end + 1;
    case 't':
        end = skip_literal(at, scan->end, "true", 4);
        break;
    case 'f':
        end = skip_literal(at, scan->end, "false", 5);
        break;
    case 'n':
        end = skip_literal(at, scan->end, "null", 4);
        break;
    default:
        end = skip_number(at);
    }
    return end == NULL ? failed(scan, OSV4_JSON_INVALID, at) : end;
}

/* --- structure ---------------------------------------------------------------------------------------------------- */

/* A name and its colon; the result is at the value. */
static inline const uint8_t *skip_name(scanner *scan, const uint8_t *at, span *name)
{
    if (*at != '"')
        return failed(scan, OSV4_JSON_INVALID, at);
    name->text = at + 1;
    at = skip_characters(scan, at + 1, &name->has_escapes);
    if (at == NULL)
        return NULL;
    name->size = (size_t)(at - name->text);
    at = skip_space(at + 1);
    return *at == ':' ? skip_space(at + 1) : failed(scan, OSV4_JSON_INVALID, at);
}

/* Behind the bracket that opens a container: at the first thing in it, or, `*is_over`, behind its end. */
static inline const uint8_t *enter(const uint8_t *at, uint8_t closing, int *is_over)
{
    at = skip_space(at);
    *is_over = *at == closing;
    return *is_over ? at + 1 : at;
}

/* Behind a value in a container: at what comes next in it, or, `*is_over`, behind its end. */
static inline const uint8_t *next(scanner *scan, const uint8_t *at, uint8_t closing, int *is_over)
{
    at = skip_space(at);
    *is_over = *at == closing;
    if (*is_over)
        return at + 1;
    return *at == ',' ? skip_space(at + 1) : failed(scan, OSV4_JSON_INVALID, at);
}

/* Any value, inside of `depth` containers. */
static const uint8_t *skip_value(scanner *scan, const uint8_t *at, size_t depth)
{
    uint8_t closings[OSV4_JSON_MAX_DEPTH]; /* of the containers that are open, from `depth` on */
    const size_t outer = depth;
    span name;
    int is_over;
    for (;;) {
        if (*at == '{' || *at == '[') {
            const uint8_t closing = *at == '{' ? '}' : ']';
            if (depth == OSV4_JSON_MAX_DEPTH)
                return failed(scan, OSV4_JSON_TOO_DEEP, at);
            at = enter(at + 1, closing, &is_over);
            if (!is_over) {
                closings[depth++] = closing;
                if (closing == '}') {
                    at = skip_name(scan, at, &name);
                    if (at == NULL)
                        return NULL;
                }
                continue;
            }
        }
        else {
            at = skip_scalar(scan, at);
            if (at == NULL)
                return NULL;
        }
        do {
            if (depth == outer)
                return at;
            at = next(scan, at, closings[depth - 1], &is_over);
            if (at == NULL)
                return NULL;
            depth -= (size_t)is_over;
        } while (is_over);
        if (closings[depth - 1] == '}') {
            at = skip_name(scan, at, &name);
            if (at == NULL)
                return NULL;
        }
    }
}

/* Behind the only value of a text there may be nothing else. */
static void expect_end(scanner *scan, const uint8_t *at)
{
    at = skip_space(at);
    if (at != scan->end)
        failed(scan, OSV4_JSON_INVALID, at);
}

osv4_json_verdict osv4_json_check_object(const char *text, size_t size, size_t *offset)
{
    scanner scan = {(const uint8_t *)text, (const uint8_t *)text + size, NULL, OSV4_JSON_VALID};
    const uint8_t *at = skip_space(scan.text);
    if (*at != '{')
        failed(&scan, OSV4_JSON_NOT_AN_OBJECT, at);
    else if ((at = skip_value(&scan, at, 0)) != NULL)
        expect_end(&scan, at);
    *offset = scan.error == NULL ? 0 : (size_t)(scan.error - scan.text);
    return scan.verdict;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static int unit_of(const uint8_t *at)
{
    return hex_value(at[2]) << 12 | hex_value(at[3]) << 8 | hex_value(at[4]) << 4 | hex_value(at[5]);
}

/* The next character of a valid string, as Python reads it: two escapes that are a surrogate pair are one character, and
 * a surrogate that stands alone is itself. */
static int32_t next_character(const uint8_t **cursor, const uint8_t *end)
{
    static const char MEANT[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    const uint8_t *at = *cursor;
    int32_t character;
    size_t size;
    if (*at == '\\' && at[1] == 'u') {
        character = unit_of(at);
        at += 6;
        if (character >= 0xD800 && character < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
            const int32_t low = unit_of(at);
            if (low >= 0xDC00 && low < 0xE000) {
                character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
                at += 6;
            }
        }
    }
    else if (*at == '\\') {
        const char *escape = MEANT;
        while (*escape != (char)at[1])
            escape += 2;
        character = escape[1];
        at += 2;
    }
    else if (*at < 0x80) {
        character = *at++;
    }
    else {
        size = utf8_size(at);
        character = *at++ & (0x7F >> size);
        while (--size)
            character = character << 6 | (*at++ & 0x3F);
    }
    *cursor = at;
    return character;
}

/* Whether two valid strings mean the same. */
static int is_same(span one, span other)
{
    const uint8_t *one_end = one.text + one.size, *other_end = other.text + other.size;
    if (one.size == other.size && memcmp(one.text, other.text, one.size) == 0)
        return 1;
    if (!one.has_escapes && !other.has_escapes)
        return 0;
    while (one.text < one_end && other.text < other_end)
        if (next_character(&one.text, one_end) != next_character(&other.text, other_end))
            return 0;
    return one.text == one_end && other.text == other_end;
}

/* --- the answer to _bulk ------------------------------------------------------------------------------------------ */

static const span ITEMS = {(const uint8_t *)"items", 5, 0};
static const span STATUS = {(const uint8_t *)"status", 6, 0};

/* What an item says of its one action; `*succeeded` if that has a status in 200..299. */
static inline const uint8_t *scan_action(scanner *scan, const uint8_t *at, int *succeeded)
{
    span name;
    int is_over;
    *succeeded = 0;
    if (*at != '{')
        return skip_value(scan, at, 3);
    at = enter(at + 1, '}', &is_over);
    while (!is_over) {
        const uint8_t *value = skip_name(scan, at, &name);
        if (value == NULL)
            return NULL;
        at = *value == '{' || *value == '[' ? skip_value(scan, value, 4) : skip_scalar(scan, value);
        if (at == NULL)
            return NULL;
        if (is_same(name, STATUS))
            *succeeded = at - value == 3 && value[0] == '2' && is_digit(value[1]) && is_digit(value[2]);
        at = next(scan, at, '}', &is_over);
        if (at == NULL)
            return NULL;
    }
    return at;
}

static inline const uint8_t *scan_item(scanner *scan, const uint8_t *at, int *succeeded)
{
    span first = {NULL, 0, 0}, name;
    int is_over, has_several_names = 0;
    *succeeded = 0;
    if (*at != '{')
        return skip_value(scan, at, 2);
    at = enter(at + 1, '}', &is_over);
    while (!is_over) {
        at = skip_name(scan, at, &name);
        if (at == NULL)
            return NULL;
        if (first.text == NULL)
            first = name;
        else if (!is_same(first, name))
            has_several_names = 1;
        at = scan_action(scan, at, succeeded);
        if (at == NULL)
            return NULL;
        at = next(scan, at, '}', &is_over);
        if (at == NULL)
            return NULL;
    }
    *succeeded &= !has_several_names;
    return at;
}

static int add_failed(osv4_json_answer *answer, osv4_json_item item)
{
    if (answer->failed_count == answer->failed_capacity) {
        const size_t capacity = answer->failed_capacity ? 2 * answer->failed_capacity : 16;
        osv4_json_item *grown = realloc(answer->failed, capacity * sizeof *grown);
        if (grown == NULL)
            return 0;
        answer->failed = grown;
        answer->failed_capacity = capacity;
    }
    answer->failed[answer->failed_count++] = item;
    return 1;
}

static const uint8_t *scan_items(scanner *scan, const uint8_t *at, osv4_json_answer *answer)
{
    int is_over, succeeded;
    at = enter(at + 1, ']', &is_over);
    while (!is_over) {
        const uint8_t *start = at;
        at = scan_item(scan, at, &succeeded);
        if (at == NULL)
            return NULL;
        if (!succeeded) {
            const osv4_json_item item = {answer->count, (size_t)(start - scan->text), (size_t)(at - start)};
            if (!add_failed(answer, item))
                return failed(scan, OSV4_JSON_NO_MEMORY, at);
        }
        answer->count++;
        at = next(scan, at, ']', &is_over);
        if (at == NULL)
            return NULL;
    }
    return at;
}

static const uint8_t *scan_answer(scanner *scan, const uint8_t *at, osv4_json_answer *answer)
{
    span name;
    int is_over;
    if (*at != '{')
        return failed(scan, OSV4_JSON_NOT_AN_OBJECT, at);
    at = enter(at + 1, '}', &is_over);
    while (!is_over) {
        at = skip_name(scan, at, &name);
        if (at == NULL)
            return NULL;
        if (is_same(name, ITEMS)) {
            answer->count = 0;
            answer->failed_count = 0;
            at = *at == '[' ? scan_items(scan, at, answer) : skip_value(scan, at, 1);
        }
        else {
            at = skip_value(scan, at, 1);
        }
        if (at == NULL)
            return NULL;
        at = next(scan, at, '}', &is_over);
        if (at == NULL)
            return NULL;
    }
    return at;
}

osv4_json_verdict osv4_json_scan_bulk_answer(const char *text, size_t size, osv4_json_answer *answer)
{
    scanner scan = {(const uint8_t *)text, (const uint8_t *)text + size, NULL, OSV4_JSON_VALID};
    const uint8_t *at;
    memset(answer, 0, sizeof *answer);
    at = scan_answer(&scan, skip_space(scan.text), answer);
    if (at != NULL)
        expect_end(&scan, at);
    answer->offset = scan.error == NULL ? 0 : (size_t)(scan.error - scan.text);
    return scan.verdict;
}

void osv4_json_answer_free(osv4_json_answer *answer)
{
    free(answer->failed);
    answer->failed = NULL;
    answer->failed_count = answer->failed_capacity = 0;
}
