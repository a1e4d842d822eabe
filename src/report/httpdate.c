#include "report/httpdate.h"

#include "base/print.h"

/* From print_time, which knows the calendar. */
void httpdate_print(char text[HTTPDATE_BYTES], uint64_t wall_clock_ns)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char days[] = "ThuFriSatSunMonTueWed"; // 1970 began on a Thursday
    char time[32];
    print_time(time, sizeof(time), wall_clock_ns);
    unsigned month = (unsigned)(time[4] - '0') * 10 + (unsigned)(time[5] - '0') - 1;
    unsigned day = (unsigned)(wall_clock_ns / 1000000000u / 86400 % 7);
    print_format(text, HTTPDATE_BYTES, "%.*s, %.*s %.*s %.*s %.*s:%.*s:%.*s GMT", 3, days + 3 * day,
                 2, time + 6, 3, months + 3 * month, 4, time, 2, time + 9, 2, time + 11, 2,
                 time + 13);
}
