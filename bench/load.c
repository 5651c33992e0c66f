/* A closed-loop HTTP/1.1 client: so many connections, each sending the same request again as soon as it is answered.
 *
 * One thread, one epoll. After `warmup` milliseconds a window of `window` milliseconds begins, in which the caller
 * reads the CPU clocks of what is measured; then nothing new is sent and what is open may finish. The lines on standard
 * output are JSON: {"event":"begin",…} and {"event":"end",…} with the counts so far, and {"event":"done",…} with all that
 * came of it. Connections start spread over `ramp` milliseconds.
 *
 * An answer is good if it is a 200, is whole, has exactly `expected` marks (0: any number) and the end mark. Everything
 * else is counted by kind and never left out; the beginning of the first bad one is in the last line.
 *
 *   status  not a 200          short   the wrong number of marks    unended  no end mark
 *   broken  closed or malformed         open    unfinished DRAIN_SECONDS after the window
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "scan.h"

enum { EVENTS = 512, PIECE = 256 * 1024, MOST_CONNECTIONS = 4096 };

static const double DRAIN_SECONDS = 30;

typedef struct {
    int fd, busy;
    size_t sent;
    double started, last; /* seconds; `last` is when the last mark came, 0 before the first */
    double stall;
    Answer answer;
} Connection;

typedef struct {
    double *values; /* seconds */
    size_t count, room;
} Series;

static struct {
    long answered, marks, events, status, shorts, unended, broken, open;
} counts;
static Series latencies, firsts, stalls;
static Connection *connections[MOST_CONNECTIONS];
static char *request, complaint[SHOWN + 64];
static size_t request_length;
static struct sockaddr_in target = {.sin_family = AF_INET};
static int poller, connection_count, started_count, busy_count;
static long expected;
static double now, window_begin, window_end;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void note(Series *series, double value) {
    if (series->count == series->room) {
        series->room = series->room ? 2 * series->room : 4096;
        series->values = realloc(series->values, series->room * sizeof *series->values);
        if (!series->values) fail("realloc");
    }
    series->values[series->count++] = value;
}

/* Judging answers */

static void complain(const char *kind, const Answer *answer) {
    if (complaint[0]) return;
    int length = sprintf(complaint, "%s, %d: ", kind, answer->status);
    for (size_t i = 0; i < answer->shown_length; i++) {
        char byte = answer->shown[i];
        complaint[length++] = byte < ' ' || byte > '~' || byte == '"' || byte == '\\' ? '.' : byte;
    }
}

static void judge(Connection *connection) {
    const Answer *answer = &connection->answer;
    const char *kind = NULL;
    counts.answered++;
    counts.events += answer->events;
    if (answer->status != 200) counts.status++, kind = "status";
    else if (expected && answer->marks != expected) counts.shorts++, kind = "short";
    else if (end_mark.mask && !answer->ended) counts.unended++, kind = "unended";
    if (kind) complain(kind, answer);
    if (connection->started >= window_begin) note(&latencies, now - connection->started);
    if (answer->marks > 1) note(&stalls, connection->stall);
}

static void on_marks(Connection *connection, long more) {
    counts.marks += more;
    if (!connection->last) note(&firsts, now - connection->started);
    else if (now - connection->last > connection->stall) connection->stall = now - connection->last;
    connection->last = now;
}

/* Connections */

static void watch(Connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poller, operation, connection->fd, &event)) fail("epoll_ctl");
}

static void open_connection(Connection *connection) {
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection->fd < 0) fail("socket");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(connection->fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS) fail("connect");
    watch(connection, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void close_connection(Connection *connection) {
    close(connection->fd);
    connection->fd = -1;
}

static void send_more(Connection *connection) {
    ssize_t done = send(connection->fd, request + connection->sent, request_length - connection->sent, MSG_NOSIGNAL);
    if (done > 0) connection->sent += (size_t)done;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN | (connection->sent < request_length ? EPOLLOUT : 0));
}

static void start(Connection *connection) {
    begin(&connection->answer);
    connection->busy = 1;
    busy_count++;
    connection->sent = 0;
    connection->started = seconds();
    connection->last = connection->stall = 0;
    if (connection->fd < 0) open_connection(connection); /* it is sent when there is room */
    else send_more(connection);
}

static void finish(Connection *connection) {
    connection->busy = 0;
    busy_count--;
    if (now < window_end) start(connection);
}

static void on_broken(Connection *connection) {
    close_connection(connection);
    if (!connection->busy) return;
    counts.broken++;
    complain("broken", &connection->answer);
    finish(connection);
}

static void on_answered(Connection *connection) {
    judge(connection);
    if (connection->answer.closes) close_connection(connection);
    finish(connection);
}

static void on_readable(Connection *connection) {
    static char piece[PIECE];
    ssize_t got = recv(connection->fd, piece, PIECE, 0);
    if (got < 0 && errno == EAGAIN) return;
    long before = connection->answer.marks;
    size_t used = got > 0 && connection->busy ? feed(&connection->answer, piece, (size_t)got) : 0;
    if (connection->answer.marks > before) on_marks(connection, connection->answer.marks - before);
    if (got <= 0 || used < (size_t)got || connection->answer.where == MALFORMED) on_broken(connection);
    else if (connection->answer.where == COMPLETE) on_answered(connection);
}

static void on_event(Connection *connection, uint32_t events) {
    if (events & EPOLLOUT && connection->sent < request_length) send_more(connection);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(connection);
}

/* The run */

static void tell(const char *event) {
    printf("{\"event\":\"%s\",\"at\":%.6f,\"answered\":%ld,\"marks\":%ld}\n", event, now, counts.answered, counts.marks);
    fflush(stdout);
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static double quantile(const Series *series, double share) {
    return series->count ? 1000 * series->values[(size_t)(share * (double)(series->count - 1) + 0.5)] : 0;
}

static void tell_series(const char *name, Series *series) {
    qsort(series->values, series->count, sizeof *series->values, ascending);
    printf(",\"%s\":{\"count\":%zu,\"p50\":%.4f,\"p99\":%.4f,\"max\":%.4f}", name, series->count, quantile(series, 0.5),
           quantile(series, 0.99), quantile(series, 1));
}

static void tell_all(void) {
    for (int i = 0; i < started_count; i++) counts.open += connections[i]->busy;
    printf("{\"event\":\"done\",\"answered\":%ld,\"marks\":%ld,\"events\":%ld", counts.answered, counts.marks, counts.events);
    printf(",\"errors\":{\"status\":%ld,\"short\":%ld,\"unended\":%ld", counts.status, counts.shorts, counts.unended);
    printf(",\"broken\":%ld,\"open\":%ld},\"complaint\":\"%s\"", counts.broken, counts.open, complaint);
    tell_series("latency_ms", &latencies);
    tell_series("first_ms", &firsts);
    tell_series("stall_ms", &stalls);
    printf("}\n");
}

static void start_due(double began, double ramp) {
    while (started_count < connection_count && now < window_end && now >= began + ramp * started_count / connection_count) {
        Connection *connection = calloc(1, sizeof *connection);
        if (!connection) fail("calloc");
        connection->fd = -1;
        connections[started_count++] = connection;
        start(connection);
    }
}

static void run(double ramp) {
    struct epoll_event events[EVENTS];
    double began = seconds();
    int told = 0;
    window_begin += began;
    window_end += began;
    for (now = began; now < window_end + DRAIN_SECONDS && (now < window_end || busy_count); now = seconds()) {
        start_due(began, ramp);
        if (told == 0 && now >= window_begin) tell("begin"), told = 1;
        if (told == 1 && now >= window_end) tell("end"), told = 2;
        int ready = epoll_wait(poller, events, EVENTS, 1);
        now = seconds();
        for (int i = 0; i < ready; i++) on_event(events[i].data.ptr, events[i].events);
    }
    if (told == 1) tell("end");
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    request_length = (size_t)ftell(file);
    request = malloc(request_length + 1);
    rewind(file);
    if (!request || fread(request, 1, request_length, file) != request_length) fail(path);
    fclose(file);
}

int main(int count, char **arguments) {
    if (count != 11) {
        fprintf(stderr, "usage: load PORT REQUEST-FILE CONNECTIONS WARMUP WINDOW RAMP MARK OTHER-MARK END-MARK EXPECTED\n");
        return 2;
    }
    target.sin_port = htons((uint16_t)atoi(arguments[1]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    read_request(arguments[2]);
    connection_count = atoi(arguments[3]);
    if (connection_count < 1 || connection_count > MOST_CONNECTIONS) {
        fprintf(stderr, "load: 1 to %d connections, not %s\n", MOST_CONNECTIONS, arguments[3]);
        return 2;
    }
    window_begin = atof(arguments[4]) / 1000;
    window_end = window_begin + atof(arguments[5]) / 1000;
    units[0] = mark(arguments[7]);
    units[1] = mark(arguments[8]);
    end_mark = mark(arguments[9]);
    event_mark = mark("\ndata:");
    expected = atol(arguments[10]);
    poller = epoll_create1(0);
    run(atof(arguments[6]) / 1000);
    tell_all();
    return 0;
}
