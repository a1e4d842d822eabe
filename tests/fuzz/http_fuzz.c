/* libFuzzer's target for the reader of requests: whatever the bytes, none beside them is read, what
 * it finds lies inside them, and what it says of a part it does not take back when more comes. */
#include <stdlib.h>
#include <string.h>

#include "report/httpparse.h"

static void check_inside(struct http_text text, const char *data, size_t size)
{
    if (text.length != 0 && (text.at < data || text.at + text.length > data + size))
        abort();
}

static void check_found(const struct http_request *request, const char *data, size_t size)
{
    struct http_text value;
    char copy[64];
    uint64_t number;
    check_inside(request->path, data, size);
    check_inside(request->query, data, size);
    check_inside(request->host, data, size);
    check_inside(request->authorization, data, size);
    if (httpparse_find(request->query, "seconds", &value)) {
        check_inside(value, data, size);
        httpparse_number(value, &number);
    }
    if (httpparse_copy(request->path, copy, sizeof(copy)) && strlen(copy) != request->path.length)
        abort();
    if (request->head_bytes > size || request->path.length == 0 || request->path.at[0] != '/' ||
        (!request->has_host && !request->is_version_1_0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct http_request request, part;
    /* A block of its own, so that the sanitizer sees a read before it as well as behind it. */
    char *data = malloc(size);
    memcpy(data, input, size);
    int status = httpparse_head(&request, data, size);
    if (status == HTTP_WHOLE)
        check_found(&request, data, size);
    for (size_t bytes = 0; bytes < size; bytes += 1 + size / 16) {
        char *begin = malloc(bytes);
        memcpy(begin, input, bytes);
        int early = httpparse_head(&part, begin, bytes);
        if (early != HTTP_INCOMPLETE && early != status)
            abort();
        free(begin);
    }
    free(data);
    return 0;
}
