/* Reads one HTTP/1.1 answer as it comes, in pieces cut anywhere, and counts marks in its body.
 *
 * A mark is a word of up to 8 bytes; a window of the last 8 bytes slides over the body, so that one that is cut in two
 * is found as well. The same marks are in an event stream of Bedrock's and in the server-sent events made of it: every
 * stack's frames are counted alike.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD = 16 * 1024, SHOWN = 240 };

typedef struct {
    uint64_t bytes, mask;
} Mark;

typedef enum { IN_HEAD, IN_BODY, IN_SIZE, IN_CHUNK, AFTER_CHUNK, IN_TRAILER, COMPLETE, MALFORMED } Where;

typedef struct {
    Where where;
    char head[HEAD];
    size_t head_length;
    int status, closes;
    uint64_t left;     /* of the body or the chunk */
    uint64_t window;
    long marks, events;
    int ended;         /* the end mark was seen */
    char shown[SHOWN]; /* how the body begins */
    size_t shown_length;
} Answer;

static Mark units[2], end_mark, event_mark;

static Mark mark(const char *word) {
    Mark made = {0, 0};
    for (; *word; word++) made.bytes = made.bytes << 8 | (uint8_t)*word, made.mask = made.mask << 8 | 0xff;
    return made;
}

static void begin(Answer *answer) {
    answer->where = IN_HEAD;
    answer->head_length = answer->shown_length = 0;
    answer->status = answer->closes = answer->ended = 0;
    answer->marks = answer->events = 0;
    answer->left = 0;
    answer->window = '\n';
}

static void scan_body(Answer *answer, const char *bytes, size_t length) {
    uint64_t window = answer->window;
    for (size_t i = 0; i < length; i++) {
        window = window << 8 | (uint8_t)bytes[i];
        answer->marks += (window & units[0].mask) == units[0].bytes || (window & units[1].mask) == units[1].bytes;
        answer->events += (window & event_mark.mask) == event_mark.bytes;
        answer->ended |= (window & end_mark.mask) == end_mark.bytes;
    }
    answer->window = window;
    size_t room = SHOWN - answer->shown_length, shown = length < room ? length : room;
    memcpy(answer->shown + answer->shown_length, bytes, shown);
    answer->shown_length += shown;
}

static const char *field(const Answer *answer, const char *name) {
    const char *found = strcasestr(answer->head, name);
    return found ? found + strlen(name) : NULL;
}

static void read_fields(Answer *answer) {
    const char *length = field(answer, "\r\ncontent-length:");
    answer->status = answer->head_length > 12 ? atoi(answer->head + 9) : 0;
    answer->closes = field(answer, "\r\nconnection: close") != NULL;
    if (field(answer, "\r\ntransfer-encoding: chunked")) answer->where = IN_SIZE;
    else if (length) answer->left = strtoull(length, NULL, 10), answer->where = answer->left ? IN_BODY : COMPLETE;
    else answer->where = MALFORMED;
}

static size_t take_head(Answer *answer, const char *bytes) {
    if (answer->head_length == HEAD - 1) {
        answer->where = MALFORMED;
        return 0;
    }
    answer->head[answer->head_length++] = *bytes;
    answer->head[answer->head_length] = 0;
    if (answer->head_length >= 4 && !memcmp(answer->head + answer->head_length - 4, "\r\n\r\n", 4)) read_fields(answer);
    return 1;
}

static size_t take_body(Answer *answer, const char *bytes, size_t length, Where next) {
    size_t taken = length < answer->left ? length : (size_t)answer->left;
    scan_body(answer, bytes, taken);
    answer->left -= taken;
    if (!answer->left) answer->where = next;
    return taken;
}

static size_t take_size(Answer *answer, char byte) {
    const char *digits = "0123456789abcdef";
    const char *digit = byte ? strchr(digits, byte | (byte >= 'A' ? 0x20 : 0)) : NULL;
    if (digit) answer->left = answer->left << 4 | (uint64_t)(digit - digits);
    else if (byte == '\n') answer->where = answer->left ? IN_CHUNK : IN_TRAILER;
    else if (byte != '\r') answer->where = MALFORMED;
    return 1;
}

static size_t take(Answer *answer, const char *bytes, size_t length) {
    switch (answer->where) {
    case IN_HEAD: return take_head(answer, bytes);
    case IN_BODY: return take_body(answer, bytes, length, COMPLETE);
    case IN_SIZE: return take_size(answer, *bytes);
    case IN_CHUNK: return take_body(answer, bytes, length, AFTER_CHUNK);
    case AFTER_CHUNK:
        if (*bytes == '\n') answer->where = IN_SIZE;
        return 1;
    case IN_TRAILER: /* no stack sends any: the next line is the empty one */
        if (*bytes == '\n') answer->where = COMPLETE;
        return 1;
    default: return 0;
    }
}

/* Feed bytes; `where` says COMPLETE or MALFORMED once it is. Gives how many of them belonged to this answer. */
static size_t feed(Answer *answer, const char *bytes, size_t length) {
    size_t at = 0;
    while (at < length && answer->where < COMPLETE) at += take(answer, bytes + at, length - at);
    return at;
}
