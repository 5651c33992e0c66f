/* A Bedrock that costs next to nothing: the upstream of every stack that is measured.
 *
 * One thread, one epoll, answers that were made before it listens. It looks at the path, and at the first KEPT bytes of
 * the body; nothing is checked, no signature either.
 *
 *   POST /model/{id}/converse         one answer
 *   POST /model/{id}/converse-stream  an event stream (real CRCs), one send() for each delta
 *   POST /model/{id}/invoke           vectors, in Titan's shape or (for a body with "texts") in Cohere's
 *   GET  /foundation-models, /inference-profiles   the files named on the command line
 *
 * A request chooses how its stream goes by words in its body, which every gateway passes on: `frames=200` deltas, one
 * `every=20` milliseconds (0: as fast as they are taken). The first delta comes with the headers. Paced streams sit on
 * a wheel of milliseconds, so that a thousand of them cost one timer.
 *
 * Prints "listening on PORT" and runs until it is killed. Linux only (epoll, timerfd).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "answers.h"

enum { KEPT = 64 * 1024, SLOTS = 1024, BURST = 8, EVENTS = 256 };

typedef struct Connection {
    int fd;
    char in[KEPT];
    size_t held;       /* bytes in `in` */
    size_t skip;       /* bytes of the body that are still to come and are not kept */
    size_t expected;   /* head and kept body; 0 until the head is complete */
    char *out;         /* what could not be sent yet, on the heap */
    size_t out_length, out_sent;
    int streaming, frames, sent, every;
    int writable;      /* whether epoll watches for room */
    struct Connection *next;
} Connection;

static int poller, timer, timer_runs;
static Connection *wheel[SLOTS];
static unsigned now_slot;
static int paced;
/* Sending */

static void watch(Connection *connection, int writable) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = connection};
    if (connection->writable == writable) return;
    connection->writable = writable;
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Send, and keep what the socket does not take. Once something is kept, all goes behind it. */
static void put(Connection *connection, const Text *text) {
    size_t sent = 0;
    if (!connection->out) {
        ssize_t done = send(connection->fd, text->bytes, text->length, MSG_NOSIGNAL);
        if (done > 0) sent = (size_t)done;
        if (sent == text->length) return;
    }
    Text kept = {connection->out, connection->out_length};
    add(&kept, text->bytes + sent, text->length - sent);
    connection->out = kept.bytes;
    connection->out_length = kept.length;
    watch(connection, 1);
}

static void flush(Connection *connection) {
    size_t left = connection->out_length - connection->out_sent;
    ssize_t done = send(connection->fd, connection->out + connection->out_sent, left, MSG_NOSIGNAL);
    if (done > 0) connection->out_sent += (size_t)done;
    if (connection->out_sent < connection->out_length) return;
    free(connection->out);
    connection->out = NULL;
    connection->out_length = connection->out_sent = 0;
}

/* Streams */

static void run_timer(int on) {
    struct itimerspec every = {{0, on ? 1000000 : 0}, {0, on ? 1000000 : 0}};
    if (timer_runs == on) return;
    timer_runs = on;
    timerfd_settime(timer, 0, &every, NULL);
}

static void schedule(Connection *connection) {
    Connection **slot = &wheel[(now_slot + (unsigned)connection->every) % SLOTS];
    connection->next = *slot;
    *slot = connection;
    paced++;
    run_timer(1);
}

static void send_delta(Connection *connection) {
    put(connection, &delta[connection->sent++ % 2]);
    if (connection->sent < connection->frames) return;
    connection->streaming = 0;
    put(connection, &closing);
}

static void on_tick(void) {
    uint64_t ticks;
    if (read(timer, &ticks, sizeof ticks) != sizeof ticks) return;
    for (; ticks > 0; ticks--) {
        now_slot = (now_slot + 1) % SLOTS;
        Connection *due = wheel[now_slot], *next;
        wheel[now_slot] = NULL;
        for (; due; due = next) {
            next = due->next;
            paced--;
            if (due->fd < 0) free(due); /* the peer has gone */
            else {
                send_delta(due);
                if (due->streaming) schedule(due);
            }
        }
    }
    if (!paced) run_timer(0);
}

/* An unpaced stream goes on when there is room, a few frames a turn, so that all of them do. */
static void burst(Connection *connection) {
    for (int i = 0; i < BURST && connection->streaming && !connection->out; i++) send_delta(connection);
    watch(connection, connection->streaming || connection->out);
}

static int setting(const char *body, const char *name, int fallback) {
    const char *found = strstr(body, name);
    return found ? atoi(found + strlen(name)) : fallback;
}

static void start_stream(Connection *connection, const char *body) {
    connection->frames = setting(body, "frames=", 100);
    connection->every = setting(body, "every=", 0) % SLOTS;
    connection->sent = 0;
    connection->streaming = 1;
    put(connection, &opening);
    send_delta(connection);
    if (!connection->streaming) return;
    if (connection->every) schedule(connection);
    else burst(connection);
}

/* Requests */

static int has(const char *line, const char *words) { return strstr(line, words) != NULL; }

static const Text *list(const char *line) {
    if (has(line, "/foundation-models")) return &models;
    if (!has(line, "/inference-profiles")) return &unknown;
    return has(line, "=APPLICATION") ? &no_profiles : &profiles;
}

static void invoke(Connection *connection, const char *body) {
    const char *texts = strstr(body, "\"texts\":");
    Text vectors = {0};
    if (texts) make_cohere(&vectors, texts + strlen("\"texts\":"));
    put(connection, texts ? &vectors : &titan);
    free(vectors.bytes);
}

static void respond(Connection *connection, const char *body) {
    const char *line = connection->in;
    *strchr(connection->in, '\r') = 0;
    if (has(line, "/converse-stream ")) start_stream(connection, body);
    else if (has(line, "/converse ")) put(connection, &answer);
    else if (has(line, "/invoke ")) invoke(connection, body);
    else put(connection, list(line));
}

/* The head is complete: how much is to come, and how much of that is worth keeping. */
static void read_head(Connection *connection, const char *end) {
    size_t head = (size_t)(end - connection->in) + 4, body = 0;
    const char *length = strcasestr(connection->in, "\r\ncontent-length:");
    if (length && length < end) body = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    size_t kept = head + body < KEPT - 1 ? body : KEPT - 1 - head;
    connection->expected = head + kept;
    connection->skip = body - kept;
}

static void take_request(Connection *connection) {
    connection->in[connection->held] = 0;
    const char *end = strstr(connection->in, "\r\n\r\n");
    if (!connection->expected && end) read_head(connection, end);
    if (!connection->expected || connection->held < connection->expected || connection->skip) return;
    respond(connection, end + 4);
    connection->held = connection->expected = 0;
}

static void drop(Connection *connection) {
    close(connection->fd);
    free(connection->out);
    connection->out = NULL;
    connection->fd = -1;
    if (!connection->streaming || !connection->every) free(connection); /* otherwise the wheel has it, and frees it */
}

static void on_readable(Connection *connection) {
    static char rest[1 << 20];
    int skipping = connection->expected && connection->held == connection->expected && connection->skip;
    size_t room = skipping ? sizeof rest : KEPT - 1 - connection->held;
    if (connection->expected && !skipping) room = connection->expected - connection->held;
    if (skipping && room > connection->skip) room = connection->skip;
    ssize_t got = recv(connection->fd, skipping ? rest : connection->in + connection->held, room, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(connection);
        return;
    }
    if (skipping) connection->skip -= (size_t)got;
    else connection->held += (size_t)got;
    take_request(connection);
}

static void on_event(Connection *connection, uint32_t events) {
    if (events & EPOLLOUT) {
        if (connection->out) flush(connection);
        if (!connection->out && connection->streaming && !connection->every) burst(connection);
        else watch(connection, connection->out != NULL);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(connection);
}

static void on_connect(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection *connection = calloc(1, sizeof *connection);
    if (!connection) fail("calloc");
    connection->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: upstream FOUNDATION-MODELS.json INFERENCE-PROFILES.json\n");
        return 2;
    }
    make_all(arguments[1], arguments[2]);
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int listener = listen_anywhere();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, tick = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &tick);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listener) on_connect(listener);
            else if (events[i].data.ptr == &timer) on_tick();
            else on_event(events[i].data.ptr, events[i].events);
        }
    }
}
