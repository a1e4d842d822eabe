// Every form of operator new and delete: found, aligned, failing as the standard says.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <malloc.h>

#include "hpmalloc.h"

static int test_count, fail_count;

static void report(bool is_right, const char *sentence)
{
    fail_count += !is_right;
    std::printf("%s %d - cxx: %s\n", is_right ? "ok" : "not ok", ++test_count, sentence);
    std::fflush(stdout);
}

// Hidden from the compiler, which knows what cannot be met and what may be left out.
static volatile std::size_t impossible = PTRDIFF_MAX - 4096;
static void *volatile sink;

static bool is_block(void *block, std::size_t bytes, std::size_t alignment)
{
    if (block == nullptr || reinterpret_cast<std::uintptr_t>(block) % alignment != 0)
        return false;
    std::memset(block, 0x5c, bytes);
    return malloc_usable_size(block) >= bytes;
}

static const std::size_t sizes[] = {0, 1, 24, 1000, 32768, 100000, 40000000};

static bool plain_forms()
{
    bool is_right = true;
    for (std::size_t bytes : sizes) {
        void *a = ::operator new(bytes), *b = ::operator new[](bytes);
        void *c = ::operator new(bytes), *d = ::operator new[](bytes);
        is_right &= is_block(a, bytes, 16) && is_block(b, bytes, 16) && a != b;
        ::operator delete(a);
        ::operator delete[](b);
        ::operator delete(c, bytes);
        ::operator delete[](d, bytes);
    }
    return is_right;
}

static bool nothrow_forms()
{
    bool is_right = true;
    for (std::size_t bytes : sizes) {
        void *a = ::operator new(bytes, std::nothrow), *b = ::operator new[](bytes, std::nothrow);
        is_right &= is_block(a, bytes, 16) && is_block(b, bytes, 16);
        ::operator delete(a, std::nothrow);
        ::operator delete[](b, std::nothrow);
    }
    return is_right;
}

static bool aligned_forms()
{
    bool is_right = true;
    for (std::size_t alignment = 1; alignment <= 1 << 20; alignment *= 4) {
        std::align_val_t as{alignment};
        for (std::size_t bytes : sizes) {
            void *a = ::operator new(bytes, as), *b = ::operator new[](bytes, as);
            void *c = ::operator new(bytes, as, std::nothrow);
            void *d = ::operator new[](bytes, as, std::nothrow);
            is_right &= is_block(a, bytes, alignment) && is_block(b, bytes, alignment);
            is_right &= is_block(c, bytes, alignment) && is_block(d, bytes, alignment);
            ::operator delete(a, as);
            ::operator delete[](b, as);
            ::operator delete(c, as, std::nothrow);
            ::operator delete[](d, as, std::nothrow);
            ::operator delete(::operator new(bytes, as), bytes, as);
            ::operator delete[](::operator new[](bytes, as), bytes, as);
        }
    }
    return is_right;
}

static bool delete_of_null()
{
    std::align_val_t as{64};
    void *none = nullptr;
    ::operator delete(none);
    ::operator delete[](none);
    ::operator delete(none, std::size_t(1));
    ::operator delete(none, as);
    ::operator delete[](none, std::size_t(1), as);
    ::operator delete(none, std::nothrow);
    return true;
}

template <typename Call> static bool throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static bool failing_new_throws()
{
    std::align_val_t as{64};
    return throws_bad_alloc([] { sink = ::operator new(impossible); }) &&
           throws_bad_alloc([] { sink = ::operator new[](impossible); }) &&
           throws_bad_alloc([=] { sink = ::operator new(impossible, as); }) &&
           throws_bad_alloc([=] { sink = ::operator new[](impossible, as); });
}

static bool failing_nothrow_new_is_null()
{
    std::align_val_t as{64};
    return ::operator new(impossible, std::nothrow) == nullptr &&
           ::operator new[](impossible, std::nothrow) == nullptr &&
           ::operator new(impossible, as, std::nothrow) == nullptr &&
           ::operator new[](impossible, as, std::nothrow) == nullptr;
}

static int handler_calls;

static void give_up_at_the_third_call()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static bool handler_is_called_until_there_is_none()
{
    handler_calls = 0;
    std::set_new_handler(give_up_at_the_third_call);
    bool is_right = throws_bad_alloc([] { sink = ::operator new(impossible); }) && handler_calls == 3;
    handler_calls = 0;
    std::set_new_handler(give_up_at_the_third_call);
    is_right &= ::operator new(impossible, std::nothrow) == nullptr && handler_calls == 3;
    return is_right;
}

struct own_exception : std::bad_alloc {
};

static void throw_own_exception()
{
    throw own_exception();
}

static bool handlers_exception_reaches_the_caller()
{
    bool is_right = false;
    std::set_new_handler(throw_own_exception);
    try {
        sink = ::operator new(impossible);
    } catch (const own_exception &) {
        is_right = true;
    }
    std::set_new_handler(nullptr);
    return is_right;
}

// One more object for each thread that ends.
static thread_local std::vector<std::string> at_thread_end;

struct allocates_when_destroyed {
    ~allocates_when_destroyed()
    {
        std::vector<char> bytes(200000, 'x');
        std::string text(1000, 'y');
        is_fine = bytes[199999] == 'x' && text[999] == 'y';
    }
    static bool is_fine;
};
bool allocates_when_destroyed::is_fine;
static thread_local allocates_when_destroyed last_words;

static bool thread_locals_allocate_and_free_in_their_destructors()
{
    std::thread([] {
        (void)&last_words;
        for (int i = 0; i < 100; i++)
            at_thread_end.push_back(std::string(1000, 'z'));
    }).join();
    return allocates_when_destroyed::is_fine;
}

static bool containers_work()
{
    std::map<std::string, std::vector<int>> table;
    for (int i = 0; i < 20000; i++)
        table["key " + std::to_string(i % 777)].push_back(i);
    std::size_t count = 0;
    for (const auto &row : table)
        count += row.second.size();
    return table.size() == 777 && count == 20000;
}

int main()
{
    report(plain_forms(), "plain, array and sized forms allocate and free");
    report(nothrow_forms(), "nothrow forms allocate and free");
    report(aligned_forms(), "aligned forms meet every alignment");
    report(delete_of_null(), "delete of null is nothing");
    report(failing_new_throws(), "new that fails throws std::bad_alloc");
    report(failing_nothrow_new_is_null(), "nothrow new that fails is null");
    report(handler_is_called_until_there_is_none(), "the new-handler is called until there is none");
    report(handlers_exception_reaches_the_caller(), "what the new-handler throws reaches the caller");
    report(thread_locals_allocate_and_free_in_their_destructors(),
           "thread_local objects allocate and free in their destructors");
    report(containers_work(), "containers work");
    report(std::strcmp(hpm_version(), HPM_VERSION) == 0, "the header is C++ too");
    std::printf("1..%d\n", test_count);
    return fail_count != 0;
}
