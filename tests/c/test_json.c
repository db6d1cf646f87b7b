/* The JSON reader where a wrong access is seen: each text in exactly as much memory as it needs, and every truncation of
 * it, and it with each byte replaced. What it finds, test_json_scan.py compares with the Python twin and with json.
 */
#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* In memory of its own, with the 0 behind it and nothing else. */
static char *copy_of(const char *text, size_t size)
{
    char *copy = malloc(size + 1);
    if (copy == NULL)
        fail("no memory");
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

typedef struct {
    osv4_json_verdict verdict;
    size_t offset, count, failed_count, first_start, first_size;
} finding;

static finding scan(const char *text, size_t size)
{
    char *copy = copy_of(text, size);
    osv4_json_answer answer;
    finding found = {OSV4_JSON_VALID, 0, 0, 0, 0, 0};
    size_t offset;
    found.verdict = osv4_json_scan_bulk_answer(copy, size, &answer);
    found.offset = answer.offset;
    found.count = answer.count;
    found.failed_count = answer.failed_count;
    if (answer.failed_count) {
        found.first_start = answer.failed[0].start;
        found.first_size = answer.failed[0].size;
    }
    for (size_t i = 0; i < answer.failed_count; i++)
        if (answer.failed[i].start + answer.failed[i].size > size || answer.failed[i].position >= answer.count)
            fail("item %u is beyond the text", (unsigned)i);
    osv4_json_answer_free(&answer);
    if (osv4_json_check_object(copy, size, &offset) != found.verdict || offset != found.offset)
        fail("the two readers disagree on %u bytes", (unsigned)size);
    if (found.offset > size || (found.verdict == OSV4_JSON_VALID && found.offset != 0))
        fail("offset %u of %u bytes", (unsigned)found.offset, (unsigned)size);
    free(copy);
    return found;
}

/* --- known answers ------------------------------------------------------------------------------------------------ */

#define SUCCEEDED "{\"index\":{\"_id\":\"1\",\"_shards\":{\"total\":2},\"status\":201}}"
#define FAILED "{\"create\":{\"status\":409,\"error\":{\"reason\":\"[\\\"1\\\"]\"}}}"

static const struct {
    const char *text;
    osv4_json_verdict verdict;
    size_t offset, count, failed_count;
} KNOWN[] = {
    {"{\"items\":[" SUCCEEDED "," FAILED "," SUCCEEDED "]}", OSV4_JSON_VALID, 0, 3, 1},
    {" { \"items\" : [ null , {\"st\\u0061tus\":1}\n]\t}\r", OSV4_JSON_VALID, 0, 2, 2},
    {"{\"\\u0069tems\":[{\"a\":{\"st\\u0061tus\":200}}],\"errors\":false}", OSV4_JSON_VALID, 0, 1, 0},
    {"{\"items\":[1],\"items\":{}}", OSV4_JSON_VALID, 0, 0, 0},
    {"{\"items\":[{\"\xf0\x9f\x99\x82\":{},\"\\ud83d\\ude42\":{\"status\":200}}]}", OSV4_JSON_VALID, 0, 1, 0},
    {"{\"items\":[{\"\\ud83d\":{},\"\\n\":{\"status\":200}}]}", OSV4_JSON_VALID, 0, 1, 1},
    {"{\"a\":[-0,1.5e-3,true,false,null,\"\xc3\xa9\xe6\x97\xa5\",[[[]]],{\"b\":{}}]}", OSV4_JSON_VALID, 0, 0, 0},
    {"", OSV4_JSON_NOT_AN_OBJECT, 0, 0, 0},
    {"[]", OSV4_JSON_NOT_AN_OBJECT, 0, 0, 0},
    {"{\"a\":01}", OSV4_JSON_INVALID, 6, 0, 0},
    {"{\"a\":\"12345678\xed\xa0\x80\"}", OSV4_JSON_INVALID, 14, 0, 0},
    {"{} {", OSV4_JSON_INVALID, 3, 0, 0},
};

enum { KNOWN_COUNT = sizeof KNOWN / sizeof KNOWN[0] };

static void known_answers(void)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        const finding found = scan(KNOWN[i].text, strlen(KNOWN[i].text));
        if (found.verdict != KNOWN[i].verdict || found.offset != KNOWN[i].offset ||
            (found.verdict == OSV4_JSON_VALID &&
             (found.count != KNOWN[i].count || found.failed_count != KNOWN[i].failed_count)))
            fail("%s: verdict %d at %u, %u items, %u failed", KNOWN[i].text, (int)found.verdict,
                 (unsigned)found.offset, (unsigned)found.count, (unsigned)found.failed_count);
    }
    const finding found = scan(KNOWN[0].text, strlen(KNOWN[0].text));
    if (found.first_size != strlen(FAILED) || memcmp(KNOWN[0].text + found.first_start, FAILED, found.first_size) != 0)
        fail("the item that failed is not what was found");
}

/* --- whatever the text -------------------------------------------------------------------------------------------- */

/* A whole text is valid, its beginnings are not, and the offset of each is no more than a token from its end. */
static void truncations(void)
{
    enum { LONGEST_TOKEN = 6 };
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        const char *end = strrchr(KNOWN[i].text, '}');
        if (KNOWN[i].verdict != OSV4_JSON_VALID)
            continue;
        for (size_t size = 0; size < (size_t)(end - KNOWN[i].text); size++) {
            const finding found = scan(KNOWN[i].text, size);
            if (found.verdict == OSV4_JSON_VALID || found.offset + LONGEST_TOKEN < size)
                fail("%s: of %u bytes, verdict %d at %u", KNOWN[i].text, (unsigned)size, (int)found.verdict,
                     (unsigned)found.offset);
        }
    }
}

/* Each byte replaced by any other, and then cut off behind it, too. */
static void replacements(void)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        const size_t size = strlen(KNOWN[i].text);
        char *text = copy_of(KNOWN[i].text, size);
        for (size_t at = 0; at < size; at++) {
            for (int byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                scan(text, size);
                scan(text, at + 1);
            }
            text[at] = KNOWN[i].text[at];
        }
        free(text);
    }
}

/* Strings of each length at each alignment, ended by each kind of what ends the plain part of one. */
static void strings(void)
{
    static const char *const ENDS[] = {"\"}", "\\n\"}", "\xc3\xa9\"}", "\xf0\x9f\x99\x82\"}", "\x1f\"}", "\xff\"}", ""};
    for (size_t lead = 0; lead < 9; lead++) {
        for (size_t length = 0; length < 40; length++) {
            for (size_t i = 0; i < sizeof ENDS / sizeof ENDS[0]; i++) {
                char text[80];
                const int size = snprintf(text, sizeof text, "%*s{\"a\":\"%.*s%s", (int)lead, "", (int)length,
                                          "0123456789~ abcdefghijklmnopqrstuvwxyz!#[]", ENDS[i]);
                const finding found = scan(text, (size_t)size);
                if (i < 4 ? found.verdict != OSV4_JSON_VALID
                          : found.verdict != OSV4_JSON_INVALID || found.offset != lead + 6 + length)
                    fail("a string of %u characters, end %u: verdict %d at %u", (unsigned)length, (unsigned)i,
                         (int)found.verdict, (unsigned)found.offset);
            }
        }
    }
}

static void depth(void)
{
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP + 8);
    if (text == NULL)
        fail("no memory");
    for (size_t levels = OSV4_JSON_MAX_DEPTH - 2; levels <= DEEP; levels = levels < 1002 ? levels + 1 : 10 * levels) {
        memcpy(text, "{\"a\":", 5);
        memset(text + 5, '[', levels - 1);
        memset(text + 4 + levels, ']', levels - 1);
        text[3 + 2 * levels] = '}';
        const finding found = scan(text, 4 + 2 * levels);
        if (levels <= OSV4_JSON_MAX_DEPTH ? found.verdict != OSV4_JSON_VALID
                                          : found.verdict != OSV4_JSON_TOO_DEEP ||
                                                found.offset != 5 + OSV4_JSON_MAX_DEPTH - 1)
            fail("%u levels: verdict %d at %u", (unsigned)levels, (int)found.verdict, (unsigned)found.offset);
    }
    free(text);
}

/* More items that failed than room was made for at first. */
static void many_items(void)
{
    for (size_t count = 1; count < 1000; count += 37) {
        char *text = malloc(3 * count + 16);
        if (text == NULL)
            fail("no memory");
        size_t size = (size_t)sprintf(text, "{\"items\":[");
        for (size_t i = 0; i < count; i++)
            size += (size_t)sprintf(text + size, i ? ",{}" : "{}");
        size += (size_t)sprintf(text + size, "]}");
        const finding found = scan(text, size);
        if (found.verdict != OSV4_JSON_VALID || found.count != count || found.failed_count != count)
            fail("%u items: %u found, %u failed", (unsigned)count, (unsigned)found.count, (unsigned)found.failed_count);
        free(text);
    }
}

int main(void)
{
    known_answers();
    truncations();
    replacements();
    strings();
    depth();
    many_items();
    printf("json: %d known answers, their truncations and replacements, strings, depth, many items\n", KNOWN_COUNT);
    return 0;
}
