/* Addresses to functions and lines, from the binaries of this machine, for what a file leaves
 * unsaid. A binary with another build id than the profile's is not believed.
 *
 *   model  --addresses-->  symbolize  -->  llvm-symbolizer, addr2line, or elffile's symbols
 */
#ifndef HPPROF_SYMBOLIZE_H
#define HPPROF_SYMBOLIZE_H

#include "model.h"

/* Looks for what lacks functions; `want_lines`: also for what lacks lines. */
void symbolize(struct profile *profile, bool want_lines);

#endif
