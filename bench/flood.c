/* Callers who try tokens: so many requests a second over some connections, each with 43 random characters for `{token}`.
 *
 *     flood PORT REQUEST RATE CONNECTIONS SECONDS ADDRESSES keep|new
 *
 * REQUEST is a file with an HTTP/1.1 request. The connections come from 127.1.0.1 on, from so many addresses in turn;
 * with `new` each request has a connection of its own. A request is sent once it is due and a connection is free, so
 * the rate that is reached may be lower. The line on standard output is JSON, as that of `bench.callers`: `sent`,
 * `seconds`, `rate`, `statuses` (0 is a broken connection), and `p50`, `p99` and `max` in ms from when it was sent.
 *
 * One thread, which takes a tenth of the CPU time of a program in Python: a flood's is not the gateway's to pay.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, MOST_CONNECTIONS = 1024, MOST_REQUEST = 16384, MOST_ANSWER = 16384, TOKEN = 43, STATUSES = 1000 };

typedef struct {
    int fd, busy;
    double started;
    size_t length;
    char answer[MOST_ANSWER + 1];
} Connection;

static Connection *connections[MOST_CONNECTIONS];
static int connection_count, addresses, anew, poller, port;
static char request[MOST_REQUEST];
static size_t request_length;
static char *token;
static long statuses[STATUSES], sent, answered, room;
static double *latencies;
static unsigned long seed = 88172645463325252UL;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path);
    char text[MOST_REQUEST - TOKEN];
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    char *mark = strstr(text, "{token}");
    if (mark == NULL) {
        fprintf(stderr, "%s has no {token}\n", path);
        exit(1);
    }
    size_t before = (size_t)(mark - text), after = length - before - strlen("{token}");
    memcpy(request, text, before);
    token = request + before;
    memcpy(token + TOKEN, mark + strlen("{token}"), after);
    request_length = before + TOKEN + after;
}

static void new_token(void) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    memcpy(token, "qc_", 3);
    for (int i = 3; i < TOKEN; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        token[i] = letters[seed >> 32 & 63];
    }
}

static void connect_it(int number) {
    Connection *connection = connections[number];
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001u + (unsigned)(number % addresses))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct linger at_once = {.l_onoff = 1}; /* no TIME_WAIT, which would use up the ports */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    if (fcntl(fd, F_SETFL, O_NONBLOCK)) fail("fcntl");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    connection->fd = fd;
}

static void send_one(int number, double now) {
    Connection *connection = connections[number];
    if (connection->fd < 0) connect_it(number);
    new_token();
    connection->busy = 1, connection->length = 0, connection->started = now;
    sent++;
    if (write(connection->fd, request, request_length) != (ssize_t)request_length) {
        close(connection->fd);
        connection->fd = -1, connection->busy = 0;
        statuses[0]++;
    }
}

static void done(Connection *connection, int status, int shut) {
    if (connection->busy) {
        statuses[status > 0 && status < STATUSES ? status : 0]++;
        if (answered < room) latencies[answered++] = seconds_now() - connection->started;
    }
    connection->busy = 0;
    if (shut || anew) {
        close(connection->fd);
        connection->fd = -1;
    }
}

static void receive(Connection *connection) {
    ssize_t count = read(connection->fd, connection->answer + connection->length, MOST_ANSWER - connection->length);
    if (count <= 0) {
        done(connection, 0, 1);
        return;
    }
    connection->length += (size_t)count;
    connection->answer[connection->length] = 0;
    char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL) return;
    *end = 0;
    char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    size_t whole = (size_t)(end + 4 - connection->answer) + (length ? strtoul(length + 17, NULL, 10) : 0);
    int shut = strcasestr(connection->answer, "\r\nconnection: close") != NULL;
    *end = '\r';
    if (connection->length >= whole) done(connection, atoi(connection->answer + 9), shut);
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double quantile(double part) {
    if (!answered) return 0;
    long index = (long)(part * (double)answered);
    return latencies[index < answered ? index : answered - 1] * 1000;
}

static void report(double seconds) {
    qsort(latencies, (size_t)answered, sizeof *latencies, by_size);
    printf("{\"sent\": %ld, \"seconds\": %.3f, \"rate\": %.1f, \"statuses\": {", sent, seconds, (double)sent / seconds);
    const char *comma = "";
    for (int status = 0; status < STATUSES; status++)
        if (statuses[status]) printf("%s\"%d\": %ld", comma, status, statuses[status]), comma = ", ";
    printf("}, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}\n", quantile(0.5), quantile(0.99), quantile(1));
}

int main(int count, char **values) {
    if (count != 8) {
        fprintf(stderr, "flood PORT REQUEST RATE CONNECTIONS SECONDS ADDRESSES keep|new\n");
        return 1;
    }
    port = atoi(values[1]);
    read_request(values[2]);
    double rate = atof(values[3]), duration = atof(values[5]);
    connection_count = atoi(values[4]), addresses = atoi(values[6]), anew = !strcmp(values[7], "new");
    if (connection_count < 1 || connection_count > MOST_CONNECTIONS || addresses < 1) return 1;
    room = (long)(rate * duration) + MOST_CONNECTIONS;
    latencies = malloc((size_t)room * sizeof *latencies);
    poller = epoll_create1(0);
    if (latencies == NULL || poller < 0) fail("start");
    seed ^= (unsigned long)getpid() << 20 ^ (unsigned long)time(NULL);
    for (int i = 0; i < connection_count; i++) {
        connections[i] = calloc(1, sizeof *connections[i]);
        if (connections[i] == NULL) fail("calloc");
        connections[i]->fd = -1;
    }
    double start = seconds_now(), now = start;
    struct epoll_event events[EVENTS];
    for (int next = 0; now < start + duration; now = seconds_now()) {
        for (int tried = 0; tried < connection_count && (double)sent < (now - start) * rate; tried++) {
            if (!connections[next]->busy) send_one(next, now);
            next = (next + 1) % connection_count;
        }
        int ready = epoll_wait(poller, events, EVENTS, 1);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
    }
    report(now - start);
    return 0;
}
