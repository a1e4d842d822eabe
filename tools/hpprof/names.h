/* Functions' names as people read them. */
#ifndef HPPROF_NAMES_H
#define HPPROF_NAMES_H

#include "model.h"

/* C++ and Rust names undone, without parameters and template arguments, so that all instances of a
 * template are one function; as pprof shows them. Needs c++filt or llvm-cxxfilt; names stay
 * mangled where there is neither. */
void names_shorten(struct profile *profile);

/* Cuts stacks where the file says that allocating functions begin, towards the innermost. */
void names_drop_frames(struct profile *profile);

#endif
