/* What the upstream answers, made before it listens: JSON, vectors, and the messages of an event stream with real CRCs. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIMENSIONS = 1024, WORDS = 125 };

typedef struct {
    char *bytes;
    size_t length;
} Text;

static Text answer, opening, delta[2], closing, titan, vector, models, profiles, no_profiles, unknown;

static uint32_t crc_table[256];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void add(Text *text, const void *bytes, size_t length) {
    text->bytes = realloc(text->bytes, text->length + length + 1);
    if (!text->bytes) fail("realloc");
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

static void add_string(Text *text, const char *string) { add(text, string, strlen(string)); }

static void add_u32(Text *text, uint32_t value) {
    uint32_t wire = htonl(value);
    add(text, &wire, 4);
}

static uint32_t crc32_of(const char *bytes, size_t length) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) crc = crc_table[(crc ^ (uint8_t)bytes[i]) & 0xff] ^ (crc >> 8);
    return ~crc;
}

static void make_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
        crc_table[i] = crc;
    }
}

static void add_header(Text *block, const char *name, const char *value) {
    uint8_t name_length = (uint8_t)strlen(name);
    uint16_t value_length = htons((uint16_t)strlen(value));
    add(block, &name_length, 1);
    add_string(block, name);
    add(block, "\x07", 1);
    add(block, &value_length, 2);
    add_string(block, value);
}

/* One message of an event stream, as one chunk of HTTP/1.1. */
static void add_message(Text *text, const char *kind, const char *payload) {
    Text block = {0}, message = {0};
    add_header(&block, ":event-type", kind);
    add_header(&block, ":content-type", "application/json");
    add_header(&block, ":message-type", "event");
    add_u32(&message, (uint32_t)(16 + block.length + strlen(payload)));
    add_u32(&message, (uint32_t)block.length);
    add_u32(&message, crc32_of(message.bytes, 8));
    add(&message, block.bytes, block.length);
    add_string(&message, payload);
    add_u32(&message, crc32_of(message.bytes, message.length));
    char size[24];
    add(text, size, (size_t)sprintf(size, "%zx\r\n", message.length));
    add(text, message.bytes, message.length);
    add_string(text, "\r\n");
    free(block.bytes);
    free(message.bytes);
}

static void make_stream(void) {
    add_string(&opening, "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
                         "x-amzn-requestid: 6d0ed1fa-8c2b-4e53-a5f9-53f90e6c1d2a\r\ntransfer-encoding: chunked\r\n\r\n");
    add_message(&opening, "messageStart", "{\"p\":\"abcdefghijk\",\"role\":\"assistant\"}");
    add_message(&delta[0], "contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":\" tick\"},\"p\":\"abcdefghijk\"}");
    add_message(&delta[1], "contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":\" tock\"},\"p\":\"abcdefghijk\"}");
    add_message(&closing, "contentBlockStop", "{\"contentBlockIndex\":0,\"p\":\"abcdefghijk\"}");
    add_message(&closing, "messageStop", "{\"p\":\"abcdefghijk\",\"stopReason\":\"end_turn\"}");
    add_message(&closing, "metadata", "{\"metrics\":{\"latencyMs\":312},\"p\":\"abcdefghijk\",\"usage\":"
                                      "{\"inputTokens\":210,\"outputTokens\":200,\"totalTokens\":410}}");
    add_string(&closing, "0\r\n\r\n");
}

static void add_head(Text *text, const char *status, size_t length) {
    char head[256];
    add(text, head, (size_t)sprintf(head, "HTTP/1.1 %s\r\ncontent-type: application/json\r\nx-amzn-requestid: "
                                    "6d0ed1fa-8c2b-4e53-a5f9-53f90e6c1d2a\r\ncontent-length: %zu\r\n\r\n", status, length));
}

static void finish(Text *whole, const char *status, Text *body) {
    add_head(whole, status, body->length);
    add(whole, body->bytes, body->length);
    free(body->bytes);
}

static void make_answer(void) {
    Text body = {0};
    add_string(&body, "{\"metrics\":{\"latencyMs\":312},\"output\":{\"message\":{\"content\":[{\"text\":\"tick");
    for (int i = 0; i < WORDS; i++) add_string(&body, " word.");
    add_string(&body, "\"}],\"role\":\"assistant\"}},\"stopReason\":\"end_turn\",\"usage\":"
                      "{\"inputTokens\":210,\"outputTokens\":125,\"totalTokens\":335}}");
    finish(&answer, "200 OK", &body);
}

static void make_vector(void) {
    char number[32];
    add_string(&vector, "[");
    for (int i = 0; i < DIMENSIONS; i++) {
        int length = sprintf(number, "%s%.8f", i ? "," : "", (i * 37 % 1000 - 500) / 12345.0);
        add(&vector, number, (size_t)length);
    }
    add_string(&vector, "]");
}

static void make_titan(void) {
    Text body = {0};
    add_string(&body, "{\"embedding\":");
    add(&body, vector.bytes, vector.length);
    add_string(&body, ",\"inputTextTokenCount\":12}");
    finish(&titan, "200 OK", &body);
}

static void read_file(Text *text, const char *path) {
    Text body = {0};
    char piece[4096];
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;) add(&body, piece, got);
    fclose(file);
    finish(text, "200 OK", &body);
}

static void make_fixed(Text *whole, const char *status, const char *json) {
    Text body = {0};
    add_string(&body, json);
    finish(whole, status, &body);
}

/* As many vectors as there are strings in the array that begins at `texts`; they hold neither quotes nor brackets. */
static void make_cohere(Text *whole, const char *texts) {
    Text body = {0};
    int quotes = 0;
    for (; *texts && *texts != ']'; texts++) quotes += *texts == '"';
    add_string(&body, "{\"embeddings\":[");
    for (int i = 0; i < quotes / 2; i++) {
        if (i) add_string(&body, ",");
        add(&body, vector.bytes, vector.length);
    }
    add_string(&body, "],\"id\":\"bench\",\"response_type\":\"embeddings_floats\"}");
    finish(whole, "200 OK", &body);
}

static void make_all(const char *models_file, const char *profiles_file) {
    make_crc_table();
    make_stream();
    make_answer();
    make_vector();
    make_titan();
    make_fixed(&no_profiles, "200 OK", "{\"inferenceProfileSummaries\":[]}");
    make_fixed(&unknown, "404 Not Found", "{\"message\":\"the benchmark's upstream has no such path\"}");
    read_file(&models, models_file);
    read_file(&profiles, profiles_file);
}
