/* `hpprof dump --record FILE`: a profile of a process that was killed, or hangs. */
#ifndef HPPROF_RECORD_H
#define HPPROF_RECORD_H

#include <stdbool.h>

/* Gets the arguments of dump behind its name; prints the name of the file it has written. */
int record_dump(int count, char **arguments, bool as_json);

#endif
