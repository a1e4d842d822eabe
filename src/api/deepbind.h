/* dlopen without RTLD_DEEPBIND: a library that binds malloc to the C library's own would hand its
 * blocks to our free, and ours to the C library's. And dlclose, to tell the unwinder that code is
 * gone. In a static program there is nothing to do. */
#ifndef HPM_API_DEEPBIND_H
#define HPM_API_DEEPBIND_H

void deepbind_init(void);

#endif
