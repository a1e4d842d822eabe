#include "report/httpparse.h"

#include <string.h>

enum {
    STATUS_BAD_REQUEST = 400,
    STATUS_EXPECTATION_FAILED = 417,
    STATUS_NOT_IMPLEMENTED = 501,
    STATUS_VERSION = 505
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool httpparse_is(struct http_text text, const char *word)
{
    return strlen(word) == text.length && memcmp(text.at, word, text.length) == 0;
}

bool httpparse_is_any_case(struct http_text text, const char *word)
{
    for (size_t i = 0; i < text.length; i++) {
        if (word[i] == '\0' || lower(text.at[i]) != lower(word[i]))
            return false;
    }
    return word[text.length] == '\0';
}

bool httpparse_number(struct http_text text, uint64_t *number)
{
    *number = 0;
    if (text.length == 0 || text.length > 18)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(text.at[i] - '0');
    }
    return true;
}

bool httpparse_copy(struct http_text text, char *buffer, size_t size)
{
    if (text.length >= size)
        return false;
    memcpy(buffer, text.at, text.length);
    buffer[text.length] = '\0';
    return true;
}

/* Cuts off what is before `end`, and `end` itself. False: it does not occur. */
static bool cut(struct http_text *text, char end, struct http_text *part)
{
    const char *found = text->length != 0 ? memchr(text->at, end, text->length) : NULL;
    if (found == NULL)
        return false;
    *part = (struct http_text){text->at, (size_t)(found - text->at)};
    text->at += part->length + 1;
    text->length -= part->length + 1;
    return true;
}

/* The same, where what is last has no end. */
static bool cut_or_last(struct http_text *text, char end, struct http_text *part)
{
    if (text->length == 0)
        return false;
    if (!cut(text, end, part)) {
        *part = *text;
        text->length = 0;
    }
    return true;
}

bool httpparse_find(struct http_text query, const char *name, struct http_text *value)
{
    struct http_text pair, key;
    while (cut_or_last(&query, '&', &pair)) {
        if (!cut(&pair, '=', &key)) {
            key = pair;
            pair.length = 0;
        }
        if (httpparse_is(key, name)) {
            *value = pair;
            return true;
        }
    }
    return false;
}

/* A line without its end. Other control characters than tabs have no place in a head. */
static int take_line(struct http_text *rest, struct http_text *line)
{
    for (size_t i = 0; i < rest->length; i++) {
        unsigned char c = (unsigned char)rest->at[i];
        if (c == '\r') {
            if (i + 1 == rest->length)
                return HTTP_INCOMPLETE;
            if (rest->at[i + 1] != '\n')
                return STATUS_BAD_REQUEST;
            *line = (struct http_text){rest->at, i};
            rest->at += i + 2;
            rest->length -= i + 2;
            return HTTP_WHOLE;
        }
        if ((c < ' ' && c != '\t') || c == 127)
            return STATUS_BAD_REQUEST;
    }
    return HTTP_INCOMPLETE;
}

static bool is_name_character(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_name(struct http_text text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_name_character(text.at[i]))
            return false;
    }
    return text.length != 0;
}

static bool is_visible(struct http_text text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    }
    return true;
}

static enum http_method method_of(struct http_text name)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_POST] = "POST"};
    for (enum http_method method = 0; method < array_count(names); method++) {
        if (httpparse_is(name, names[method]))
            return method;
    }
    return HTTP_OTHER;
}

static int parse_version(struct http_request *request, struct http_text version)
{
    if (version.length != strlen("HTTP/1.1") || memcmp(version.at, "HTTP/", 5) != 0)
        return STATUS_BAD_REQUEST;
    request->is_version_1_0 = httpparse_is(version, "HTTP/1.0");
    request->is_persistent = !request->is_version_1_0;
    return request->is_version_1_0 || httpparse_is(version, "HTTP/1.1") ? HTTP_WHOLE
                                                                        : STATUS_VERSION;
}

/* Targets with a scheme and a host are for proxies. */
static int parse_request_line(struct http_request *request, struct http_text line)
{
    struct http_text method, target;
    if (!cut(&line, ' ', &method) || !is_name(method) || !cut(&line, ' ', &target) ||
        target.length == 0 || target.at[0] != '/' || !is_visible(target))
        return STATUS_BAD_REQUEST;
    request->method = method_of(method);
    if (cut(&target, '?', &request->path))
        request->query = target;
    else
        request->path = target;
    return parse_version(request, line);
}

static struct http_text trimmed(struct http_text text)
{
    while (text.length > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = (struct http_text){text.at + 1, text.length - 1};
    while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t'))
        text.length--;
    return text;
}

static int take_once(bool *has, struct http_text *place, struct http_text value)
{
    if (*has)
        return STATUS_BAD_REQUEST;
    *has = true;
    *place = value;
    return HTTP_WHOLE;
}

static int take_length(struct http_request *request, struct http_text value)
{
    if (request->has_length || !httpparse_number(value, &request->body_bytes))
        return STATUS_BAD_REQUEST;
    request->has_length = true;
    return HTTP_WHOLE;
}

static int take_connection(struct http_request *request, struct http_text value)
{
    struct http_text word;
    while (cut_or_last(&value, ',', &word)) {
        word = trimmed(word);
        if (httpparse_is_any_case(word, "close"))
            request->is_persistent = false;
        else if (httpparse_is_any_case(word, "keep-alive") && request->is_version_1_0)
            request->is_persistent = true;
    }
    return HTTP_WHOLE;
}

static int parse_field(struct http_request *request, struct http_text line)
{
    struct http_text name, value = line;
    if (!cut(&value, ':', &name) || !is_name(name))
        return STATUS_BAD_REQUEST;
    value = trimmed(value);
    if (httpparse_is_any_case(name, "Host"))
        return take_once(&request->has_host, &request->host, value);
    if (httpparse_is_any_case(name, "Authorization"))
        return take_once(&request->has_authorization, &request->authorization, value);
    if (httpparse_is_any_case(name, "Content-Length"))
        return take_length(request, value);
    if (httpparse_is_any_case(name, "Transfer-Encoding"))
        return STATUS_NOT_IMPLEMENTED;
    if (httpparse_is_any_case(name, "Connection"))
        return take_connection(request, value);
    if (httpparse_is_any_case(name, "Origin"))
        request->has_origin = true;
    if (httpparse_is_any_case(name, "Sec-Fetch-Site"))
        request->is_cross_site =
            httpparse_is(value, "cross-site") || httpparse_is(value, "same-site");
    if (!httpparse_is_any_case(name, "Expect"))
        return HTTP_WHOLE;
    request->expects_continue = httpparse_is_any_case(value, "100-continue");
    return request->expects_continue ? HTTP_WHOLE : STATUS_EXPECTATION_FAILED;
}

/* An empty line before a request is forgiven, as the standard asks. */
int httpparse_head(struct http_request *request, const char *data, size_t bytes)
{
    struct http_text rest = {data, bytes}, line = {0};
    *request = (struct http_request){.method = HTTP_OTHER};
    int status = take_line(&rest, &line);
    if (status == HTTP_WHOLE && line.length == 0)
        status = take_line(&rest, &line);
    if (status == HTTP_WHOLE)
        status = parse_request_line(request, line);
    while (status == HTTP_WHOLE) {
        status = take_line(&rest, &line);
        if (status == HTTP_WHOLE && line.length == 0)
            break;
        if (status == HTTP_WHOLE)
            status = parse_field(request, line);
    }
    request->head_bytes = (size_t)(rest.at - data);
    if (status == HTTP_WHOLE && !request->is_version_1_0 && !request->has_host)
        return STATUS_BAD_REQUEST;
    return status;
}
