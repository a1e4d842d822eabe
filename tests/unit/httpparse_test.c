/* What is read from a request, and what is refused; and a date as HTTP has it. */
#include "report/httpdate.h"
#include "report/httpparse.h"
#include "tap.h"

static struct http_request request;

static int parse(const char *text)
{
    return httpparse_head(&request, text, strlen(text));
}

#define GET "GET /a?b=1 HTTP/1.1\r\nHost: h\r\n"

TEST(httpparse, a_request_yields_its_parts)
{
    CHECK_EQUAL(parse("POST /a/b?c=1&d= HTTP/1.1\r\nhost:\t[::1]:80 \r\nAUTHORIZATION: Bearer x\r\n"
                      "Content-Length: 12\r\nExpect: 100-Continue\r\nX: y\r\n\r\nrest"),
                HTTP_WHOLE);
    CHECK_EQUAL(request.method, HTTP_POST);
    CHECK(httpparse_is(request.path, "/a/b"));
    CHECK(httpparse_is(request.query, "c=1&d="));
    CHECK(httpparse_is(request.host, "[::1]:80"));
    CHECK(httpparse_is(request.authorization, "Bearer x"));
    CHECK_EQUAL(request.body_bytes, 12);
    CHECK(request.expects_continue && request.is_persistent && !request.has_origin);
}

TEST(httpparse, the_head_ends_where_the_body_begins)
{
    CHECK_EQUAL(parse("\r\n" GET "\r\nbody"), HTTP_WHOLE);
    CHECK_EQUAL(request.head_bytes, strlen("\r\n" GET "\r\n"));
}

TEST(httpparse, a_part_of_a_request_is_incomplete)
{
    const char *whole = GET "A: b\r\n\r\n";
    for (size_t bytes = 0; bytes < strlen(whole); bytes++)
        CHECK_EQUAL(httpparse_head(&request, whole, bytes), HTTP_INCOMPLETE);
}

TEST(httpparse, what_is_wrong_is_refused_before_the_end)
{
    CHECK_EQUAL(parse("GET  / HTTP/1.1\r\n"), 400);
    CHECK_EQUAL(parse("GET / HTTP/1.2\r\n"), 505);
    CHECK_EQUAL(parse("GET / HTTP/1.1\n"), 400);
    CHECK_EQUAL(parse("\r\n\r\n"), 400);
    CHECK_EQUAL(parse("\x16"), 400);
    CHECK_EQUAL(parse(GET " x\r\n"), 400);
    CHECK_EQUAL(parse(GET "Host: h\r\n"), 400);
    CHECK_EQUAL(parse(GET "Content-Length: 1\r\nContent-Length: 1\r\n"), 400);
    CHECK_EQUAL(parse(GET "Content-Length: 9999999999999999999\r\n"), 400);
    CHECK_EQUAL(parse(GET "Transfer-Encoding: identity\r\n"), 501);
    CHECK_EQUAL(parse("GET / HTTP/1.1\r\n\r\n"), 400);
}

TEST(httpparse, a_connection_stays_as_the_version_says_and_the_field)
{
    CHECK(parse(GET "\r\n") == HTTP_WHOLE && request.is_persistent);
    CHECK(parse(GET "Connection: x, Close\r\n\r\n") == HTTP_WHOLE && !request.is_persistent);
    CHECK(parse(GET "Connection: close, keep-alive\r\n\r\n") == HTTP_WHOLE &&
          !request.is_persistent);
    CHECK(parse("GET / HTTP/1.0\r\n\r\n") == HTTP_WHOLE && !request.is_persistent);
    CHECK(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") == HTTP_WHOLE &&
          request.is_persistent);
}

TEST(httpparse, browsers_are_known_by_what_they_say)
{
    CHECK(parse(GET "Origin: null\r\n\r\n") == HTTP_WHOLE && request.has_origin);
    CHECK(parse(GET "Sec-Fetch-Site: cross-site\r\n\r\n") == HTTP_WHOLE && request.is_cross_site);
    CHECK(parse(GET "Sec-Fetch-Site: none\r\n\r\n") == HTTP_WHOLE && !request.is_cross_site);
}

static bool finds(const char *query, const char *name, const char *expected)
{
    struct http_text value;
    return httpparse_find((struct http_text){query, strlen(query)}, name, &value) &&
           httpparse_is(value, expected);
}

TEST(httpparse, a_query_is_searched_by_whole_names)
{
    struct http_text value;
    CHECK(finds("a=1&b=2", "b", "2"));
    CHECK(finds("xb=1&b", "b", ""));
    CHECK(finds("b==&b=3", "b", "="));
    CHECK(!httpparse_find((struct http_text){"ab=1", 4}, "a", &value));
    CHECK(!httpparse_find((struct http_text){0}, "a", &value));
}

TEST(httpparse, a_number_has_digits_and_an_end)
{
    uint64_t number;
    CHECK(httpparse_number((struct http_text){"0123", 4}, &number) && number == 123);
    CHECK(!httpparse_number((struct http_text){"", 0}, &number));
    CHECK(!httpparse_number((struct http_text){"-1", 2}, &number));
    CHECK(!httpparse_number((struct http_text){"1 ", 2}, &number));
    CHECK(!httpparse_number((struct http_text){"9999999999999999999", 19}, &number));
}

TEST(httpdate, a_moment_is_written_as_the_standard_does)
{
    char text[HTTPDATE_BYTES];
    httpdate_print(text, 784111777u * (uint64_t)1000000000);
    CHECK_TEXT(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    httpdate_print(text, 1709251199u * (uint64_t)1000000000);
    CHECK_TEXT(text, "Thu, 29 Feb 2024 23:59:59 GMT");
}
